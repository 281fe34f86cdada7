"""Rendering against the float64 reference, over every op, dtype, layout and kind of batch; and the promises about launches."""

import os

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import anamorph as am
from pictures import pictures, word
from recipes import SINGLE, lists
from reference.render import loose
from reference.render import render as reference

pytestmark = pytest.mark.usefixtures("route")

CLASSES = 5


def batch(n, h, w, channels=3, seed=0):
    """Smooth pictures with some noise: every op shows, no knife edge is everywhere."""
    if channels == 3 and h <= 96 and w <= 128:
        base = pictures()[:, :h, :w]
        return np.ascontiguousarray(base[np.arange(n) % 4])
    return np.random.default_rng(seed).integers(0, 256, (n, h, w, channels), dtype=np.uint8)


def check(ours, expected, edges=0.0, within=2e-5):
    """``edges``: the share that may differ, where a value sits on the edge of a step function."""
    off = np.abs(ours.double().numpy() - expected)
    scale = max(1.0, float(np.abs(expected).max()))
    bad = (off > within * scale).mean()
    assert bad <= edges, f"{bad:.5f} of the values differ, worst {off.max():.6f}"


def check_batch(recipe, plan, ours, expected, edges=0.0, within=2e-5):
    """What is read from a grid comes near to the reference (test_windows.py: how near); colour and Normalize widen the gap."""
    near = loose(recipe, plan)
    for grid, share, limit in ((False, edges, within), (True, 0.05, 0.1)):
        if (near == grid).any():
            check(ours[near == grid], expected[near == grid], share, limit)


# Steps: nearest's pixel boundary, posterize's and solarize's thresholds, hue's jump at grey, an erasure's edge in a ResizeMix.
EDGY = {"resized crop, nearest": 0.02, "rotation, centre": 0.02, "nested": 0.02, "switches": 0.005, "chain": 0.01,
        "resizemix": 0.01, "crop": 0.0, "blurred": 0.001, "blurred, boxes": 0.02, "noise": 0.001, "stretched": 0.02,
        "equalized, turned": 0.05}


@pytest.mark.parametrize("epoch", range(2))
@pytest.mark.parametrize("name", SINGLE)
def test_every_op(name, epoch):
    recipe = am.Recipe(SINGLE[name], num_classes=CLASSES, label_smoothing=0.1)
    images, labels = batch(5, 37, 45), [0, 3, 1, 4, 2]
    plan = recipe.plan(range(5), size=(37, 45), seed=11, epoch=epoch)
    views, soft = am.render(images, plan, targets=labels)
    expected, expected_soft = reference(recipe, images, plan, labels, CLASSES)
    # A view's positions are float32 numbers of up to `size`: their rounding times a photograph's slope.
    check_batch(recipe, plan, views, expected, EDGY.get(name, 0.0), within=2e-4)
    if name not in EDGY:
        check_batch(recipe, plan, views, expected, 0.02)
    np.testing.assert_allclose(soft.numpy(), expected_soft, atol=1e-6)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float16, torch.bfloat16])
def test_inputs(dtype, channels):
    color = am.ColorJitter(0.4, 0.4, 0.4, 0.1) if channels in (1, 3) else am.RandomInvert()
    recipe = am.Recipe([am.RandomResizedCrop((20, 23)), am.RandomAffine(20, interpolation="bilinear"), color, am.CutMix()])
    bytes_ = torch.from_numpy(batch(3, 31, 26, channels))
    images = bytes_ if dtype == torch.uint8 else (bytes_ / 255).to(dtype)
    plan = recipe.plan(range(3), size=(31, 26), seed=1)
    expected, _ = reference(recipe, images.double().numpy() if dtype != torch.uint8 else images.numpy(), plan)
    views = am.render(images, plan)
    check(views, expected, 0.002, within=5e-4)
    for same in (images.permute(0, 3, 1, 2).contiguous(), images.permute(0, 3, 1, 2)):
        torch.testing.assert_close(am.render(same, plan, layout="NCHW"), views, atol=5e-6, rtol=0)  # two programs of a GPU's


