"""The Loader given what people give to other loaders."""

import numpy as np
import pytest
import torch

import anamorph as am
from anamorph.bench import _torchvision
from loading import DECODERS, SIZES, Items, StubRecipe, encoded, needs_dali, picture

RECIPE = am.Recipe([am.Resize((4, 4))], dtype=torch.uint8)


@pytest.mark.parametrize("name, value, ours", [
    ("num_workers", 4, "num_threads="), ("pin_memory", True, "device="), ("persistent_workers", False, "num_threads="),
    ("prefetch_factor", 2, "prefetch="), ("collate_fn", None, "recipe="), ("sampler", None, "shuffle="), ("rank", 0, "shard="),
    ("generator", None, "seed="), ("transform", None, "recipe="),
])
def test_other_loaders_arguments_name_ours(array, name, value, ours):
    with pytest.raises(am.ArgumentError, match=f"{name}: expected {ours}.*, given {name}={value}"):
        am.Loader(array, StubRecipe(), 2, **{name: value})


def test_an_argument_of_nobody_is_pythons_error(array):
    with pytest.raises(TypeError, match=r"Loader.* unexpected keyword argument 'bath_size'"):
        am.Loader(array, StubRecipe(), 2, bath_size=3)


def test_mask_mix_is_refused(array):
    with pytest.raises(am.ArgumentError, match="recipe: expected one without MaskMix"):
        am.Loader(array, am.Recipe([am.Resize(4), am.MaskMix()]), 2)


@pytest.mark.parametrize("value, given", [(True, "True"), (-1, "-1"), (1.5, r"1\.5"), (None, "None")])
def test_a_device_that_is_none_is_named(array, value, given):
    with pytest.raises(am.ArgumentError, match=f"device: expected 'cpu', 'cuda\\[:i\\]' or the number of a GPU, given {given}"):
        am.Loader(array, StubRecipe(), 2, device=value)


@pytest.mark.parametrize("kind", [np.asarray, torch.tensor])
def test_arrays_of_each_layout_are_the_same_pictures(kind):
    packed = np.stack([picture(9, 7, i) for i in range(5)])
    right = torch.cat([*am.Loader(packed, RECIPE, 2, shuffle=False)])
    assert torch.equal(torch.cat([*am.Loader(kind(packed.transpose(0, 3, 1, 2).copy()), RECIPE, 2, shuffle=False)]), right)
    gray = torch.cat([*am.Loader(kind(packed[..., 1]), RECIPE, 2, shuffle=False)])
    assert torch.equal(gray, right[:, 1:2])


def test_arrays_that_cannot_be_are_refused_with_the_line_that_mends_them():
    for array, error, given in ((np.zeros((2, 4, 4, 3), np.float32), am.DtypeError, r"given dtype float32.*\(255 \* images\)"),
                                (np.zeros((2, 3, 4, 4, 3, 1), np.uint8), am.ShapeError, r"given shape \[2, 3, 4, 4, 3, 1\]")):
        with pytest.raises(error, match=r"source: expected uint8 images \[N, H, W, C\], .*, " + given):
            am.Loader(array, RECIPE, 2)


def test_folders_are_torchvisions(tmp_path):
    _torchvision.v2()
    from torchvision.datasets import ImageFolder

    for name, files in (("dog", ["2.png", "10.png"]), ("cat", ["b/1.PNG", "a.bmp"]), ("Cat", []), ("eel", ["x.txt"])):
        (tmp_path / name).mkdir()
        for file in files:
            (tmp_path / name / file).parent.mkdir(exist_ok=True)
            (tmp_path / name / file).write_bytes(encoded(picture(5, 5), "PNG"))
    with pytest.raises(am.ArgumentError, match=r"given '.*Cat', which holds no image \(allow_empty=True"):
        am.Loader(tmp_path, RECIPE, 2, decoder="pillow")
    right = ImageFolder(tmp_path, allow_empty=True)
    mine = am.Loader(tmp_path, am.Recipe([am.Resize(4), am.MixUp()]), 2, decoder="pillow", allow_empty=True)
    assert (mine.classes, mine.class_to_idx, len(mine.dataset)) == (right.classes, right.class_to_idx, len(right))
    assert [mine.dataset.name(i) for i in range(4)] == [path for path, _ in right.samples]
    assert mine.dataset.labels.tolist() == right.targets and mine.recipe.num_classes == 4
    over = am.Loader(right, RECIPE, 2, shuffle=False)  # and one that was given is what it was
    assert over.dataset is right and over.classes == right.classes and over.class_to_idx == right.class_to_idx
    assert torch.cat([labels for _, labels in over]).tolist() == right.targets
    with pytest.raises(am.ArgumentError, match="allow_empty: expected an image folder as the source, given ndarray"):
        am.Loader(np.zeros((2, 4, 4, 3), np.uint8), RECIPE, 2, allow_empty=True)


@pytest.mark.parametrize("kind", ["ndarray", "Items"])
def test_pictures_that_are_decoded_already_are_not_turned(array, kind):
    with pytest.raises(am.ArgumentError, match=f"exif: expected an image folder or tar files as the source, given {kind},"):
        am.Loader(array if kind == "ndarray" else Items(list(array)), RECIPE, 2, exif=True)


