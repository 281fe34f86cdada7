"""Copy-paste against torchvision, torch's resize, scikit-image and the papers' rules; on a CPU and by the CUDA code, emulated."""

import pickle
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from skimage import measure
from torch.nn import functional as F

import anamorph as am
from anamorph.bench._torchvision import v2
from emulation.route import FOUND, emulated
from reference.plan import Draw, exact

DTYPES = [torch.uint8, torch.float32, torch.float16, torch.bfloat16]
ONE = {torch.uint8: 255, torch.float32: 1.0, torch.float16: 1.0, torch.bfloat16: 1.0}
STEP = {torch.uint8: 0.51, torch.float32: 2e-6, torch.float16: 1e-3, torch.bfloat16: 8e-3}  # half a step of the values, and a bit


def random_images(batch=3, size=(48, 70), dtype=torch.uint8, channels=3, seed=0):
    images = torch.randint(256, (batch, channels, *size), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    return images if dtype == torch.uint8 else (images / 255).to(dtype)


def tight(mask):
    """left, top, right, bottom of a mask, by its edges."""
    y, x = mask.nonzero(as_tuple=True)
    return [int(x.min()), int(y.min()), int(x.max()) + 1, int(y.max()) + 1]


def target_of(masks, label=0, **more):
    """A target of masks, as their tight boxes and labels that count from ``label``."""
    masks = torch.as_tensor(masks)
    boxes = torch.tensor([tight(m) for m in masks], dtype=torch.float32).reshape(-1, 4)
    return {"boxes": boxes, "labels": torch.arange(label, label + len(masks)), "masks": masks, **more}


def random_targets(counts, size=(48, 70), seed=0):
    """Disjoint objects of random forms."""
    rng, targets = np.random.default_rng(seed), []
    for i, n in enumerate(counts):
        owner = np.full(size, -1)
        for k in range(n):
            h, w = rng.integers(6, 20, 2)
            y, x = rng.integers(0, size[0] - h), rng.integers(0, size[1] - w)
            owner[y:y + h, x:x + w][rng.random((h, w)) < 0.8] = k
        masks = np.stack([owner == k for k in range(n)]) if n else np.zeros((0, *size), bool)
        masks = masks[masks.any((1, 2))]
        targets.append(target_of(masks, 100 * i, iscrowd=torch.zeros(len(masks), dtype=torch.int64),
                                 area=torch.from_numpy(masks.sum((1, 2))).float(), image_id=torch.tensor([i])))
    return targets


def disc(h=40, w=30, color=(250, 10, 90)):
    """An ellipse with a soft edge."""
    y, x = np.mgrid[:h, :w]
    r = np.hypot((y + 0.5 - h / 2) / (h / 2), (x + 0.5 - w / 2) / (w / 2))
    alpha = (255 * np.clip((1 - r) * 8, 0, 1)).astype(np.uint8)
    return np.dstack([*(np.full((h, w), c, np.uint8) for c in color), alpha])


def noisy(h, w, seed=0):
    """Random colours, and random alpha of at least 1/2, so that the whole is one part."""
    rng = np.random.default_rng(seed)
    return np.dstack([rng.integers(0, 256, (h, w, 3)), rng.integers(129, 256, (h, w))]).astype(np.uint8)


def block(h=20, w=20):
    return np.full((h, w, 4), 255, np.uint8)


def same(a, b):
    """Results of two calls, bit for bit."""
    (images, targets), (others, more) = a, b
    return torch.equal(images, others) and all(one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)
                                               for one, other in zip(targets, more, strict=True))


def check_objects(images, targets):
    """What holds of every result whose inputs' masks were disjoint and boxes tight."""
    for target in targets:
        masks = target["masks"]
        assert masks.to(torch.int64).sum(0).max() <= 1 if len(masks) else True, "visible masks are disjoint"
        assert all(len(target[name]) == len(masks) for name in ("boxes", "labels", "iscrowd", "area"))
        assert target["boxes"].tolist() == [tight(m) for m in masks]
        assert target["area"].tolist() == masks.flatten(1).sum(1).tolist()
        assert masks.shape[1:] == images.shape[2:] and target["boxes"].dtype == torch.float32


# ---- SimpleCopyPaste ----