@pytest.mark.parametrize("memory_format", ["contiguous", "channels_last"])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("width", [1, 7, 16, 33])
def test_outputs(dtype, memory_format, width):
    chain = [am.RandomResizedCrop((9, width)), am.ColorJitter(0.4, 0.4)]
    if dtype != torch.uint8:
        chain.append(am.Normalize((0.4, 0.5, 0.6), 0.25))
    images = batch(3, 40, 40)
    recipe = am.Recipe(chain, dtype=dtype, memory_format=memory_format)
    plan = recipe.plan(range(3), size=(40, 40))
    views = am.render(images, plan)
    assert views.dtype == dtype and views.shape == (3, 3, 9, width)
    if width > 1:
        assert views.is_contiguous(memory_format=torch.channels_last) == (memory_format == "channels_last")
    expected, _ = reference(recipe, images, plan)
    if dtype == torch.uint8:
        check(views, np.floor(np.clip(expected * 255, 0, 255) + 0.5), 0.001, within=1 / 255)
        assert np.abs(views.double().numpy() - expected * 255).max() < 0.51
    else:
        step = {torch.float32: 1e-4, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}[dtype]
        check(views, expected, within=step)
        if dtype != torch.float32:  # the cast is torch's rounding to nearest even
            full = am.Recipe(chain, memory_format=memory_format)
            exact = am.render(images, full.plan(range(3), size=(40, 40)))
            assert (views == exact.to(dtype)).double().mean() > 0.999


@settings(deadline=None, max_examples=40)
@given(lists(), st.integers(1, 5), st.integers(1, 40), st.integers(1, 40), st.integers(0, 1000))
def test_any_recipe(transforms, n, h, w, epoch):
    recipe = am.Recipe(transforms, num_classes=CLASSES)
    images = np.random.default_rng(epoch).integers(0, 256, (n, h, w, 3), dtype=np.uint8)
    plan = recipe.plan(range(n), size=(h, w), epoch=epoch)
    views, soft = am.render(images, plan, targets=[1] * n, layout="NHWC")
    expected, expected_soft = reference(recipe, images, plan, [1] * n, CLASSES)
    assert views.shape == expected.shape and torch.isfinite(views).all()
    # Noise pictures: a position's last bit moves a value by up to 1 / 1000, and edges are everywhere.
    check_batch(recipe, plan, views, expected, 0.05, within=2e-3)
    np.testing.assert_allclose(soft.numpy(), expected_soft, atol=1e-6)


def test_any_strides():
    """A view of a bigger buffer: channels of an RGBA picture, every other column, a batch broadcast from one picture."""
    big = torch.from_numpy(batch(4, 60, 80, 4))
    whole = am.RandomHorizontalFlip(), am.RandomRotation(30, "bilinear"), am.RandomRotation(30), am.Resize((50, 40)), am.D4()
    for transforms in ([am.RandomResizedCrop(16), am.ColorJitter(0.3, 0.3)], *([transform] for transform in whole)):
        recipe = am.Recipe(transforms)
        for images in (big[:, :60, :60, :3], big[:, ::2, :60:2, 1:], big[:, 5:38, 7:40].transpose(1, 2)[..., :3],
                       big[:1, :60, :60, :3].expand(4, -1, -1, -1)):
            plan = recipe.plan(range(4), size=tuple(images.shape[1:3]))
            views = am.render(images, plan)
            torch.testing.assert_close(views, am.render(images.contiguous(), plan), atol=1e-5, rtol=0)


def test_ragged(route):
    sizes = [(20, 30), (41, 17), (5, 5), (64, 80)]
    images = [batch(1, h, w, seed=h)[0] for h, w in sizes]
    recipe = am.Recipe([am.RandomResizedCrop((24, 20)), am.ColorJitter(0.4, 0.4, 0.4, 0.1), am.MixUp()], num_classes=CLASSES)
    plan = recipe.plan(range(4), size=sizes, seed=3)
    before = am.launch_count()
    views, soft = am.render(images, plan, targets=[0, 1, 2, 3])
    assert am.launch_count() == before + (1 if route == "cpu" else 2)  # contrast's statistics
    expected, expected_soft = reference(recipe, images, plan, [0, 1, 2, 3], CLASSES)
    check(views, expected, 0.002, within=2e-4)
    np.testing.assert_allclose(soft.numpy(), expected_soft, atol=1e-6)
    buffer = np.concatenate([i.ravel() for i in images])
    offsets = np.cumsum([0] + [i.size for i in images[:-1]])
    packed = am.Ragged(buffer, offsets, sizes, 3)
    assert torch.equal(am.render(packed, plan), views)


