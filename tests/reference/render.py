"""A float64 renderer in NumPy, written from what a plan's row means: one output pixel, its place in the source, the taps,
the colour steps, the erasures, the partner, the label."""

import copy
import itertools
from statistics import NormalDist

import numpy as np

from anamorph import _native
from reference.philox import LOW, philox

W = _native.WORDS
OPS = {code: name for name, code in _native.OPS.items()}


def rows_of(recipe, plan):
    def row_of(words):
        own, *layers = (Row(layer, recipe.info["max_colors"]) for layer in words.reshape(-1, recipe.info["layer_words"]))
        own.layers = layers
        return own

    return [row_of(words) for words in plan.rows.numpy()]


class Row:
    """A plan row's words by name."""

    def __init__(self, words, max_colors):
        f = words.view(np.float32).astype(np.float64)
        self.m = f[W["MATRIX"]:W["MATRIX"] + 9].reshape(3, 3)
        self.rect, self.reach = f[W["RECT"]:W["RECT"] + 4], f[W["REACH"]:W["REACH"] + 4]
        self.frame, self.slope = f[W["FRAME"]:W["FRAME"] + 4], f[W["SLOPE"]:W["SLOPE"] + 4]
        self.fold, self.filter = f[W["FOLD"]:W["FOLD"] + 4], f[W["FILTER"]:W["FILTER"] + 2]
        flags = int(words[W["FLAGS"]])
        self.interp, self.antialias, self.framed = flags & 7, bool(flags & 16), flags & 32
        self.border, self.folding = (flags >> 6) & 3, (flags >> 8) & 3
        self.fill, self.fill_step = f[W["FILL"]:W["FILL"] + 4], int(words[W["FILL_STEP"]])
        self.mix, self.partner, self.lam = int(words[W["MIX"]]), int(words[W["PARTNER"]]), f[W["LAM"]]
        self.box = words[W["BOX"]:W["BOX"] + 4].tolist()
        at, n = W["HEADER"], _native.COLOR_WORDS
        steps = [at + n * k for k in range(words[W["COLORS"]])]
        self.colors = [(OPS[int(words[s])], f[s + 1]) for s in steps]
        self.more = [(int(words[s + 2]), int(words[s + 3])) for s in steps]
        self.layers = []
        at, n = at + n * max_colors, _native.ERASE_WORDS
        erasures = [at + n * k for k in range(words[W["ERASES"]])]
        self.erases = [(words[e:e + 6].tolist(), f[e + 6:e + 10]) for e in erasures]
        self.lattices = [(*f[e:e + 4].astype(np.float32), f[e + 10]) for e in erasures]


# What a ready view is read by: as it lies.
READY = Row(np.zeros(W["HEADER"], np.int32), 0)
READY.m, READY.filter = np.eye(3), np.ones(2)


def cubic(d, a):
    d = np.abs(d)
    near = (a + 2) * d**3 - (a + 3) * d**2 + 1
    far = a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a
    return np.where(d < 1, near, np.where(d < 2, far, 0))


def lanczos(d):
    return np.where(np.abs(d) < 3, np.sinc(d) * np.sinc(d / 3), 0)


def covered(d, wide):
    """How much of a tap at distance d (in pixels that are ``wide`` of the source's) such a pixel covers."""
    return np.clip(0.5 * wide + 0.5 - np.abs(d * wide), 0, 1)


SUPPORT = {1: 1, 2: 2, 3: 3}  # by the interpolation, of a filter of width 1


def at_border(i, low, high, border):
    """Index after the border's rule: NumPy's pad modes, once; then the nearest."""
    if border >= 2:
        both = 1 if border == 3 else 0
        i = np.where(i < low, 2 * low - both - i, i)
        i = np.where(i > high, 2 * high + both - i, i)
    return np.clip(i, low, high)


def folded(p, low, high, border):
    if border >= 2:
        p = np.where(p < low, 2 * low - p, p)
        p = np.where(p > high, 2 * high - p, p)
    return np.clip(p, low, high)