def test_pictures_that_the_recipe_refuses_are_named():
    recipe = am.Recipe([am.Resize((4, 4)), am.Normalize((.5, .5, .5), (1, 1, 1))])
    with pytest.raises(am.ShapeError, match=r"expected 3 channels.*, given 1 \(in the batch that begins with item 0 of Items\)"):
        list(am.Loader(Items([picture(5, 5)[:, :, 0]]), recipe, 2))
    for item, error, given in ((np.zeros((0, 4, 3), np.uint8), am.ShapeError, r"given \[0, 4, 3\] as the image of item 1 of"),
                               (np.zeros((1, 40000, 3), np.uint8), am.DecodeError, "item 1 of Items: expected sides of at most"),
                               ("x.jpg", am.DtypeError, "given a str as the image of item 1 of Items")):
        with pytest.raises(error, match=given):
            list(am.Loader(Items([picture(5, 5), item]), RECIPE, 2))


@needs_dali
def test_a_pipelines_reader_is_its_own(folder):
    import nvidia.dali as dali

    pipe = dali.Pipeline(batch_size=2, num_threads=1, device_id=None)
    with pipe:
        data, label = dali.fn.readers.file(file_root=str(folder), name="reader")
        pipe.set_outputs(dali.fn.decoders.image(data), label)
    for arguments, message in ((dict(pad=False), "pad: expected True for a DALI pipeline, .*, given False"),
                               (dict(allow_empty=True), "allow_empty: expected False for a DALI pipeline, .*, given True"),
                               (dict(exif=True), "exif: expected an image folder or tar files .*, given Pipeline, ")):
        with pytest.raises(am.ArgumentError, match=message):
            am.Loader(pipe, RECIPE, 2, **arguments)
    *_, last = am.Loader(pipe, RECIPE, 2, with_index=True)
    assert last[1].tolist() == [1, 1] and last[2].tolist() == [8, 9]


FLIP = am.Recipe([am.RandomHorizontalFlip()])


@pytest.mark.parametrize("decoder", DECODERS)
def test_pictures_that_differ_in_size_are_named(folder, decoder):
    loader = am.Loader(folder, FLIP, 2, decoder=decoder, shuffle=False)
    given = r"20 x 48 pixels in .*0\.jpg and 23 x 46 pixels in .*1\.jpg; .*RandomResizedCrop, Resize\(\(h, w\)\)"
    with pytest.raises(am.ArgumentError, match=given):
        next(iter(loader))
    one_by_one = [tuple(images.shape[2:]) for images, _ in am.Loader(folder, FLIP, 1, decoder=decoder, shuffle=False)]
    assert one_by_one == SIZES


def test_clips_that_differ_in_size_are_named():
    items = Items([([picture(9, 9)] * 3, 0), ([picture(9, 9), picture(9, 9), picture(9, 7)], 1)])
    with pytest.raises(am.ArgumentError, match="9 x 9 pixels in item 0 of Items and 9 x 7 pixels in item 1 of Items"):
        next(iter(am.Loader(items, FLIP, 2, shuffle=False)))


def test_what_no_batch_can_be_is_said_at_once(folder, array):
    loose = am.Recipe([am.RandomRotation(30, expand=True)])
    differ = pytest.raises(am.ArgumentError, match="differ between samples; end the geometry with")
    with differ:
        am.Loader(array, loose, 2)
    with differ:  # whose size nobody knows before
        next(iter(am.Loader(Items([(picture(9, 9), 0)]), loose, 1)))
    with pytest.raises(am.ShapeError, match=r"RandomCrop\.size: expected at most the padded picture's 6 x 8"):
        am.Loader(array, am.Recipe([am.RandomCrop(9)]), 2)
    kept = am.RandomApply([am.RandomCrop(9, padding=2)]), am.RandomOrder([am.RandomCrop(9, padding=2), am.RandomRotation(10)])
    for transform in kept:  # the size, of pictures of this one
        assert next(iter(am.Loader(Items([(picture(9, 9), 0)]), am.Recipe([transform]), 1)))[0].shape == (1, 3, 9, 9)
    turned = am.Recipe([am.RandomRotate90()])  # of square pictures
    assert am.Loader(folder, turned, 2, decoder="pillow").recipe == turned
    with pytest.raises(am.ArgumentError, match="differ between samples"):
        am.Loader(array, turned, 2)


@pytest.mark.parametrize("source", [torch.zeros(2, 8, 8, 3, dtype=torch.uint8).to_sparse(),
                                    (np.zeros((2, 8, 8, 3), np.uint8), torch.ones(2).long().to_sparse()),
                                    Items([(torch.zeros(3, 8, 8, dtype=torch.uint8).to_sparse(), 0)]),
                                    Items([(picture(8, 8), torch.ones(3).to_sparse())])], ids=lambda s: type(s).__name__)
def test_sparse_tensors_are_named(source):
    with pytest.raises(am.ArgumentError, match=r"expected a plain strided tensor, given one of layout torch\.sparse_coo"):
        next(iter(am.Loader(source, RECIPE, 1)))


@pytest.mark.parametrize(("image", "error", "mend"), [
    (torch.zeros(20, 30, 3, dtype=torch.uint8), am.ShapeError, r"image.permute\(2, 0, 1\)"),
    (np.zeros((3, 20, 30), np.uint8), am.ShapeError, r"image.transpose\(1, 2, 0\)"),
    (torch.zeros(3, 20, 30).long(), am.DtypeError, r"numbers from 0 to 255: image.to\(torch.uint8\)"),
    (np.zeros((20, 30, 3)), am.DtypeError, r"floats from 0 to 1: \(255 \* image\).round\(\).astype\('uint8'\)"),
])
def test_the_mend_is_named(image, error, mend):
    with pytest.raises(error, match=rf"given .* item 0 of Items.*{mend}"):
        next(iter(am.Loader(Items([(image, 0)]), RECIPE, 1)))