def test_overshoot_is_a_byte_before_steps_on_bytes():
    """Bicubic leaves [0, 1] at an edge; posterize and solarize are defined on bytes."""
    edge = np.zeros((1, 20, 20, 3), np.uint8)
    edge[:, :, 10:] = 255
    for step in (am.RandomPosterize(3, 1.0), am.RandomSolarize(0, 1.0)):
        recipe = am.Recipe([am.Resize((40, 40), "bicubic"), step])
        views = am.render(edge, recipe.plan([0], size=(20, 20)))
        check(views, reference(recipe, edge, recipe.plan([0], size=(20, 20)))[0], 0.001)
    views = am.render(edge, am.Recipe([am.Resize((40, 40), "bicubic"), am.RandomPosterize(3, 1.0)]).plan([0], size=(20, 20)))
    assert views.min() >= 0 and views.max() <= 1


def test_a_white_frame_stays_white():
    """A frame that a later, antialiased resize spreads: beyond the taps' reach there is only the fill."""
    white = np.full((1, 64, 64, 3), 255, np.uint8)
    recipe = am.Recipe([am.Resize(8, antialias=False), am.RandomCrop(16, padding=4, fill=255), am.Resize((64, 64))])
    assert am.render(white, recipe.plan([0], size=(64, 64))).min() > 1 - 1e-5


def test_mask_mix():
    recipe = am.Recipe([am.RandomHorizontalFlip(), am.MaskMix()], num_classes=CLASSES)
    images = batch(4, 20, 24)
    mask = torch.rand(4, 1, 20, 24)
    plan = recipe.plan(range(4), size=(20, 24))
    views, soft = am.render(images, plan, targets=[0, 1, 2, 3], mask=mask)
    expected, expected_soft = reference(recipe, images, plan, [0, 1, 2, 3], CLASSES, mask.double().numpy())
    check(views, expected)
    np.testing.assert_allclose(soft.numpy(), expected_soft, atol=1e-6)
    strided = mask.expand(4, 2, 20, 24)[:, :1].transpose(2, 3).contiguous().transpose(2, 3)
    assert torch.equal(am.render(images, plan, mask=strided), views)


def test_labels():
    """Soft in, soft out; pairs; smoothing as timm's mixup_target."""
    from anamorph.bench._torchvision import v2

    v2()  # timm imports torchvision
    from timm.data.mixup import mixup_target

    images, labels = batch(4, 16, 16), torch.tensor([0, 1, 2, 3])
    recipe = am.Recipe([am.MixUp(mode="batch", partner="flip")], num_classes=CLASSES, label_smoothing=0.1)
    plan = recipe.plan(range(4), size=(16, 16), seed=6)
    _, soft = am.render(images, plan, targets=labels)
    at = am._native.WORDS["LAM"]
    lam = plan.rows[:, at].contiguous().view(torch.float32)
    torch.testing.assert_close(soft, mixup_target(labels, CLASSES, lam[0].item(), 0.1), atol=1e-6, rtol=0)

    pairs = am.Recipe([am.MixUp(mode="batch", partner="flip")], labels="pairs")
    _, (y_a, y_b, share) = am.render(images, pairs.plan(range(4), size=(16, 16), seed=6), targets=labels)
    assert torch.equal(y_a, labels) and torch.equal(y_b, labels.flip(0)) and torch.equal(share, lam)

    plain = am.Recipe([am.MixUp(mode="batch", partner="flip")], num_classes=CLASSES)
    hot = torch.nn.functional.one_hot(labels, CLASSES).float()
    plan = plain.plan(range(4), size=(16, 16), seed=6)
    torch.testing.assert_close(am.render(images, plan, targets=hot)[1], am.render(images, plan, targets=labels)[1])


def test_half_of_a_batch(monkeypatch):
    """timm's collate of mode "half", told our draws: the first half of the views and targets of mode "elem"."""
    from anamorph.bench._torchvision import v2

    v2()  # timm imports torchvision
    from timm.data import mixup

    images, labels = batch(8, 24, 20), torch.arange(8) % CLASSES
    recipe = am.Recipe([am.OneOf([am.MixUp(0.8, "elem", "flip"), am.CutMix(1.0, "elem", "flip")], p=0.9)], dtype=torch.uint8,
                       num_classes=CLASSES, label_smoothing=0.1)
    plan = recipe.plan(range(8), size=(24, 20), seed=4)
    views, soft = am.render(images, plan, targets=labels)

    drawn = plan.table()[:4]
    lam = word(plan, "LAM", 1, torch.float32)[:4, 0].double().numpy()
    cut = np.array([row["mix"] == "cutmix" for row in drawn])
    assert cut.any() and any(row["mix"] == "mixup" for row in drawn)
    boxes = iter([((y0, y1, x0, x1), share) for row, share in zip(drawn, lam) if row["box"] for x0, y0, x1, y1 in [row["box"]]])
    monkeypatch.setattr(mixup, "cutmix_bbox_and_lam", lambda *_, **__: next(boxes))
    timms = mixup.FastCollateMixup(mode="half", label_smoothing=0.1, num_classes=CLASSES)
    monkeypatch.setattr(timms, "_params_per_elem", lambda count: (lam[:count].copy(), cut[:count]))
    theirs, targets = timms([(picture.transpose(2, 0, 1).copy(), int(label)) for picture, label in zip(images, labels)])
    assert theirs.shape == (4, 3, 24, 20) and targets.shape == (4, CLASSES)
    assert (views[:4].int() - theirs.int()).abs().max() <= 1  # a tie rounded the other way
    torch.testing.assert_close(soft[:4], targets.float(), atol=1e-6, rtol=0)


