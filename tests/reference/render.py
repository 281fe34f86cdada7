"""A float64 renderer in NumPy, written from what a plan's row means: one output pixel, its place in the source, the taps,
the colour steps, the erasures, the partner, the label."""

import itertools

import numpy as np

from anamorph import _native
from reference.philox import philox

W = _native.WORDS
OPS = {code: name for name, code in _native.OPS.items()}


class Row:
    """A plan row's words by name."""

    def __init__(self, words, max_colors):
        f = words.view(np.float32).astype(np.float64)
        self.m = f[W["MATRIX"]:W["MATRIX"] + 9].reshape(3, 3)
        self.x0, self.y0, self.x1, self.y1 = f[W["RECT"]:W["RECT"] + 4]
        self.slope, self.filter = f[W["SLOPE"]:W["SLOPE"] + 2], f[W["FILTER"]:W["FILTER"] + 2]
        flags = int(words[W["FLAGS"]])
        self.interp, self.antialias, self.filled, self.border = flags & 3, flags & 8, flags & 16, (flags >> 5) & 3
        self.fill = f[W["FILL"]:W["FILL"] + 4]
        self.mix, self.partner, self.lam = int(words[W["MIX"]]), int(words[W["PARTNER"]]), f[W["LAM"]]
        self.box = words[W["BOX"]:W["BOX"] + 4].tolist()
        at, n = W["HEADER"], _native.COLOR_WORDS
        self.colors = [(OPS[int(words[at + n * k])], f[at + n * k + 1]) for k in range(words[W["COLORS"]])]
        at, n = at + n * max_colors, _native.ERASE_WORDS
        self.erases = [(words[at + n * k:at + n * k + 6].tolist(), f[at + n * k + 6:at + n * k + 10])
                       for k in range(words[W["ERASES"]])]


def cubic(d, a):
    d = np.abs(d)
    near = (a + 2) * d**3 - (a + 3) * d**2 + 1
    far = a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a
    return np.where(d < 1, near, np.where(d < 2, far, 0))


def at_border(i, low, high, border):
    """Index after the border's rule: NumPy's pad modes, once; then the nearest."""
    if border >= 2:
        both = 1 if border == 3 else 0
        i = np.where(i < low, 2 * low - both - i, i)
        i = np.where(i > high, 2 * high + both - i, i)
    return np.clip(i, low, high)


def sample(image, row, h, w, bytes_in=False, inner=None):
    """The view [h, w, C] before colour; ``inner``: a map applied to the output's coordinates first."""
    sh, sw, channels = image.shape
    ys, xs = np.mgrid[0:h, 0:w] + 0.5
    m, interp, filt = row.m, row.interp, row.filter.copy()
    if inner is not None:
        m, interp = m @ inner, max(interp, 1)
        filt = np.maximum(1, filt * [inner[0, 0], inner[1, 1]]) if row.antialias else filt
    px, py, pz = (m[k, 0] * xs + m[k, 1] * ys + m[k, 2] for k in range(3))
    front = pz > 1e-8
    px, py = (np.clip(p / np.where(front, pz, 1e-8), -1e6, 1e6) for p in (px, py))
    ax, ay = int(max(row.x0, 0)), int(max(row.y0, 0))
    bx, by = min(int(np.ceil(row.x1)), sw) - 1, min(int(np.ceil(row.y1)), sh) - 1
    ax, ay = min(ax, sw - 1), min(ay, sh - 1)
    bx, by = max(bx, ax), max(by, ay)
    fill = row.fill[:channels] * (1 / 255 if bytes_in else 1)

    def tap(i, j):
        return image[at_border(i, ay, by, row.border), at_border(j, ax, bx, row.border)]

    if interp == 0:
        out = tap(np.floor(py).astype(int), np.floor(px).astype(int))
        inside = (px >= row.x0) & (px < row.x1) & (py >= row.y0) & (py < row.y1)
        return np.where(inside[..., None], out, fill) if row.filled else out

    wide = filt if row.antialias else np.ones(2)
    reach = wide * (2 if interp == 2 else 1)
    drop = row.antialias and row.border == 0
    out, total = np.zeros((h, w, channels)), np.zeros((h, w))
    fx, fy = np.floor(px - 0.5 - reach[0]).astype(int) + 1, np.floor(py - 0.5 - reach[1]).astype(int) + 1

    def weight(d):
        return cubic(d, -0.5 if row.antialias else -0.75) if interp == 2 else np.maximum(0, 1 - np.abs(d))

    for dj in range(int(2 * reach[1]) + 1):
        j = fy + dj
        wy, y_in = weight((j + 0.5 - py) / wide[1]), (j >= ay) & (j <= by)
        for di in range(int(2 * reach[0]) + 1):
            i = fx + di
            wx, x_in = weight((i + 0.5 - px) / wide[0]), (i >= ax) & (i <= bx)
            both = wx * wy * (x_in & y_in if drop else 1)
            value = tap(j, i)
            if row.filled and interp == 2 and not drop:
                value = np.where((x_in & y_in)[..., None], value, fill)
            out += both[..., None] * value
            total += both
    out = out / np.where(total == 0, 1, total)[..., None]
    if interp == 2 and bytes_in:  # a cubic overshoots, a byte cannot
        out = np.clip(out, 0, 1)
    out = np.where((total == 0)[..., None], fill, out)
    if row.filled and not (interp == 2 and not drop):  # the frame fades over one pixel of the view that it framed
        cover = (np.clip(np.minimum(px - row.x0, row.x1 - px) * row.slope[0] + 0.5, 0, 1)
                 * np.clip(np.minimum(py - row.y0, row.y1 - py) * row.slope[1] + 0.5, 0, 1))[..., None]
        out = fill + cover * (out - fill)
    return np.where(front[..., None], out, fill)


