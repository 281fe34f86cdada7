"""Mosaics against pictures pasted on a canvas in NumPy and read by torch's grid_sample, and against yolov5's formulas; on a CPU
and by the CUDA code, emulated."""

import pickle

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import anamorph as am
from anamorph.bench._torchvision import v2
from anamorph.images.tiled import SAMPLE
from emulation.route import FOUND, emulated
from reference.plan import Draw, exact

DTYPES = [torch.uint8, torch.float32, torch.float16, torch.bfloat16]
STEP = {torch.uint8: 0.51, torch.float32: 2e-5, torch.float16: 1e-3, torch.bfloat16: 8e-3}  # half a step of the values, and a bit
STRONG = dict(degrees=30.0, shear=10.0, translate=0.3, scale=(0.4, 1.8), center=(0.25, 1.75))


def random_pictures(sizes, dtype=torch.uint8, channels=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    pictures = [torch.randint(256, (channels, h, w), generator=generator, dtype=torch.uint8) for h, w in sizes]
    return [p if dtype == torch.uint8 else (p / 255).to(dtype) for p in pictures]


def random_images(batch=5, size=(48, 48), dtype=torch.uint8, channels=3, seed=0):
    return torch.stack(random_pictures([size] * batch, dtype, channels, seed))


def random_targets(counts, sizes, seed=0):
    """Blocks, with labels that say which picture they are of."""
    rng, targets = np.random.default_rng(seed), []
    for i, (n, (h, w)) in enumerate(zip(counts, sizes, strict=True)):
        masks, boxes, points = np.zeros((n, h, w), bool), np.zeros((n, 4), np.float32), np.zeros((n, 3, 3), np.float32)
        for k in range(n):
            bh, bw = rng.integers(4, h), rng.integers(4, w)
            top, left = rng.integers(0, h - bh + 1), rng.integers(0, w - bw + 1)
            masks[k, top:top + bh, left:left + bw] = True
            boxes[k] = left, top, left + bw, top + bh
            points[k] = [[left, top, 1], [left + bw / 2, top + bh / 2, 2], [left + 0.9 * bw, top + 0.3 * bh, 0]]
        targets.append({"boxes": torch.from_numpy(boxes), "labels": torch.arange(100 * i, 100 * i + n),
                        "masks": torch.from_numpy(masks), "keypoints": torch.from_numpy(points),
                        "iscrowd": torch.from_numpy(rng.integers(0, 2, n)), "area": torch.from_numpy(masks.sum((1, 2))).float(),
                        "image_id": torch.tensor([i])})
    return targets


def same(a, b):
    """Results of two calls, bit for bit."""
    (images, targets), (others, more) = a, b
    return torch.equal(images, others) and all(one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)
                                               for one, other in zip(targets, more, strict=True))


# ---- an independent mosaic ----


