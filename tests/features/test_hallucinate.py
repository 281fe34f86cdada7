"""Hallucinated positives against the formulas in NumPy, and their crops against torchvision's rules written as a loop."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from anamorph.core.errors import ArgumentError, DtypeError, ShapeError
from anamorph.features import draws
from anamorph.features.hallucinate import (
    Hallucinator,
    center_crops,
    hallucinate_moco,
    hallucinate_simclr,
    hallucinate_simsiam,
)
from anamorph.features.queue import moco_logits
from anamorph.features.transformation import extrapolate


def unit(*shape, seed=0):
    return F.normalize(rows(*shape, seed=seed), dim=-1)


def rows(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def net(dim=6, seed=0, **options):
    torch.manual_seed(0)
    return Hallucinator(dim, seed=seed, **options).double()


def by_hand(module, query, key, step):
    """h, in NumPy."""
    r = draws.uniform((module.step[0].item(), step), "hallucinate.ratio", (1,), 0.0, module.largest).item()
    q, k = query.detach().numpy(), key.detach().numpy()
    h = np.concatenate([q, (1 + r) * q - r * k], 1)
    for i in (0, 2, 4):
        h = h @ module.mlp[i].weight.detach().numpy().T + module.mlp[i].bias.detach().numpy()
        h = np.maximum(h, 0) if i < 4 else h
    return h


def test_the_extrapolation_with_numbers():
    g = extrapolate(torch.tensor([[2.0, 0]]), torch.tensor([[0.6, 0.8]]), torch.tensor(1.1))
    torch.testing.assert_close(g, torch.tensor([[2.14, -0.08]]))


@pytest.mark.parametrize("r", [0.0, 0.03, 0.1])
def test_what_is_extrapolated_is_farther_from_the_key(r):
    q, k = unit(5, 8), unit(5, 8, seed=1)
    g, s = extrapolate(q, k, torch.tensor(1 + r).double()), (q * k).sum(1)
    r = float(torch.tensor(1 + r)) - 1  # as float32 has it
    torch.testing.assert_close((g * k).sum(1), (1 + r) * s - r)
    torch.testing.assert_close(g.square().sum(1), 1 + 2 * r * (1 + r) * (1 - s))


def test_the_net_is_the_published_one():
    assert sum(p.numel() for p in Hallucinator().parameters()) == 164480
    assert [tuple(p.shape) for p in Hallucinator(512).parameters() if p.dim() == 2] == [(1024, 1024), (1024, 1024), (512, 1024)]


def test_one_ratio_for_the_batch_and_another_in_each_step():
    module, q, k = net(seed=4), rows(3, 6), unit(3, 6, seed=1)
    first, second = module(q, k), module(q, k)
    np.testing.assert_allclose(first.detach(), by_hand(module, q, k, 0), rtol=1e-6)
    np.testing.assert_allclose(second.detach(), by_hand(module, q, k, 1), rtol=1e-6)
    assert not torch.equal(first, second) and torch.equal(first, net(seed=4)(q, k))
    ratios = torch.stack([draws.uniform((0, i), "hallucinate.ratio", (1,), 0.0, 0.1) for i in range(2000)])
    assert 0 <= ratios.min() < 0.001 and 0.099 < ratios.max() <= 0.1 and abs(ratios.mean() - 0.05) < 0.003
    module.eval()
    resting, again = module(q, k), module(q, k)
    torch.testing.assert_close(resting, module.mlp(torch.cat([q, q], 1)))
    assert torch.equal(resting, again) and module.step[1].item() == 2


def test_moco_takes_the_key_for_both():
    module, q, k, queue = net(), rows(3, 6), unit(3, 6, seed=1), unit(7, 6, seed=2)
    exclude = torch.zeros(3, 7, dtype=torch.bool)
    exclude[1, 3] = True
    logits = hallucinate_moco(module, q, k, queue, 0.3, exclude=exclude)
    both = np.concatenate([q.numpy(), by_hand(module, q, k, 0)])
    both /= np.linalg.norm(both, axis=1, keepdims=True)
    for b in range(6):
        expected = np.concatenate([[both[b] @ k[b % 3].numpy()], both[b] @ queue.numpy().T]) / 0.3
        if b % 3 == 1:
            expected[1 + 3] = -np.inf
        np.testing.assert_allclose(logits[b].detach(), expected, rtol=1e-6)
    torch.testing.assert_close(logits[:3], moco_logits(F.normalize(q, dim=1), k, queue, 0.3, exclude=exclude))


def test_mocos_gradients():
    module, q, k, queue = net(), rows(3, 6).requires_grad_(), unit(3, 6, seed=1).requires_grad_(), unit(7, 6).requires_grad_()
    hallucinate_moco(module, q, k, queue).logsumexp(1).sum().backward()
    assert k.grad is None and queue.grad is None, "dL/dk = 0"
    assert q.grad.abs().min() > 0 and all(p.grad.abs().max() > 0 for p in module.parameters())
    assert torch.autograd.gradcheck(lambda q: hallucinate_moco(net(), q, k, queue), q)


def test_simclr_masks_the_columns_of_its_own_picture():
    module, q, k, tau = net(), rows(4, 6), rows(4, 6, seed=1), 0.5
    found = hallucinate_simclr(module, q, k, tau).item()
    z = np.stack([x / np.linalg.norm(x, axis=1, keepdims=True) for x in (q.numpy(), by_hand(module, q, k, 0), k.numpy())])
    losses = []
    for anchor, positive in ((0, 2), (2, 0), (1, 2), (2, 1)):
        for i in range(4):
            a = z[anchor, i]
            right = math.exp(a @ z[positive, i] / tau)
            others = sum(math.exp(a @ z[kind, j] / tau) for kind in range(3) for j in range(4) if j != i)
            losses.append(-math.log(right / (right + others)))
    assert found == pytest.approx(np.mean(losses), rel=1e-6)


def test_simclr_is_below_ln_2_where_pictures_lie_apart():
    """Published code counts the key's copy as its negative, and no loss of a row falls below ln 2."""
    q = torch.eye(6, dtype=torch.float64)

    class Same(torch.nn.Module):
        def forward(self, query, key):
            return query

    assert hallucinate_simclr(Same(), q, q, 0.1) == pytest.approx(math.log(1 + 15 * math.exp(-10)))
    one, two = rows(4, 6).requires_grad_(), rows(4, 6, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: hallucinate_simclr(net(), a, b), (one, two)), "both views have a gradient"


