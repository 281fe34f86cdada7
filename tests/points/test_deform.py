"""Clouds bent by anchors, and masked: against the definition written out in torch's float64, and its derivatives."""

import math

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from anamorph.core.errors import ArgumentError, DeviceError, DtypeError, ShapeError
from anamorph.points.deform import deform, mask_points, rotation_matrix


def given(batch=2, n=50, anchors=4, dtype=torch.float64, seed=0, sigma=0.5):
    """A case with moderate numbers: points, anchors, rotation, scale, shift, sigma."""
    g = torch.Generator().manual_seed(seed)

    def uniform(*shape, low=-1.0, high=1.0):
        return (torch.rand(*shape, generator=g, dtype=torch.float64) * (high - low) + low).to(dtype)

    return (uniform(batch, n, 3), uniform(batch, anchors, 3), uniform(batch, anchors, 3, low=-0.4, high=0.4),
            uniform(batch, anchors, 3, low=0.7, high=3), uniform(batch, anchors, 3, low=-0.25, high=0.25),
            torch.full((batch,), sigma, dtype=dtype) + uniform(batch, low=0, high=0.1))


def defined(points, anchors, rotation, scale, shift, sigma, axes=None):
    """The definition in float64; scipy's rotations."""
    points, anchors, rotation, scale, shift = (t.double() for t in (points, anchors, rotation, scale, shift))
    turns = Rotation.from_euler("xyz", rotation.reshape(-1, 3).numpy()).as_matrix()  # about fixed axes: Rz Ry Rx
    turns = torch.from_numpy(turns).reshape(*rotation.shape, 3)
    from_anchor = points[:, None] - anchors[:, :, None]  # [B, A, N, 3]
    moved = from_anchor @ turns * scale[:, :, None] + shift[:, :, None] + anchors[:, :, None]
    counted = from_anchor if axes is None else from_anchor * axes[:, None, None]
    sigma = torch.as_tensor(sigma, dtype=torch.float64).reshape(-1, 1, 1)
    weights = torch.softmax(-counted.square().sum(-1) / (2 * sigma**2), 1)
    return (weights[..., None] * moved).sum(1)