@pytest.mark.parametrize("seed", range(4))
def test_simple_objects(route, seed):
    images, targets = random_images(4), random_targets([5, 0, 3, 9], seed=seed)
    out, after = am.SimpleCopyPaste()(images, targets, index=[3, 1, 4, 5], seed=seed)
    check_objects(out, after)
    for i, (old, new) in enumerate(zip(targets, after, strict=True)):
        partner = targets[i - 1]
        pasted = [k for k, label in enumerate(new["labels"]) if label in partner["labels"]]
        own = [k for k, label in enumerate(new["labels"]) if label in old["labels"]]
        assert [*own, *pasted] == list(range(len(new["labels"])))  # old, then pasted
        assert bool(pasted) == bool(len(partner["masks"]))
        union = torch.zeros(images.shape[2:], dtype=torch.bool)
        for k in pasted:
            where = int((partner["labels"] == new["labels"][k]).nonzero())
            assert torch.equal(new["masks"][k], partner["masks"][where])
            union |= partner["masks"][where]
        left = {int(label): mask & ~union for label, mask in zip(old["labels"], old["masks"], strict=True)}
        assert new["labels"][own].tolist() == [label for label, mask in left.items() if mask.any()]
        assert all(torch.equal(new["masks"][k], left[int(new["labels"][k])]) for k in own)
        assert new["image_id"] is old["image_id"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("blur", [(5, 2.0), (9, 1.3), (1, 1.0), None])
def test_simple_pixels_are_torchvisions_blur_of_the_union(route, dtype, blur):
    images, targets = random_images(2, dtype=dtype, channels=2), random_targets([6, 6])
    frame = torch.rand(48, 70, generator=torch.Generator().manual_seed(0)) < 0.5  # every object has pixels at the border
    frame[4:-4, 4:-4] = False
    for i, t in enumerate(targets):
        owner = torch.arange(48 * 70).view(48, 70) % len(t["masks"])
        masks = torch.stack([mask & ~frame | frame & (owner == k) for k, mask in enumerate(t["masks"])])
        targets[i] = target_of(masks, 100 * i)
    out, after = am.SimpleCopyPaste(blur=blur)(images, targets, index=[0, 1])
    assert out.dtype == dtype
    for i in range(2):
        pasted = after[i]["masks"][after[i]["labels"] >= 100 if i == 0 else after[i]["labels"] < 100]
        alpha = pasted.any(0).to(torch.float64)[None]
        if blur:
            alpha = v2().functional.gaussian_blur(alpha, [blur[0]] * 2, [blur[1]] * 2)
        expected = alpha * images[1 - i].double() + (1 - alpha) * images[i].double()
        assert (out[i].double() - expected).abs().max() <= STEP[dtype]
        assert alpha.max() > 0.9 and (alpha == 0).any()


@pytest.mark.cpu
@pytest.mark.parametrize("n", [1, 2, 5, 100])
def test_simple_share_of_chosen_objects(n):
    """1 - (1 - 1/n)^n: n draws with replacement."""
    size, batch = (10, 10), 50
    masks = torch.eye(100, dtype=torch.bool).view(100, *size)[:n]
    images, targets = torch.zeros(batch, 1, *size, dtype=torch.uint8), [target_of(masks, 1000 * i) for i in range(batch)]
    pasted = []
    for epoch in range(20):
        _, after = am.SimpleCopyPaste(blur=None)(images, targets, index=range(batch), epoch=epoch)
        pasted += [int((t["labels"] // 1000 != i).sum()) / n for i, t in enumerate(after)]
    share, deviation = 1 - (1 - 1 / n) ** n, np.std(pasted) / len(pasted) ** 0.5
    assert abs(np.mean(pasted) - share) <= 5 * deviation + 1e-12
    if n == 100:
        assert share == pytest.approx(0.634, abs=1e-3) and np.std(pasted) > 0


@pytest.mark.cpu
def test_simple_probability():
    images = torch.zeros(100, 1, 8, 8, dtype=torch.uint8)
    targets = [target_of(torch.ones(1, 8, 8, dtype=torch.bool), i) for i in range(100)]
    pasted = []
    for epoch in range(30):
        _, after = am.SimpleCopyPaste(p=0.3)(images, targets, index=range(100), epoch=epoch)
        pasted += [t["labels"].item() != i for i, t in enumerate(after)]
    assert np.mean(pasted) == pytest.approx(0.3, abs=5 * (0.21 / 3000) ** 0.5)
    never, all_old = am.SimpleCopyPaste(p=0)(images, targets, index=range(100))
    assert torch.equal(never, images) and [t["labels"].item() for t in all_old] == list(range(100))


def test_simple_batch_of_one_comes_back(route):
    images, targets = random_images(1), random_targets([4])
    assert same(am.SimpleCopyPaste()(images, targets, index=[0]), (images, targets))


def test_simple_other_entries_follow_their_object(route):
    images, targets = random_images(2), random_targets([3, 4])
    for i, t in enumerate(targets):
        n = len(t["labels"])
        t["keypoints"] = (torch.arange(n * 6).view(n, 2, 3) + 100 * i).float()
        t["iscrowd"] = t["labels"] + 7
        t["orig_size"] = torch.tensor([480, 640])
    _, after = am.SimpleCopyPaste()(images, targets, index=[0, 1])
    points = {int(label): p for t in targets for label, p in zip(t["labels"], t["keypoints"], strict=True)}
    for old, new in zip(targets, after, strict=True):
        assert torch.equal(new["keypoints"], torch.stack([points[int(label)] for label in new["labels"]]))
        assert torch.equal(new["iscrowd"], new["labels"] + 7)
        assert new["orig_size"] is old["orig_size"]


def test_boxes_of_whole_objects_stay_as_given(route):
    """They may be finer than pixels."""
    masks = torch.zeros(2, 20, 20, dtype=torch.bool)
    masks[0, 2:6, 2:6] = masks[1, 10:15, 10:15] = True
    box = torch.tensor([[1.7, 2.2, 6.1, 5.8]])
    given = [{"boxes": box, "labels": torch.tensor([i]), "masks": masks[i:i + 1]} for i in range(2)]
    _, after = am.SimpleCopyPaste()(random_images(2, (20, 20)), given, index=[0, 1])
    assert all(torch.equal(t["boxes"], given[0]["boxes"].repeat(2, 1)) for t in after)
    given[1]["masks"] = given[1]["masks"].roll((-5, -5), (1, 2))  # over the lower right corner of the other one
    _, after = am.SimpleCopyPaste()(random_images(2, (20, 20)), given, index=[0, 1])
    assert after[0]["boxes"].tolist() == [[2, 2, 6, 6], given[1]["boxes"][0].tolist()]
    assert after[0]["masks"][0].sum() == 15


# ---- InstancePaste ----


@dataclass
class Pasted:
    cutout: int
    left: int
    top: int
    height: int
    width: int
    flip: int
    plane: int


def placements(paste, index, seed=0, epoch=0, size=(48, 70)):
    """What was drawn, for each sample."""
    numbers, placed = paste._place(torch.as_tensor(index), seed, epoch, size)
    return [[Pasted(*row) for row in part.tolist()] for part in placed.split(numbers.tolist())]


def resized(cutout, p):
    """A cut-out's alpha and its colours times alpha, by torch's antialiased resize."""
    texels = torch.as_tensor(cutout).double().permute(2, 0, 1)
    alpha = texels[3:] / 255
    both = torch.cat([alpha, texels[:3] * alpha])[None]
    both = F.interpolate(both, (p.height, p.width), mode="bilinear", antialias=True)[0]
    return both.flip(2) if p.flip else both


def composite(image, cutouts, placed):
    """The paper's, in float64: the picture, and each paste's own mask."""
    canvas, masks = image.double(), []
    for p in placed:
        part = torch.zeros(4, *image.shape[1:], dtype=torch.float64)
        top, left = max(p.top, 0), max(p.left, 0)
        bottom, right = min(p.top + p.height, image.shape[1]), min(p.left + p.width, image.shape[2])
        seen = slice(top - p.top, bottom - p.top), slice(left - p.left, right - p.left)
        part[:, top:bottom, left:right] = resized(cutouts[p.cutout], p)[:, *seen]
        canvas = part[1:] + (1 - part[:1]) * canvas
        masks.append(part[0])
    return canvas, masks


@pytest.mark.parametrize("dtype", DTYPES)
def test_instance_pixels_are_torchs_resize(route, dtype):
    cutouts = [noisy(9, 14, 1), noisy(60, 50, 2), noisy(31, 77, 3)]
    paste = am.InstancePaste([(c, i) for i, c in enumerate(cutouts)], sizes=(0.35, 0.2), count=(1, 5))
    images, ids = random_images(6, dtype=dtype), range(6)
    out, after = paste(images, [target_of(torch.zeros(0, 48, 70, dtype=torch.bool))] * 6, index=ids)
    drawn = placements(paste, ids)
    assert sum(map(len, drawn)) > 8 and {p.flip for sample in drawn for p in sample} == {0, 1}
    for i in range(6):
        scale = 1 if dtype == torch.uint8 else 255
        expected, alphas = composite(images[i].double() * scale, cutouts, drawn[i])
        assert (out[i].double() * scale - expected).abs().max() <= max(STEP[dtype] * scale, 2e-3)
        covered = torch.zeros(48, 70, dtype=torch.bool)
        visible = []
        for p, alpha in zip(reversed(drawn[i]), reversed(alphas), strict=True):
            mask = alpha > 0.5
            visible.append((p.cutout, mask & ~covered))
            covered |= mask
        expected = {(label, tuple(mask.flatten().tolist())) for label, mask in visible}
        assert {(int(label), tuple(mask.flatten().tolist())) for label, mask in
                zip(after[i]["labels"], after[i]["masks"], strict=True)} <= expected


@pytest.mark.parametrize("seed", range(3))
def test_instance_objects(route, seed):
    images, targets = random_images(4), random_targets([5, 0, 3, 9], seed=seed)
    paste = am.InstancePaste([(disc(), 500), (disc(20, 60), 501)], sizes=(0.3, 0.1), count=(2, 7))
    out, after = paste(images, targets, index=[3, 1, 4, 5], seed=seed)
    check_objects(out, after)
    for old, new in zip(targets, after, strict=True):
        own = new["labels"] < 500
        assert own.tolist() == sorted(own.tolist(), reverse=True) and not new["iscrowd"][~own].any()
        union = new["masks"][~own].any(0)
        for label, mask in zip(new["labels"][own], new["masks"][own], strict=True):
            assert not (mask & ~old["masks"][old["labels"] == label][0]).any() and not (mask & union).any()


@pytest.mark.parametrize(("columns", "rows", "kept"), [(10, 15, True), (11, 15, False), (10, 5, True), (11, 16, True)])
def test_ten_pixels_or_three_hundred(route, columns, rows, kept):
    """Of an object's right side so many columns are covered; 20 others of so many rows are left: 300 pixels, or 320."""
    paste = am.InstancePaste([(block(), 9)], sizes=(0.3, 0.0), count=(1, 1), aspect=0, flip=0)
    size = (100, 100)  # a square of 30 pixels
    index = next(i for i in range(1000) if 30 <= placements(paste, [i], size=size)[0][0].left <= 69
                 and 0 <= placements(paste, [i], size=size)[0][0].top <= 69)
    (p,) = placements(paste, [index], size=size)[0]
    assert p.width == p.height == 30
    mask = torch.zeros(1, *size, dtype=torch.bool)
    mask[0, p.top + 2:p.top + 2 + rows, p.left - 20:p.left + columns] = True
    _, (after,) = paste(random_images(1, size), [target_of(mask)], index=[index])
    assert after["labels"].tolist() == ([0, 9] if kept else [9])
    if kept:
        assert after["boxes"][0].tolist() == [p.left - 20, p.top + 2, p.left, p.top + 2 + rows]


def test_what_is_covered_whole_is_dropped_wherever_it_is(route):
    """Also a small one near the corner, whose empty box the published code takes for one that hardly moved."""
    paste = am.InstancePaste([(block(), 9)], sizes=(0.5, 0.0), count=(4, 4), aspect=0, flip=0)
    size = (40, 40)
    mask = torch.zeros(1, *size, dtype=torch.bool)
    mask[0, 1:5, 1:5] = True
    seen = set()
    for index in range(60):
        covered = any(p.left <= 1 and p.top <= 1 and p.left + p.width >= 5 and p.top + p.height >= 5
                      for p in placements(paste, [index], size=size)[0])
        _, (after,) = paste(random_images(1, size), [target_of(mask)], index=[index])
        assert (0 in after["labels"]) == (not covered)
        seen.add(covered)
    assert seen == {True, False}


def test_the_rule_holds_for_pasted_objects_too(route):
    paste = am.InstancePaste([(disc(), 9)], sizes=(0.35, 0.1), count=(6, 6))
    size, dropped = (80, 80), 0
    empty = [target_of(torch.zeros(0, *size, dtype=torch.bool))]
    for index in range(15):
        _, (after,) = paste(random_images(1, size), empty, index=[index])
        drawn = placements(paste, [index], size=size)[0]
        alphas = composite(torch.zeros(3, *size), [prepared(disc())], drawn)[1]
        expected, covered = [], torch.zeros(size, dtype=torch.bool)
        for alpha in reversed(alphas):
            mask = alpha > 0.5
            left = mask & ~covered
            covered |= mask
            near = left.any() and max(abs(a - b) for a, b in zip(tight(mask), tight(left), strict=True)) <= 10
            if near or left.sum() > 300:
                expected.insert(0, left)
        dropped += len(drawn) - len(expected)
        assert len(after["masks"]) == len(expected) and all(map(torch.equal, after["masks"], expected))
    assert dropped > 0


def prepared(rgba):
    """A cut-out as it is kept."""
    paste = am.InstancePaste([(rgba, 0)], sizes=(0.1, 0))
    return paste._texels.view(*paste._cutouts[0, 1:].tolist(), 4)


@pytest.mark.cpu
def test_placements_bit_for_bit():
    """Against Python's own arithmetic, from the paper's rules."""
    cutouts = [(block(10, 50), 4), (block(33, 20), 4), (block(25, 25), -2), (block(7, 9), 8)]
    sizes = {4: (0.2, 0.3), -2: (0.05, 0.1), 8: (0.5, 0.2)}  # the first cut-out is too flat where it is small
    paste = am.InstancePaste(cutouts, sizes=sizes, count=(1, 9), aspect=0.3, flip=0.4)
    order = [cutouts[k] for k in (2, 0, 1, 3)]  # by label
    seed, epoch, (h, w), rejected = 2**40 + 5, 17, (61, 83), 0
    for sample in (*range(20), 77, 2**45):
        key = seed, epoch, 0
        expected = []
        for k in range(int(1 + Draw(key, sample, 1000).below(9))):
            draw = Draw(key, sample, 1000, 1 + k)
            label = sorted(sizes)[int(draw.below(3))]
            among = [i for i, (_, one) in enumerate(order) if one == label]
            cutout = among[int(draw.below(len(among)))]
            mean, deviation = sizes[label]
            a = min(max(mean + draw.normal() * deviation, 10 / h), 0.5)
            rows, columns = order[cutout][0].shape[:2]
            ratio = columns / rows * draw.uniform(0.7, 1.3)
            flip, x, y = draw.unit() < 0.4, int(draw.below(w)), int(draw.below(h))
            width = exact.sqrt(ratio * a * a * h * w)
            height = width / ratio
            if 5 <= width < w and 5 <= height < h:
                expected.append(Pasted(cutout, x - int(width) // 2, y - int(height) // 2, int(height), int(width), int(flip), -1))
            else:
                rejected += 1
        assert placements(paste, [sample], seed, epoch, (h, w))[0] == expected
    assert rejected


@pytest.mark.cpu
def test_what_is_drawn():
    """Numbers and categories uniform, sizes by the category's mean and deviation, centres uniform."""
    cutouts = [(block(), 1)] * 9 + [(block(), 2)]
    paste = am.InstancePaste(cutouts, sizes={1: (0.2, 0.03), 2: (0.4, 0.0)})
    drawn = placements(paste, range(3000), size=(200, 300))
    assert np.abs(np.bincount([len(d) for d in drawn], minlength=20) - 150).max() < 5 * 150**0.5
    every = [p for d in drawn for p in d]
    n = len(every)
    assert np.mean([p.cutout == 9 for p in every]) == pytest.approx(0.5, abs=2.5 / n**0.5)
    assert np.abs(np.bincount([p.cutout for p in every])[:9] - n / 18).max() < 5 * (n / 18) ** 0.5
    linear = np.array([(p.width * p.height / 60000) ** 0.5 for p in every if p.cutout < 9])
    assert linear.mean() == pytest.approx(0.2, abs=0.003) and linear.std() == pytest.approx(0.03, abs=0.002)
    assert all(0.39 < (p.width * p.height / 60000) ** 0.5 <= 0.4 for p in every if p.cutout == 9)
    ratios = np.array([p.width / p.height for p in every])
    assert 0.78 < ratios.min() < 0.82 and 1.18 < ratios.max() < 1.23 and ratios.mean() == pytest.approx(1.0, abs=0.01)
    assert np.mean([p.flip for p in every]) == pytest.approx(0.5, abs=2.5 / n**0.5)
    for centre, side in (([p.left + p.width // 2 for p in every], 300), ([p.top + p.height // 2 for p in every], 200)):
        assert min(centre) == 0 and max(centre) == side - 1
        assert np.mean(centre) == pytest.approx((side - 1) / 2, abs=side / n**0.5)
    assert any(p.left < 0 for p in every) and any(p.top + p.height > 200 for p in every)


@pytest.mark.cpu
def test_sizes_are_clipped_and_the_rest_left_out():
    """10 pixels of the height, half the picture; no side below 5 or as long as the picture's."""
    def drawn(rgba, mean):
        paste = am.InstancePaste([(rgba, 0)], sizes=(mean, 0.0), count=(1, 1), aspect=0)
        return [p for sample in placements(paste, range(50), size=(100, 100)) for p in sample]

    assert {(p.height, p.width) for p in drawn(block(), 0.0)} == {(10, 10)}
    assert {(p.height, p.width) for p in drawn(block(), 0.9)} == {(50, 50)}
    assert {p.height for p in drawn(block(10, 39), 0.0)} == {5} and not drawn(block(10, 41), 0.0)
    assert {p.width for p in drawn(block(10, 39), 0.5)} == {98} and not drawn(block(10, 41), 0.5)


@pytest.mark.cpu
@pytest.mark.parametrize("seed", range(5))
def test_the_largest_part_of_a_cutout(seed):
    """As scikit-image labels it, with corners; faint pixels stay where they hang on to it."""
    rng = np.random.default_rng(seed)
    rgba = rng.integers(0, 256, (23, 31, 4)).astype(np.uint8)
    rgba[..., 3] = rng.choice([0, 60, 128, 129, 255], (23, 31), p=[0.45, 0.05, 0.1, 0.1, 0.3])
    parts = measure.label(rgba[..., 3] > 128, connectivity=2)
    number = 1 + int(np.argmax(np.bincount(parts.ravel())[1:]))
    largest = parts == number
    hanging = measure.label(largest | ((rgba[..., 3] > 0) & (rgba[..., 3] <= 128)), connectivity=2)
    kept = hanging == hanging[largest][0]
    left, top, right, bottom = tight(torch.from_numpy(largest))
    expected = rgba.copy()
    expected[~kept, 3] = 0
    assert np.array_equal(prepared(rgba), expected[top:bottom, left:right])
    assert parts.max() > 1 and (kept & ~largest).any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_weights_of_a_composite_sum_to_one(route, dtype):
    """So what is pasted into its own colour is not seen."""
    value = 200 if dtype == torch.uint8 else 200 / 255
    images = torch.full((3, 3, 48, 70), value, dtype=torch.float64).to(dtype)
    grey = noisy(20, 30)
    grey[..., :3] = 200
    paste = am.InstancePaste([(disc(color=(200, 200, 200)), 0), (grey, 1)], sizes=(0.4, 0.2), count=(5, 9))
    out, after = paste(images, random_targets([1, 2, 3]), index=range(3))
    assert sum(len(t["masks"]) for t in after) > 6
    assert (out.double() - images.double()).abs().max() <= (0 if dtype == torch.uint8 else STEP[dtype])
    out, after = am.SimpleCopyPaste()(images, random_targets([4, 2, 3]), index=range(3))
    assert (out.double() - images.double()).abs().max() <= (0 if dtype == torch.uint8 else STEP[dtype])


def test_normalised_views(route):
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)
    images, targets = random_images(dtype=torch.float32), random_targets([2, 0, 3])
    plain = am.InstancePaste([(disc(), 0)], sizes=(0.3, 0.1), count=(1, 4))
    moved = am.InstancePaste([(disc(), 0)], sizes=(0.3, 0.1), count=(1, 4), mean=mean, std=std)
    normal = v2().functional.normalize
    out, after = plain(images, targets, index=range(3))
    other, more = moved(normal(images, mean, std), targets, index=range(3))
    assert (other - normal(out, mean, std)).abs().max() < 2e-6
    assert all(torch.equal(a["masks"], b["masks"]) for a, b in zip(after, more, strict=True))


# ---- both ----


def pastes():
    return am.SimpleCopyPaste(), am.InstancePaste([(disc(), 7), (noisy(15, 20), 8)], sizes=(0.3, 0.1), count=(0, 6))


@pytest.mark.skipif(not FOUND, reason="the emulation is not built; make test builds it")
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_cuda_code_gives_the_cpus_bits(dtype):
    for paste in pastes():
        images, targets = random_images(dtype=dtype), random_targets([3, 0, 6])
        expected = paste(images, targets, index=[5, 6, 7], seed=3, epoch=2)
        for seed in range(3):
            with emulated(seed):
                assert same(paste(images, targets, index=[5, 6, 7], seed=3, epoch=2), expected)


def test_the_same_numbers_give_the_same_pictures(route):
    images, targets = random_images(), random_targets([3, 4, 6])
    for paste in pastes():
        def drawn(index=(5, 6, 7), seed=3, epoch=2, paste=paste):
            return paste(images, targets, index=list(index), seed=seed, epoch=epoch)

        assert same(drawn(), drawn())
        for other in (drawn(seed=4), drawn(epoch=3), drawn(index=(8, 9, 10))):
            assert not same(drawn(), other)
        again = pickle.loads(pickle.dumps(paste))
        assert same(drawn(), drawn(paste=again))


def test_a_sample_does_not_depend_on_its_batch(route):
    images, targets = random_images(), random_targets([3, 4, 6])
    paste = pastes()[1]
    out, after = paste(images, targets, index=[5, 6, 7])
    alone = paste(images[1:2], targets[1:2], index=[6])
    assert same((out[1:2], after[1:2]), alone)


def test_inputs_are_left_alone(route):
    for paste in pastes():
        images, targets = random_images(), random_targets([3, 4, 6])
        kept = images.clone(), [{k: v.clone() for k, v in t.items()} for t in targets]
        paste(images, targets, index=[0, 1, 2])
        assert same((images, targets), kept)


def test_batches_without_objects(route):
    images, targets = random_images(), random_targets([0, 0, 0])
    assert same(am.SimpleCopyPaste()(images, targets, index=[0, 1, 2]), (images, targets))
    none = am.InstancePaste([(disc(), 7)], sizes=(0.3, 0.1), count=(0, 0))
    assert same(none(images, targets, index=[0, 1, 2]), (images, targets))
    some = random_targets([3, 0, 2])
    assert same(none(images, some, index=[0, 1, 2]), (images, some))
    out, after = am.InstancePaste([(disc(), 7)], sizes=(0.3, 0.0), count=(2, 2))(images, targets, index=[0, 1, 2])
    check_objects(out, after)
    assert [len(t["labels"]) >= 1 for t in after] == [True] * 3 and not torch.equal(out, images)


def test_strides_and_forms_of_masks(route):
    images, targets = random_images(), random_targets([3, 4, 6])
    wide = torch.zeros(3, 3, 96, 140, dtype=torch.uint8)[:, :, ::2, ::2]
    wide.copy_(images)
    bytes_ = [{**t, "masks": t["masks"].to(torch.uint8) * 3} for t in targets]
    for paste in pastes():
        expected, after = paste(images, targets, index=[0, 1, 2])
        for form in (wide, images.to(memory_format=torch.channels_last)):
            assert same(paste(form, targets, index=[0, 1, 2]), (expected, after))
        assert paste(images.to(memory_format=torch.channels_last), targets,
                     index=[0, 1, 2])[0].is_contiguous(memory_format=torch.channels_last)
        for one, other in zip(after, paste(images, bytes_, index=[0, 1, 2])[1], strict=True):
            assert other["masks"].dtype == torch.uint8 and torch.equal(other["masks"] != 0, one["masks"])
            assert set(other["masks"].unique().tolist()) <= {0, 1, 3}


def test_tv_tensors_come_back(route):
    v2()
    from torchvision import tv_tensors

    images, targets = random_images(), random_targets([3, 4, 6])
    dressed = [{**t, "masks": tv_tensors.Mask(t["masks"]),
                "boxes": tv_tensors.BoundingBoxes(t["boxes"], format="XYXY", canvas_size=(48, 70))} for t in targets]
    for paste in pastes():
        expected = paste(images, targets, index=[0, 1, 2])
        out, after = paste(tv_tensors.Image(images), dressed, index=[0, 1, 2])
        assert same((out, [{k: v.as_subclass(torch.Tensor) for k, v in t.items()} for t in after]), expected)
        assert all(type(t["boxes"]) is tv_tensors.BoundingBoxes and type(t["masks"]) is tv_tensors.Mask for t in after)
        assert all(t["boxes"].canvas_size == (48, 70) for t in after)


def test_two_launches_a_batch(route):
    images, targets = random_images(), random_targets([3, 4, 6])
    for paste in pastes():
        before = am.launch_count()
        paste(images, targets, index=[0, 1, 2])
        assert am.launch_count() - before == 2


@pytest.mark.cpu
def test_threads_change_nothing():
    images, targets = random_images(5), random_targets([3, 4, 6, 0, 2])
    before = torch.get_num_threads()
    try:
        for paste in pastes():
            results = []
            for threads in (1, 3):
                torch.set_num_threads(threads)
                results.append(paste(images, targets, index=range(5)))
            assert same(*results)
    finally:
        torch.set_num_threads(before)


@pytest.mark.cpu
def test_sizes_are_measured():
    targets = [{"boxes": torch.tensor([[0, 0, 10, 40.], [5, 5, 25, 25]]), "labels": torch.tensor([1, 2]),
                "masks": torch.zeros(2, 100, 100, dtype=torch.bool)},
               {"boxes": torch.tensor([[0, 0, 10, 10.]]), "labels": torch.tensor([2]), "masks": torch.zeros(1, 50, 50)}]
    sizes = am.InstancePaste.measure(iter(targets))
    assert sizes == {1: (pytest.approx(0.2), 0.0), 2: (pytest.approx(0.2), pytest.approx(0.0, abs=1e-9))}
    targets[1]["boxes"] *= 2
    assert am.InstancePaste.measure(targets)[2] == (pytest.approx(0.3), pytest.approx(0.1))
    paste = am.InstancePaste([(disc(), 2), (disc(), 1)], sizes=sizes)
    assert paste.sizes == sizes and am.InstancePaste.measure([]) == {}


# ---- what a user can get wrong ----


def simple(images=None, targets=None, **options):
    images = random_images() if images is None else images
    return am.SimpleCopyPaste()(images, random_targets([3, 0, 2]) if targets is None else targets,
                                **{"index": [0, 1, 2], **options})


def changed(i=0, **entries):
    """Targets of which one is wrong; None: the entry is missing."""
    targets = random_targets([3, 0, 2])
    targets[i].update(entries)
    targets[i] = {name: value for name, value in targets[i].items() if value is not None}
    return targets


def instance(cutouts=None, images=None, **options):
    paste = am.InstancePaste([(disc(), 0)] if cutouts is None else cutouts, **{"sizes": (0.3, 0.1), **options})
    return paste(random_images() if images is None else images, random_targets([3, 0, 2]), index=[0, 1, 2])


BAD = {
    "p": (lambda: am.SimpleCopyPaste(p=1.5), am.ArgumentError, "a probability, 0 to 1, given 1.5"),
    "blur of a number": (lambda: am.SimpleCopyPaste(blur=5), am.ArgumentError, r"\(taps, sigma\) or None, given 5"),
    "blur of even taps": (lambda: am.SimpleCopyPaste(blur=(4, 2.0)), am.ArgumentError, "an odd number of taps, given 4"),
    "blur of 33 taps": (lambda: am.SimpleCopyPaste(blur=(33, 2.0)), am.ArgumentError, "of taps from 1 to 31, given 33"),
    "blur, sigma 0": (lambda: am.SimpleCopyPaste(blur=(5, 0)), am.ArgumentError, "from 0.05 to 1000, given 0"),
    "images of three dimensions": (lambda: simple(random_images()[0]), am.ShapeError, r"\[B, C, H, W\] with B >= 1, given"),
    "images of doubles": (lambda: simple(random_images().double()), am.DtypeError, "images: expected uint8, float32"),
    "an empty batch": (lambda: simple(random_images()[:0], []), am.ShapeError, "B >= 1"),
    "NHWC": (lambda: simple(random_images(size=(48, 70)).permute(0, 2, 3, 1)), am.ShapeError, "1 to 16 channels, given"),
    "images that need a gradient": (lambda: simple(random_images(dtype=torch.float32).requires_grad_()), am.ArgumentError,
                                    "detach"),
    "targets of a dict": (lambda: simple(targets=random_targets([3])[0]), am.ArgumentError, "a list of dicts, .* given dict"),
    "two targets for three": (lambda: simple(targets=random_targets([3, 2])), am.ShapeError, "expected 3 dicts, .* given 2"),
    "a target of a tensor": (lambda: simple(targets=[torch.zeros(1)] * 3), am.ArgumentError, r"targets\[0\]: expected a dict"),
    "no masks": (lambda: simple(targets=changed(1, masks=None)), am.ArgumentError, r"targets\[1\]: expected 'masks', .* none"),
    "labels of a list": (lambda: simple(targets=changed(labels=[1, 2, 3])), am.ArgumentError, "'labels', .* given list"),
    "boxes of five": (lambda: simple(targets=changed(boxes=torch.zeros(3, 5))), am.ShapeError, r"'boxes'\]: expected \[n, 4\]"),
    "boxes of integers": (lambda: simple(targets=changed(boxes=torch.zeros(3, 4, dtype=torch.int64))), am.DtypeError, "float32"),
    "two labels for three": (lambda: simple(targets=changed(labels=torch.zeros(2, dtype=torch.int64))), am.ShapeError,
                             r"expected \[3\], one for each box, given \[2\]"),
    "labels of floats": (lambda: simple(targets=changed(labels=torch.zeros(3))), am.DtypeError, "expected int64"),
    "masks of another size": (lambda: simple(targets=changed(masks=torch.zeros(3, 48, 71, dtype=torch.bool))), am.ShapeError,
                              r"expected \[3, 48, 70\]"),
    "masks of floats": (lambda: simple(targets=changed(masks=torch.zeros(3, 48, 70))), am.DtypeError, "bool or uint8"),
    "masks of two dtypes": (lambda: simple(targets=changed(masks=torch.zeros(3, 48, 70, dtype=torch.uint8))), am.DtypeError,
                            "masks of one dtype"),
    "masks elsewhere": (lambda: simple(targets=changed(masks=torch.zeros(3, 48, 70, dtype=torch.bool, device="meta"))),
                        am.DeviceError, "expected on cpu like the images, given on meta"),
    "iscrowd in one target": (lambda: simple(targets=changed(iscrowd=None)), am.ArgumentError, "'iscrowd' .* in every target"),
    "iscrowd of two": (lambda: simple(targets=changed(iscrowd=torch.zeros(2))), am.ArgumentError, "a row for each object"),
    "points of two numbers": (lambda: simple(targets=[{**t, "keypoints": torch.zeros(len(t["boxes"]), 3 + i % 2, 3)} for i, t in
                                                      enumerate(random_targets([3, 0, 2]))]), am.ShapeError,
                              r"expected 'keypoints' of one shape .*, given \[\[0, 4, 3\], \[2, 3, 3\]"),
    "an entry of two dtypes": (lambda: simple(targets=[{**t, "score": torch.zeros(len(t["boxes"]), dtype=dtype)} for t, dtype in
                                                       zip(random_targets([3, 0, 2]), (torch.int64, torch.float32, torch.int64),
                                                           strict=True)]),
                               am.ArgumentError, "expected one dtype of 'score', given"),
    "too few ids": (lambda: simple(index=[0, 1]), am.ShapeError, r"index: expected \[3\]"),
    "ids of floats": (lambda: simple(index=[0.0, 1.0, 2.0]), am.DtypeError, "index: expected integers"),
    "seed": (lambda: simple(seed=-1), am.ArgumentError, "seed: expected a whole number from 0"),
    "epoch": (lambda: simple(epoch=2**32), am.ArgumentError, "epoch: expected a whole number from 0 to 4294967295"),
    "no cut-outs": (lambda: instance([]), am.ArgumentError, r"a list of \(RGBA picture, label\), given none"),
    "cut-outs of a picture": (lambda: instance(disc()), am.ArgumentError, "given ndarray"),
    "a cut-out without a label": (lambda: instance([disc()]), am.ArgumentError, r"cutouts\[0\]: expected \(RGBA picture"),
    "a cut-out of RGB": (lambda: instance([(disc()[..., :3], 0)]), am.ShapeError, r"cutouts\[0\]: expected \[h, w, 4\]"),
    "a cut-out of floats": (lambda: instance([(disc() / 255, 0)]), am.DtypeError, "expected uint8, given torch.float64"),
    "a label of text": (lambda: instance([(disc(), "cat")]), am.ArgumentError, "label: expected a whole number"),
    "a cut-out of glass": (lambda: instance([(disc(), 0), (disc() // 2, 0)]), am.ArgumentError,
                           r"cutouts\[1\]: expected pixels with alpha above 128, given at most 127"),
    "sizes without a label": (lambda: instance(sizes={1: (0.1, 0.1)}), am.ArgumentError, "for every label .* none for 0"),
    "sizes of a number": (lambda: instance(sizes=0.3), am.ArgumentError, r"\(mean, deviation\), or a dict"),
    "sizes in pixels": (lambda: instance(sizes=(30, 10)), am.ArgumentError, "from 0 to 1, given 30"),
    "count reversed": (lambda: instance(count=(3, 1)), am.ArgumentError, r"least <= most, given \(3, 1\)"),
    "count of a number": (lambda: instance(count=3), am.ArgumentError, r"\(least, most\), given 3"),
    "aspect": (lambda: instance(aspect=1.0), am.ArgumentError, "from 0 to 0.9, given 1"),
    "flip": (lambda: instance(flip=2), am.ArgumentError, "InstancePaste.flip: expected a probability"),
    "std of 0": (lambda: instance(std=(0.1, 0.0, 0.1)), am.ArgumentError, "numbers above 0"),
    "mean of two": (lambda: instance(mean=(0.1, 0.2)), am.ArgumentError, "one for each of 3 channels"),
    "grey pictures": (lambda: instance(images=random_images(channels=1)), am.ShapeError, r"expected \[B, 3, H, W\]"),
    "sizes of numbers": (lambda: am.InstancePaste.measure([1]), am.ArgumentError, r"targets\[0\]: expected a dict, given int"),
    "sizes of too many labels": (lambda: am.InstancePaste.measure([{"boxes": torch.zeros(1, 4), "labels": torch.zeros(2),
                                                                    "masks": torch.zeros(1, 8, 8)}]), am.ShapeError, "labels"),
    "sizes of no numbers": (lambda: am.InstancePaste.measure([{"boxes": torch.full((1, 4), torch.nan), "labels": torch.zeros(1),
                                                               "masks": torch.zeros(1, 8, 8)}]), am.ArgumentError, "finite"),
    "sizes of no targets": (lambda: am.InstancePaste.measure([{}]), am.ArgumentError, r"targets\[0\]: expected 'boxes'"),
}


@pytest.mark.parametrize("case", BAD)
def test_mistakes_are_named(route, case):
    call, error, message = BAD[case]
    with pytest.raises(error, match=message):
        call()


def test_sizes_are_measured_in_the_boxes_own_format():
    from torchvision import tv_tensors

    rest = {"labels": torch.tensor([1]), "masks": torch.ones(1, 30, 40)}
    for format, numbers in (("XYXY", [5.0, 5, 15, 15]), ("XYWH", [5.0, 5, 10, 10]), ("CXCYWH", [10.0, 10, 10, 10])):
        boxes = tv_tensors.BoundingBoxes([numbers], format=format, canvas_size=(30, 40))
        mean, _ = am.InstancePaste.measure([{"boxes": boxes, **rest}])[1]
        assert mean == pytest.approx((100 / 1200) ** 0.5)
