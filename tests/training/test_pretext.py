"""Tasks with free labels and their losses: against torch.rot90, SimCLR's formula written out, and counted frequencies."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import anamorph as am
from anamorph.training.philox import Key, pick, words
from anamorph.training.pretext import JIGSAW
from reference.philox import philox

BYTES = torch.randint(256, (3, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
FLIP = am.Recipe([am.RandomHorizontalFlip(1.0)], dtype=torch.uint8)
COIN = am.Recipe([am.RandomHorizontalFlip(0.5)], dtype=torch.uint8)


def clockwise(picture, k):
    return torch.rot90(picture, -k, (-2, -1))


# ---- draws ----


def test_words_are_philox():
    index = torch.tensor([0, 5, 2**40 + 3, -7])
    seed = 0xFEDCBA9876543210
    found = words(Key(index, seed, 2**32 - 1, 1023), 4, JIGSAW)
    for i, row in zip(index.tolist(), found.tolist(), strict=True):
        counter = (1023 << 20 | JIGSAW << 10, i & 0xFFFFFFFF, (i >> 32) & 0xFFFFFFFF, 2**32 - 1)
        assert tuple(row) == philox(counter, (seed & 0xFFFFFFFF, seed >> 32))


def test_picks_are_even():
    counts = pick(Key(torch.arange(35000), 0, 0, 0), 35, JIGSAW).bincount(minlength=35)
    assert len(counts) == 35 and ((counts - 1000).abs() < 5 * math.sqrt(1000)).all()


# ---- rotations ----


def test_rotnet():
    views, labels = am.rotnet(BYTES)
    assert labels.tolist() == [0, 1, 2, 3] * 3
    for row, (b, k) in enumerate(itertools.product(range(3), range(4))):
        assert np.array_equal(views[row], np.rot90(BYTES[b].numpy(), k, (1, 2)))


@pytest.mark.parametrize("layout", ["NCHW", "NHWC", "list"])
def test_the_flip_comes_before_the_turn(route, layout):
    given = {"NCHW": BYTES, "NHWC": BYTES.permute(0, 2, 3, 1), "list": list(BYTES)}[layout]
    recipe = FLIP if layout != "list" else am.Recipe([*FLIP.transforms, am.CenterCrop(8)], dtype=torch.uint8)
    views, labels = am.RotationPretext(recipe)(given, index=[4, 5, 6])
    assert labels.tolist() == [0, 1, 2, 3] * 3
    for row, (b, k) in enumerate(itertools.product(range(3), range(4))):
        assert torch.equal(views[row], clockwise(BYTES[b].flip(2), k)), (b, k)


def test_the_official_order_turns_first(route):
    views, _ = am.RotationPretext(FLIP, order="official")(BYTES, index=[4, 5, 6])
    for row, (b, k) in enumerate(itertools.product(range(3), range(4))):
        assert torch.equal(views[row], clockwise(BYTES[b], k).flip(2)), (b, k)


def test_what_the_official_order_cannot_tell_apart():
    """Of a picture that is its own mirror image the labels 1 and 3 have the same views, as often; with the flip first never."""
    left = BYTES[:1, :, :, :4]
    symmetric = torch.cat([left, left.flip(3)], 3).expand(400, -1, -1, -1)
    seen = {}
    for order in ("official", "flip first"):
        views, labels = am.RotationPretext(COIN, order=order)(symmetric, index=torch.arange(400))
        kinds = [v.numpy().tobytes() for v in views]
        seen[order] = [{kind: [kinds[i] for i in (labels == k).nonzero().flatten()].count(kind) for kind in set(kinds)}
                       for k in range(4)]
    one, three = ({kind: n for kind, n in seen["official"][k].items() if n} for k in (1, 3))
    assert one.keys() == three.keys() and len(one) == 2
    assert all(abs(n - 200) < 50 for n in [*one.values(), *three.values()])
    one, three = ({kind for kind, n in seen["flip first"][k].items() if n} for k in (1, 3))
    assert len(one) == len(three) == 1 and not one & three


@pytest.mark.parametrize("turns", ["all", "one"])
def test_a_list_of_pictures_of_one_size_is_their_batch(turns):
    task, ids = am.RotationPretext(FLIP, turns=turns), torch.arange(len(BYTES))
    (views, labels), (expected, theirs) = task([*BYTES], index=ids), task(BYTES, index=ids)
    assert torch.equal(views, expected) and torch.equal(labels, theirs)


def test_one_turn_is_drawn_by_id_seed_and_epoch():
    task = am.RotationPretext(am.Recipe([], dtype=torch.uint8), turns="one")
    many = BYTES[:1].expand(4000, -1, -1, -1)
    views, labels = task(many, index=torch.arange(4000), seed=3, epoch=2)
    assert ((labels.bincount(minlength=4) - 1000).abs() < 5 * math.sqrt(750)).all()
    for b in range(50):
        assert torch.equal(views[b], clockwise(BYTES[0], int(labels[b])))
    again, same = task(many[:3], index=[7, 4, 7], seed=3, epoch=2)  # in another batch
    assert same.tolist() == labels[[7, 4, 7]].tolist() and torch.equal(again, views[[7, 4, 7]])
    for other in ({"seed": 4, "epoch": 2}, {"seed": 3, "epoch": 1}, {"seed": 3, "epoch": 2, "view": 1}):
        assert not torch.equal(task(many, index=torch.arange(4000), **other)[1], labels)


def test_each_turn_has_draws_of_its_own_and_one_render():
    recipe = am.Recipe([am.ColorJitter(0.5, 0.5)])
    before = am.launch_count()
    views, _ = am.RotationPretext(recipe)(BYTES, index=[0, 1, 2], seed=1)
    assert am.launch_count() - before == 4 + 1  # the plans of four turns, and one render
    back = torch.stack([clockwise(v, -k) for v, k in zip(views, itertools.cycle(range(4)))]).view(3, 4, 3, 8, 8)
    assert all(((back[:, i] - back[:, j]).abs().amax((1, 2, 3)) > 0.01).all() for i, j in itertools.combinations(range(4), 2))


# ---- jigsaw ----


def test_permutations():
    table = am.jigsaw_permutations()
    assert table.shape == (35, 9) and table[0].tolist() == list(range(9))
    assert (table.sort(1).values == torch.arange(9)).all()
    apart = (table[:, None] != table).sum(2)
    assert apart[~torch.eye(35, dtype=torch.bool)].min() >= 3
    assert torch.equal(table, am.jigsaw_permutations()) and not torch.equal(table, am.jigsaw_permutations(seed=1))
    far = am.jigsaw_permutations(20, distance=7)
    assert (far[:, None] != far).sum(2)[~torch.eye(20, dtype=torch.bool)].min() >= 7
    assert am.jigsaw_permutations(24, tiles=4, distance=2).unique(dim=0).shape == (24, 4)  # all that there are


def assembled(tiles, grid=3):
    return torch.cat([torch.cat([*tiles[r * grid:(r + 1) * grid]], -1) for r in range(grid)], -2)


def test_the_identity_reassembles_the_picture():
    images = torch.rand(4, 3, 9, 12)
    task = am.JigsawPretext([list(range(9)), [*range(1, 9), 0]], resize=False)
    tiles, labels = task(images, index=range(4))
    assert tiles.shape == (4, 9, 3, 3, 4)
    assert set(labels.tolist()) == {0, 1}
    for b in range(4):
        order = task.permutations[labels[b]]
        assert torch.equal(assembled(tiles[b]), images[b]) == (int(labels[b]) == 0)
        assert torch.equal(assembled(tiles[b][order.argsort()]), images[b])


def test_tiles_have_the_size_of_the_picture():
    images = torch.randint(256, (2, 3, 9, 9), dtype=torch.uint8)
    small, labels = am.JigsawPretext(resize=False)(images, index=[3, 8], seed=5)
    large, same = am.JigsawPretext()(images, index=[3, 8], seed=5)
    assert large.shape == (2, 9, 3, 9, 9) and large.dtype == torch.uint8 and torch.equal(labels, same)
    from PIL import Image
    for b, t in itertools.product(range(2), range(9)):
        tile = Image.fromarray(small[b, t].permute(1, 2, 0).contiguous().numpy())
        expected = np.asarray(tile.resize((9, 9), Image.BILINEAR)).astype(int)
        assert np.abs(large[b, t].permute(1, 2, 0).numpy().astype(int) - expected).max() <= 1  # PIL rounds between the axes


def test_sides_that_three_does_not_divide():
    """Published: from the next whole pixel on, whole pixels."""
    tiles = am.JigsawPretext(resize=False).tiles(torch.arange(32).view(1, 1, 1, 32).expand(1, 1, 32, 32))
    assert [tiles[0, t, 0, 0].tolist() for t in range(3)] == [list(range(0, 10)), list(range(11, 21)), list(range(22, 32))]


def test_labels_are_drawn_by_id():
    task, images = am.JigsawPretext(resize=False), torch.rand(3, 1, 6, 6)
    first = task(images, index=[1, 2, 3], seed=9, epoch=4)
    assert torch.equal(first[1], task(images.flip(0), index=[3, 2, 1], seed=9, epoch=4)[1].flip(0))
    many = pick(Key(torch.arange(100), 9, 4, 0), 35, JIGSAW)
    assert first[1].tolist() == many[1:4].tolist()


# ---- losses ----


def test_nt_xent_with_numbers():
    """Two samples whose views agree and are at right angles to the other's: -log(e^2 / (e^2 + 1 + 1))."""
    z = torch.eye(2)
    assert am.nt_xent(z, 3 * z).item() == pytest.approx(math.log(1 + 2 * math.exp(-2)))
    assert am.nt_xent(z, z, 1.0).item() == pytest.approx(math.log(1 + 2 * math.exp(-1)))