def resized_size(h, w, size):
    """The long side becomes the size, the other is rounded up."""
    return -(-h * size // max(h, w)), -(-w * size // max(h, w))


def drawn(mosaic, sample, batch, seed=0, epoch=0):
    """What is drawn for a sample: yolov5's numbers, by Python's own arithmetic."""
    draw, s = Draw((seed, epoch, 0), sample, 1001), mosaic.size
    four = draw.unit() < mosaic.p
    yc, xc = (int(draw.uniform(mosaic.center[0] * s, mosaic.center[1] * s)) for _ in range(2))
    others = [int(draw.below(batch)) for _ in range(3)]
    order = [0, 1, 2, 3]
    for k in (3, 2, 1):
        j = int(draw.below(k + 1))
        order[k], order[j] = order[j], order[k]
    angle = draw.uniform(*mosaic.degrees)
    zoom = draw.uniform(*mosaic.scale)
    shear = draw.uniform(*mosaic.shear), draw.uniform(*mosaic.shear)
    middle = [draw.uniform(0.5 - mosaic.translate, 0.5 + mosaic.translate) * s for _ in range(2)]
    return dict(four=four, xc=xc, yc=yc, others=others, order=order, angle=angle, zoom=zoom, shear=shear, middle=middle)


def yolov5s_matrix(d, canvas):
    """M = T S R C of random_perspective, from the canvas to the view."""
    C = np.array([[1, 0, -canvas / 2], [0, 1, -canvas / 2], [0, 0, 1.0]])
    a, (kx, ky) = np.deg2rad(d["angle"]), np.tan(np.deg2rad(d["shear"]))
    alpha, beta = d["zoom"] * np.cos(a), d["zoom"] * np.sin(a)  # cv2.getRotationMatrix2D
    R = np.array([[alpha, beta, 0], [-beta, alpha, 0], [0, 0, 1]])
    S = np.array([[1, kx, 0], [ky, 1, 0], [0, 0, 1]])
    T = np.array([[1, 0, d["middle"][0]], [0, 1, d["middle"][1]], [0, 0, 1]])
    return T @ S @ R @ C


def placed(mosaic, d, own, sizes):
    """Which picture lies where on the canvas, as load_mosaic has it: (picture, its rectangle there, left, top of its corner, its
    size there), and the canvas's side."""
    s = mosaic.size
    shown = [resized_size(h, w, s) if mosaic.resize else (h, w) for h, w in sizes]
    if not d["four"]:
        h, w = shown[own]
        left, top = (s - w) // 2, (s - h) // 2
        return [(own, (max(left, 0), max(top, 0), min(left + w, s), min(top + h, s)), left, top, (h, w))], s
    pictures, tiles = [[own, *d["others"]][k] for k in d["order"]], []
    for k, picture in enumerate(pictures):
        h, w = shown[picture]
        left, top = d["xc"] - (k % 2 == 0) * w, d["yc"] - (k < 2) * h
        tiles.append((picture, (max(left, 0), max(top, 0), min(left + w, 2 * s), min(top + h, 2 * s)), left, top, (h, w)))
    return tiles, 2 * s


def read(canvas, M, size):
    """The view, bilinearly from a canvas beyond which is zero (whatever is there has been subtracted), in float64."""
    inverse = np.linalg.inv(M)
    y, x = np.mgrid[:size, :size] + 0.5
    places = np.einsum("ij,jhw->hwi", inverse[:2], np.stack([x, y, np.ones_like(x)]))
    grid = torch.from_numpy(places / np.array(canvas.shape[:0:-1]) * 2 - 1)
    return F.grid_sample(canvas[None], grid[None], mode="bilinear", padding_mode="zeros", align_corners=False)[0], places


def composed(mosaic, pictures, sample, own, fill, seed=0, epoch=0):
    """The mosaic of pictures that need no resizing, in float64."""
    d = drawn(mosaic, sample, len(pictures), seed, epoch)
    tiles, side = placed(mosaic, d, own, [p.shape[1:] for p in pictures])
    canvas = torch.zeros(len(pictures[0]), side, side, dtype=torch.float64)
    for picture, (left, top, right, bottom), x, y, _ in tiles:
        canvas[:, top:bottom, left:right] = pictures[picture][:, top - y:bottom - y, left - x:right - x].double() - fill
    return read(canvas, yolov5s_matrix(d, side), mosaic.size)[0] + fill


# ---- pixels ----


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("options", [{}, STRONG, dict(p=0.5, degrees=(170, 190)), dict(scale=(3, 3), center=(0, 2))])
def test_a_canvas_read_by_grid_sample(route, dtype, options):
    images, mosaic = random_images(dtype=dtype), am.Mosaic(48, **options)
    index = [7, 3, 2**40, 0, 11]
    out = mosaic(images, index=index, seed=5, epoch=2)
    assert out.dtype == dtype and out.shape == (5, 3, 48, 48) and out.is_contiguous()
    fill = 114 if dtype == torch.uint8 else 114 / 255
    for i, sample in enumerate(index):
        expected = composed(mosaic, images, sample, i, fill, seed=5, epoch=2)
        assert (out[i].double() - expected).abs().max() <= STEP[dtype]


@pytest.mark.parametrize("options", [{}, STRONG, dict(p=0)])
def test_pictures_of_different_sizes_as_they_are(route, options):
    sizes = [(20, 70), (48, 48), (90, 30), (1, 5), (33, 64)]
    pictures = random_pictures(sizes)
    mosaic = am.Mosaic(40, resize=False, fill=(10, 20, 200), **options)
    packed = [p.permute(1, 2, 0).contiguous() for p in pictures]
    out = mosaic(packed, index=range(5))
    fill = torch.tensor([10.0, 20, 200])[:, None, None]
    for i in range(5):
        assert (out[i].double() - composed(mosaic, pictures, i, i, fill)).abs().max() <= STEP[torch.uint8]
    begins = np.cumsum([0, *(p.numel() for p in packed[:-1])])
    ragged = am.Ragged(torch.cat([p.reshape(-1) for p in packed]), begins, sizes, 3)
    assert torch.equal(mosaic(ragged, index=range(5)), out)
    assert torch.equal(mosaic(pictures, index=range(5), layout="NCHW"), out)


@pytest.mark.parametrize("size", [30, 37, 100])
def test_resized_within_the_same_reading(route, size):
    """Smooth pictures of different sizes: as a canvas of pictures that torch has resized, read bilinearly, but for curvature."""
    sizes = [(50, 80), (64, 64), (90, 31), (41, 90)]
    pictures = []
    for i, (h, w) in enumerate(sizes):
        y, x = torch.meshgrid((torch.arange(h) + 0.5) / h, (torch.arange(w) + 0.5) / w, indexing="ij")
        pictures.append(torch.stack([x, y, (x + y) / 2]) * (0.5 + 0.1 * i))
    mosaic = am.Mosaic(size, **STRONG)
    out = mosaic([p.permute(1, 2, 0).contiguous() for p in pictures], index=range(4))
    shown = [F.interpolate(p[None].double(), resized_size(*p.shape[1:], size), mode="bilinear")[0] for p in pictures]
    assert all(max(p.shape[1:]) == size for p in shown)
    for i in range(4):
        expected = composed(mosaic, shown, i, i, 114 / 255)
        assert (out[i].double() - expected).abs().max() <= 0.01
        assert (out[i].double() - expected).abs().mean() <= 3e-4


def test_four_colours(route):
    """At a fixed middle, without zoom, turn and shift, the view is the middle of the canvas: quadrants of one colour each."""
    values = torch.tensor([10, 60, 160, 250], dtype=torch.uint8)
    images = values[:, None, None, None].expand(4, 1, 32, 32)
    mosaic = am.Mosaic(32, scale=(1, 1), translate=0, center=(0.75, 0.75))
    found = set()
    for sample in range(40):
        out = mosaic(images, index=[sample] * 4)
        for i in range(4):
            d = drawn(mosaic, sample, 4)
            assert d["xc"] == d["yc"] == 24
            pictures = [[i, *d["others"]][k] for k in d["order"]]
            expected = torch.zeros(1, 32, 32, dtype=torch.uint8)  # the canvas from 16 to 48
            for k, picture in enumerate(pictures):
                expected[:, slice(8) if k < 2 else slice(8, 32), slice(8, 32) if k % 2 else slice(8)] = values[picture]
            assert torch.equal(out[i], expected)
            found.add(d["order"].index(0))
    assert found == {0, 1, 2, 3}


def test_beyond_the_pictures_is_fill(route):
    """Pictures of a fourth of the size: each touches the middle, all around is fill."""
    images = torch.full((3, 3, 8, 8), 200, dtype=torch.uint8)
    out = am.Mosaic(32, resize=False, scale=(1, 1), translate=0, center=(1, 1))(images, index=range(3))
    expected = torch.full((3, 3, 32, 32), 114, dtype=torch.uint8)
    expected[:, :, 8:24, 8:24] = 200
    assert torch.equal(out, expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_one_colour_stays(route, dtype):
    """The weights of what is read sum to one, at every seam."""
    value = 114 if dtype == torch.uint8 else 114 / 255
    images = torch.full((4, 3, 40, 50), value, dtype=torch.float64).to(dtype)
    out = am.Mosaic(64, **STRONG)(images, index=range(4))
    assert (out.double() - value).abs().max() <= (0 if dtype == torch.uint8 else STEP[dtype])


def test_layouts_strides_and_channels(route):
    images = random_images(size=(40, 56))
    mosaic = am.Mosaic(48, **STRONG)
    expected = mosaic(images, index=range(5))
    wide = torch.zeros(5, 3, 80, 112, dtype=torch.uint8)[:, :, ::2, ::2]
    wide.copy_(images)
    packed = images.permute(0, 2, 3, 1).contiguous()
    for form in (wide, images.to(memory_format=torch.channels_last), packed, packed.numpy(), list(packed)):
        assert torch.equal(mosaic(form, index=range(5)), expected)
    for channels in (1, 2, 4):
        some = random_images(size=(40, 56), channels=channels)
        out = mosaic(some, index=range(5))
        one = torch.cat([mosaic(some[:, c:c + 1], index=range(5)) for c in range(channels)], 1)
        assert out.shape[1] == channels and torch.equal(out, one)


def test_pictures_are_left_alone(route):
    images, sizes = random_images(), [(48, 48)] * 5
    targets = random_targets([2, 0, 3, 1, 4], sizes)
    kept = images.clone(), [{k: v.clone() for k, v in t.items()} for t in targets]
    am.Mosaic(48)(images, targets, index=range(5))
    assert same((images, targets), kept)


# ---- what is drawn ----


@pytest.mark.cpu
@pytest.mark.parametrize("options", [{}, STRONG, dict(p=0.5)])
def test_draws_bit_for_bit(options):
    mosaic, sizes = am.Mosaic(50, **options), torch.tensor([[40, 50], [50, 20], [25, 25]])
    index = torch.tensor([3, 2**45, 0])
    samples = mosaic._draw(index, 2**40 + 5, 17, sizes).numpy().view(SAMPLE)[:, 0]
    for i, sample in enumerate(index.tolist()):
        d = drawn(mosaic, sample, 3, 2**40 + 5, 17)
        tiles, side = placed(mosaic, d, i, sizes.tolist())
        assert samples[i]["zoom"] == d["zoom"]
        origin = np.array([d["xc"], d["yc"]] if d["four"] else [side / 2] * 2)
        found = [t for t in samples[i]["tiles"] if t["picture"] >= 0]
        assert len(found) == len(tiles)
        for t, (picture, box, left, top, shown) in zip(found, tiles, strict=True):
            assert t["picture"] == picture and tuple(t["shown"]) == shown and tuple(t["size"]) == tuple(sizes[picture].tolist())
            assert np.array_equal(t["cut"] + np.tile(origin, 2), box) and np.array_equal(t["corner"] + origin, (left, top))
        M = yolov5s_matrix(d, side)
        expected = np.column_stack([M[:2, :2], M[:2, :2] @ origin + M[:2, 2]])
        assert np.abs(samples[i]["forward"].reshape(2, 3) - expected).max() < 1e-11
        turn = exact.sincos_deg(d["angle"])
        kx, ky = (np.divide(*exact.sincos_deg(v)) for v in d["shear"])
        c, b = d["zoom"] * turn[1], d["zoom"] * turn[0]
        assert samples[i]["forward"][[0, 1, 3, 4]].tolist() == [c - kx * b, b + kx * c, ky * c - b, ky * b + c]


@pytest.mark.cpu
def test_what_is_drawn():
    """The middle, the zoom, the shift and the partners are uniform."""
    n, s, batch = 4000, 100, 8
    mosaic = am.Mosaic(s)
    samples = mosaic._draw(torch.arange(n), 1, 0, torch.tensor([[s, s]] * n)).numpy().view(SAMPLE)[:, 0]
    canvas = -samples["tiles"]["cut"][:, 0, :2]  # the canvas's corner, or the picture's where that is nearer
    xc = 2 * s - samples["tiles"]["cut"][:, 3, 2]  # the canvas's other side, if the picture reaches it
    reached = samples["tiles"]["cut"][:, 3, 2] < s
    assert 0 < reached.mean() < 1 and xc[reached].min() > s and canvas.max() == s
    d = [drawn(mosaic, i, batch, 1) for i in range(n)]
    for name in ("xc", "yc"):
        values = np.array([one[name] for one in d])
        assert values.min() == 50 and values.max() == 149
        assert np.abs(np.bincount((values - 50) // 10) - n / 10).max() < 5 * (n / 10) ** 0.5
    for values, low, high in ((samples["zoom"], 0.5, 1.5), ([one["middle"][0] / s for one in d], 0.4, 0.6),
                              ([one["middle"][1] / s for one in d], 0.4, 0.6)):
        share = np.histogram(values, 10, (low, high))[0]
        assert share.sum() == n and np.abs(share - n / 10).max() < 5 * (n / 10) ** 0.5
    others = np.bincount(np.concatenate([one["others"] for one in d]), minlength=batch)
    assert len(others) == batch and np.abs(others - 3 * n / batch).max() < 5 * (3 * n / batch) ** 0.5
    orders = np.unique([one["order"] for one in d], axis=0, return_counts=True)[1]
    assert len(orders) == 24 and np.abs(orders - n / 24).max() < 5 * (n / 24) ** 0.5


@pytest.mark.cpu
def test_probability():
    n = 3000
    samples = am.Mosaic(32, p=0.3)._draw(torch.arange(n), 0, 0, torch.tensor([[32, 32]] * n)).numpy().view(SAMPLE)[:, 0]
    four = (samples["tiles"]["picture"] >= 0).sum(1) == 4
    assert four.mean() == pytest.approx(0.3, abs=5 * (0.21 / n) ** 0.5)
    assert (samples["tiles"]["picture"][~four, 0] == np.arange(n)[~four]).all()


def test_the_same_numbers_give_the_same_mosaics(route):
    images, targets = random_images(), random_targets([2, 0, 3, 1, 4], [(48, 48)] * 5)

    def made(index=(5, 6, 7, 8, 9), seed=3, epoch=2, mosaic=am.Mosaic(48)):  # noqa: B008
        return mosaic(images, targets, index=list(index), seed=seed, epoch=epoch)

    assert same(made(), made())
    for other in (made(seed=4), made(epoch=3), made(index=(8, 9, 10, 11, 12))):
        assert not torch.equal(made()[0], other[0])
    assert same(made(), made(mosaic=pickle.loads(pickle.dumps(am.Mosaic(48)))))
    alike = am.Mosaic(48)(images[:1].expand(3, -1, -1, -1), index=[4, 4, 4])
    assert torch.equal(alike[0], alike[1]) and torch.equal(alike[0], alike[2])


@pytest.mark.skipif(not FOUND, reason="the emulation is not built; make test builds it")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("options", [{}, STRONG, dict(p=0.5, scale=(0.05, 9))])
def test_the_cuda_code_gives_the_cpus_bits(dtype, options):
    sizes = [(48, 48), (30, 61), (5, 5), (64, 20)]
    pictures = [p.permute(1, 2, 0).contiguous() for p in random_pictures(sizes, dtype)]
    targets, mosaic = random_targets([3, 0, 1, 6], sizes), am.Mosaic(44, **options)
    expected = mosaic(pictures, targets, index=[5, 6, 7, 8], seed=3)
    for seed in range(3):
        with emulated(seed):
            assert same(mosaic(pictures, targets, index=[5, 6, 7, 8], seed=3), expected)


@pytest.mark.cpu
def test_threads_change_nothing():
    images, targets = random_images(), random_targets([2, 0, 3, 1, 4], [(48, 48)] * 5)
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 3):
            torch.set_num_threads(threads)
            results.append(am.Mosaic(48, **STRONG)(images, targets, index=range(5)))
        assert same(*results)
    finally:
        torch.set_num_threads(before)


def test_launches(route):
    images, targets = random_images(), random_targets([2, 0, 3, 1, 4], [(48, 48)] * 5)
    boxes = [{k: v for k, v in t.items() if k != "masks"} for t in targets]
    for given, expected in ((None, 1), (boxes, 1), (targets, 2)):
        before = am.launch_count()
        am.Mosaic(48)(images, given, index=range(5))
        assert am.launch_count() - before == expected


# ---- objects ----


def box_candidates(box1, box2, wh_thr=2, ar_thr=100, area_thr=0.1, eps=1e-16):
    """yolov5's, of boxes [4, n] before and after."""
    w1, h1 = box1[2] - box1[0], box1[3] - box1[1]
    w2, h2 = box2[2] - box2[0], box2[3] - box2[1]
    ar = np.maximum(w2 / (h2 + eps), h2 / (w2 + eps))
    return (w2 > wh_thr) & (h2 > wh_thr) & (w2 * h2 / (w1 * h1 + eps) > area_thr) & (ar < ar_thr)


def yolov5s_boxes(mosaic, sample, own, sizes, targets, **thresholds):
    """The labels and boxes of a mosaic, by load_mosaic and random_perspective."""
    d = drawn(mosaic, sample, len(sizes))
    tiles, side = placed(mosaic, d, own, sizes)
    boxes, labels = [np.zeros((0, 4))], []
    for picture, cut, left, top, (h, w) in tiles:
        scale = np.tile([w / sizes[picture][1], h / sizes[picture][0]], 2)
        on = targets[picture]["boxes"].double().numpy() * scale + np.tile([left, top], 2)
        boxes.append(np.clip(on, np.tile(cut[:2], 2), np.tile(cut[2:], 2)))
        labels += targets[picture]["labels"].tolist()
    before = np.concatenate(boxes)
    M, n = yolov5s_matrix(d, side), len(before)
    xy = np.ones((n * 4, 3))
    xy[:, :2] = before[:, [0, 1, 2, 3, 0, 3, 2, 1]].reshape(n * 4, 2)
    xy = (xy @ M.T)[:, :2].reshape(n, 8)
    x, y = xy[:, [0, 2, 4, 6]], xy[:, [1, 3, 5, 7]]
    new = np.concatenate((x.min(1), y.min(1), x.max(1), y.max(1))).reshape(4, n).T.clip(0, mosaic.size)
    keep = box_candidates(before.T * d["zoom"], new.T, **thresholds)
    return new[keep], np.array(labels)[keep], len(keep)


@pytest.mark.parametrize("options", [{}, STRONG, dict(p=0.4, resize=False)])
@pytest.mark.parametrize("thresholds", [{}, dict(wh_thr=5, ar_thr=2.5, area_thr=0.4)])
def test_boxes_by_yolov5s_rules(route, options, thresholds):
    sizes = [(40, 60), (48, 48), (50, 20), (33, 64)]
    pictures, targets = random_pictures(sizes), random_targets([9, 0, 7, 12], sizes)
    names = dict(wh_thr="min_size", ar_thr="max_aspect", area_thr="min_visibility")
    mosaic = am.Mosaic(56, **options, **{names[k]: v for k, v in thresholds.items()})
    kept = given = 0
    for start in range(0, 20, 4):
        _, after = mosaic(pictures, targets, index=range(start, start + 4), layout="NCHW")
        for i in range(4):
            boxes, labels, before = yolov5s_boxes(mosaic, start + i, i, sizes, targets, **thresholds)
            assert after[i]["labels"].tolist() == labels.tolist()
            assert np.abs(after[i]["boxes"].numpy() - boxes).max(initial=0) < 1e-4
            assert after[i]["boxes"].dtype == torch.float32 and after[i]["image_id"] is targets[i]["image_id"]
            kept, given = kept + len(labels), given + before
    assert 0.2 * given < kept < 0.95 * given


@pytest.mark.parametrize(("width", "kept"), [(2.0, False), (2.01, True)])
def test_the_least_width(route, width, kept):
    images = random_images(1, (40, 40))
    target = {"boxes": torch.tensor([[10.0, 10, 10 + width, 30]]), "labels": torch.tensor([7])}
    out, (after,) = am.Mosaic(40, p=0, scale=(1, 1), translate=0)(images, [target], index=[0])
    assert torch.equal(out, images) and after["labels"].tolist() == [7] * kept
    assert not kept or torch.equal(after["boxes"], target["boxes"])


@pytest.mark.parametrize("options", [{}, STRONG, dict(resize=False)])
def test_masks_are_the_nearest_of_the_canvas(route, options):
    sizes = [(40, 60), (48, 48), (50, 20), (33, 64)]
    pictures, targets = random_pictures(sizes), random_targets([4, 0, 3, 5], sizes)
    noise = torch.Generator().manual_seed(0)
    for t in targets:
        t["masks"] &= torch.rand(t["masks"].shape, generator=noise) < 0.7
    mosaic = am.Mosaic(56, **options)
    _, after = mosaic(pictures, targets, index=range(4), layout="NCHW")
    seen = 0
    for i in range(4):
        d = drawn(mosaic, i, 4)
        tiles, side = placed(mosaic, d, i, sizes)
        inverse = np.linalg.inv(yolov5s_matrix(d, side))
        y, x = np.mgrid[:56, :56] + 0.5
        px, py = np.einsum("ij,jhw->ihw", inverse[:2], np.stack([x, y, np.ones_like(x)]))
        expected = []
        for picture, cut, left, top, (h, w) in tiles:
            ph, pw = sizes[picture]
            inside = (px >= cut[0]) & (px < cut[2]) & (py >= cut[1]) & (py < cut[3])
            column = np.clip(np.floor((px - left) * pw / w), 0, pw - 1).astype(int)
            row = np.clip(np.floor((py - top) * ph / h), 0, ph - 1).astype(int)
            expected += [(int(label), inside & mask.numpy()[row, column])
                         for label, mask in zip(targets[picture]["labels"], targets[picture]["masks"], strict=True)]
        found = [(int(label), mask.numpy()) for label, mask in zip(after[i]["labels"], after[i]["masks"], strict=True)]
        for label, mask in found:  # a place on an edge may be either side's
            differ = min(int((mask != other).sum()) for k, other in expected if k == label)
            assert differ <= 3
            seen += int(mask.sum())
        assert after[i]["masks"].dtype == torch.bool and after[i]["area"].tolist() == [float(m.sum()) for _, m in found]
    assert seen > 1000


@pytest.mark.parametrize("options", [{}, dict(degrees=(90, 90)), dict(p=0.5)])
def test_boxes_are_around_their_masks(route, options):
    sizes = [(48, 60), (60, 60), (60, 45)]
    pictures, targets = random_pictures(sizes), random_targets([6, 6, 6], sizes)
    _, after = am.Mosaic(60, **options)(pictures, targets, index=range(3), layout="NCHW")
    count = 0
    for t in after:
        for box, mask in zip(t["boxes"], t["masks"], strict=True):
            y, x = mask.nonzero(as_tuple=True)
            tight = torch.stack([x.min(), y.min(), x.max() + 1, y.max() + 1])
            assert (box - tight).abs().max() <= 1
            count += 1
    assert count > 15


def test_keypoints_and_what_follows(route):
    sizes = [(40, 60), (48, 48), (50, 20), (33, 64)]
    pictures, targets = random_pictures(sizes), random_targets([4, 0, 3, 5], sizes)
    for t in targets:
        t["iscrowd"] = t["labels"] + 7
    mosaic = am.Mosaic(56, **STRONG)
    _, after = mosaic(pictures, targets, index=range(4), layout="NCHW")
    flat = [{**t, "keypoints": t["keypoints"][..., :2]} for t in targets]
    _, two = mosaic(pictures, flat, index=range(4), layout="NCHW")
    shown = hidden = 0
    for i in range(4):
        d = drawn(mosaic, i, 4)
        tiles, side = placed(mosaic, d, i, sizes)
        M = yolov5s_matrix(d, side)
        assert torch.equal(after[i]["iscrowd"], after[i]["labels"] + 7)
        assert torch.equal(two[i]["keypoints"], after[i]["keypoints"][..., :2])
        for label, points in zip(after[i]["labels"].tolist(), after[i]["keypoints"], strict=True):
            possible = []
            for picture, cut, left, top, (h, w) in tiles:
                if label in targets[picture]["labels"]:
                    given = targets[picture]["keypoints"][label % 100].double().numpy()
                    on = given[:, :2] * [w / sizes[picture][1], h / sizes[picture][0]] + [left, top]
                    there = on @ M[:2, :2].T + M[:2, 2]
                    inside = ((on >= cut[:2]) & (on < cut[2:]) & (there >= 0) & (there < 56)).all(1)
                    possible.append(np.column_stack([there, given[:, 2] * inside]))
            assert min(np.abs(points.numpy() - p).max() for p in possible) < 1e-4
            shown, hidden = shown + int((points[:2, 2] > 0).sum()), hidden + int((points[:2, 2] == 0).sum())
    assert shown > 5 and hidden > 5


def test_area_without_masks_is_the_boxes(route):
    targets = [{"boxes": t["boxes"], "area": t["area"]} for t in random_targets([3, 4], [(48, 48)] * 2)]
    _, after = am.Mosaic(48)(random_images(2), targets, index=[0, 1])
    for t in after:
        assert t.keys() == {"boxes", "area"}
        assert torch.equal(t["area"], (t["boxes"][:, 2] - t["boxes"][:, 0]) * (t["boxes"][:, 3] - t["boxes"][:, 1]))
    assert sum(len(t["area"]) for t in after)


def test_batches_without_objects(route):
    targets = random_targets([0, 0, 0], [(48, 48)] * 3)
    out, after = am.Mosaic(48)(random_images(3), targets, index=range(3))
    assert torch.equal(out, am.Mosaic(48)(random_images(3), index=range(3)))
    for t in after:
        assert t["boxes"].shape == (0, 4) and t["masks"].shape == (0, 48, 48) and t["keypoints"].shape == (0, 3, 3)


def test_a_batch_of_one(route):
    """All four are the picture itself."""
    images, targets = random_images(1), random_targets([3], [(48, 48)])
    mosaic = am.Mosaic(48, scale=(0.5, 0.5), translate=0, center=(1, 1), min_visibility=0)
    out, (after,) = mosaic(images, targets, index=[9])
    assert (out[0].double() - composed(mosaic, images, 9, 0, 114)).abs().max() <= STEP[torch.uint8]
    assert after["labels"].tolist() == [0, 1, 2] * 4 and torch.equal(after["masks"][:3, :24, :24], after["masks"][3:6, :24, 24:])


def test_tv_tensors_come_back(route):
    v2()
    from torchvision import tv_tensors

    images, targets = random_images(3), random_targets([3, 4, 6], [(48, 48)] * 3)
    expected, after = am.Mosaic(40)(images, targets, index=range(3))

    def dressed(format):
        boxes = [t["boxes"] for t in targets]
        if format == "XYWH":
            boxes = [torch.cat([b[:, :2], b[:, 2:] - b[:, :2]], 1) for b in boxes]
        return [{**t, "masks": tv_tensors.Mask(t["masks"]),
                 "boxes": tv_tensors.BoundingBoxes(b, format=format, canvas_size=(48, 48))}
                for t, b in zip(targets, boxes, strict=True)]

    for format in ("XYXY", "XYWH"):
        out, more = am.Mosaic(40)(tv_tensors.Image(images), dressed(format), index=range(3))
        assert torch.equal(out, expected)
        for one, other in zip(more, after, strict=True):
            assert type(one["boxes"]) is tv_tensors.BoundingBoxes and type(one["masks"]) is tv_tensors.Mask
            assert one["boxes"].canvas_size == (40, 40) and one["boxes"].format.value == format
            plain = one["boxes"].as_subclass(torch.Tensor)
            if format == "XYWH":
                plain = torch.cat([plain[:, :2], plain[:, :2] + plain[:, 2:]], 1)
            assert (plain - other["boxes"]).abs().max() < 1e-4 and torch.equal(one["masks"], other["masks"])


# ---- classes ----


def test_soft_labels_are_shares_of_area(route):
    """Of pictures of one colour each: what the view shows of it, counted."""
    values = torch.tensor([0.1, 0.35, 0.65, 0.9])
    images = values[:, None, None, None].expand(4, 1, 64, 64)
    labels = torch.tensor([2, 0, 1, 0])
    mosaic = am.Mosaic(200, num_classes=4, fill=-1.0, **STRONG)
    out, soft = mosaic(images, labels, index=range(4))
    assert soft.dtype == torch.float32 and torch.allclose(soft.sum(1), torch.ones(4)) and (soft[:, 3] == 0).all()
    counted = torch.stack([((out - v).abs() < 0.02).sum((1, 2, 3)) for v in values], 1).double()
    shares = counted / counted.sum(1, keepdim=True)
    expected = torch.zeros(4, 4, dtype=torch.float64).index_add_(1, labels, shares)
    assert (soft.double() - expected).abs().max() < 0.01 and (soft > 0).sum() > 6
    one_hot = F.one_hot(labels, 4).float()
    assert torch.equal(am.Mosaic(200, fill=-1.0, **STRONG)(images, one_hot, index=range(4))[1], soft)


def test_a_view_of_nothing_has_its_own_class(route):
    images = torch.full((2, 3, 5, 5), 9, dtype=torch.uint8)
    out, soft = am.Mosaic(64, num_classes=3, resize=False, translate=0, scale=(1, 1), center=(0, 0.1))(
        images, torch.tensor([2, 1]), index=[0, 1])
    assert (out == 114).all() and torch.equal(soft, torch.tensor([[0.0, 0, 1], [0, 1, 0]]))


# ---- what a user can get wrong ----


def made(images=None, targets=None, options=None, **arguments):
    images = random_images(3) if images is None else images
    return am.Mosaic(48, **(options or {}))(images, targets, **{"index": [0, 1, 2], **arguments})


def changed(i=1, **entries):
    """Targets of which one is wrong; None: the entry is missing."""
    targets = random_targets([3, 4, 2], [(48, 48)] * 3)
    targets[i] = {name: value for name, value in {**targets[i], **entries}.items() if value is not None}
    return made(targets=targets)


def of_boxes(form):
    v2()
    from torchvision import tv_tensors

    return tv_tensors.BoundingBoxes(torch.zeros(4, 5 if form == "CXCYWHR" else 4), format=form, canvas_size=(48, 48))


BAD = {
    "a size of two": (lambda: am.Mosaic((48, 48)), am.ArgumentError, "Mosaic.size: expected a whole number of pixels"),
    "size 0": (lambda: am.Mosaic(0), am.ArgumentError, "from 1 to 32768, given 0"),
    "scale of a number": (lambda: am.Mosaic(48, scale=0.5), am.ArgumentError, r"Mosaic.scale: expected two numbers"),
    "scale of 0": (lambda: am.Mosaic(48, scale=(0, 1)), am.ArgumentError, "at least 0.01"),
    "scale reversed": (lambda: am.Mosaic(48, scale=(2, 1)), am.ArgumentError, "low <= high"),
    "scale of 1000": (lambda: am.Mosaic(48, scale=(1, 1000)), am.ArgumentError, "at most 100"),
    "translate in pixels": (lambda: am.Mosaic(48, translate=10), am.ArgumentError, "translate: .* from 0 to 1, given 10"),
    "degrees below 0": (lambda: am.Mosaic(48, degrees=-5), am.ArgumentError, "Mosaic.degrees: expected degrees from 0"),
    "shear of 45": (lambda: am.Mosaic(48, shear=45), am.ArgumentError, "within -44 to 44, given 45"),
    "center beyond the canvas": (lambda: am.Mosaic(48, center=(0.5, 2.5)), am.ArgumentError, "at most 2 sizes"),
    "fill of text": (lambda: am.Mosaic(48, fill="grey"), am.ArgumentError, "Mosaic.fill: expected a finite number"),
    "fill of two for three": (lambda: made(options={"fill": (1, 2)}), am.ArgumentError, "one for each of 3 channels"),
    "p": (lambda: am.Mosaic(48, p=1.5), am.ArgumentError, "a probability, 0 to 1, given 1.5"),
    "resize of a number": (lambda: am.Mosaic(48, resize=640), am.ArgumentError, "True or False, given 640"),
    "min_size": (lambda: am.Mosaic(48, min_size=-1), am.ArgumentError, "min_size: .* at least 0"),
    "max_aspect": (lambda: am.Mosaic(48, max_aspect=0.5), am.ArgumentError, "max_aspect: .* at least 1"),
    "min_visibility": (lambda: am.Mosaic(48, min_visibility=10), am.ArgumentError, "min_visibility: .* from 0 to 1"),
    "num_classes": (lambda: am.Mosaic(48, num_classes=0), am.ArgumentError, "num_classes: .* at least 1"),
    "images of three dimensions": (lambda: made(random_images()[0]), am.ShapeError, r"\[B, H, W, C\] or \[B, C, H, W\]"),
    "images of doubles": (lambda: made(random_images(3).double()), am.DtypeError, "images: expected uint8, float32"),
    "images of five channels": (lambda: made(random_images(3, channels=5)), am.ShapeError, "1 to 4 channels"),
    "an empty batch": (lambda: made(random_images(3)[:0], index=[]), am.ShapeError, "at least one picture"),
    "an empty list": (lambda: made([], index=[]), am.ShapeError, "at least one picture"),
    "images that fit both": (lambda: made(random_images(3, (3, 3))), am.ArgumentError, "layout: expected 'NHWC' or 'NCHW'"),
    "images that need a gradient": (lambda: made(random_images(3, dtype=torch.float32).requires_grad_()), am.ArgumentError,
                                    "detach"),
    "layout": (lambda: made(layout="CHWN"), am.ArgumentError, "layout: expected one of"),
    "too few ids": (lambda: made(index=[0, 1]), am.ShapeError, r"index: expected \[3\]"),
    "ids of floats": (lambda: made(index=[0.0, 1.0, 2.0]), am.DtypeError, "index: expected integers"),
    "seed": (lambda: made(seed=-1), am.ArgumentError, "seed: expected a whole number from 0"),
    "epoch": (lambda: made(epoch=2**32), am.ArgumentError, "epoch: expected a whole number"),
    "targets of a dict": (lambda: made(targets=random_targets([3], [(48, 48)])[0]), am.ArgumentError,
                          "a list of dicts, .* one dict"),
    "two targets for three": (lambda: made(targets=random_targets([3, 1], [(48, 48)] * 2)), am.ShapeError, "expected 3 dicts"),
    "a target of a tensor": (lambda: made(targets=[{"boxes": torch.zeros(0, 4)}, torch.zeros(1), {}]), am.ArgumentError,
                             r"targets\[1\]: expected a dict"),
    "no boxes": (lambda: changed(boxes=None), am.ArgumentError, r"targets\[1\]: expected 'boxes', .* given none"),
    "boxes of a list": (lambda: changed(boxes=[[0, 0, 1, 1]]), am.ArgumentError, "'boxes', .* given list"),
    "boxes of five": (lambda: changed(boxes=torch.zeros(4, 5)), am.ShapeError, r"'boxes'\]: expected \[n, 4\]"),
    "boxes of integers": (lambda: changed(boxes=torch.zeros(4, 4, dtype=torch.int64)), am.DtypeError, "expected float32"),
    "boxes of corners and centres": (lambda: changed(boxes=of_boxes("CXCYWH")), am.ArgumentError, "one format of boxes"),
    "labels for three": (lambda: changed(labels=torch.zeros(3)), am.ArgumentError, "'labels' with a row for each object"),
    "labels in two": (lambda: changed(labels=None), am.ArgumentError, "'labels' with a row for each object in every target"),
    "labels of two dtypes": (lambda: changed(labels=torch.zeros(4)), am.ArgumentError, "one dtype of 'labels'"),
    "masks of another size": (lambda: changed(masks=torch.zeros(4, 48, 49, dtype=torch.bool)), am.ShapeError,
                              r"expected \[4, 48, 48\], one for each box"),
    "masks of floats": (lambda: changed(masks=torch.zeros(4, 48, 48)), am.DtypeError, "bool or uint8"),
    "masks of two dtypes": (lambda: changed(masks=torch.zeros(4, 48, 48, dtype=torch.uint8)), am.ArgumentError,
                            "one dtype of 'masks'"),
    "masks in two": (lambda: changed(masks=None), am.ArgumentError, "'masks' with a row for each object in every"),
    "masks elsewhere": (lambda: changed(masks=torch.zeros(4, 48, 48, dtype=torch.bool, device="meta")), am.DeviceError,
                        "expected on cpu like the images, given on meta"),
    "keypoints of two dimensions": (lambda: changed(keypoints=torch.zeros(4, 2)), am.ShapeError, r"\[4, K, 2\] or \[4, K, 3\]"),
    "keypoints of integers": (lambda: changed(keypoints=torch.zeros(4, 3, 3, dtype=torch.int64)), am.DtypeError, "floats"),
    "keypoints of two kinds": (lambda: changed(keypoints=torch.zeros(4, 5, 3)), am.ShapeError, "'keypoints' of one shape"),
    "ids without num_classes": (lambda: made(targets=torch.tensor([0, 1, 2])), am.ArgumentError, r"Mosaic\(num_classes="),
    "ids beyond num_classes": (lambda: made(targets=torch.tensor([0, 1, 5]), options={"num_classes": 5}), am.ArgumentError,
                               "class ids from 0 to 4, given 0 to 5"),
    "ids for two": (lambda: made(targets=torch.tensor([0, 1]), options={"num_classes": 5}), am.ShapeError, "expected 3 rows"),
    "soft labels of other classes": (lambda: made(targets=torch.ones(3, 4), options={"num_classes": 5}), am.ShapeError,
                                     "expected 5 classes, given 4"),
    "labels elsewhere": (lambda: made(targets=torch.ones(3, 4, device="meta")), am.ArgumentError, "plain strided tensor"),
}


@pytest.mark.parametrize("case", BAD)
def test_mistakes_are_named(route, case):
    call, error, message = BAD[case]
    with pytest.raises(error, match=message):
        call()
