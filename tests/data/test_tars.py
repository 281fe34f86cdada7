"""WebDataset tars: what they hold is read, or it is said that it is not."""

import io

import numpy as np
import pytest
import torch

import anamorph as am
from loading import Image, encoded, picture, write_tar

RECIPE = am.Recipe([am.Resize((4, 4))])
DATA = {suffix: encoded(picture(8, 8), form) for suffix, form in
        (("jpg", "JPEG"), ("png", "PNG"), ("webp", "WEBP"), ("ppm", "PPM"), ("bmp", "BMP"), ("tif", "TIFF"), ("tiff", "TIFF"))}


def loader(path, members, recipe=RECIPE, **arguments):
    return am.Loader(write_tar(path / "a.tar", members), recipe, 64, shuffle=False, decoder="pillow", **arguments)


def labels(path, members, **arguments):
    ((_, targets),) = loader(path, members, **arguments)
    return targets


def test_every_picture_that_an_image_folder_takes(tmp_path):
    members = [(f"{i}.{suffix}", data) for i, (suffix, data) in enumerate(DATA.items())] + [("x.JPEG", DATA["jpg"])]
    labels = [(f"{name.split('.')[0]}.cls", b"%d" % i) for i, (name, _) in enumerate(members)]
    ((images, targets),) = loader(tmp_path, members + labels, am.Recipe([am.Resize((8, 8))], dtype=torch.uint8))
    assert targets.tolist() == list(range(8))
    for image, (_, data) in zip(images, members, strict=True):
        np.testing.assert_array_equal(image.permute(1, 2, 0), np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


@pytest.mark.parametrize("suffix, texts, right", [
    ("cls", [b"3", b" 0\n"], [3, 0]),
    ("txt", [b"3", b"0\n"], [3, 0]),
    ("json", [b"3", b"0"], [3, 0]),
    ("json", [b'{"label": 3, "url": null}', b'{"label": 0}'], [3, 0]),
    ("json", [b'{"cls": 3}', b'{"cls": 0}'], [3, 0]),
    ("json", [b"[0, 1, 1]", b"[1.5, 0, 0]"], [[0, 1, 1], [1.5, 0, 0]]),
    ("json", [b'{"label": [1, 0]}', b'{"label": [0, 1]}'], [[1, 0], [0, 1]]),
])
def test_labels_in_each_kind_of_member(tmp_path, suffix, texts, right):
    members = [(f"{i}.{end}", data) for i, text in enumerate(texts) for end, data in ((suffix, text), ("jpg", DATA["jpg"]))]
    assert labels(tmp_path, members).tolist() == right


def test_an_object_without_a_label_is_passed_on(tmp_path):
    members = [(f"{i}.{end}", data) for i in range(3)
               for end, data in (("jpg", DATA["jpg"]), ("json", b'{"box": [%d, 2, 3], "name": "n%d"}' % (i, i)))]
    targets = labels(tmp_path, members)
    assert targets["name"] == ["n0", "n1", "n2"] and torch.stack(targets["box"]).tolist() == [[0, 1, 2], [2] * 3, [3] * 3]
    with pytest.raises(am.ArgumentError, match=r"label of .*a\.tar:0\.jpg: expected a class id or a vector .*, given a dict"):
        loader(tmp_path, members, am.Recipe([am.Resize((4, 4)), am.CutMix()]))


def test_the_highest_label_says_how_many_classes_there_are(tmp_path):
    mine = loader(tmp_path, [("a.jpg", DATA["jpg"]), ("a.cls", b"6"), ("b.jpg", DATA["jpg"]), ("b.json", b'{"label": 2}')],
                  am.Recipe([am.Resize((4, 4)), am.CutMix()]))
    assert mine.recipe.num_classes == 7


def test_a_class_id_goes_before_what_else_is_there(tmp_path):
    extra = [("a.json", b'{"label": 9}'), ("a.txt", b"a cat on a mat"), ("a.npy", b"?")]
    assert labels(tmp_path, [*extra, ("a.jpg", DATA["jpg"]), ("a.cls", b"4")]).tolist() == [4]
    assert labels(tmp_path, [*extra, ("a.jpg", DATA["jpg"])]).tolist() == [9]


def test_a_key_ends_at_the_first_dot(tmp_path):
    """As in webdataset, where "d.1/x.left.jpg" is the member "left.jpg" of the sample "d.1/x"."""
    assert labels(tmp_path, [("d.1/x.left.jpg", DATA["jpg"]), ("d.1/x.cls", b"5")]).tolist() == [5]
    mine = loader(tmp_path, [("x.mask.png", DATA["png"]), ("x.jpg", DATA["jpg"]), ("x.cls", b"5")])
    assert len(mine.dataset) == 1 and mine.dataset.name(0).endswith("a.tar:x.jpg")
    for names in (("x.2024.jpg", "x.2025.jpg"), ("x.jpg", "x.png"), ("x.jpg", "x.JPG")):
        with pytest.raises(am.ArgumentError, match=f"one picture for each key, given .*a.tar:{names[0]} and {names[1]} for"):
            loader(tmp_path, [(name, DATA["jpg"]) for name in names])
    assert len(loader(tmp_path, [("._x.jpg", b"?"), (".hidden.jpg", b"?"), ("x.jpg", DATA["jpg"])]).dataset) == 1


@pytest.mark.parametrize("name, text, message", [
    ("x.txt", b"a cat", "label of .*x.txt: expected a class id, given b'a cat'"),
    ("x.cls", b"1.5", "label of .*x.cls: expected a class id, given b'1.5'"),
    ("x.json", b'"cat"', "label of .*x.json: expected a class id, a list of numbers, or an object in JSON, given"),
    ("x.json", b'{"label": "cat"}', "label of .*x.json: expected"),
    ("x.json", b"[[1, 2], [3]]", "label of .*x.json: expected"),
    ("x.json", b"\xff\xfe{", "label of .*x.json: expected"),
    ("x.npy", b"?", "expected the label in a member ending in .cls, .json or .txt, given .*a.tar:x.npy"),
    ("x.label.pyd", b"?", "expected the label in a member ending in .cls, .json or .txt, given .*a.tar:x.label.pyd"),
])
def test_labels_that_cannot_be_read_are_named(tmp_path, name, text, message):
    with pytest.raises(am.ArgumentError, match=message + r".* \(labels=False takes the pictures alone\)"):
        loader(tmp_path, [("x.jpg", DATA["jpg"]), (name, text)])
    (images,) = loader(tmp_path, [("x.jpg", DATA["jpg"]), (name, text)], labels=False)
    assert images.shape == (1, 3, 4, 4)


def test_a_label_without_a_picture_is_named(tmp_path):
    with pytest.raises(am.ArgumentError, match=r"expected a picture \(\.jpg, .*\) beside every label, given .*a\.tar:y\.cls"):
        loader(tmp_path, [("x.jpg", DATA["jpg"]), ("x.cls", b"1"), ("y.gif", b"?"), ("y.cls", b"2")])


def test_labels_of_two_forms_are_named(tmp_path):
    with pytest.raises(am.ArgumentError, match=r"given a vector of 2 for .*:y\.jpg and a class id for .*:x\.jpg"):
        loader(tmp_path, [("x.jpg", DATA["jpg"]), ("x.cls", b"1"), ("y.jpg", DATA["jpg"]), ("y.json", b"[1, 2]")])


def test_vectors_of_all_shards_are_one_array(tmp_path):
    for shard in range(2):
        write_tar(tmp_path / f"{shard}.tar", [("x.jpg", DATA["jpg"]), ("x.json", b"[%d, 1]" % shard)])
    mine = am.Loader(str(tmp_path / "{0..1}.tar"), RECIPE, 2, shuffle=False, decoder="pillow")
    np.testing.assert_array_equal(mine.dataset.labels, np.array([[0, 1], [1, 1]], np.float32))