def test_simsiam():
    module, p1, p2 = net(), rows(4, 6).requires_grad_(), rows(4, 6, seed=1).requires_grad_()
    z1, z2 = rows(4, 6, seed=2).requires_grad_(), rows(4, 6, seed=3).requires_grad_()
    loss = hallucinate_simsiam(module, p1, p2, z1, z2)
    cosine = lambda a, b: (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)  # noqa: E731
    a, b, c, d = (t.detach().numpy() for t in (p1, p2, z1, z2))
    expected = [cosine(a, d), cosine(by_hand(module, p1, p2, 0), d), cosine(b, c), cosine(by_hand(module, p2, p1, 1), c)]
    assert loss.item() == pytest.approx(-np.mean(expected), rel=1e-6), "each way has its own r"
    loss.backward()
    assert z1.grad is None and z2.grad is None and p1.grad.abs().min() > 0 and p2.grad.abs().min() > 0
    assert torch.autograd.gradcheck(lambda x, y: hallucinate_simsiam(net(), x, y, z1, z2), (p1, p2))


def losses(module, q, k, queue):
    return (hallucinate_moco(module, q, k, queue).logsumexp(1).mean() + hallucinate_simclr(module, q, k)
            + hallucinate_simsiam(module, q, k, k, q))


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_compiled_whole(backend):
    queue, found = unit(7, 6, seed=2), []
    for call in (losses, torch.compile(losses, fullgraph=True, backend=backend)):
        module, q, k = net(), rows(3, 6).requires_grad_(), rows(3, 6, seed=1).requires_grad_()
        found.append(torch.autograd.grad(call(module, q, k, queue), [q, k, *module.parameters()]))
    torch.testing.assert_close(found[1], found[0])


def test_autocast():
    module, q, k, queue = net().float(), rows(3, 6).float(), rows(3, 6, seed=1).float(), unit(7, 6, seed=2).float()
    with torch.autocast("cpu", torch.bfloat16):
        logits = hallucinate_moco(module, q.bfloat16(), k.bfloat16(), queue)
        loss = losses(net().float(), q.requires_grad_(), k, queue)
    assert logits.dtype == loss.dtype == torch.float32
    loss.backward()
    torch.testing.assert_close(loss, losses(net().float(), q, k, queue), rtol=0.02, atol=0.02)