def grey(v):
    return v @ np.array([0.2989, 0.587, 0.114]) if v.shape[-1] >= 3 and v.shape[-1] != 4 else (
        v[..., :3] @ np.array([0.2989, 0.587, 0.114]) if v.shape[-1] == 4 else v[..., 0])


def hue(v, turn):
    """RGB to HSV, the hue turned, and back: the six-sector form."""
    r, g, b = np.moveaxis(v, -1, 0)
    top, low = v.max(-1), v.min(-1)
    chroma = top - low
    c = np.where(chroma > 0, chroma, 1)
    h = np.where(r == top, (g - b) / c, np.where(g == top, 2 + (b - r) / c, 4 + (r - g) / c))
    h = (h / 6 + turn) % 1
    s = np.where(top > 0, chroma / np.where(top > 0, top, 1), 0)
    i = np.floor(h * 6)
    f = h * 6 - i
    p, q, t = top * (1 - s), top * (1 - s * f), top * (1 - s * (1 - f))
    i = i.astype(int) % 6
    out = [np.choose(i, [top, q, p, p, t, top]), np.choose(i, [t, top, top, q, p, p]), np.choose(i, [p, p, t, top, top, q])]
    return np.stack(out, -1)


def as_byte(v):
    return np.floor(np.clip(v, 0, 1) * 255 + 0.5)


def step(v, op, p, bytes_in):
    if op == "BRIGHTNESS":
        return np.clip(v * p, 0, 1)
    if op == "CONTRAST":
        return np.clip(p * v + (1 - p) * grey(v).mean(), 0, 1)
    if op == "CONTRAST_MIDGRAY":
        return np.clip(p * v + (1 - p) * 0.5, 0, 1)
    if op == "INVERT":
        return 1 - v
    if op == "POSTERIZE":
        if bytes_in:
            n = 256 / 2**p
            return np.floor(as_byte(v) / n) * n / 255
        return np.clip(np.floor(v * 2**p), 0, 2**p - 1) / 2**p
    if op == "SOLARIZE":
        return np.where((as_byte(v) if bytes_in else v) >= p, 1 - v, v)
    if op == "CHANNEL_PERMUTATION":
        orders = list(itertools.permutations(range(v.shape[-1])))
        return v[..., orders[int(p * len(orders))]]
    if op == "GAMMA":
        return np.clip(v, 0, None) ** p
    if v.shape[-1] != 3:
        return v
    if op.startswith("SHIFT_"):
        moved = [p / (255 if bytes_in else 1) if op == f"SHIFT_{name}" else 0 for name in ("RED", "GREEN", "BLUE")]
        return np.where(np.array(moved) != 0, np.clip(v + moved, 0, 1), v)
    if op == "SATURATION":
        return np.clip(p * v + (1 - p) * grey(v)[..., None], 0, 1)
    if op == "HUE":
        return np.clip(hue(v, p), 0, 1)
    assert op == "GRAYSCALE"
    return np.repeat(grey(v)[..., None], 3, -1)


