"""The Loader, and what DALI gives, wherever batches are made: the same views, labels and errors as on a CPU.

Every body runs on a CPU too, so what it asserts has been tried where there is no GPU; what is asserted of a GPU has not.
"""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

import anamorph as am
import anamorph.data.loader as loader_module
from devices import DEVICES, captured, current, gpu, is_gpu, side_stream
from loading import DECODERS, SIZES, dali, encoded, needs_dali, picture

CLOSE = 4 / 255  # in the mean: nvJPEG and libjpeg interpolate chroma differently; a smooth picture keeps them close


def kept(batches):
    """Copies, made in the stream that is current when a batch comes, so that the next batch may have its memory."""
    return [(images.clone(), targets.clone()) for images, targets in batches]


def check(batches, expected, device, within=0.0):
    for (images, targets), (views, labels) in zip(batches, expected, strict=True):
        assert images.device.type == targets.device.type == torch.device(device).type
        assert (images.cpu().float() - views.float()).abs().mean() <= within
        torch.testing.assert_close(targets.cpu(), labels)


# ---------------------------------------------------------------- one device


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("device", DEVICES)
def test_files_give_the_views_of_a_cpu_on_a_side_stream(folder, device, decoder):
    recipe = am.Recipe([am.RandomResizedCrop(16), am.RandomHorizontalFlip()], num_classes=2)
    expected = list(am.Loader(folder, recipe, 3, decoder=decoder))
    with side_stream(device):
        batches = kept(am.Loader(folder, recipe, 3, decoder=decoder, device=device))
    check(batches, expected, device, CLOSE)


@pytest.mark.parametrize(("device", "where"), [("cpu", "cpu"), gpu("cuda", "cpu"), gpu("cuda", "cuda")])
def test_arrays_give_the_views_of_a_cpu(array, device, where):
    recipe = am.Recipe([am.RandomResizedCrop(4)], num_classes=10)
    images, labels = torch.from_numpy(array), torch.arange(10)
    batches = kept(am.Loader((images.to(where), labels), recipe, 4, device=device))
    check(batches, am.Loader((images, labels), recipe, 4), device, 1e-5)