# ---- promises ----

@pytest.mark.cpu
def test_one_launch():
    """However long the recipe, planning is one launch and rendering another."""
    long = am.Recipe([*SINGLE["chain"][:4], *SINGLE["switches"], *SINGLE["chain"][4:]], num_classes=CLASSES)
    images = torch.from_numpy(batch(4, 40, 40))
    before = am.launch_count()
    plan = long.plan(range(4), size=(40, 40))
    assert am.launch_count() == before + 1
    am.render(images, plan, targets=[0, 1, 2, 3])
    assert am.launch_count() == before + 2


def test_threads_and_batch_do_not_matter():
    """The same view whatever the number of threads, and, where it is not mixed, whatever the batch."""
    recipe = am.Recipe([am.RandomResizedCrop(64), am.ColorJitter(0.4, 0.4, 0.4, 0.1), am.RandomErasing(0.5, value="random")])
    images = torch.from_numpy(batch(8, 96, 100))
    plan = recipe.plan(range(8), size=(96, 100))
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = am.render(images, plan)
        torch.set_num_threads(3)
        assert torch.equal(am.render(images, plan), one)
    finally:
        torch.set_num_threads(before)
    some = [6, 1, 3]
    assert torch.equal(am.render(images[some], recipe.plan(some, size=(96, 100))), one[some])


@pytest.mark.cpu
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_threads_and_batch_do_not_matter_to_a_grid(interpolation):
    """Wide windows aslant, which are read from a grid's points: those of the view, whatever part of it a thread draws."""
    images = torch.from_numpy(batch(4, 96, 128))
    recipe = am.Recipe([am.Resize((24, 32), interpolation), am.RandomRotation(40, interpolation), am.Resize((150, 200))])
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = am.render(images, recipe.plan(range(4), size=(96, 128)))
        torch.set_num_threads(5)
        for some in ([0, 1, 2, 3], [2], [3, 1]):
            torch.testing.assert_close(am.render(images[some], recipe.plan(some, size=(96, 128))), one[some], atol=1e-5, rtol=0)
    finally:
        torch.set_num_threads(before)


@pytest.mark.cpu
def test_simd_levels_agree(simd):
    """The same source at every instruction set: the same plan bits, views within rounding."""
    images = torch.from_numpy(batch(4, 60, 70))
    recipe = am.Recipe(SINGLE["chain"])
    plan = recipe.plan(range(4), size=(60, 70), seed=3)
    views = am.render(images, plan)
    simd("base")
    assert torch.equal(recipe.plan(range(4), size=(60, 70), seed=3).rows, plan.rows)
    assert ((am.render(images, plan) - views).abs() < 1e-3).double().mean() > 0.995


def test_out():
    recipe = am.Recipe([am.RandomResizedCrop(12)])
    images = batch(2, 30, 30)
    plan = recipe.plan(range(2), size=(30, 30))
    views = am.render(images, plan)
    out = torch.zeros(2, 3, 12, 20)[..., 4:16]  # a strided target
    assert am.render(images, plan, out=out) is out
    torch.testing.assert_close(out, views, atol=1e-6, rtol=0)


@pytest.mark.cpu
@pytest.mark.parametrize("memory_format", ["contiguous", "channels_last"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.uint8])
def test_outputs_that_no_cache_holds(dtype, memory_format, simd):
    """They are written past the caches in whole lines, of which rows of other widths begin and end within: all are the rows of
    pictures rendered alone."""
    for w in (500, 509, 512):
        images = torch.from_numpy(batch(16, 190, w))
        recipe = am.Recipe([am.RandomInvert(), am.RandomHorizontalFlip()], dtype, memory_format=memory_format)
        views = am.render(images, recipe.plan(range(16), size=(190, w)), layout="NHWC")
        assert views.nbytes > 4 << 20
        for i in (0, 7, 15):
            assert torch.equal(views[i:i + 1], am.render(images[i:i + 1], recipe.plan([i], size=(190, w)), layout="NHWC"))


