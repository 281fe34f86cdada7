"""Features off the shelf: the sixteen views against pictures cut and turned by SciPy, the normalisation against NumPy."""

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates
from torch import nn

from anamorph.core.errors import ArgumentError, DtypeError, ShapeError
from anamorph.features.crops import OffTheShelf, power_normalised, sixteen_views


def numbers(*shape, dtype=torch.float64, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).to(dtype)


def sampled(picture, y, x, mode):
    """Bilinear, at pixel centres 0, 1, ...; picture [H, W]."""
    return map_coordinates(picture, [y, x], order=1, mode=mode)


def test_there_are_sixteen_and_they_are_pairs_of_mirror_images():
    pictures = numbers(3, 2, 12, 18)
    views = sixteen_views(pictures)
    assert views.shape == (16, 3, 2, 12, 18)
    assert torch.equal(views[0], pictures) and torch.equal(views[8], pictures.flip(-1))
    assert torch.equal(views[8:], views[:8].flip(-1))
    assert len({tuple(v.flatten().tolist()) for v in views}) == 16


@pytest.mark.parametrize("which, top, left", [(1, 0, 0), (2, 0, 6), (3, 4, 0), (4, 4, 6), (5, 2, 3)])
def test_crops_are_four_ninths_of_the_picture(which, top, left):
    """8 x 12 pixels of 12 x 18, at the corners and in the middle, brought to 12 x 18."""
    pictures = numbers(1, 1, 12, 18)
    y, x = np.mgrid[0:12, 0:18]
    y, x = (y + 0.5) * 8 / 12 - 0.5 + top, (x + 0.5) * 12 / 18 - 0.5 + left
    expected = sampled(pictures[0, 0].numpy(), y, x, "grid-constant")
    np.testing.assert_allclose(sixteen_views(pictures)[which, 0, 0].numpy(), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("which, sign", [(6, 1), (7, -1)])
def test_rotations(which, sign):
    """By 30 degrees about the middle, counterclockwise first, of a picture that is not square; outside is 0."""
    pictures = numbers(1, 1, 12, 18)
    y, x = np.mgrid[0:12, 0:18]
    y, x = y - 5.5, x - 8.5
    turn = sign * np.pi / 6  # what stands at (x, y) was turned here from -turn away; y points down
    from_x, from_y = x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)
    expected = sampled(pictures[0, 0].numpy(), from_y + 5.5, from_x + 8.5, "grid-constant")
    np.testing.assert_allclose(sixteen_views(pictures)[which, 0, 0].numpy(), expected, rtol=0, atol=1e-12)


def test_counterclockwise_is_what_the_eye_calls_so():
    """A point to the right of the middle moves up by a quarter turn."""
    picture = torch.zeros(1, 1, 9, 9, dtype=torch.float64)
    picture[0, 0, 4, 7] = 1
    turned = sixteen_views(picture, degrees=90)[6, 0, 0]
    assert turned.argmax() == 1 * 9 + 4 and turned.max() > 0.999


def test_normalised_features_are_their_formula():
    """L2, the power with its sign, L2."""
    x = numbers(4, 7)
    unit = x.numpy() / np.linalg.norm(x.numpy(), axis=1, keepdims=True)
    for power in (0.5, 1.0, 2.0):
        raised = np.sign(unit) * np.abs(unit) ** power
        expected = raised / np.linalg.norm(raised, axis=1, keepdims=True)
        np.testing.assert_allclose(power_normalised(x, power).numpy(), expected, rtol=0, atol=1e-14)
    torch.testing.assert_close(power_normalised(x, 1.0), nn.functional.normalize(x, dim=1))
    torch.testing.assert_close(power_normalised(5 * x), power_normalised(x))


def test_zeros_stay_zeros_and_have_a_gradient():
    x = torch.tensor([[0.0, 3, 0, -4]], requires_grad=True)
    out = power_normalised(x)
    assert out[0, 0] == 0 and out[0, 2] == 0
    out.sum().backward()
    assert torch.isfinite(x.grad).all() and x.grad[0, 0] == 0 and x.grad[0, 1] != 0
    assert not power_normalised(torch.zeros(2, 3)).any()


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 4, 3, 2), nn.ReLU(), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(2), nn.Flatten()).double()


def test_features_of_views_are_features_of_pictures():
    body = net().eval()
    pictures = numbers(3, 2, 12, 18)
    found = OffTheShelf(body)(pictures)
    assert found.shape == (16, 3, 16) and not found.requires_grad
    views = sixteen_views(pictures)
    for i in (0, 4, 15):
        torch.testing.assert_close(found[i], power_normalised(body(views[i]).detach()))


def test_responses_are_added_up():
    shelf = OffTheShelf(net()).eval()
    pictures, weight = numbers(3, 2, 12, 18), numbers(16, 5)
    expected = sum(features @ weight for features in shelf(pictures))
    torch.testing.assert_close(shelf.responses(pictures, lambda features: features @ weight), expected)
    torch.testing.assert_close(shelf.responses(pictures.flip(-1), lambda f: f @ weight), expected)  # every view has its mirror


def test_gradients():
    pictures = numbers(1, 1, 5, 4).requires_grad_()
    assert torch.autograd.gradcheck(sixteen_views, pictures)
    assert torch.autograd.gradcheck(power_normalised, numbers(2, 5).requires_grad_())


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_compiled_whole(backend):
    shelf = OffTheShelf(net()).eval()
    pictures = numbers(2, 2, 9, 9)
    torch.testing.assert_close(torch.compile(shelf, fullgraph=True, backend=backend)(pictures), shelf(pictures))


def test_under_autocast():
    shelf = OffTheShelf(net().float()).eval()
    with torch.autocast("cpu", torch.bfloat16):
        found = shelf(numbers(2, 2, 9, 9, dtype=torch.float32))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.norm(dim=-1), torch.ones(16, 2))


@pytest.mark.parametrize("call, error, says", [
    (lambda: sixteen_views(torch.zeros(2, 9, 9)), ShapeError, "pictures: expected"),
    (lambda: sixteen_views(torch.zeros(2, 3, 9, 9, dtype=torch.uint8)), DtypeError, "pictures: expected floats"),
    (lambda: sixteen_views(torch.zeros(0, 3, 9, 9)), ShapeError, "nothing empty"),
    (lambda: sixteen_views([1.0]), ArgumentError, "pictures: expected a tensor"),
    (lambda: sixteen_views(torch.zeros(1, 3, 9, 9), degrees=200), ArgumentError, "degrees: expected"),
    (lambda: sixteen_views(torch.zeros(1, 3, 9, 9), area=0), ArgumentError, "area: expected"),
    (lambda: sixteen_views(torch.zeros(1, 3, 9, 9), area=1.5), ArgumentError, "area: expected"),
    (lambda: power_normalised(torch.zeros(3, dtype=torch.int64)), DtypeError, "features: expected floats"),
    (lambda: power_normalised(torch.zeros(3, 0)), ShapeError, "features: expected"),
    (lambda: power_normalised(torch.ones(3, 2), 0), ArgumentError, "power: expected"),
    (lambda: OffTheShelf(net())(numbers(1, 2, 9, 9)), ArgumentError, r"net: expected one in eval\(\)"),
    (lambda: OffTheShelf(net()).eval().responses(numbers(1, 2, 9, 9), lambda f: f[0]), ShapeError, "classifier: expected"),
    (lambda: OffTheShelf(net()).eval().responses(numbers(1, 2, 9, 9), lambda f: f.numpy()), ShapeError, "given ndarray"),
])
def test_what_does_not_fit(call, error, says):
    with pytest.raises(error, match=says):
        call()
