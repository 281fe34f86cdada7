"""Lists of pictures and their table: one native pass, one copy to a device."""

import copy
import io
import pickle
import sys

import numpy as np
import pytest
import torch

import anamorph as am
from fake_streams import FakeGpu

SIZES = [(20, 30), (41, 17), (6, 5), (64, 80)]


def pictures(channels=3, dtype=torch.uint8):
    return [(torch.rand(h, w, channels) * 255).to(dtype) for h, w in SIZES]


def table_of(tensors):
    return [t.data_ptr() for t in tensors] + [side for t in tensors for side in t.shape[:2]]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_the_table_is_where_the_pictures_are(route, channels, dtype):
    images = pictures(channels, dtype)
    ragged = am.Ragged.from_list(images)
    assert ragged._table.tolist() == table_of(images) == table_of(ragged.tensors)
    assert ragged.sizes.tolist() == [list(size) for size in SIZES]
    assert (ragged.channels, ragged.dtype, len(ragged)) == (channels, dtype, 4)


def test_only_what_is_not_packed_is_copied(route):
    packed = torch.randint(0, 256, (9, 7, 3), dtype=torch.uint8)
    wide = torch.randint(0, 256, (9, 20, 3), dtype=torch.uint8)
    turned = torch.randint(0, 256, (3, 9, 8), dtype=torch.uint8)
    given = [packed, packed[2:5], wide[:, 3:10], turned, turned.permute(1, 2, 0), packed[:, 4:5, :], packed[:1, 2:5]]
    ragged = am.Ragged.from_list(given)
    same = [t is g or t.data_ptr() == g.data_ptr() for t, g in zip(ragged.tensors, given, strict=True)]
    assert same == [True, True, False, False, False, False, True]
    assert ragged._table.tolist() == table_of(ragged.tensors)
    for t, g in zip(ragged.tensors, given, strict=True):
        assert t.is_contiguous() and torch.equal(t, g.permute(1, 2, 0) if g is turned else g)


def test_of_whatever_kind():
    """Tensors in a subclass, that require a gradient, negated ones, arrays with negative strides, PIL's."""
    from PIL import Image

    class Kind(torch.Tensor):
        pass

    image = torch.rand(6, 5, 3)
    gradient = image.clone().requires_grad_()
    negated = torch.complex(image, -image).conj().imag
    assert negated.is_neg()
    with torch.no_grad():
        ragged = am.Ragged.from_list([image, image.as_subclass(Kind), gradient, negated, image.numpy()[::-1], image.numpy()])
    for t, expected in zip(ragged.tensors, [image, image, image, image, image.flip(0), image], strict=True):
        assert torch.equal(t.as_subclass(torch.Tensor), expected) and not t.requires_grad
    assert ragged._table.tolist() == table_of(ragged.tensors)
    pixels = (image * 255).to(torch.uint8)
    for layout in (None, "HWC"):
        ragged = am.Ragged.from_list([Image.fromarray(pixels.numpy()), pixels], layout)
        assert all(torch.equal(t, pixels) for t in ragged.tensors)
    ragged = am.Ragged.from_list([Image.fromarray(pixels.numpy()), pixels.permute(2, 0, 1)], "CHW")
    assert all(torch.equal(t, pixels) for t in ragged.tensors)


A = torch.zeros(6, 5, 3, dtype=torch.uint8)


class Broken:
    def __dlpack__(self, **_):
        raise OSError("lost")

    __dlpack_device__ = __dlpack__


def emptied():
    t = torch.zeros(6, 5, 3, dtype=torch.uint8)
    t.untyped_storage().resize_(0)
    return t


def half_a_file():
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(file, "PNG")
    return Image.open(io.BytesIO(file.getvalue()[:2000]))