@pytest.mark.cpu
def test_large_outputs_take_over_freed_memory():
    """Two at a time are two; one that is gone gives its memory, also to a view's last owner and in a forked process."""
    recipe = am.Recipe([am.RandomResizedCrop(256)])
    images = torch.from_numpy(batch(8, 60, 60))
    plan = recipe.plan(range(8), size=(60, 60))
    first, second = am.render(images, plan), am.render(images, plan)
    assert first.data_ptr() != second.data_ptr() and torch.equal(first, second)
    part, place = first[2:3].numpy(), first.data_ptr()
    del first
    third = am.render(images, plan)  # the first one's memory still has an owner
    assert third.data_ptr() not in (place, second.data_ptr())
    np.testing.assert_array_equal(part, second[2:3].numpy())
    del part
    fourth = am.render(images, plan)
    assert fourth.data_ptr() == place and torch.equal(fourth, second)
    child = os.fork()
    if child == 0:
        os._exit(0 if np.array_equal(am.render(images, plan).numpy(), second.numpy()) else 1)  # torch's threads hang here
    assert os.waitpid(child, 0)[1] == 0 and torch.equal(fourth, second)
    last = am.Recipe([am.RandomResizedCrop(256)], dtype=torch.float16, memory_format="channels_last")
    views = am.render(images, last.plan(range(8), size=(60, 60)))
    assert views.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(views.float(), second, atol=1e-3, rtol=0)


@pytest.mark.parametrize("default", [torch.float64, torch.bfloat16])
def test_torchs_default_dtype_does_not_matter(default):
    recipe = am.Recipe([am.RandomResizedCrop(8), am.MixUp()], num_classes=CLASSES)
    pairs = am.Recipe([am.RandomResizedCrop(8), am.MixUp()], labels="pairs")
    images = batch(4, 20, 20)
    views, soft = am.render(images, recipe.plan(range(4), size=(20, 20)), targets=[0, 1, 2, 3])
    torch.set_default_dtype(default)
    try:
        again, soft_again = am.render(images, recipe.plan(range(4), size=(20, 20)), targets=[0, 1, 2, 3])
        _, (_, _, lam) = am.render(images, pairs.plan(range(4), size=(20, 20)), targets=[0, 1, 2, 3])
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(again, views) and torch.equal(soft_again, soft) and lam.dtype == torch.float32


def test_a_negated_view_is_read_as_it_reads():
    """Torch notes a negation on a tensor and leaves its memory as it is."""
    images = torch.complex(torch.zeros(2, 4, 4, 3), torch.rand(2, 4, 4, 3)).conj().imag
    assert images.is_neg()
    plan = am.Recipe([]).plan([0, 1], size=(4, 4))
    assert torch.equal(am.render(images, plan).permute(0, 2, 3, 1), images)
    assert torch.equal(am.render([*images.contiguous()], plan).permute(0, 2, 3, 1), images)


# ---- other libraries' tensors ----

def test_clients():
    recipe = am.Recipe([am.RandomResizedCrop(12)])
    images = batch(2, 30, 30)
    plan = recipe.plan(np.arange(2), size=(30, 30))
    views = am.render(torch.from_numpy(images), plan)

    class Dlpack:  # what JAX, CuPy and others look like
        def __dlpack__(self, **kwargs):
            return torch.from_numpy(images).__dlpack__(**kwargs)

        def __dlpack_device__(self):
            return (1, 0)

    readonly = images.copy()
    readonly.flags.writeable = False
    for same in (images, readonly, images[:, ::-1].copy()[:, ::-1], Dlpack()):
        assert torch.equal(am.render(same, plan), views)


def test_dali_client():
    pytest.importorskip("nvidia.dali")
    from nvidia.dali import fn, pipeline_def

    images = batch(2, 30, 30)

    @pipeline_def(batch_size=2, num_threads=1, device_id=None)
    def source():
        return fn.external_source(lambda: images, batch=True)

    pipe = source()
    pipe.build()
    (tensors,) = pipe.run()
    recipe = am.Recipe([am.RandomResizedCrop(12)])
    plan = recipe.plan(range(2), size=(30, 30))
    assert torch.equal(am.render(tensors, plan), am.render(images, plan))


