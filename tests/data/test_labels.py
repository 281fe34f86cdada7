"""What a Loader makes of labels: class ids, vectors, dicts; and where it learns how many classes there are."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils.data import Subset, TensorDataset, default_collate

import anamorph as am
from loading import Items, dali, encoded, needs_dali, picture

PLAIN = am.Recipe([am.Resize((4, 4))])
MIXES = am.Recipe([am.Resize((4, 4)), am.MixUp()])
SMOOTHS = am.Recipe([am.Resize((4, 4))], label_smoothing=.1)
PICTURES = [picture(6, 8, i) for i in range(6)]
LABELS = [3, 0, 4, 1, 1, 0]
EYE = torch.eye(5)


class Named(Items):
    classes = ("a", "b", "c", "d", "e")


class Counted(Items):
    @property
    def targets(self):
        return [label for _, label in self.items]


class Remapped(Named):
    target_transform = staticmethod(lambda label: label % 2)

    def __getitem__(self, index):
        image, label = super().__getitem__(index)
        return image, self.target_transform(label)


class HuggingFace(Items):  # a Dataset of theirs, as far as it matters: dict items, and features that know the names
    def __init__(self, items):
        super().__init__(items)
        self.features = {"label": SimpleNamespace(names=list(Named.classes))}


ITEMS = list(zip(PICTURES, LABELS))
SOURCES = {
    "array": (np.stack(PICTURES), np.array(LABELS, np.int16)),
    "list": (np.stack(PICTURES), LABELS),
    "one column": (torch.tensor(np.stack(PICTURES)), torch.tensor(LABELS)[:, None]),
    "dataset with names": Named(ITEMS),
    "dataset with targets": Counted(ITEMS),
    "part of a dataset": Subset(Subset(Named(ITEMS), range(6)), range(6)),
    "Hugging Face": HuggingFace([{"image": image, "label": label, "url": "x"} for image, label in ITEMS]),
}


@pytest.fixture(params=[*SOURCES, "folder"])
def source(request, tmp_path):
    if request.param != "folder":
        return SOURCES[request.param]
    for i, (image, label) in enumerate(ITEMS):
        (tmp_path / f"class {label}").mkdir(exist_ok=True)
        (tmp_path / f"class {label}" / f"{i}.png").write_bytes(encoded(image, "PNG"))
    (tmp_path / "class 2").mkdir()
    return tmp_path


def loader(source, recipe, batch_size=6, **arguments):
    folder = {"decoder": "pillow", "allow_empty": True} if hasattr(source, "glob") else {}
    return am.Loader(source, recipe, batch_size, shuffle=False, **folder, **arguments)


def expected(source):
    return sorted(LABELS) if hasattr(source, "glob") else LABELS


def test_class_ids_stay_ids_without_mixing(source):
    ((images, targets),) = loader(source, PLAIN)
    assert targets.dtype == torch.int64 and targets.tolist() == expected(source) and images.shape == (6, 3, 4, 4)


@pytest.mark.parametrize("recipe", [MIXES, SMOOTHS])
def test_the_number_of_classes_is_the_sources(source, recipe):
    mine = loader(source, recipe)
    assert mine.recipe.num_classes == 5 and recipe.num_classes is None
    ((_, targets),) = mine
    assert targets.shape == (6, 5)
    torch.testing.assert_close(targets.sum(1), torch.ones(6))
    if recipe is SMOOTHS:  # torch's own smoothing says what is right
        logits = torch.randn(6, 5)
        torch.testing.assert_close(torch.nn.functional.cross_entropy(logits, targets), torch.nn.functional.cross_entropy(
            logits, torch.tensor(expected(source)), label_smoothing=.1))


def test_too_few_classes_are_named_when_the_loader_is_made(source):
    with pytest.raises(am.ArgumentError, match=r"num_classes: expected at least 5 .*, given 4"):
        loader(source, am.Recipe([am.Resize((4, 4))], num_classes=4))
    ((_, targets),) = loader(source, am.Recipe([am.Resize((4, 4))], num_classes=7))
    assert targets.argmax(1).tolist() == expected(source) and targets.shape == (6, 7)


def test_a_source_that_does_not_say_how_many_is_named_when_the_loader_is_made():
    for dataset in (Items(ITEMS), Items([ValueError("damaged"), *ITEMS]), Remapped(ITEMS)):
        for recipe in (MIXES, SMOOTHS):
            with pytest.raises(am.ArgumentError, match=r"num_classes: expected Recipe\(\.\.\., num_classes=K\) .* given none"):
                loader(dataset, recipe)
        assert loader(dataset, am.Recipe([am.Resize((4, 4)), am.CutMix()], labels="pairs")).recipe.num_classes is None
    ((_, targets),) = loader(Remapped(ITEMS), am.Recipe([am.Resize((4, 4))], num_classes=2))
    assert targets.argmax(1).tolist() == [1, 0, 0, 1, 1, 0]


@needs_dali
def test_a_dali_pipeline_does_not_say_how_many():
    def pipeline(outputs):
        pipe = dali.Pipeline(batch_size=2, num_threads=1, device_id=None)
        with pipe:
            numbers = [dali.fn.external_source(source=lambda: [np.int64([7])] * 2) for _ in range(outputs - 1)]
            pipe.set_outputs(dali.fn.external_source(source=lambda: [PICTURES[0]] * 2), *numbers)
        return pipe

    with pytest.raises(am.ArgumentError, match=r"num_classes: expected Recipe\(.* a DALI pipeline does not say"):
        am.Loader(pipeline(2), MIXES, 2)
    assert next(iter(am.Loader(pipeline(1), MIXES, 2))).shape == (2, 3, 4, 4)
    with pytest.raises(am.ArgumentError, match=r"label of sample 0 of the DALI pipeline: expected a class .* given 7$"):
        next(iter(am.Loader(pipeline(2), am.Recipe([am.Resize((4, 4))], num_classes=5), 2)))


def test_pictures_without_labels_may_be_mixed():
    for source in (np.stack(PICTURES), Items(PICTURES), Items([{"image": image} for image in PICTURES])):
        (images,) = loader(source, MIXES)
        assert images.shape == (6, 3, 4, 4)


@pytest.mark.parametrize("labels, given", [([0, 1, -1], -1), ([0, 5, 1], 5)])
def test_an_id_that_is_no_class_is_named_with_its_sample(labels, given):
    recipe = am.Recipe([am.Resize((4, 4))], num_classes=5)
    at = labels.index(given)
    with pytest.raises(am.ArgumentError, match=f"label of item {at} of Items: expected a class id from 0 to 4, .* {given}$"):
        list(loader(Items(list(zip(PICTURES, labels))), recipe))
    match = "num_classes: .* at least 6" if given == 5 else "label of image 2 of the array: expected a class id .*, given -1"
    with pytest.raises(am.ArgumentError, match=match):  # where all are known, when it is made
        loader((np.stack(PICTURES[:3]), labels), recipe)
    ((_, ignored),) = loader((np.stack(PICTURES[:3]), labels), PLAIN)
    assert ignored.tolist() == labels


# ---------------------------------------------------------------- vectors

HOT = np.array([[1, 0, 1], [0, 0, 0], [0, 1, 0], [1, 1, 1], [0, 0, 1], [1, 0, 0]])


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.bool_, np.float64, torch.float16, torch.bool])
def test_vectors_of_any_dtype_come_as_float32(dtype):
    hot = torch.tensor(HOT).to(dtype) if isinstance(dtype, torch.dtype) else HOT.astype(dtype)
    for source in ((np.stack(PICTURES), hot), Items(list(zip(PICTURES, hot)))):
        for recipe in (PLAIN, am.Recipe([am.Resize((4, 4))], num_classes=3)):
            ((_, targets),) = loader(source, recipe)
            assert targets.dtype == torch.float32 and torch.equal(targets, torch.tensor(HOT).float())


@pytest.mark.parametrize("kind", ["array", "items"])
def test_vectors_are_mixed_by_the_share(kind):
    numbers = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    source = (np.stack(PICTURES), numbers) if kind == "array" else Items(list(zip(PICTURES, numbers.tolist())))
    mine = loader(source, MIXES, seed=5)
    assert mine.recipe.num_classes == 3
    ((_, mixed),) = mine
    pairs = am.Recipe(MIXES.transforms, labels="pairs")  # the same rows: partners and shares from there
    ((_, (own, partner, share)),) = loader((np.stack(PICTURES), np.arange(6)), pairs, seed=5)
    vectors, share = torch.tensor(numbers), share[:, None]
    torch.testing.assert_close(mixed, share * vectors[own] + (1 - share) * vectors[partner])
    assert not torch.allclose(mixed, vectors)


def test_vectors_that_do_not_fit_are_named():
    items = Items(list(zip(PICTURES, HOT.tolist())))
    with pytest.raises(am.ShapeError, match=r"label of item 0 of Items: expected a vector of 4, .* given a vector of 3"):
        list(loader(items, am.Recipe([am.Resize((4, 4))], num_classes=4)))
    with pytest.raises(am.ShapeError, match=r"label of image 0 of the array: expected a vector of 4"):
        loader((np.stack(PICTURES), HOT), am.Recipe([am.Resize((4, 4))], num_classes=4))
    with pytest.raises(am.ShapeError, match=r"label of image 0 of the array: expected a class id for labels='pairs'"):
        loader((np.stack(PICTURES), HOT), am.Recipe([am.Resize((4, 4))], labels="pairs"))


# ---------------------------------------------------------------- dicts


def entries(i):
    return {"box": torch.tensor([i, 2., 3., 4.]), "area": i / 2, "name": f"n{i}", "deep": {"count": np.int64(i)}}


def test_dicts_are_put_together_as_torch_does_it():
    ((_, targets),) = loader(Items([(image, entries(i)) for i, image in enumerate(PICTURES)]), PLAIN)
    right = default_collate([entries(i) for i in range(6)])
    assert targets.keys() == right.keys() and targets["name"] == right["name"]
    assert torch.equal(targets["box"], right["box"]) and torch.equal(targets["deep"]["count"], right["deep"]["count"])
    assert torch.equal(targets["area"], right["area"])
    whole = {"box": torch.arange(24.).reshape(6, 4), "number": np.arange(6)}
    batches = [targets for _, targets in loader((np.stack(PICTURES), whole), PLAIN, 4)]
    assert torch.equal(torch.cat([part["box"] for part in batches]), whole["box"])
    assert torch.cat([part["number"] for part in batches]).tolist() == list(range(6))


def test_dicts_are_refused_where_they_would_have_to_be_mixed():
    items = Items([(image, entries(i)) for i, image in enumerate(PICTURES)])
    for recipe in (MIXES, am.Recipe([am.Resize((4, 4)), am.MixUp()], num_classes=3), SMOOTHS):
        with pytest.raises(am.ArgumentError, match=r"label of item 0 of Items: expected a class id or a vector .*, given a dict"):
            loader(items, recipe)
    with pytest.raises(am.ArgumentError, match=r"label of image 0 of the array: expected .* given a dict"):
        loader((np.stack(PICTURES), {"a": HOT}), MIXES)
    with pytest.raises(am.ShapeError, match=r"labels\['a'\]: expected one entry for each of the 6 pictures, given 2"):
        loader((np.stack(PICTURES), {"a": [1, 2]}), PLAIN)
    ragged = [(image, {"boxes": torch.zeros(i, 4)}) for i, image in enumerate(PICTURES)]
    with pytest.raises(am.ShapeError, match=r"dicts of the same entries.*\(in the batch that begins with item 0 of Items\)"):
        list(loader(Items(ragged), PLAIN))


# ---------------------------------------------------------------- ids, no labels, clips


def test_the_index_comes_last(source, tmp_path):
    labelled = [batch[-1] for batch in am.Loader(SOURCES["array"], PLAIN, 4, seed=3, with_index=True)]
    images, targets, index = next(iter(am.Loader(SOURCES["array"], PLAIN, 4, seed=3, with_index=True)))
    assert index.dtype == torch.int64 and targets.tolist() == [LABELS[i] for i in index]
    plan = PLAIN.plan(index, seed=3, size=(6, 8))
    assert torch.equal(images, am.render(torch.tensor(np.stack(PICTURES))[index], plan, layout="NHWC"))
    assert sorted(torch.cat(labelled).tolist()) == list(range(6))
    ((_, alone),) = am.Loader(np.stack(PICTURES), PLAIN, 6, shuffle=False, with_index=True)
    assert alone.tolist() == list(range(6))
    (pair,) = loader(source, PLAIN, labels=False, with_index=True)
    assert len(pair) == 2 and pair[1].tolist() == list(range(6))


def test_labels_may_be_left_out(source):
    (images,) = loader(source, MIXES, labels=False)
    assert images.shape == (6, 3, 4, 4)


def test_pictures_of_a_clip_get_one_view():
    recipe = am.Recipe([am.RandomResizedCrop(8), am.RandomHorizontalFlip(), am.ColorJitter(.5, .5)])
    clips = [[picture(9, 12, 3 * i + t) for t in range(3)] for i in range(4)]
    mine = am.Loader(Items([(clip, i) for i, clip in enumerate(clips)]), recipe, 2, seed=2, with_index=True)
    for views, targets, index in mine:
        assert views.shape == (2, 3, 3, 8, 8) and targets.tolist() == index.tolist()
        for view, i in zip(views, index.tolist()):
            for t in range(3):  # each alone, under the clip's id
                plan = recipe.plan([i], seed=2, size=(9, 12))
                assert torch.equal(view[t], am.render(torch.tensor(clips[i][t])[None], plan, layout="NHWC")[0])
    pairs = am.Recipe([am.Resize((4, 4))], labels="pairs")
    ((_, (own, partner, share)),) = am.Loader(Items([(clip, i) for i, clip in enumerate(clips)]), pairs, 4, shuffle=False)
    assert own.tolist() == partner.tolist() == [0, 1, 2, 3] and share.tolist() == [1] * 4


@pytest.mark.parametrize("change", ["none", "each", "smooth"])
def test_clips_change_and_mix(change):
    """A dataset's clips and an array's, in either layout, give what plan and render give; so does a view that is drawn again."""
    videos = torch.randint(0, 256, (5, 3, 9, 12, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(4))
    recipe = am.Recipe([am.RandomCrop(8), am.RandomHorizontalFlip(), am.ColorJitter(.5), am.MixUp()], num_classes=5)
    items = Items([([frame.numpy() for frame in clip], i) for i, clip in enumerate(videos)])
    for source in (items, (videos, range(5)), (videos.numpy(), np.arange(5)), (videos.permute(0, 1, 4, 2, 3), range(5))):
        mine = am.Loader(source, recipe, 5, seed=2, with_index=True, change=change, drift=0.7)
        ((views, soft, index),) = mine
        plan = recipe.plan(index, seed=2, size=(9, 12), frames=3, change=change, drift=0.7)
        expected, targets = am.render(videos[index], plan, targets=index)
        assert views.shape == (5, 3, 3, 8, 8) and torch.equal(views, expected) and torch.equal(soft, targets)
        again, sentence = mine.replay(2, 0)
        at = index.tolist().index(2)
        assert torch.equal(again, views[at]) and sentence == plan[3 * at] and sentence.startswith("sample 2, frame 0")


def test_frames_of_a_clip_may_differ_in_size():
    recipe = am.Recipe([am.RandomResizedCrop(8)])
    clips = [[picture(9, 12), picture(20, 7)], [picture(30, 8), picture(9, 12)]]
    (views,) = am.Loader(Items([{"image": clip} for clip in clips]), recipe, 2, shuffle=False, change="smooth")
    plan = recipe.plan([0, 1], size=[[[9, 12], [20, 7]], [[30, 8], [9, 12]]], frames=2, change="smooth")
    assert torch.equal(views, am.render(clips, plan))


def test_clips_that_cannot_be_are_named():
    with pytest.raises(am.ArgumentError, match="'none', 'each', 'smooth'"):
        am.Loader(Items([{"image": [picture(4, 4)]}]), PLAIN, 1, change="often")
    clip = [picture(4, 4), picture(4, 4)]
    with pytest.raises(am.ShapeError, match=r"given a single picture as item 1 of Items and a clip of 2 as item 0 of Items"):
        list(loader(Items([{"image": clip}, {"image": clip[0]}]), PLAIN))
    with pytest.raises(am.ShapeError, match=r"expected at least one picture in a clip, given none in item 0 of Items"):
        list(loader(Items([{"image": []}]), PLAIN))


def test_items_of_other_names_are_refused_with_the_line_that_mends_them():
    for item, names in (({"img": PICTURES[0]}, "'img'"), ({"image": PICTURES[0], "fine": 1}, "'image', 'fine'")):
        with pytest.raises(am.ArgumentError, match=f"given a dict of {names} as item 0 of Items; rename_column"):
            list(loader(Items([item]), PLAIN))
    (images,) = loader(Items([{"image": PICTURES[0], "fine": 1}]), PLAIN, labels=False)
    assert images.shape == (1, 3, 4, 4)
    with pytest.raises(am.ArgumentError, match=r"given dict of 'train', 'test'"):
        loader({"train": Items(ITEMS), "test": Items(ITEMS)}, PLAIN)
    with pytest.raises(am.ArgumentError, match=r"expected the dataset itself, given a DataLoader"):
        loader(torch.utils.data.DataLoader(TensorDataset(EYE)), PLAIN)