def test_rotations_are_scipys():
    angles = torch.rand(20, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 6 - 3
    expected = torch.from_numpy(Rotation.from_euler("xyz", angles.numpy()).as_matrix())
    torch.testing.assert_close(rotation_matrix(angles), expected, rtol=0, atol=1e-14)


def test_the_published_matrix_is_no_rotation():
    """At R = 10 degrees: |R R^T - I| up to .03, determinants .985 to 1.015."""
    side = torch.linspace(-10, 10, 41, dtype=torch.float64).deg2rad()
    angles = torch.cartesian_prod(side, side, side)
    published, right = rotation_matrix(angles, compat=True), rotation_matrix(angles)
    far = (published @ published.mT - torch.eye(3, dtype=torch.float64)).abs().max()
    assert 0.028 < far < 0.032
    assert abs(torch.linalg.det(published).min() - 0.985) < 1e-3 and abs(torch.linalg.det(published).max() - 1.015) < 1e-3
    torch.testing.assert_close(torch.linalg.det(right), torch.ones(len(angles), dtype=torch.float64))
    differs = (published != right).any(0)
    assert differs.nonzero().tolist() == [[1, 1]]


@pytest.mark.parametrize("anchors, n", [(1, 1), (4, 1000), (4, 1025), (64, 37)])
def test_values(simd, anchors, n):
    case = given(2, n, anchors, torch.float32)
    axes = torch.tensor([[1.0, 0, 1], [1, 1, 1]])
    out = deform(*case, axes=axes)
    torch.testing.assert_close(out.double(), defined(*case, axes=axes), rtol=0, atol=2e-6)
    torch.testing.assert_close(deform(*case).double(), defined(*case), rtol=0, atol=2e-6)


def test_values_of_doubles(route):
    case = given(n=1030)
    torch.testing.assert_close(deform(*case), defined(*case), rtol=0, atol=1e-13)


def test_the_same_bits_everywhere(simd):
    """All levels and the CUDA code write what the scalar code of a CPU does: here against numbers of this test's own, in
    float32."""
    case = given(1, 21, 3, torch.float32, seed=5)
    points, at, rotation, scale, shift, sigma = case
    matrix = (rotation_matrix(rotation) * scale[:, :, None]).numpy()[0]
    p, a, t = points.numpy()[0], at.numpy()[0], shift.numpy()[0]
    falloff = (0.5 / sigma.square()).numpy()[0]
    d = p[:, None] - a[None]
    squared = d[..., 0] * d[..., 0] + d[..., 1] * d[..., 1] + d[..., 2] * d[..., 2]
    weights = exp32(falloff * (squared.min(1, keepdims=True) - squared))
    moved = d[..., :1] * matrix[:, 0] + d[..., 1:2] * matrix[:, 1] + d[..., 2:] * matrix[:, 2] + t - d
    total, by = np.zeros(len(p), np.float32), np.zeros_like(p)
    for j in range(len(a)):
        total, by = total + weights[:, j], by + weights[:, j, None] * moved[:, j]
    expected = p + by / total[:, None]
    assert np.array_equal(deform(*case)[0].numpy(), expected)


def exp32(x):
    """e to the power x in float32, every operation rounded: reduction by ln 2, and seven terms of the series."""
    f = np.float32
    whole = np.floor(x * f(1.44269504) + f(0.5))
    rest = (x - whole * f(0.693359375)) - whole * f(-2.12194440e-4)
    total = np.full_like(x, f(1 / 5040))
    for k in (720, 120, 24, 6, 2, 1, 1):
        total = total * rest + f(1) / f(k)
    return np.ldexp(total, whole.astype(int))


def test_one_anchor_is_one_affine_map(route):
    points, at, rotation, scale, shift, sigma = given(anchors=1, dtype=torch.float32)
    matrix = rotation_matrix(rotation)[:, 0] * scale
    expected = (points - at) @ matrix + shift + at
    torch.testing.assert_close(deform(points, at, rotation, scale, shift, sigma), expected, rtol=0, atol=1e-6)


def test_nothing_happens(route):
    """R = 0, S = 1, T = 0: to the last bit."""
    points, at, *_ = given(dtype=torch.float32)
    still = torch.zeros_like(at)
    assert torch.equal(deform(points, at, still, torch.ones_like(at), still, 0.5), points)


@pytest.mark.parametrize("sigma", [1e-3, 1e-12, 1e-30])
def test_small_sigma(route, sigma):
    """No 0/0: in the limit each point follows its nearest anchor alone."""
    points, at, rotation, scale, shift, _ = given(dtype=torch.float32)
    nearest = torch.cdist(points, at).argmin(-1)
    moved = (points[:, None] - at[:, :, None]) @ (rotation_matrix(rotation) * scale[:, :, None]) + (shift + at)[:, :, None]
    expected = moved.gather(1, nearest[:, None, :, None].expand(-1, 1, -1, 3))[:, 0]
    torch.testing.assert_close(deform(points, at, rotation, scale, shift, sigma), expected, rtol=0, atol=1e-5)


def test_far_points_follow_their_nearest_anchor(route):
    """Both weights would be 0 in float32 if the smallest distance were not taken off."""
    points = torch.tensor([[[100.0, 0, 0]]])
    at = torch.tensor([[[0.0, 0, 0], [1, 0, 0]]])
    still = torch.zeros_like(at)
    shift = torch.tensor([[[5.0, 0, 0], [0, 7, 0]]])
    out = deform(points, at, still, torch.ones_like(at), shift, 0.5)
    assert out.tolist() == [[[100, 7, 0]]]


def test_counts(route):
    case = given(3, 1100, dtype=torch.float32)
    counts = torch.tensor([0, 3, 1100])
    case[0].requires_grad_()
    out = deform(*case, counts=counts)
    whole = deform(*case)
    for i, count in enumerate(counts):
        assert torch.equal(out[i, :count], whole[i, :count]) and not out[i, count:].any()
    out.sum().backward()
    assert not case[0].grad[0].any() and not case[0].grad[1, 3:].any() and case[0].grad[1, :3].all()


def test_points_that_are_not_there_are_not_looked_at_by_kernels(route):
    case = given(1, 1030, dtype=torch.float32)
    counts = torch.tensor([1000])
    other = case[0].clone()
    other[:, 1000:] = 1e30
    leaves = [t.clone().requires_grad_() for t in case[1:]]
    found = []
    for points in (case[0], other):
        out = deform(points, *leaves, counts=counts)
        found.append([out, *torch.autograd.grad(out.square().sum(), leaves)])
    for a, b in zip(*found):
        assert torch.equal(a, b)


@pytest.mark.parametrize("of", range(6))
def test_gradients(route, of):
    """By differences, in float64."""
    case = [t.requires_grad_(i == of) for i, t in enumerate(given(2, 5, 3))]
    axes = torch.tensor([[1, 1, 1], [0, 1, 1]])
    assert torch.autograd.gradcheck(lambda *a: deform(*a, axes=axes), case, fast_mode=False)


def test_gradients_over_many_points(simd):
    """Sums over chunks, lanes and warps, in float32: against the definition's own in float64."""
    case = given(2, 2100, 5, torch.float32)
    pull = torch.randn(2, 2100, 3, generator=torch.Generator().manual_seed(3))
    ours = [t.clone().requires_grad_() for t in case]
    found = torch.autograd.grad((deform(*ours) * pull).sum(), ours)
    exact = [t.double().requires_grad_() for t in case]
    points, at, rotation, scale, shift, sigma = exact
    d = points[:, None] - at[:, :, None]
    moved = d @ (rotation_matrix(rotation) * scale[:, :, None]) + (shift + at)[:, :, None]
    weights = torch.softmax(-d.square().sum(-1) / (2 * sigma[:, None, None] ** 2), 1)
    expected = torch.autograd.grad(((weights[..., None] * moved).sum(1) * pull.double()).sum(), exact)
    for name, a, b in zip(("points", "anchors", "rotation", "scale", "shift", "sigma"), found, expected):
        assert (a.double() - b).abs().max() < 1e-5 * max(1.0, float(b.abs().max())), name


def test_gradients_are_the_same_every_time(route):
    case = given(2, 3000, 4, torch.float32)
    grads = []
    for threads in (1, 3):
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        leaves = [t.clone().requires_grad_() for t in case]
        grads.append(torch.autograd.grad(deform(*leaves).square().sum(), leaves))
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(*grads))