def flaws(data):
    """A JPEG damaged in several ways, by what is wrong with it."""
    tables = data.index(b"\xff\xc4") + 4
    after = tables - 2 + int.from_bytes(data[tables - 2 : tables], "big")
    scan = data.index(b"\xff\xda")
    scan += 2 + int.from_bytes(data[scan + 2 : scan + 4], "big")
    garbage = bytes((37 * i + 11) % 251 for i in range(len(data) - scan - 2))  # without a marker
    return {
        "cut": data[: len(data) // 2],
        "no picture": b"text",
        "impossible Huffman tables": data[:tables] + b"\xff" * (after - tables) + data[after:],
        "another scan": data[:scan] + garbage + data[-2:],  # which a decoder may take for a strange picture
    }


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("device", DEVICES)
def test_damaged_jpegs_cost_themselves_alone(tmp_path, device, decoder):
    damaged = dict(zip((2, 5, 6, 9), flaws(encoded(picture(40, 56, 3))).values()))
    refused, doubtful = {2, 5, 6}, 9
    (tmp_path / "a").mkdir()
    for i in range(12):
        data = damaged.get(i) or encoded(np.full((40 + i, 56, 3), 20 * i, np.uint8))
        (tmp_path / "a" / f"{i:02d}.jpg").write_bytes(data)
    recipe, options = am.Recipe([am.Resize((8, 8))], dtype=torch.uint8), {"decoder": decoder, "device": device, "shuffle": False}

    loader = am.Loader(tmp_path, recipe, 4, on_error="skip", with_index=True, **options)
    for _ in range(2):  # a decoder that failed is made anew
        views = {int(i): image.cpu() for images, _, index in loader for i, image in zip(index, images)}
        skipped = {int(str(error).partition(".jpg")[0][-2:]) for error in loader.skipped}
        assert refused <= skipped <= refused | {doubtful} and len(skipped) == len(loader.skipped)
        assert views.keys() == set(range(12)) - skipped
        for i in views.keys() - {doubtful}:
            assert (views[i].float() - 20 * i).abs().max() <= 2, i

    strict = iter(am.Loader(tmp_path, recipe, 2, **options))
    assert len(next(strict)[0]) == 2
    with pytest.raises(am.DecodeError, match=r"02\.jpg"):
        next(strict)


@pytest.fixture
def nine(tmp_path):
    """Nine classes of one picture whose bytes all are its label. PNG: every decoder gives these bytes."""
    for i in range(9):
        (tmp_path / "nine" / str(i)).mkdir(parents=True)
        (tmp_path / "nine" / str(i) / "x.png").write_bytes(encoded(np.full((4, 4, 3), i, np.uint8), "PNG"))
    return tmp_path / "nine"


def pipeline(root, decoder="cpu", labels="cpu", dynamic=True, gpu_id=None):
    """Pictures decoded on a CPU ("cpu"), or from there to a GPU ("mixed"), and labels on a "cpu" or "gpu"."""
    pipe = dali.Pipeline(batch_size=4, num_threads=1, device_id=gpu_id, exec_dynamic=dynamic)
    with pipe:
        data, label = dali.fn.readers.file(file_root=str(root), name="reader")
        pipe.set_outputs(dali.fn.decoders.image(data, device=decoder), label.gpu() if labels == "gpu" else label)
    return pipe


@needs_dali
@pytest.mark.parametrize("dynamic", [True, False])
@pytest.mark.parametrize(("device", "decoder", "labels"), [
    ("cpu", "cpu", "cpu"), gpu("cuda", "mixed", "cpu"), gpu("cuda", "mixed", "gpu"), gpu("cuda", "cpu", "cpu"),
    gpu("cuda", "cpu", "gpu"), gpu("cpu", "mixed", "gpu"),
])
def test_a_dali_pipelines_pictures_and_labels_may_lie_anywhere(nine, device, decoder, labels, dynamic):
    pipe = pipeline(nine, decoder, labels, dynamic, 0 if {decoder, labels} & {"mixed", "gpu"} else None)
    soft = am.Recipe([am.Resize((4, 4))], dtype=torch.uint8, num_classes=9)
    loader = am.Loader(pipe, soft, 4, device=device)
    for _ in range(2):  # the second pass begins within a run of the pipeline
        with side_stream(device):
            batches = kept(loader)
        assert [len(images) for images, _ in batches] == [4, 4, 1]
        for images, targets in batches:
            assert images.device.type == targets.device.type == torch.device(device).type
            assert (images == targets.argmax(1)[:, None, None, None]).all()
        assert torch.cat([targets.argmax(1) for _, targets in batches]).tolist() == list(range(9))


@needs_dali
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_pipeline_for_a_gpu_lacks_nothing_but_the_gpu(nine):
    with pytest.raises(RuntimeError, match="CUDA is not available"):
        pipeline(nine, "mixed", "gpu", gpu_id=0).build()


def dali_batches(pictures, device):
    """Batch after batch of a pipeline, whose memory DALI uses again when the batch is dropped."""
    runs = iter(pictures)
    pipe = dali.Pipeline(batch_size=len(pictures[0]), num_threads=1, device_id=0 if is_gpu(device) else None, exec_dynamic=True)
    with pipe:
        images = dali.fn.external_source(source=lambda: next(runs), batch=True)
        pipe.set_outputs(images.gpu() if is_gpu(device) else images)
    pipe.build()
    for _ in pictures:
        (tensors,) = pipe.run(torch.cuda.current_stream(device)) if is_gpu(device) else pipe.run()
        yield tensors
        del tensors


@needs_dali
@pytest.mark.parametrize("single", [False, True], ids=["a batch", "pictures"])
@pytest.mark.parametrize("device", DEVICES)
def test_render_takes_what_dali_gives(device, single):
    pictures = np.random.default_rng(0).integers(0, 256, (6, 4, 90, 100, 3), dtype=np.uint8)
    recipe = am.Recipe([am.RandomResizedCrop(48)])
    plans = [recipe.plan(range(4), size=(90, 100), epoch=i, device=device) for i in range(6)]
    with side_stream(device):
        batches = dali_batches(pictures, device)
        views = [am.render([*tensors] if single else tensors, plan) for plan, tensors in zip(plans, batches)]
    for i in range(6):
        expected = am.render(pictures[i], recipe.plan(range(4), size=(90, 100), epoch=i))
        torch.testing.assert_close(views[i].cpu(), expected, atol=1e-4, rtol=0)


def test_what_goes_to_a_gpu_is_staged_by_a_thread(folder, array, monkeypatch):
    """Where that pins memory it is a CUDA call, which a capture in the training thread has to allow to others."""
    threads, stage = [], loader_module.stage

    def spy(images, device):
        threads.append(threading.current_thread().name)
        return stage(images, device)

    monkeypatch.setattr(loader_module, "stage", spy)
    for source in (folder, array):
        list(am.Loader(source, am.Recipe([am.Resize((4, 4))]), 5, decoder="pillow", labels=False))
    assert threads == ["anamorph-reader"] * 4


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("when", ["before", "during"])
def test_a_graph_is_captured_beside_a_loader(array, device, when):
    """Before a Loader is iterated, or later with "thread_local": its threads pin memory, which a global capture forbids."""
    recipe = am.Recipe([am.RandomResizedCrop(4), am.MixUp()], num_classes=10)
    images, labels = torch.from_numpy(array).to(device), torch.arange(10, device=device)
    epoch = torch.zeros((), dtype=torch.int64, device=device)

    def once():
        return am.render(images, recipe.plan(labels, size=(6, 8), epoch=epoch), targets=labels, layout="NHWC")

    if when == "before":
        replay = captured(once, device)
    loader = am.Loader(np.tile(array, (20, 1, 1, 1)), am.Recipe([am.Resize(4)]), 2, device=device, prefetch=8)
    batches = iter(loader)
    next(batches)
    if when == "during":
        replay = captured(once, device, "thread_local")
    for number, _ in enumerate(batches):
        epoch.fill_(number)
        views, soft = replay()
        expected, expected_soft = am.render(images, recipe.plan(labels, size=(6, 8), epoch=number), targets=labels, layout="NHWC")
        assert torch.equal(views, expected) and torch.equal(soft, expected_soft)
    assert number == 98


# ---------------------------------------------------------------- several


def sources(folder, array, nine):
    """Every way to a GPU, by name: what the Loader is given beside the recipe, and how near its views come."""
    found = {
        "files by Pillow": lambda device: ((folder,), {"decoder": "pillow"}),
        "an array": lambda device: ((torch.from_numpy(array),), {}),
        "an array on the device": lambda device: ((torch.from_numpy(array).to(device),), {}),
    }
    if dali is not None:
        found["files by DALI"] = lambda device: ((folder,), {"decoder": "dali"})
        found["a pipeline"] = lambda device: (
            (pipeline(nine, "mixed", "gpu", gpu_id=torch.device(device).index) if is_gpu(device) else pipeline(nine),), {})
    return found


@pytest.mark.parametrize(("device", "other"), [("cpu", "cpu"), gpu("cuda:1", "cuda:0", count=2)])
def test_the_device_need_not_be_the_current_one(folder, array, nine, device, other):
    recipe = am.Recipe([am.RandomResizedCrop(16)], dtype=torch.uint8)
    for name, given in sources(folder, array, nine).items():
        (source,), options = given("cpu")
        expected = [batch[0] if isinstance(batch, tuple) else batch for batch in am.Loader(source, recipe, 4, **options)]
        with current(other):
            (source,), options = given(device)
            found = [(batch[0] if isinstance(batch, tuple) else batch).clone()
                     for batch in am.Loader(source, recipe, 4, device=device, **options)]
            if is_gpu(device):
                assert torch.cuda.current_device() == torch.device(other).index, name
        for views, right in zip(found, expected, strict=True):
            assert views.device == torch.device(device), name
            assert (views.cpu().float() - right.float()).abs().mean() <= 4, name


@pytest.mark.parametrize(("device", "other"), [("cpu", "cpu"), gpu("cuda:1", "cuda:0", count=2)])
def test_plan_and_render_where_the_tensors_are(array, device, other):
    recipe = am.Recipe([am.RandomResizedCrop(4), am.ColorJitter(contrast=0.4), am.CutMix()], num_classes=10)
    images, labels = torch.from_numpy(array), torch.arange(10)
    plan = recipe.plan(labels, size=(6, 8), seed=4)
    views, soft = am.render(images, plan, targets=labels)
    with current(other):
        there = recipe.plan(labels.to(device), size=(6, 8), seed=4)
        assert there.rows.device == torch.device(device) and torch.equal(there.rows.cpu(), plan.rows)
        for given in (images.to(device), [image.to(device) for image in images]):
            found, found_soft = am.render(given, there, targets=labels.to(device))
            assert found.device == found_soft.device == torch.device(device)
            torch.testing.assert_close(found.cpu(), views, atol=1e-4, rtol=0)
            torch.testing.assert_close(found_soft.cpu(), soft)
        if is_gpu(device):
            assert torch.cuda.current_device() == torch.device(other).index


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("together", ["in turns", "in threads"])
@pytest.mark.parametrize("devices", [("cpu", "cpu"), gpu(("cuda:0", "cuda:1"), count=2)], ids=["cpu", "two GPUs"])
def test_two_devices_share_the_samples(folder, devices, together, decoder):
    recipe = am.Recipe([am.RandomResizedCrop(16), am.ColorJitter(0.4)])
    whole = {int(i): image for images, _, i in am.Loader(folder, recipe, 1, decoder=decoder, with_index=True) for image in images}
    loaders = [am.Loader(folder, recipe, 2, decoder=decoder, device=device, shard=(rank, 2), with_index=True)
               for rank, device in enumerate(devices)]

    def views(batches):
        return {int(i): image.cpu() for images, _, index in batches for i, image in zip(index, images)}

    if together == "in turns":
        ranks = [{}, {}]
        for batches in zip(*loaders, strict=True):
            for rank, batch in zip(ranks, batches):
                rank.update(views([batch]))
    else:
        with ThreadPoolExecutor(2) as pool:
            ranks = list(pool.map(views, loaders))
    assert ranks[0].keys() | ranks[1].keys() == whole.keys() == set(range(len(SIZES))) and not ranks[0].keys() & ranks[1].keys()
    for i, image in (ranks[0] | ranks[1]).items():
        assert (image - whole[i]).abs().mean() <= CLOSE, i