def _from_a_grid(row, shrunk=False):
    """May this view be read from a grid's points (grid.h)? It is where windows are wide, and the map is not square to the source
    or the pixels lie closer than the points; not where a square one enlarges an axis that no filter has smoothed."""
    aslant = row.m[2, :2].any() or row.m[0, 1] or row.m[1, 0]
    scale = np.abs(row.m.diagonal()[:2])
    close = scale.prod() * 14 < np.prod(row.filter) or (scale * 8 < row.filter).any()
    wide = shrunk or (row.antialias and 2 * SUPPORT.get(row.interp, 1) * max(row.filter) > 4)
    smooth = aslant or shrunk or not ((row.filter <= 1) & (scale < 1)).any()
    return bool((aslant or close) and wide and smooth)


def loose(recipe, plan):
    """Which of the batch's outputs are near those of this reference, not equal to them."""
    rows = rows_of(recipe, plan)
    return np.array([_from_a_grid(row) or (row.mix > 0 and _from_a_grid(rows[row.partner], row.mix == 3)) for row in rows])


class Axis:
    """What a view reads along one axis of its source: for each position its taps, their weights, which of them are the fill."""

    def __init__(self, row, axis, size, m, interp, antialias, filt, late):
        self.rect = [int(np.clip(np.floor(row.rect[axis]), 0, size - 1)), int(np.ceil(row.rect[axis + 2])) - 1]
        self.rect[1] = int(np.clip(self.rect[1], self.rect[0], size - 1))
        self.reach = [int(np.floor(row.reach[axis])), int(np.ceil(row.reach[axis + 2])) - 1]
        self.reach[1] = max(self.reach)  # a pixel at least
        self.border = row.border
        self.padded = row.border == 0 and (self.reach[0] < self.rect[0] or self.reach[1] > self.rect[1])
        self.interp, self.antialias, self.late = interp, antialias, late
        self.wide = filt if antialias and interp else 1.0
        # A warp's cubic taps beyond its frame are the fill; without antialias others repeat the edge, with it they do not count.
        self.framed_taps = (interp == 2 and row.framed and not late and not self.widened(row)
                            and row.frame[axis] == self.reach[0] and row.frame[axis + 2] == self.reach[1] + 1
                            and np.all(row.slope == 1))

    def widened(self, row):
        return self.antialias and (self.interp in (2, 3) or (self.interp in (1, 4) and max(row.filter) > 1))

    def taps(self, p, drop, framed_taps):
        """[taps, *p.shape]: pixels, weights, fill."""
        if self.interp == 0:
            t = np.floor(p).astype(int)[None]
            weights = np.ones(t.shape)
        else:
            area = self.interp == 4 and drop
            reach = 0.5 * self.wide + 0.5 if area else self.wide * SUPPORT.get(self.interp, 1)
            t = np.floor(p - 0.5 - reach).astype(int) + 1 + np.arange(int(2 * reach) + 2).reshape(-1, *[1] * p.ndim)
            d = (t + 0.5 - p) / self.wide
            weights = (cubic(d, -0.5 if self.antialias else -0.75) if self.interp == 2 else lanczos(d) if self.interp == 3 else
                       covered(d, self.wide) if area else np.maximum(0, 1 - np.abs(d)))
        outside = (t < self.reach[0]) | (t > self.reach[1])
        if drop:
            weights = np.where(outside, 0, weights)
        kept = np.clip(t, *self.reach)
        fill = np.zeros(t.shape, bool)
        if self.border == 0:
            fill = (kept < self.rect[0]) | (kept > self.rect[1])
        if framed_taps:
            fill = fill | outside
        return at_border(kept, *self.rect, self.border), weights, fill