def cosines(first, second):
    z = np.concatenate([first.numpy(), second.numpy()])
    z = z / np.linalg.norm(z, axis=1, keepdims=True)
    return z @ z.T


def embeddings(count=5, seed=0):
    return torch.randn(2, count, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_nt_xent_is_simclrs_formula():
    a, b = embeddings()
    e = np.exp(cosines(a, b) / 0.3)
    expected = np.mean([-math.log(e[i, (i + 5) % 10] / (e[i].sum() - e[i, i])) for i in range(10)])
    assert am.nt_xent(a, b, 0.3).item() == pytest.approx(expected, rel=1e-12)
    a.requires_grad_(), b.requires_grad_()
    am.nt_xent(a, b).backward()
    assert a.grad.abs().sum() > 0 and b.grad.abs().sum() > 0


BAD = {
    "recipe": (lambda: am.RotationPretext([am.RandomHorizontalFlip()]), am.ArgumentError, "an anamorph.Recipe"),
    "order": (lambda: am.RotationPretext(FLIP, order="flip last"), am.ArgumentError, "'official'"),
    "turns": (lambda: am.RotationPretext(FLIP, turns="two"), am.ArgumentError, "'all', 'one'"),
    "mixing": (lambda: am.RotationPretext(am.Recipe([am.MixUp()])), am.ArgumentError, "does not mix"),
    "turning": (lambda: am.RotationPretext(am.Recipe([am.OneOf([am.D4(), am.RandomGrayscale()])])), am.ArgumentError,
                "no quarter turns.*D4"),
    "hidden flip": (lambda: am.RotationPretext(am.Recipe([am.RandomApply([am.RandomHorizontalFlip()])])), am.ArgumentError,
                    "RandomHorizontalFlip.*, which cannot be; order='official'"),
    "crops that flip": (lambda: am.RotationPretext(am.Recipe([am.TenCrop(8)])), am.ArgumentError, "TenCrop.*, which cannot be"),
    "wide": (lambda: am.RotationPretext(FLIP)(torch.zeros(1, 3, 8, 6), index=[0]), am.ShapeError, "square pictures.*8 x 6"),
    "ids": (lambda: am.RotationPretext(FLIP)(BYTES, index=[0]), am.ShapeError, "3 sample ids"),
    "seed": (lambda: am.RotationPretext(FLIP)(BYTES, index=[0, 1, 2], seed=-1), am.ArgumentError, "seed"),
    "view": (lambda: am.RotationPretext(FLIP)(BYTES, index=[0, 1, 2], view=1024), am.ArgumentError, "0 to 1023"),
    "ints": (lambda: am.RotationPretext(FLIP)(BYTES.int(), index=[0, 1, 2]), am.DtypeError, "uint8, float32"),
    "rotnet": (lambda: am.rotnet(torch.zeros(1, 3, 8, 6)), am.ShapeError, "square"),
    "too many permutations": (lambda: am.jigsaw_permutations(25, tiles=4, distance=2), am.ArgumentError, "24 of 25 were found"),
    "distance": (lambda: am.jigsaw_permutations(distance=10), am.ArgumentError, "distance"),
    "no permutation": (lambda: am.JigsawPretext([[0] * 9, list(range(9))]), am.ArgumentError, "0 to 8 once"),
    "short permutation": (lambda: am.JigsawPretext([[0, 1, 2], [2, 1, 0]]), am.ShapeError, r"\[P, 9\]"),
    "small": (lambda: am.JigsawPretext()(torch.zeros(1, 3, 2, 9), index=[0]), am.ShapeError, "at least 3 pixels"),
    "int tiles": (lambda: am.JigsawPretext()(torch.zeros(1, 3, 9, 9).int(), index=[0]), am.DtypeError, "floats or uint8"),
    "one sample": (lambda: am.nt_xent(torch.ones(1, 4), torch.ones(1, 4)), am.ShapeError, "at least two"),
    "shapes": (lambda: am.nt_xent(torch.ones(2, 4), torch.ones(3, 4)), am.ShapeError, "of one shape"),
    "whole numbers": (lambda: am.nt_xent(torch.ones(2, 4).int(), torch.ones(2, 4)), am.DtypeError, "first: expected floats"),
    "temperature": (lambda: am.nt_xent(torch.ones(2, 4), torch.ones(2, 4), 0), am.ArgumentError, "temperature"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    call, error, words = BAD[name]
    with pytest.raises(error, match=words):
        call()


def test_scatsimclrs_sum_runs():
    """NT-Xent + 0.3 cross-entropy, with a net that learns the turn of pictures with an upper and a lower half."""
    images = torch.rand(16, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 0.2
    images[:, :, :4] += 0.8
    with torch.random.fork_rng():
        torch.manual_seed(0)
        body, head = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 16), torch.nn.ReLU()), torch.nn.Linear(16, 4)
    optimizer = torch.optim.Adam([*body.parameters(), *head.parameters()], 0.01)
    recipe, ids = am.presets.simclr(8, strength=0.2, blur=0), torch.arange(16)
    task = am.RotationPretext(recipe)
    for epoch in range(40):
        first, second = (am.render(images, recipe.plan(ids, size=(8, 8), epoch=epoch, view=v), layout="NCHW") for v in (0, 1))
        views, labels = task(images, index=ids, epoch=epoch, layout="NCHW")
        logits = head(body(views))
        loss = am.nt_xent(body(first), body(second)) + 0.3 * F.cross_entropy(logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert (logits.argmax(1) == labels).float().mean() > 0.8