def erase(v, row, mean, std, inner=None):
    h, w, channels = v.shape
    for (x0, y0, x1, y1, mode, key), value in row.erases:
        ys, xs = np.mgrid[0:h, 0:w] + 0.5
        if inner is not None:
            xs, ys = inner[0, 0] * xs + inner[0, 2], inner[1, 1] * ys + inner[1, 2]
        vx, vy = np.trunc(xs).astype(int), np.trunc(ys).astype(int)
        for y, x in np.argwhere((vx >= x0) & (vx < x1) & (vy >= y0) & (vy < y1)):
            for c in range(channels):
                new = value[c]
                if mode & 15:
                    each, uniform = (mode & 15) in (2, 4), (mode & 15) >= 3
                    place = (int(vx[y, x]), int(vy[y, x])) if each else (0, 0)
                    words = philox((*place, 0, 0xE8A5E), (key & 0xFFFFFFFF, 0))
                    u, t = ((words[c // 2 * 2] >> 8) + 0.5) / 2**24, (words[c // 2 * 2 + 1] >> 8) / 2**24
                    new = np.sqrt(-2 * np.log(u)) * (np.sin if c % 2 else np.cos)(2 * np.pi * t)
                    if uniform:
                        v[y, x, c] = t if c % 2 else u
                        continue
                v[y, x, c] = new * std[c] + mean[c] if mode & (1 << 12) else new
    return v


def finish(v, row, mean, std, bytes_in, inner=None):
    for op, p in row.colors:
        v = step(v, op, p, bytes_in)
    return erase(v.copy(), row, mean, std, inner)


def render(recipe, images, plan, labels=None, classes=0, mask=None):
    """(views float64 [B, C, H, W] before the cast, soft targets float64 [B, K] or None)."""
    rows = [Row(r, recipe.info["max_colors"]) for r in plan.rows.numpy()]
    h, w = plan.output_size
    bytes_in = images[0].dtype == np.uint8
    scale = 1 / 255 if bytes_in else 1.0
    sources = [np.asarray(i, np.float64) * scale for i in images]
    channels = sources[0].shape[2]
    mean, std = (np.broadcast_to(v if v is not None else d, (channels,)) for v, d in ((recipe.mean, 0.0), (recipe.std, 1.0)))

    # An exact contrast's mean is of the whole view at that step, also where the partner is then shrunk.
    means = [[] for _ in rows]
    views = []
    for k, (row, source) in enumerate(zip(rows, sources, strict=True)):
        v = sample(source, row, h, w, bytes_in)
        for op, p in row.colors:
            means[k].append(grey(v).mean())
            v = step(v, op, p, bytes_in)
        views.append(erase(v.copy(), row, mean, std))

    out, soft = [], []
    for k, row in enumerate(rows):
        v, j, lam = views[k].copy(), row.partner, row.lam
        other = views[j]
        x0, y0, x1, y1 = row.box
        if row.mix == 1:
            v = lam * v + (1 - lam) * other
        elif row.mix == 2:
            v[y0:y1, x0:x1] = other[y0:y1, x0:x1]
        elif row.mix == 3:
            sx, sy = w / (x1 - x0), h / (y1 - y0)
            inner = np.array([[sx, 0, -sx * x0], [0, sy, -sy * y0], [0, 0, 1]])
            small = sample(sources[j], rows[j], h, w, bytes_in, inner)
            for (op, p), mu in zip(rows[j].colors, means[j], strict=True):
                small = np.clip(p * small + (1 - p) * mu, 0, 1) if op == "CONTRAST" else step(small, op, p, bytes_in)
            small = erase(small.copy(), rows[j], mean, std, inner)
            v[y0:y1, x0:x1] = small[y0:y1, x0:x1]
        elif row.mix == 4:
            share = mask[k, 0][..., None]
            v, lam = share * v + (1 - share) * other, mask[k].mean()
        out.append((v - mean) / std)
        if labels is not None:
            off, on = recipe.label_smoothing / classes, 1 - recipe.label_smoothing
            def one(n):
                return (labels[n] if np.ndim(labels[n]) else np.eye(classes)[labels[n]])
            lam = lam if row.mix else 1.0
            soft.append(lam * (one(k) * on + off) + (1 - lam) * (one(j) * on + off))
    return np.stack(out).transpose(0, 3, 1, 2), np.stack(soft) if soft else None