def sample(image, row, h, w, bytes_in=False, inner=None):
    """The view [h, w, C] before colour, its cover [h, w] (1: no fill), and what it is where the cover is 0. ``inner``: a map
    applied to the output's coordinates first, which shrinks the view as an antialiased resize."""
    sh, sw, channels = image.shape
    ys, xs = np.mgrid[0:h, 0:w] + 0.5
    m, interp, filt, antialias = row.m, row.interp, row.filter.copy(), row.antialias
    if inner is not None:
        m, interp = m @ inner, max(interp, 1)
        filt = np.maximum(np.maximum(1, np.linalg.norm(m[:2, :2], axis=1)), filt if antialias else 1)
        antialias, row = True, copy.copy(row)
        row.filter = filt
    px, py, pz = (m[k, 0] * xs + m[k, 1] * ys + m[k, 2] for k in range(3))
    front = pz > 1e-8
    px, py = (np.clip(p / np.where(front, pz, 1e-8), -1e6, 1e6) for p in (px, py))
    fill = row.fill[:channels] * (1 / 255 if bytes_in else 1)
    late = row.fill_step > 0
    across, down = (Axis(row, axis, size, m, interp, antialias, filt[axis], late) for axis, size in ((0, sw), (1, sh)))
    drop = across.widened(row)
    framed_taps = across.framed_taps and down.framed_taps
    fx, fy = px, py
    if row.folding:
        fx, fy = folded(px, row.fold[0], row.fold[2], row.folding), folded(py, row.fold[1], row.fold[3], row.folding)
    if drop:  # what lies beyond the taps that count is their edge
        fx, fy = np.clip(fx, across.reach[0], across.reach[1] + 1), np.clip(fy, down.reach[0], down.reach[1] + 1)
    (ix, wx, gap_x), (iy, wy, gap_y) = across.taps(fx, drop, framed_taps), down.taps(fy, drop, framed_taps)
    total, inside, out = np.zeros((h, w)), np.zeros((h, w)), np.zeros((h, w, channels))
    edge = np.zeros((h, w, channels))  # with the rect's edge repeated under the padding
    for j in range(len(iy)):
        for i in range(len(ix)):
            weight, value = wy[j] * wx[i], image[iy[j], ix[i]]
            shown = ~(gap_y[j] | gap_x[i])
            total += weight
            inside += weight * shown
            out += (weight * shown)[..., None] * value
            edge += weight[..., None] * value
    whole = np.where(total == 0, 1, total)
    if framed_taps or (interp in (2, 3) and (across.padded or down.padded) and not late):  # the fill's taps count too
        out = (out + (total - inside)[..., None] * fill) / whole[..., None]
        cover = np.ones((h, w))
    else:
        cover = 1.0
        for weights, gap in ((wx, gap_x), (wy, gap_y)):
            each = weights.sum(0)
            cover = cover * np.clip((weights * ~gap).sum(0) / np.where(each == 0, 1, each), 0, 1)
        positive = np.abs(inside) > 1e-12
        shown = np.where(positive[..., None], out / np.where(positive, inside, 1)[..., None], fill)
        out = shown if drop else edge / whole[..., None]
    if interp in (2, 3) and bytes_in:  # a cubic overshoots, a byte cannot
        out = np.clip(out, 0, 1)
    if row.framed and interp == 0:
        cover = cover * ((px >= row.frame[0]) & (px < row.frame[2]) & (py >= row.frame[1]) & (py < row.frame[3]))
    elif row.framed and not framed_taps:  # the frame fades over one pixel of the view that it framed, or of the output
        slope = np.where(np.tile(filt, 2) > 1, np.minimum(row.slope, np.tile(1 / filt, 2)), row.slope) if antialias else row.slope
        for p, a, b in ((px, 0, 2), (py, 1, 3)):
            cover = cover * np.clip(np.minimum((p - row.frame[a]) * slope[a], (row.frame[b] - p) * slope[b]) + 0.5, 0, 1)
    return out, cover * front, fill


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
    i = np.floor(h * 6)
    f = h * 6 - i
    p, q, t = low, top - chroma * f, top - chroma * (1 - f)
    i = i.astype(int) % 6
    out = [np.choose(i, [top, q, p, p, t, top]), np.choose(i, [t, top, top, q, p, p]), np.choose(i, [p, p, t, top, top, q])]
    return np.stack(out, -1)