MISTAKES = {
    "dtype": ([A, A, A.float()], am.DtypeError, r"^images\[2\]: expected uint8 as the first picture, given float32$"),
    "channels": ([A, A[..., :1]], am.ShapeError, r"^images\[1\]: expected 3 channels as the first picture, given 1$"),
    "shape": ([A, A[0]], am.ShapeError,
              r"^images\[1\]: expected \[H, W, C\] or \[C, H, W\] with 1 to 4 channels, given \[5, 3\]$"),
    "no rows": ([A, A[:0]], am.ShapeError, r"^images\[1\]: expected .* given \[0, 5, 3\]$"),
    "many channels": ([torch.zeros(6, 5, 7)], am.ShapeError, r"^images\[0\]: expected .* given \[6, 5, 7\]$"),
    "wide": ([A, A[:1, :1].expand(1, 40000, 3)], am.ShapeError,
             r"^images\[1\]: expected sides of 1 to 32768 pixels, given 1 x 40000$"),
    "int64": ([A, A.long()], am.DtypeError, r"^images\[1\]: expected uint8, .*, given int64; .*images\[1\].to\(torch.uint8"),
    "float64 array": ([A, A.numpy() / 255], am.DtypeError, r"^images\[1\]: .* given float64; images\[1\].astype\('float32'\)$"),
    "gradient": ([A, A.float().requires_grad_()], am.ArgumentError, r"^images\[1\]: .* expected images\[1\].detach\(\)$"),
    "sparse": ([A, A.to_sparse()], am.ArgumentError, r"^images\[1\]: expected a plain strided tensor, given one of .*sparse_coo"),
    "meta": ([A, A.to("meta")], am.ArgumentError, r"^images\[1\]: expected a plain strided tensor, given a meta one"),
    "pictures": (A[0, 0, 0], am.ArgumentError, r"^images: expected a list of pictures, given Tensor$"),
    "no list": ({"a": A}, am.ArgumentError, r"^images: expected a list of pictures, given dict$"),
    "no memory": ([A, emptied()], am.ArgumentError, r"^images\[1\]: this Tensor has no memory"),
    "its own error": ([A, Broken()], am.ArgumentError, r"^images\[1\]: .*Broken that cannot be read as one .*lost"),
    "half a file": ([A, half_a_file()], am.ArgumentError, r"^images\[1\]: expected a PIL image, .* cannot be read .*truncated"),
    "text": ([A, "a.jpg"], am.ArgumentError, r"^images\[1\]: expected a tensor or an array that speaks DLPack, given str"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_named(mistake):
    images, error, message = MISTAKES[mistake]
    with pytest.raises(error, match=message):
        am.Ragged.from_list(images)


@pytest.mark.parametrize("how", [copy.deepcopy, copy.copy, lambda ragged: pickle.loads(pickle.dumps(ragged))])
@pytest.mark.parametrize("packed", [False, True])
def test_a_copy_has_addresses_of_its_own(how, packed):
    """Also that of another process, which a DataLoader's worker has sent."""
    images = pictures()
    ragged = am.Ragged.from_list(images)
    if packed:
        ends = [t.numel() for t in images]
        ragged = am.Ragged(torch.cat([t.flatten() for t in images]), [0, *np.cumsum(ends)[:-1].tolist()], SIZES, 3)
    plan = am.Recipe([am.Resize((8, 8))]).plan(range(4), size=SIZES)
    right, other = am.render(ragged, plan), how(ragged)
    del ragged, images[:]
    assert torch.equal(am.render(other, plan), right)


@pytest.mark.parametrize("how", [lambda t: t.set_(torch.empty(0, dtype=torch.uint8)), lambda t: t.resize_(400, 400, 3),
                                 lambda t: t.untyped_storage().resize_(0)])
def test_pictures_that_have_been_moved_are_named(how):
    images = pictures()
    ragged = am.Ragged.from_list(images)
    how(images[2])
    with pytest.raises(am.ArgumentError, match=r"^images(\[2\])?: (expected the memory that it had|this Tensor has no memory)"):
        am.render(ragged, am.Recipe([am.Resize((8, 8))]).plan(range(4), size=SIZES))


def test_a_batch_is_a_list_of_its_pictures():
    batch = torch.randint(0, 256, (3, 9, 7, 3), dtype=torch.uint8)
    for given in (batch, batch.numpy(), tuple(batch)):
        ragged = am.Ragged.from_list(given)
        assert all(torch.equal(t, g) for t, g in zip(ragged.tensors, batch, strict=True))


def test_the_layout_told_in_an_error():
    chw = A.permute(2, 0, 1).repeat(1, 2, 1)
    with pytest.raises(am.ShapeError, match=r"^images\[0\]: expected \[H, W, C\] with .*; without layout= both are told apart$"):
        am.Ragged.from_list([chw], "HWC")


def test_an_odd_address_on_a_gpu_is_named(route):
    memory = torch.zeros(6 * 5 * 3 * 4 + 4, dtype=torch.uint8)
    odd = torch.from_numpy(memory.numpy()[2:-2].view(np.float32)).view(6, 5, 3)
    images = [torch.zeros(6, 5, 3), odd]
    if route != "emulated":  # on the host
        assert am.Ragged.from_list(images)._table.tolist() == table_of(images)
    else:
        with pytest.raises(am.ArgumentError, match=r"^images\[1\]: expected memory at a multiple of 4 bytes on a GPU"):
            am.Ragged.from_list(images)


def calls_of(count):
    """How often Python is asked for something while a list of so many pictures is looked at."""
    images = [torch.zeros(9, 7 + i % 3, 3, dtype=torch.uint8) for i in range(count)]
    am.Ragged.from_list(images)
    calls = []
    sys.setprofile(lambda frame, event, what: calls.append(event) if event in ("call", "c_call") else None)
    try:
        am.Ragged.from_list(images)
    finally:
        sys.setprofile(None)
    return len(calls)


def test_python_does_nothing_for_each_picture():
    assert calls_of(500) == calls_of(2)


@pytest.mark.parametrize("packed", [False, True])
def test_a_table_is_one_copy_from_pinned_memory(monkeypatch, packed):
    cuda = FakeGpu(monkeypatch)
    images = [cuda.put(t) for t in pictures()]
    if packed:
        buffer = cuda.put(torch.cat([t.reshape(-1) for t in images]).float())
        starts = np.cumsum([0, *(t.numel() for t in images[:-1])])
        ragged = am.Ragged(buffer, starts, SIZES, 3)
        begins = (4 * starts).tolist()
    else:
        ragged = am.Ragged.from_list(images)
        begins = [t.data_ptr() for t in images]
    (upload,) = cuda.log
    assert upload.what == "upload" and upload.pinned and upload.non_blocking and upload.bytes == 3 * 4 * 8
    assert ragged._table.is_cuda and ragged._table.tolist() == begins + [side for size in SIZES for side in size]
    assert ragged.device.type == "cuda" and ragged.sizes.tolist() == [list(size) for size in SIZES]


def test_ids_and_sizes_of_a_plan_are_copied_from_pinned_memory(monkeypatch):
    recipe = am.Recipe([am.RandomResizedCrop(8)])
    expected = recipe.plan(range(4), size=SIZES)
    cuda = FakeGpu(monkeypatch)
    plan = recipe.plan(range(4), size=SIZES, device="cuda")
    assert [(entry.what, entry.pinned, entry.non_blocking) for entry in cuda.log] == [("upload", True, True)] * 2
    assert plan.rows.is_cuda and torch.equal(plan.rows.cpu(), expected.rows)