def crop_by_hand(i, height, width, scale, ratio, box, alpha, count):
    """torchvision's RandomResizedCrop.get_params, with ContrastiveCrop's places, of the same numbers."""
    areas = draws.uniform((3, 1), "center.area", (count, 10), *scale)[i]
    ratios = draws.uniform((3, 1), "center.ratio", (count, 10), math.log(ratio[0]), math.log(ratio[1]))[i]
    places = draws.beta((3, 1), "center.place", (2, count), alpha, alpha)[:, i]
    for area, aspect in zip(areas.tolist(), ratios.tolist()):
        w = round(math.sqrt(height * width * area * math.exp(aspect)))
        h = round(math.sqrt(height * width * area / math.exp(aspect)))
        if 0 < w <= width and 0 < h <= height:
            out = []
            for full, side, u in ((height, h, places[0]), (width, w, places[1])):
                low, high = (min(max(int(full * edge) - side // 2, 0), full - side) for edge in box)
                out.append(low + int((high - low) * u.item()))
            return [*out, h, w]
    whole = width / height
    if whole < ratio[0]:
        h, w = round(width / ratio[0]), width
    elif whole > ratio[1]:
        h, w = height, round(height * ratio[1])
    else:
        h, w = height, width
    return [(height - h) // 2, (width - w) // 2, h, w]


@pytest.mark.parametrize("height, width, scale, ratio, box", [
    (32, 32, (0.2, 1.0), (3 / 4, 4 / 3), (0.25, 0.75)), (60, 35, (0.08, 1.0), (3 / 4, 4 / 3), (0.2, 0.8)),
    (20, 90, (0.9, 1.0), (3 / 4, 4 / 3), (0.25, 0.75)), (90, 20, (0.95, 1.0), (0.9, 1.1), (0.0, 1.0))])
def test_crops_are_those_of_the_rule(height, width, scale, ratio, box):
    found = center_crops((3, 1), 40, (height, width), box=box, scale=scale, ratio=ratio).tolist()
    assert found == [crop_by_hand(i, height, width, scale, ratio, box, 0.1, 40) for i in range(40)]


def test_crops_lie_inside_and_at_the_edges_of_the_box():
    crops = center_crops((0, 0), 4000, 100, scale=(0.2, 0.2), ratio=(1, 1))
    assert crops.dtype == torch.int64 and (crops[:, 2:] == 45).all()
    assert crops[:, :2].min() == 3 and crops[:, :2].max() <= 53  # 25 - 22, 75 - 22
    ends = ((crops[:, :2] < 8) | (crops[:, :2] >= 48)).float().mean()
    assert 0.75 < ends < 0.87  # of Beta(.1, .1) 81 % lies within a tenth of an end
    uniform = center_crops((0, 0), 4000, 100, scale=(0.2, 0.2), ratio=(1, 1), alpha=1.0)
    assert 0.17 < ((uniform[:, :2] < 8) | (uniform[:, :2] >= 48)).float().mean() < 0.23
    assert torch.equal(crops, center_crops(torch.tensor([0, 0]), 4000, 100, scale=(0.2, 0.2), ratio=(1, 1)))
    compiled = torch.compile(center_crops, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(torch.tensor([0, 0]), 40, 32), center_crops((0, 0), 40, 32))


Q, ROWS, NET = unit(4, 6), unit(7, 6), net()
BAD = {
    "no features": (lambda: Hallucinator(0), ArgumentError, "dim.*given 0"),
    "a ratio below 0": (lambda: Hallucinator(largest=-0.1), ArgumentError, "largest.*given -0.1"),
    "another length": (lambda: NET(unit(2, 5), unit(2, 5)), ShapeError, r"query: expected \[B, 6\], given \[2, 5\]"),
    "queries and keys": (lambda: NET(Q, unit(3, 6)), ShapeError, r"key: expected \[4, 6\] like query"),
    "no batch": (lambda: hallucinate_moco(NET, Q[:0], Q[:0], ROWS), ShapeError, "query.*nothing empty"),
    "no queue": (lambda: hallucinate_moco(NET, Q, Q, ROWS[:0]), ShapeError, "queue.*nothing empty"),
    "a batch of one": (lambda: hallucinate_simclr(NET, Q[:1], Q[:1]), ShapeError, "at least two pictures, given 1"),
    "temperature": (lambda: hallucinate_simclr(NET, Q, Q, 0.0), ArgumentError, "temperature.*given 0"),
    "precisions": (lambda: hallucinate_simclr(NET, Q, Q.float()), DtypeError, "second: expected torch.float64"),
    "targets": (lambda: hallucinate_simsiam(NET, Q, Q, Q[:2], Q), ShapeError, r"first_target: expected \[4, 6\]"),
    "no crops": (lambda: center_crops((0, 0), 0, 32), ArgumentError, "count.*given 0"),
    "a box outside": (lambda: center_crops((0, 0), 1, 32, box=(0.5, 1.5)), ArgumentError, "box.*from 0 to 1"),
    "a box turned round": (lambda: center_crops((0, 0), 1, 32, box=(0.7, 0.3)), ArgumentError, "box: expected low <= high"),
    "a scale of none": (lambda: center_crops((0, 0), 1, 32, scale=(0, 1)), ArgumentError, "scale"),
    "alpha": (lambda: center_crops((0, 0), 1, 32, alpha=0), ArgumentError, "alpha.*given 0"),
    "a size of one number too many": (lambda: center_crops((0, 0), 1, (3, 4, 5)), ArgumentError, "size"),
}


@pytest.mark.parametrize("case", BAD)
def test_mistakes(case):
    call, error, text = BAD[case]
    with pytest.raises(error, match=text):
        call()