@pytest.mark.gpu
@pytest.mark.parametrize("name", SINGLE)
def test_cuda_agrees(name):
    """The same bits in the plan, the same views within rounding, the same labels."""
    recipe = am.Recipe(SINGLE[name], num_classes=CLASSES)
    images, labels = torch.from_numpy(batch(5, 37, 45)), torch.tensor([0, 1, 2, 3, 4])
    here = recipe.plan(range(5), size=(37, 45), seed=11)
    there = recipe.plan(range(5), size=(37, 45), seed=11, device="cuda")
    assert torch.equal(here.rows, there.rows.cpu())
    views, soft = am.render(images, here, targets=labels)
    views_cuda, soft_cuda = am.render(images.cuda(), there, targets=labels.cuda())
    # Both read some views between the points of a grid, which is a tile's on a GPU and the whole view's on a CPU.
    check_batch(recipe, here, views_cuda.cpu(), views.double().numpy(), max(0.002, EDGY.get(name, 0.0)), within=1e-4)
    torch.testing.assert_close(soft_cuda.cpu(), soft, atol=1e-6, rtol=0)


@pytest.mark.gpu
@pytest.mark.parametrize("memory_format", ["contiguous", "channels_last"])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("given", [torch.uint8, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_cuda_forms(channels, given, dtype, memory_format):
    """Every kind of input and output, at widths that do and do not fit the vector stores."""
    for width in (31, 32):
        color = am.RandomInvert() if channels == 4 else am.ColorJitter(0.4, 0.4)
        recipe = am.Recipe([am.RandomResizedCrop((18, width)), color, am.CutMix()], dtype=dtype, memory_format=memory_format)
        images = torch.from_numpy(batch(4, 37, 45, channels))
        images = images if given == torch.uint8 else (images / 255).to(given)
        plan = recipe.plan(range(4), size=(37, 45), seed=2)
        expected = am.render(images, plan, layout="NHWC").float()
        within = {torch.uint8: 1.01, torch.float32: 1e-4, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}[dtype]
        for layout, same in (("NHWC", images.cuda()), ("NCHW", images.permute(0, 3, 1, 2).contiguous().cuda())):
            views = am.render(same, plan.to("cuda"), layout=layout).cpu().float()
            assert ((views - expected).abs() <= within).double().mean() > 0.995


@pytest.mark.gpu
def test_cuda_ragged_masks_and_pairs():
    sizes = [(20, 30), (41, 17), (5, 5), (64, 80)]
    images = [torch.from_numpy(batch(1, h, w, seed=h)[0]) for h, w in sizes]
    recipe = am.Recipe([am.RandomResizedCrop((24, 20)), am.ColorJitter(0.4, 0.4, 0.4, 0.1), am.MaskMix()], num_classes=CLASSES,
                       labels="pairs")
    mask = torch.rand(4, 1, 24, 20, generator=torch.Generator().manual_seed(0))
    plan = recipe.plan(range(4), size=sizes, seed=3)
    views, (a, b, lam) = am.render(images, plan, targets=[0, 1, 2, 3], mask=mask)
    there = am.render([i.cuda() for i in images], plan.to("cuda"), targets=torch.arange(4).cuda(), mask=mask.cuda())
    check(there[0].cpu(), views.double().numpy(), 0.002, within=1e-4)
    assert torch.equal(there[1][0].cpu(), a) and torch.equal(there[1][1].cpu(), b)
    torch.testing.assert_close(there[1][2].cpu(), lam, atol=1e-6, rtol=0)


@pytest.mark.gpu
def test_cuda_graph_replays_with_a_new_epoch():
    recipe = am.Recipe(SINGLE["chain"], num_classes=CLASSES)
    images, labels = torch.from_numpy(batch(5, 37, 45)).cuda(), torch.arange(5, device="cuda")
    index, cell = torch.arange(5, device="cuda"), torch.zeros(1, dtype=torch.int64, device="cuda")

    def step():
        return am.render(images, recipe.plan(index, size=(37, 45), epoch=cell), targets=labels)

    torch.cuda.set_sync_debug_mode("error")
    try:
        step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        views, soft = step()
    for epoch in (0, 1, 9):
        cell.fill_(epoch)
        graph.replay()
        expected, expected_soft = am.render(images, recipe.plan(index, size=(37, 45), epoch=epoch), targets=labels)
        assert torch.equal(views, expected) and torch.equal(soft, expected_soft)