def as_byte(v):
    return np.floor(np.clip(v, 0, 1) * 255 + 0.5)


def whole_step(v, op, p, more, bytes_in, shown):
    """A step that needs the whole view, of which ``shown`` [h, w] says what is no fill."""
    if op == "CONTRAST":
        return np.clip(p * v + (1 - p) * (grey(v)[shown].mean() if shown.any() else 0), 0, 1)
    if op in ("AUTOCONTRAST", "EQUALIZE"):
        seen = as_byte(v) if bytes_in else np.floor(np.clip(v, 0, 1) * 255.999) if op == "EQUALIZE" else v  # torchvision's
        out = np.stack([(stretched if op == "AUTOCONTRAST" else equalized)(seen[..., c], shown, bytes_in)
                        for c in range(v.shape[-1])], -1)
        return out
    if op == "SHARPNESS":
        if min(v.shape[:2]) <= 2:
            return v
        around = sum(v[1 + j:v.shape[0] - 1 + j, 1 + i:v.shape[1] - 1 + i] for j in (-1, 0, 1) for i in (-1, 0, 1))
        soft = (around + 4 * v[1:-1, 1:-1]) / 13
        soft = as_byte(soft) / 255 if bytes_in else soft
        out = v.copy()
        out[1:-1, 1:-1] = np.clip(soft + p * (v[1:-1, 1:-1] - soft), 0, 1)
        return out
    assert op == "GAUSSIAN_BLUR"
    kind, sizes = more[0] >> 16, (more[0] & 255, more[0] >> 8 & 255)
    if kind == 2:
        return boxes(v, p, bytes_in)
    for axis, taps in ((1, sizes[0]), (0, sizes[1])):
        k = np.exp(-0.5 * (np.arange(taps) - taps // 2) ** 2 / p**2)
        v = along(v, axis, k / k.sum(), "zero" if kind == 1 else "reflect")
    return v


def along(v, axis, kernel, border):
    """The weighed sum of the neighbours along an axis."""
    n, reach = v.shape[axis], len(kernel) // 2
    out = np.zeros_like(v)
    for k, weight in enumerate(kernel):
        at = np.arange(n) + k - reach
        inside = ((at >= 0) & (at < n)) if border == "zero" else np.ones(n, bool)
        taken = np.take(v, at_border(at, 0, n - 1, 2 if border == "reflect" else 1), axis)
        out += weight * taken * np.expand_dims(inside, [a for a in range(v.ndim) if a != axis])
    return out


def boxes(v, sigma, bytes_in):
    """PIL's blur: a box with lighter ends goes over the picture three times each way; bytes are rounded by integers."""
    variance = sigma * sigma / 3
    inner = int((np.sqrt(12 * variance + 1) - 1) / 2)
    radius = inner + (2 * inner + 1) * (inner * (inner + 1) - 3 * variance) / (6 * (variance - (inner + 1) ** 2))
    each = int(2**24 / (2 * np.float32(radius) + 1))
    end = (2**24 - (2 * inner + 1) * each) // 2
    kernel = [end, *[each] * (2 * inner + 1), end]
    v = as_byte(v) if bytes_in else v
    for axis in (1, 1, 1, 0, 0, 0):
        v = along(v, axis, np.array(kernel, np.float64), "edge")
        v = np.floor((v + 2**23) / 2**24) if bytes_in else v / 2**24
    return v / 255 if bytes_in else v


def stretched(seen, shown, bytes_in):
    low, high = (seen[shown].min(), seen[shown].max()) if shown.any() else (0, 0)
    top = 255 if bytes_in else 1
    if low >= high:
        return np.clip(seen, 0, top) / top
    if not bytes_in:
        return np.clip((seen - low) / (high - low), 0, 1)
    per = np.float32(high - low) * np.float32(1 / 255)  # torchvision's, whose bytes are cut
    return np.floor(np.clip((seen - low).astype(np.float32) / per, 0, 255)) / 255


def equalized(seen, shown, _):
    counts = np.bincount(seen[shown].astype(int), minlength=256)
    used = np.flatnonzero(counts)
    step = (counts.sum() - counts[used[-1]]) // 255 if len(used) else 0
    if step == 0:
        return seen / 255
    table = np.minimum((step // 2 + np.cumsum(counts) - counts) // step, 255)
    return table[seen.astype(int)] / 255


def noisy(v, p, more, bytes_in, inner):
    mean = np.int32(more[1]).view(np.float32)
    h, w, channels = v.shape
    xs, ys = np.arange(w) + 0.5, np.arange(h) + 0.5
    if inner is not None:
        xs, ys = inner[0, 0] * xs + inner[0, 2], inner[1, 1] * ys + inner[1, 2]
    noise = np.empty_like(v)
    for y, vy in enumerate(np.trunc(ys).astype(int)):
        keys = philox((0, int(vy) & LOW, 0, 0x0401CE), ((more[0] & LOW) >> 1, 0))
        for x, vx in enumerate(np.trunc(xs).astype(int)):
            noise[y, x] = [mean + p * normal(int(vx) & LOW, keys[c], keys[c ^ 1]) for c in range(channels)]
    v = v + (np.trunc(noise * 255) / 255 if bytes_in else noise)
    return np.clip(v, 0, 1) if more[0] & 1 else v


WHOLE = ("CONTRAST", "AUTOCONTRAST", "EQUALIZE", "SHARPNESS", "GAUSSIAN_BLUR", "BLEND")
NOT_SEEN = ("IDENTITY", "SHEAR_X", "SHEAR_Y", "TRANSLATE_X", "TRANSLATE_Y", "ROTATE_BY")


def step(v, op, p, bytes_in, in_bytes=False):
    if op == "BRIGHTNESS":
        return np.clip(v * p, 0, 1)
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
        return np.where((as_byte(v) if bytes_in else v) >= (p / 255 if in_bytes and not bytes_in else p), 1 - v, v)
    if op == "SOLARIZE_ADD":
        add = p / 255 if bytes_in or in_bytes else p
        return np.where((as_byte(v) if bytes_in else v * 255) < 128, np.clip(v + add, 0, 1), v)
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
        return hue(v, p)
    assert op == "GRAYSCALE"
    return np.repeat(grey(v)[..., None], 3, -1)


def hashed(at, key, second):
    h = (at + key) & LOW
    h = (h ^ h >> 16) * 0x21F0AAAD & LOW
    h = ((h ^ h >> 15) + second & LOW) * 0x735A2D97 & LOW
    return h ^ h >> 15


def normal(at, key, second):
    """The normal number that a hash of a place and two keys stands for: 24 bits say how far from 0, the lowest on which side."""
    h = hashed(at, key, second)
    size = NormalDist().inv_cdf(1 - ((h >> 8) + 0.5) / 2**25)
    return -size if h & 1 else size


def in_lattice(vx, vy, mode, key, lattice):
    """Which pixels a lattice erases. Its cells' corners are found in float32, as they are rounded there."""
    *affine, share = lattice
    cosine, sine, across, down = affine
    x, y = (p.astype(np.float32) + np.float32(0.5) for p in (vx, vy))
    u, v = cosine * x + (across - sine * y), sine * x + (down + cosine * y)
    left, top = np.floor(u), np.floor(v)
    if mode == 7:
        keys = philox((0, 0, 0, 0xE8A5E), (key & LOW, 0))
        words = np.vectorize(lambda i, j: hashed((int(j) * 2**15 + int(i)) & LOW, keys[0], keys[1]))(left, top)
        return (words >> 8) < share * 2**24
    within = np.minimum(u - left, v - top)
    return within >= share if mode == 6 else within < share


def erase(v, row, mean, std, inner=None):
    h, w, channels = v.shape
    for ((x0, y0, x1, y1, mode, key), value), lattice in zip(row.erases, row.lattices, strict=True):
        ys, xs = np.mgrid[0:h, 0:w] + 0.5
        if inner is not None:
            xs, ys = inner[0, 0] * xs + inner[0, 2], inner[1, 1] * ys + inner[1, 2]
        vx, vy = np.trunc(xs).astype(int), np.trunc(ys).astype(int)
        if mode & 15 >= 5:
            at = in_lattice(vx, vy, mode & 15, key, lattice)
            v[at] = value[:channels] * std + mean if mode & (1 << 12) else value[:channels]
            continue
        for y, x in np.argwhere((vx >= x0) & (vx < x1) & (vy >= y0) & (vy < y1)):
            px, py = (int(vx[y, x]), int(vy[y, x])) if mode & 15 in (2, 4) else (0, 0)
            keys = philox((0, py, 0, 0xE8A5E), (key & LOW, 0))
            for c in range(channels):
                new = value[c]
                if mode & 15 in (3, 4):  # uniform, in units that Normalize does not touch
                    v[y, x, c] = (hashed(px, keys[c], keys[c ^ 1]) >> 8) / 2**24
                    continue
                if mode & 15:
                    new = normal(px, keys[c], keys[c ^ 1])
                v[y, x, c] = new * std[c] + mean[c] if mode & (1 << 12) else new
    return v


def draw(sources, k, row, h, w, mean, std, bytes_in, inner=None):
    """Picture ``k``'s view before mixing. ``inner``: what is seen of it, where a ResizeMix shrinks it: what needs the whole view
    is done to it before."""
    whole = [n for n, (op, _) in enumerate(row.colors) if op in WHOLE]
    ready = whole[-1] + 1 if whole else 0
    ready = max(ready, row.fill_step) if whole and inner is not None else ready
    v, cover, fill = sample(sources[k], row, h, w, bytes_in, None if whole else inner)
    filled = False
    for n in range(len(row.colors) + 1):
        if n == row.fill_step:
            v, filled = np.where((cover == 0)[..., None], fill, fill + cover[..., None] * (v - fill)), True
        if whole and n == ready and inner is not None:
            v = shrunk(v, inner)
        if n == len(row.colors):
            break
        (op, p), more = row.colors[n], row.more[n]
        if op == "BLEND":
            layers = row.layers[more[0] - 1:more[0] - 1 + more[1]]
            drawn = [layer.lam * draw(sources, layer.partner, layer, h, w, mean, std, bytes_in) for layer in layers]
            v = (1 - p) * v + p * sum(drawn)
        elif op in WHOLE:
            v = whole_step(v, op, p, more, bytes_in, cover > 0.5 if not filled else np.ones((h, w), bool))
        elif op == "GAUSSIAN_NOISE":
            v = noisy(v, p, more, bytes_in, inner)
        elif op not in NOT_SEEN:
            v = step(v, op, p, bytes_in, bool(more[0]))
    return erase(v.copy(), row, mean, std, inner)


def shrunk(v, inner):
    """A view that was made ready, shrunk as an antialiased resize."""
    h, w, _ = v.shape
    whole = copy.copy(READY)
    whole.rect = whole.reach = np.array([0, 0, w, h], float)
    out, _, _ = sample(v, whole, h, w, False, inner)
    return out


def render(recipe, images, plan, labels=None, classes=0, mask=None):
    """(views float64 [B, C, H, W] before the cast, soft targets float64 [B, K] or None)."""
    rows = rows_of(recipe, plan)
    h, w = plan.output_size
    bytes_in = images[0].dtype == np.uint8
    scale = 1 / 255 if bytes_in else 1.0
    sources = [np.asarray(i, np.float64) * scale for i in images]
    channels = sources[0].shape[2]
    mean, std = (np.broadcast_to(v if v is not None else d, (channels,)) for v, d in ((recipe.mean, 0.0), (recipe.std, 1.0)))

    views = [draw(sources, k, row, h, w, mean, std, bytes_in) for k, row in enumerate(rows)]

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
            small = draw(sources, j, rows[j], h, w, mean, std, bytes_in, inner)
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