def test_a_sigma_whose_square_is_nothing_has_a_gradient_of_numbers(route):
    points, at, rotation, scale, shift, _ = given(dtype=torch.float32)
    sigma = torch.full((2,), 1e-30, requires_grad=True)
    at.requires_grad_()
    deform(points, at, rotation, scale, shift, sigma).sum().backward()
    assert torch.isfinite(at.grad).all() and not sigma.grad.isnan().any()


def test_operators_as_torch_expects_them():
    case = given(2, 7, 3)
    points, at, rotation, scale, shift, sigma = case
    matrix = rotation_matrix(rotation) * scale[:, :, None]
    leaves = [t.clone().requires_grad_() for t in (points, at, matrix, shift, sigma)]
    torch.library.opcheck(torch.ops.anamorph.deform.default, (*leaves, None, None))
    torch.library.opcheck(torch.ops.anamorph.deform.default, (*leaves, torch.ones(2, 3).double(), torch.tensor([7, 2])))
    torch.library.opcheck(torch.ops.anamorph.deform_grad.default, (points, at, matrix, shift, sigma, None, None, points))
    keep = torch.rand(2, 7, dtype=torch.float64).requires_grad_()
    torch.library.opcheck(torch.ops.anamorph.mask_points.default, (leaves[0], keep))
    torch.library.opcheck(torch.ops.anamorph.mask_points_grad.default, (points, keep.detach(), points))


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_compiled_whole(backend):
    def step(points, anchors, rotation, scale, shift, keep):
        return mask_points(deform(points, anchors, rotation, scale, shift, 0.5), keep).square().sum()

    *case, _ = given(dtype=torch.float32)
    case.append(torch.rand(2, 50).round())
    plain, compiled = ([t.clone().requires_grad_() for t in case] for _ in range(2))
    expected = torch.autograd.grad(step(*plain), plain)
    found = torch.autograd.grad(torch.compile(step, fullgraph=True, backend=backend)(*compiled), compiled)
    for a, b in zip(found, expected):
        torch.testing.assert_close(a, b)


def test_mask(route):
    points = torch.randn(2, 40, 3)
    points[0, 0] = math.inf
    points[1, 1] = math.nan
    keep = torch.rand(2, 40).round()
    keep[0, 0] = keep[1, 1] = 0
    out = mask_points(points, keep)
    assert not out[keep == 0].any() and torch.equal(out[keep == 1], points[keep == 1])
    assert torch.equal(mask_points(points, keep.bool()), out)
    half = torch.full((2, 40), 0.5)
    assert torch.equal(mask_points(points.nan_to_num(posinf=1.0), half), points.nan_to_num(posinf=1.0) * 0.5)


def test_gradients_of_masks(route):
    points = torch.randn(2, 6, 3, dtype=torch.float64, requires_grad=True)
    keep = torch.tensor([[0, 1, 0.5, 2, 0, 1]] * 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(mask_points, (points, keep))
    points, keep = points.detach().float().requires_grad_(), keep.detach().float().requires_grad_()
    pull = torch.randn(2, 6, 3)
    (mask_points(points, keep) * pull).sum().backward()
    torch.testing.assert_close(keep.grad, (pull * points).sum(-1))
    assert torch.equal(points.grad, pull * keep[..., None])


@pytest.mark.parametrize("change, error, says", [
    ({0: [[1.0]]}, ArgumentError, "points: expected a tensor"),
    ({0: torch.zeros(2, 50, 3, dtype=torch.float16)}, DtypeError, "points: expected float32 or float64"),
    ({0: torch.zeros(2, 50, 2)}, ShapeError, "points: expected"),
    ({0: torch.zeros(2, 0, 3)}, ShapeError, "nothing empty"),
    ({0: torch.full((2, 50, 3), math.nan)}, ArgumentError, "points: expected finite"),
    ({1: torch.zeros(2, 65, 3)}, ShapeError, "anchors: expected 1 to 64"),
    ({1: torch.zeros(2, 4, 3, dtype=torch.float64)}, DtypeError, "anchors: expected torch.float32"),
    ({1: torch.zeros(2, 4, 3, device="meta")}, DeviceError, "anchors: expected cpu"),
    ({2: torch.zeros(2, 5, 3)}, ShapeError, "rotation: expected"),
    ({3: torch.full((2, 4, 3), math.inf)}, ArgumentError, "rotation and scale"),
    ({4: None}, ArgumentError, "shift: expected a tensor"),
    ({5: 0.0}, ArgumentError, "sigma: expected a number above 0"),
    ({5: math.nan}, ArgumentError, "sigma: expected a finite"),
    ({5: torch.tensor([0.5, -0.5])}, ArgumentError, "sigma: expected numbers above 0"),
    ({5: torch.ones(3)}, ShapeError, "sigma: expected"),
    ({6: torch.ones(3)}, ShapeError, "axes: expected"),
    ({7: torch.ones(2)}, DtypeError, "counts: expected int64"),
    ({7: torch.tensor([1, 51])}, ArgumentError, "counts: expected 0 to 50"),
])
def test_what_does_not_fit(change, error, says):
    case = [*given(dtype=torch.float32)[:5], 0.5, None, None]
    for at, value in change.items():
        case[at] = value
    with pytest.raises(error, match=says):
        deform(*case)


def test_masks_and_angles_that_do_not_fit():
    points = torch.zeros(2, 5, 3)
    with pytest.raises(ShapeError, match="keep: expected"):
        mask_points(points, torch.ones(2, 4))
    with pytest.raises(DtypeError, match="keep: expected"):
        mask_points(points, torch.ones(2, 5, dtype=torch.int64))
    with pytest.raises(ArgumentError, match="keep: expected finite"):
        mask_points(points, torch.full((2, 5), math.nan))
    with pytest.raises(ShapeError, match="angles: expected"):
        rotation_matrix(torch.zeros(2))
    with pytest.raises(DtypeError, match="angles: expected floats"):
        rotation_matrix(torch.zeros(3, dtype=torch.int64))
    with pytest.raises(ArgumentError, match="compat"):
        rotation_matrix(torch.zeros(3), compat=1)
