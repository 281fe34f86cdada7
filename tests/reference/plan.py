"""A plan's rows recomputed, bit for bit: the program is run as the tree that it is, in Python's doubles.

The order of the operations is part of the contract (csrc/images/plan.h and geometry.h): it makes the bits the same
everywhere. The words' places are those of csrc/images/program.h.
"""

from __future__ import annotations

import copy

import numpy as np

from reference import exact
from reference.exact import floor, round_even
from reference.philox import philox

APPLY, CHOICE, ORDER, BRANCH, CHAINS = 1, 2, 3, 4, 5
ZOOM_OUT, SCALE_JITTER, FIXED_SIZE, IOU_CROP = 29, 80, 81, 82
(RESIZED_CROP, RESIZE, CROP, FLIP_H, FLIP_V, AFFINE, ROTATE, PERSPECTIVE, CENTER_CROP, TURN, PAD, WARP,
 CROP_AND_PAD) = range(10, 23)
POLICY_MAPS = SHEAR_X, SHEAR_Y, TRANSLATE_X, TRANSLATE_Y, ROTATE_BY = range(23, 28)
POSTERIZE, CHANNEL_PERMUTATION = 37, 39
SOLARIZE, GAUSSIAN_BLUR, GAUSSIAN_NOISE, SOLARIZE_ADD, IDENTITY_STEP, BLEND = 38, 47, 48, 49, 70, 71
COLORS = (*range(30, 50), IDENTITY_STEP, BLEND)
ERASE, DROPOUT, CUTOUT, GRID_MASK, HIDE_AND_SEEK = range(50, 55)
MIXUP, CUTMIX, RESIZEMIX, MASKMIX = range(60, 64)
STRIPS, SQUARES, CELLS = 5, 6, 7  # erasures of a lattice

# slot flags
INTERPOLATION, ANTIALIAS, EXPAND, PAD_IF_NEEDED = 7, 8, 16, 32
BORDER_SHIFT, PARTNER_SHIFT = 6, 10
BATCH, PAIR, NORMALISED, BY_VIEW, REPLACE, IN_ORDER = 1 << 8, 1 << 9, 1 << 12, 1 << 13, 1 << 14, 1 << 15
LEVELS, LEVEL_NORMAL, ROUND, TRUNCATE, SIGN = 1 << 16, 1 << 17, 1 << 18, 1 << 19, 1 << 20

# words
AT = dict(MATRIX=0, RECT=9, REACH=13, FRAME=17, SLOPE=21, FOLD=25, FILTER=29, FLAGS=31, SOURCE=32, FILL=34, FILL_STEP=38, MIX=39,
          PARTNER=40, PARTNER_ID=41, LAM=43, BOX=44, COLORS=48, ERASES=49, VIEW=50, HEADER=52)
COLOR_WORDS, ERASE_WORDS = 4, 12
ROW_PERSPECTIVE, ROW_ANTIALIAS, ROW_FRAME, FOLD_SHIFT = 8, 16, 32, 8

FAR = 1e9  # further than any side
IDENTITY = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]


def plan_rows(recipe, index, sizes, output_size, *, seed=0, epoch=0, view=0, boxes=None, frames=None, change="none",
              drift=0.2) -> np.ndarray:
    """int32 [B, row_words]: from the recipe's slots, each source's (height, width) and the plan's output_size. Of clips index and
    sizes are theirs, boxes [B][T], the rows those of [B * T] frames."""
    clip = frames or 1, change, drift
    index, sizes = ([one for one in all_of_them for _ in range(clip[0])] for all_of_them in (index, sizes))
    boxes = [one for several in boxes for one in several] if boxes and frames else boxes
    index = [int(i) for i in index]
    sizes = [[int(s) for s in size] for size in sizes]
    slots = [(s[0], s[1], s[2], s[3], s[4]) for s in recipe.slots]
    first = [i if change == "each" else i - i % clip[0] for i in range(len(index))]
    rows = [Row(slots, recipe.info, index, i, sizes[i], (seed, epoch, view), output_size, boxes and boxes[first[i]], clip)
            for i in range(len(index))]
    return np.stack([row.words() for row in rows])


def split(number: int) -> tuple[int, int]:
    """The low and the high 32 bits of a 64-bit number."""
    number &= (1 << 64) - 1
    return number & 0xFFFFFFFF, number >> 32


def turned_back(u: float) -> float:
    """A number that has left [0, 1) at one end, mirrored there."""
    return min(-u if u < 0.0 else u if u < 1.0 else 2.0 - u, 1.0 - 2.0 ** -32)


class Draw:
    """The random numbers of one slot: Philox blocks (view 12 bits | slot 10 bits | block 10 bits, sample, epoch).

    Where a clip changes in each frame, frame t has a key of its own. Where it changes smoothly, numbers are those of the first
    frame, moved by drift * t / (T - 1) times a speed, which lies behind another key at the number's own place.
    """

    def __init__(self, key, sample: int, slot: int, again: int = 0, frame: int = 0, clip=(1, "none", 0.0)) -> None:
        seed, epoch, view = key
        frames, change, drift = clip
        self.counter = [view << 20 | slot << 10, *split(sample), epoch]
        low, high = split(seed)
        if change == "each":
            low = (low + frame * 0xC2B2AE3D) & 0xFFFFFFFF
        self.key = low, (high + again * 0x9E3779B9) & 0xFFFFFFFF
        self.ready: list[int] = []
        self.frame = frame if change == "smooth" else 0
        self.moved = drift * float(frame) / float(frames - 1) if self.frame else 0.0

    def word(self) -> int:
        if not self.ready:
            self.ready = list(philox(self.counter, self.key))
            self.counter[0] += 1
        return self.ready.pop(0)

    def noise_key(self) -> int:
        first = self.word()
        low, high = self.key
        return philox([first, self.frame, 0, 0], ((low + 0xC2B2AE3D) & 0xFFFFFFFF, high))[0] if self.frame else first

    def way(self) -> float:
        """How far the number that was drawn last has moved."""
        if self.moved == 0.0:
            return 0.0
        low, high = self.key
        speed = philox(self.counter, ((low + 0x27D4EB2F + len(self.ready)) & 0xFFFFFFFF, high))[0]
        return self.moved * (speed * 2.0 ** -31 - 1.0)

    def still(self) -> float:
        return self.word() * 2.0 ** -32

    def open(self) -> float:
        return (self.word() + 0.5) * 2.0 ** -32

    def unit(self) -> float:
        first = self.still()
        return turned_back(first + self.way())

    def pick(self, n: float) -> float:
        return floor(self.still() * n)

    def how_many(self, low: float, high: float) -> int:
        return int(low + self.pick(high - low + 1.0) if low < high else low)

    def uniform(self, low: float, high: float) -> float:
        return low + (high - low) * self.unit()

    def below(self, n: float) -> float:
        return floor(self.unit() * n)

    def between(self, low: float, high: float) -> float:
        return low + self.below(high - low + 1.0) if low < high else low

    def normal(self, moves: bool = False) -> float:
        radius = exact.sqrt(-2.0 * exact.log(self.open()))
        turn = self.still()
        return radius * exact.sincos_deg(360.0 * (turn + 0.25 * self.way() if moves else turn))[1]

    def log_gamma(self, a: float) -> float:
        boost = 0.0
        if a < 1.0:
            boost, a = exact.log(self.open()) / a, a + 1.0
        d = a - 1.0 / 3.0
        c, v = 1.0 / exact.sqrt(9.0 * d), 1.0
        for _ in range(64):
            x = self.normal()
            t, u = 1.0 + c * x, self.open()
            if t <= 0.0:
                continue
            v = t * t * t
            if exact.log(u) < 0.5 * x * x + d - d * v + d * exact.log(v):
                break
        return exact.log(d * v) + boost

    def beta(self, a: float, b: float) -> float:
        x = self.log_gamma(a)
        return 1.0 / (1.0 + exact.exp(self.log_gamma(b) - x))


def neighbours(key, first: int, count: int) -> list[int]:
    """Who follows whom on a secret ring of the batch; a keyed Feistel permutation gives the places."""
    seed, epoch, view = key
    keys = [k for block in (0xFFFFF, 0xFFFFE) for k in philox((view << 20 | block, *split(first), epoch), split(seed))]
    half = 1
    while 4 ** half < count:
        half += 1
    mask = 2 ** half - 1

    def hashed(x: int, k: int) -> int:
        x = (x ^ k) * 0x9E3779B1 & 0xFFFFFFFF
        x = (x ^ x >> 15) * 0x85EBCA77 & 0xFFFFFFFF
        return (x ^ x >> 13) & mask

    def place(x: int) -> int:
        while True:
            left, right = x >> half, x & mask
            for k in keys:
                left, right = right, left ^ hashed(right, k)
            x = left << half | right
            if x < count:
                return x

    places = [place(i) for i in range(count)]
    who = {p: i for i, p in enumerate(places)}
    return [who[(p + 1) % count] for p in places]


def rectangle(d: Draw, area: float, p, least: float, most) -> tuple[float, float, float, float] | None:
    """The first of ten tries that fits: its sides, the roots of a share of the area times and over a ratio, and two numbers for
    its place. In a smooth clip share and ratio then move among those that fit."""
    def sides(share: float, log_ratio: float) -> list[float]:
        ratio = exact.exp(log_ratio)
        return [round_even(exact.sqrt(area * share * ratio)), round_even(exact.sqrt(area * share / ratio))]

    for _ in range(10):
        share = p[0] + (p[1] - p[0]) * d.still()
        share_way = d.way()
        log_ratio = p[2] + (p[3] - p[2]) * d.still()
        ratio_way = d.way()
        u, v = d.unit(), d.unit()
        a, b = sides(share, log_ratio)
        if not (least <= a <= most[0] and least <= b <= most[1]):
            continue
        if d.moved:
            ratio, low = exact.exp(log_ratio), (least - 0.5) ** 2 if least > 0.5 else 0.0
            high = [(side + 0.5) * (side + 0.5) for side in most]
            share = moved_between(max(p[0], low * max(1.0 / ratio, ratio) / area),
                                  min(p[1], min(high[0] / ratio, high[1] * ratio) / area), share, share_way)
            target = area * share
            if target > 0.0:
                lows, highs = [p[2], exact.log(target / high[1])], [p[3], exact.log(high[0] / target)]
                if low:
                    most_log = exact.log(target / low)
                    lows, highs = [*lows, 0.0 - most_log], [*highs, most_log]
                log_ratio = moved_between(max(lows), min(highs), log_ratio, ratio_way)
            a, b = (min(max(side, least), largest) for side, largest in zip(sides(share, log_ratio), most, strict=True))
        return a, b, u, v
    return None


def moved_between(low: float, high: float, v: float, way: float) -> float:
    return low + (high - low) * turned_back((v - low) / (high - low) + way) if low < high else v


class Row:
    """One sample's row while its program runs. ``m`` takes the view's pixels to the source's."""

    def __init__(self, slots, info, index, i: int, size, key, output, boxes=None, clip=(1, "none", 0.0)) -> None:
        self.boxes = boxes
        self.clip, self.t = clip, i % clip[0]
        self.slots, self.info, self.index, self.i, self.key = slots, info, index, i, key
        self.out_h, self.out_w = output
        self.source = [int(s) for s in size]
        self.h, self.w = (float(s) for s in size)
        self.m = IDENTITY
        self.rect = [0.0, 0.0, self.w, self.h]  # left, top, right, bottom
        self.reach = list(self.rect)
        self.frame, self.slope, self.fold, self.fill = ([0.0] * 4 for _ in range(4))
        self.filter = [1.0, 1.0]
        self.interpolation = self.border = self.folding = self.fill_step = 0
        self.resampled = self.padded = self.framed = self.antialias = False
        self.colors: list[tuple[int, float, int, int]] = []  # op, number, two words more
        self.layers: list[Row] = []
        self.erases: list[tuple] = []
        self.mix = (0, i, 1.0, (0, 0, 0, 0))
        self.run(0, len(slots))

    # ---- the program ----

    def run(self, at: int, end: int, again: int = 0) -> None:
        while at < end:
            op, n, k, flags, p = self.slots[at]
            d = Draw(self.key, self.decider(flags), at, again, self.t, self.clip)
            if op == APPLY:
                at += 1 if d.still() < p[0] else 1 + n
                continue
            if op == CHAINS:
                self.chains(at, k, p, d, again)
            elif op in (CHOICE, ORDER):
                heads, head = [], at + 1
                for _ in range(k):
                    heads.append(head)
                    head += 1 + self.slots[head][1]
                pick = self.ordered if op == ORDER else self.chosen
                for time, head in enumerate(pick(heads, flags, p, d), 1):
                    each = (again * 65 + time) & 0xFFFFFFFF if flags & REPLACE else again
                    self.run(head + 1, head + 1 + self.slots[head][1], each)
            else:
                self.apply(op, at, d)
            at += 1 + n

    def chains(self, at: int, count: int, p, d: Draw, again: int) -> None:
        """The slots run several times, each from the view as it is now; what they make is blended into it."""
        for k in range(count):
            chain = copy.copy(self)
            chain.colors, chain.erases, chain.layers, chain.mix = [*self.colors], [], [], (0, self.i, 1.0, (0, 0, 0, 0))
            for name in ("m", "rect", "reach", "frame", "slope", "fold", "fill", "filter"):
                setattr(chain, name, [*getattr(self, name)])
            chain.run(at + 2, at + 2 + self.slots[at + 1][1], (again * 65 + k + 1) & 0xFFFFFFFF)
            self.layers.append(chain)
        logs = [d.log_gamma(p[0]) for _ in range(count)]
        shares = [exact.exp(v - max(logs)) for v in logs]
        total = 0.0
        for share in shares:
            total = total + share
        for chain, share in zip(self.layers, shares, strict=True):
            chain.mix = 1, self.i, share / total, (0, 0, 0, 0)
        self.colors.append((BLEND, d.beta(p[1], p[1]), 1, count))

    @staticmethod
    def argument(op: int, p, flags: int, d: Draw) -> float:
        """A step's number: by a level, rounded, with a sign, about p[4], within p[5] and p[6]."""
        counts = op in (POSTERIZE, CHANNEL_PERMUTATION)
        if flags & LEVELS:
            level = d.pick(p[2]) / (p[2] - 1.0) if p[2] > 1.0 else 0.0
        elif flags & LEVEL_NORMAL:
            level = min(max(p[2] + p[3] * d.normal(not counts), 0.0), p[7]) * 0.1
        else:
            level = d.still() if counts else d.unit()
        v = p[0] + (p[1] - p[0]) * level
        if flags & ROUND:
            v = round_even(v)
        if flags & TRUNCATE:
            v = whole(v)
        if flags & SIGN and d.still() < 0.5:
            v = 0.0 - v
        v = p[4] + v
        return min(max(v, p[5]), p[6]) if p[5] < p[6] else v

    def color(self, op: int, p, k: int, flags: int, d: Draw) -> None:
        number, third, last = self.argument(op, p, flags, d), 0, 0
        if op in (SOLARIZE, SOLARIZE_ADD, GAUSSIAN_BLUR):
            third = k
        elif op == GAUSSIAN_NOISE:
            third, last = d.noise_key() & ~1 | k, int(np.float32(p[8]).view(np.int32))
        self.colors.append((op, number, third, last))

    def policy_map(self, op: int, p, k: int, flags: int, d: Draw) -> None:
        v, w, h = self.argument(op, p, flags, d), self.w, self.h
        self.interpolation = max(self.interpolation, flags & INTERPOLATION)
        n = [*IDENTITY]
        if op == ROTATE_BY:
            s, c = exact.sincos_deg(-v)
            n[:2], n[3:5], cx, cy = [c, s], [-s, c], w * 0.5, h * 0.5
            n[2], n[5] = cx - (n[0] * cx + n[1] * cy), cy - (n[3] * cx + n[4] * cy)
        elif op in (SHEAR_X, SHEAR_Y):
            n[1 if op == SHEAR_X else 3] = v
        else:
            v = v * (w if op == TRANSLATE_X else h) if k & 1 else v
            v = whole(v) if k & 2 else v
            n[2 if op == TRANSLATE_X else 5] = 0.0 - v
        self.fill_outside(p[8:12])
        self.resampled = True
        self.place(n, w, h)
        self.colors.append((op, v, 0, 0))

    def decider(self, flags: int) -> int:
        """Whose numbers are drawn: its own, the batch's, or the pair's."""
        if flags & BATCH:
            return self.index[0]
        frames = self.clip[0]
        clip, clips = self.i // frames, len(self.index) // frames
        return self.index[min(clip, clips - 1 - clip) * frames if flags & PAIR else self.i]

    @staticmethod
    def ordered(heads: list[int], flags: int, p, d: Draw) -> list[int]:
        for b in range(len(heads) - 1, 0, -1) if not flags & REPLACE else ():  # Fisher and Yates
            c = int(d.pick(b + 1.0))
            heads[b], heads[c] = heads[c], heads[b]
        count = int(p[0] + d.pick(p[1] - p[0] + 1.0))
        some = [heads[int(d.pick(float(len(heads))))] for _ in range(count)] if flags & REPLACE else heads[:count]
        return sorted(some) if flags & IN_ORDER else some

    def chosen(self, heads: list[int], flags: int, p, d: Draw) -> list[int]:
        if d.still() >= p[0]:
            return []
        u = self.key[2] % int(p[1]) if flags & BY_VIEW else d.still() * p[1]
        return [next((h for h in heads[:-1] if u < self.slots[h][4][0]), heads[-1])]

    def apply(self, op: int, at: int, d: Draw) -> None:
        _, _, k, flags, p = self.slots[at]
        if op in (RESIZED_CROP, RESIZE, AFFINE, PERSPECTIVE, WARP):
            self.interpolation = max(self.interpolation, flags & INTERPOLATION)
        if op == RESIZED_CROP:
            self.resized_crop(p, flags & ANTIALIAS, d)
        elif op == RESIZE:
            self.resize(p, flags & ANTIALIAS, k)
        elif op == CROP:
            self.random_crop(p, flags, d)
        elif op == ZOOM_OUT:
            r = d.uniform(p[0], p[1])
            w, h = floor(self.w * r), floor(self.h * r)
            x, y = floor((w - self.w) * d.unit()), floor((h - self.h) * d.unit())
            self.crop(0.0 - x, 0.0 - y, w, h, w > self.w or h > self.h, 0, p[2:6])
        elif op == SCALE_JITTER:
            self.interpolation = max(self.interpolation, flags & INTERPOLATION)
            r = d.uniform(p[2], p[3]) * min(p[0] / self.h, p[1] / self.w)
            oh, ow = (min(max(floor(side * r), 1.0), 32768.0) for side in (self.h, self.w))
            self.cut_and_scale(0.0, 0.0, self.w, self.h, ow, oh, flags & ANTIALIAS)
        elif op == FIXED_SIZE:
            y, x = d.below(max(self.h - p[0], 0.0) + 1.0), d.below(max(self.w - p[1], 0.0) + 1.0)
            self.crop(x, y, p[1], p[0], p[1] > self.w or p[0] > self.h, 0, p[2:6])
        elif op == IOU_CROP:
            self.iou_crop(p, self.slots[at + 1][4][:k], d)
        elif op == CENTER_CROP:
            self.center_crop(p, k)
        elif op == FLIP_H:
            self.place([-1.0, 0.0, self.w, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0], self.w, self.h)
        elif op == FLIP_V:
            self.place([1.0, 0.0, 0.0, 0.0, -1.0, self.h, 0.0, 0.0, 1.0], self.w, self.h)
        elif op == AFFINE:
            self.affine(p, self.slots[at + 1][4], k, d)
        elif op == ROTATE:
            self.rotate(p, flags & EXPAND, flags & INTERPOLATION, d)
        elif op == TURN:
            self.turn(int(p[0] + (p[1] - p[0]) * d.still()))
        elif op == PAD:
            self.pad(p, k, flags >> BORDER_SHIFT & 3)
        elif op == PERSPECTIVE:
            self.perspective(p, d)
        elif op in COLORS:
            self.color(op, p, k, flags, d)
        elif op in POLICY_MAPS:
            self.policy_map(op, p, k, flags, d)
        elif op == WARP:
            self.warp(p, self.slots[at + 1][4])
        elif op == CROP_AND_PAD:
            self.crop_and_pad(p, self.slots[at + 1][4], k, flags, d)
        elif op == ERASE:
            self.erase(p, k | flags & NORMALISED, d)
        elif op == DROPOUT:
            self.dropout(p, k | flags & NORMALISED, d)
        elif op == CUTOUT:
            self.cutout(p, k | flags & NORMALISED, d)
        elif op == GRID_MASK:
            self.grid_mask(p, flags & NORMALISED, d)
        elif op == HIDE_AND_SEEK:
            self.lattice(CELLS | flags & NORMALISED, (1.0 / p[0], 0.0, 0.0, 0.0), d.word(), p[2:6], p[1])
        else:
            self.mixed(op, p, k, flags >> PARTNER_SHIFT & 3, d)

    # ---- geometry ----

    def place(self, n: list[float], w: float, h: float) -> None:
        """A new view of w x h, n: new -> old."""
        m = self.m
        self.m = [(m[i] * n[j] + m[i + 1] * n[3 + j]) + m[i + 2] * n[6 + j] for i in (0, 3, 6) for j in (0, 1, 2)]
        self.w, self.h = w, h

    def square(self) -> bool:
        """Do the view's sides lie along the source's, perhaps after quarter turns?"""
        m = self.m
        return m[6] == m[7] == 0.0 and (m[1] == m[3] == 0.0 or m[0] == m[4] == 0.0)

    def box(self, x0: float, y0: float, x1: float, y1: float) -> list[float]:
        """The rectangle of a square view in the source."""
        corners = [[self.m[i] * x + self.m[i + 1] * y + self.m[i + 2] for i in (0, 3)] for x, y in ((x0, y0), (x1, y1))]
        return [*map(min, *corners), *map(max, *corners)]

    def pixel(self, side: int) -> float:
        """How much of the source a pixel of the square view takes, across (left, right) or down (top, bottom)."""
        return abs(self.m[3 * (side % 2)]) + abs(self.m[3 * (side % 2) + 1])

    def set_fill(self, color) -> None:
        self.fill = list(color[:4])
        painted = [at for at, (op, *_) in enumerate(self.colors, 1) if op not in (*POLICY_MAPS, IDENTITY_STEP)]
        self.fill_step = painted[-1] if painted else 0

    def fill_outside(self, color, x0=0.0, y0=0.0, x1=None, y1=None) -> None:
        """A frame around the view, or some of its sides. Of two that lie square to the source each side counts that is further
        in; where none of the view is in both, nothing is seen of it."""
        if self.square():
            self.set_fill(color)
            for side, at in enumerate(self.box(x0, y0, self.w if x1 is None else x1, self.h if y1 is None else y1)):
                inner = at > self.frame[side] if side < 2 else at < self.frame[side]
                if inner or not self.framed:
                    self.frame[side], self.slope[side] = at, 1.0 / self.pixel(side)
            for side in (0, 1):
                if self.frame[side] >= self.frame[side + 2]:
                    self.frame[side], self.frame[side + 2] = FAR, -FAR
            self.framed = True

    def cut(self, x: float, y: float, w: float, h: float) -> None:
        """Pixels that are cut out before anything was resampled: others cannot be read any more."""
        if self.resampled or not self.square():
            return
        box = self.box(x, y, x + w, y + h)
        self.reach = [*map(max, self.reach[:2], box[:2]), *map(min, self.reach[2:], box[2:])]
        if not self.padded:
            self.rect = list(self.reach)

    def cut_and_scale(self, x, y, cw, ch, ow, oh, antialias) -> None:
        self.cut(x, y, cw, ch)
        self.resampled |= cw != ow or ch != oh
        self.place([cw / ow, 0.0, x, 0.0, ch / oh, y, 0.0, 0.0, 1.0], ow, oh)
        if antialias:
            self.antialias = True
            for axis in (0, 1):
                a, b = self.m[3 * axis:3 * axis + 2]
                self.filter[axis] = max(self.filter[axis], exact.sqrt(a * a + b * b))

    def resized_crop(self, p, antialias, d: Draw) -> None:
        w, h = self.w, self.h
        found = rectangle(d, w * h, p[2:6], 1.0, (w, h))
        if found:
            cw, ch, u, v = found
            y, x = floor(u * (h - ch + 1.0)), floor(v * (w - cw + 1.0))
        else:  # the largest central crop within the ratio
            cw, ch, low, high = w, h, exact.exp(p[4]), exact.exp(p[5])
            if w / h < low:
                ch = max(round_even(cw / low), 1.0)
            elif w / h > high:
                cw = max(round_even(ch * high), 1.0)
            y, x = floor((h - ch) * 0.5), floor((w - cw) * 0.5)
        self.cut_and_scale(x, y, cw, ch, p[1], p[0], antialias)

    def resize(self, p, antialias, fit) -> None:
        oh, ow = p[0], p[1]
        short, long = min(self.w, self.h), max(self.w, self.h)
        if fit:
            if self.w * oh > self.h * ow:
                oh = max(round_even(self.h * ow / self.w), 1.0)
            else:
                ow = max(round_even(self.w * oh / self.h), 1.0)
        elif oh == 0.0:
            other = max(floor(p[2] * short / long), 1.0)
            oh, ow = (p[2], other) if self.w < self.h else (other, p[2])
        elif ow == 0.0:
            new_short, new_long = oh, floor(oh * long / short)
            if 0.0 < p[2] < new_long:
                new_short, new_long = max(floor(p[2] * new_short / new_long), 1.0), p[2]
            oh, ow = (new_long, new_short) if self.w < self.h else (new_short, new_long)
        self.cut_and_scale(0.0, 0.0, self.w, self.h, ow, oh, antialias)

    def crop(self, x, y, cw, ch, outside: bool, border: int, color) -> None:
        """A part of the view, or more than it, of which the rest is the border."""
        if not outside:
            self.cut(x, y, cw, ch)
        elif self.square() and not (self.resampled or self.padded):  # the source itself is padded
            self.padded, self.border = True, border
            self.reach = self.box(x, y, x + cw, y + ch)
            if border == 0:
                self.set_fill(color)
        elif border == 0:
            left, top = max(x, 0.0), max(y, 0.0)
            self.cut(left, top, min(x + cw, self.w) - left, min(y + ch, self.h) - top)
            self.fill_outside(color, *(0.0 if at < 0.0 else -FAR for at in (x, y)),
                              *(side if at > side else FAR for at, side in ((x + cw, self.w), (y + ch, self.h))))
            if self.square() and (x >= self.w or y >= self.h or x + cw <= 0.0 or y + ch <= 0.0):
                self.frame = [FAR, FAR, -FAR, -FAR]
        elif self.square():  # the positions are folded: about the middle of the last pixel, or (symmetric) its outer edge
            inward = 0.0 if border == 3 else 0.5
            self.folding, self.resampled = border, True
            self.fold = [at + (inward if side < 2 else -inward) * self.pixel(side) if inward else at
                         for side, at in enumerate(self.box(0.0, 0.0, self.w, self.h))]
        self.place([1.0, 0.0, x, 0.0, 1.0, y, 0.0, 0.0, 1.0], cw, ch)

    def pad(self, p, to_square, border: int) -> None:
        left, top, right, bottom, least_h, least_w, multiple_h, multiple_w = p[:8]
        w, h = self.w + left + right, self.h + top + bottom
        new_w, new_h = max(w, least_w), max(h, least_h)
        if to_square:
            new_w = new_h = max(new_w, new_h)
        if multiple_h > 1.0:
            new_h = -floor(-new_h / multiple_h) * multiple_h
        if multiple_w > 1.0:
            new_w = -floor(-new_w / multiple_w) * multiple_w
        left, top = left + floor((new_w - w) * 0.5), top + floor((new_h - h) * 0.5)
        self.crop(-left, -top, new_w, new_h, new_w > self.w or new_h > self.h, border, p[8:12])

    def turn(self, quarters: int) -> None:
        w, h = self.w, self.h
        n = ([1.0, 0.0, 0.0, 0.0, 1.0, 0.0], [0.0, -1.0, w, 1.0, 0.0, 0.0],
             [-1.0, 0.0, w, 0.0, -1.0, h], [0.0, 1.0, 0.0, -1.0, 0.0, h])[quarters % 4]
        self.place([*n, 0.0, 0.0, 1.0], *((h, w) if quarters % 2 else (w, h)))

    def random_crop(self, p, flags: int, d: Draw) -> None:
        ch, cw, left, top, right, bottom = p[:6]
        w, h = self.w + left + right, self.h + top + bottom
        if flags & PAD_IF_NEEDED:
            need_h, need_w = max(ch - h, 0.0), max(cw - w, 0.0)
            top, h, left, w = top + need_h, h + 2.0 * need_h, left + need_w, w + 2.0 * need_w
        y = d.below(max(h - ch, 0.0) + 1.0) - top
        x = d.below(max(w - cw, 0.0) + 1.0) - left
        outside = x < 0.0 or y < 0.0 or x + cw > self.w or y + ch > self.h
        self.crop(x, y, cw, ch, outside, flags >> BORDER_SHIFT & 3, p[6:10])

    def iou_crop(self, p, options, d: Draw) -> None:
        """The boxes are known as they are in the source, of which the view so far is upright (tests draw no others)."""
        boxes = [] if self.boxes is None else [[(x - self.m[2]) / self.m[0] if k % 2 == 0 else (x - self.m[5]) / self.m[4]
                                                for k, x in enumerate(box)] for box in self.boxes]
        boxes = [(min(b[0], b[2]), min(b[1], b[3]), max(b[0], b[2]), max(b[1], b[3])) for b in boxes]
        for _ in range(int(p[5])):
            least = options[int(d.pick(float(len(options))))]
            if least >= 1.0:
                return
            for _ in range(int(p[4])):
                w, h = (floor(side * (p[0] + (p[1] - p[0]) * d.still())) for side in (self.w, self.h))
                u, v = d.still(), d.still()
                if w < 1.0 or h < 1.0 or w < p[2] * h or w > p[3] * h:
                    continue
                x, y = floor((self.w - w) * u), floor((self.h - h) * v)
                within = [b for b in boxes if x < (b[0] + b[2]) / 2 < x + w and y < (b[1] + b[3]) / 2 < y + h]
                if within and max(iou(b, (x, y, x + w, y + h)) for b in within) >= least:
                    self.crop(x, y, w, h, False, 0, p[6:10])
                    return

    def center_crop(self, p, corner: int) -> None:
        def start(crop: float, whole: float) -> float:
            return -floor((crop - whole) * 0.5) if crop > whole else round_even((whole - crop) * 0.5)

        ch, cw = p[:2]
        outside = cw > self.w or ch > self.h
        x, y = start(cw, self.w), start(ch, self.h)
        if corner:  # top left, top right, bottom left, bottom right
            x, y = 0.0 if corner % 2 else self.w - cw, 0.0 if corner < 3 else self.h - ch
        self.crop(x, y, cw, ch, outside, 0, p[2:6])

    def affine(self, p, more, k: int, d: Draw) -> None:
        angle = d.uniform(p[0], p[1])
        tx = round_even(d.uniform(-p[2], p[2]) * self.w)
        ty = round_even(d.uniform(-p[3], p[3]) * self.h)
        scale_x = d.uniform(p[4], p[5])
        shear_x, shear_y = d.uniform(p[6], p[7]), d.uniform(p[8], p[9])
        scale_y = d.uniform(p[10], p[11]) if k else scale_x
        cx, cy = more[5:7] if more[4] else (self.w * 0.5, self.h * 0.5)
        self.fill_outside(more)
        self.resampled = True
        sin_t, cos_t = exact.sincos_deg(angle - shear_y)
        sin_x, cos_x = exact.sincos_deg(shear_x)
        cos_y = exact.sincos_deg(shear_y)[1]
        sin_r, cos_r = exact.sincos_deg(angle)
        tan_x, per_cos, per_x, per_y = sin_x / cos_x, 1.0 / cos_y, 1.0 / scale_x, 1.0 / scale_y
        a, c = cos_t * per_cos, sin_t * per_cos
        b, e = -(a * tan_x) - sin_r, -(c * tan_x) + cos_r
        n = [e * per_x, -b * per_x, 0.0, -c * per_y, a * per_y, 0.0, 0.0, 0.0, 1.0]
        n[2] = (n[0] * (-cx - tx) + n[1] * (-cy - ty)) + cx
        n[5] = (n[3] * (-cx - tx) + n[4] * (-cy - ty)) + cy
        self.place(n, self.w, self.h)

    def rotate(self, p, expand, interpolation: int, d: Draw) -> None:
        angle = d.uniform(p[0], p[1])
        w, h = self.w, self.h
        if not p[2] and angle % 90.0 == 0.0 and (angle % 180.0 == 0.0 or expand or w == h):
            self.turn(int(angle // 90.0) % 4)
            return
        self.interpolation = max(self.interpolation, interpolation)
        cx, cy = p[3:5] if p[2] else (w * 0.5, h * 0.5)
        self.fill_outside(p[5:9])
        self.resampled = True
        s, c = exact.sincos_deg(-angle)
        ow, oh, ox, oy = w, h, cx, cy
        if expand:
            fx, fy = cx - w * 0.5, cy - h * 0.5
            ow = expanded(w, abs(w * c) + abs(h * s), fx - (c * fx + s * fy))
            oh = expanded(h, abs(w * s) + abs(h * c), fy - (c * fy - s * fx))
            ox, oy = ow * 0.5 + fx, oh * 0.5 + fy
        n = [c, s, 0.0, -s, c, 0.0, 0.0, 0.0, 1.0]
        n[2] = cx - (n[0] * ox + n[1] * oy)
        n[5] = cy - (n[3] * ox + n[4] * oy)
        self.place(n, ow, oh)

    def perspective(self, p, d: Draw) -> None:
        w, h = self.w, self.h
        reach_x = floor(p[0] * floor(w * 0.5)) + 1.0
        reach_y = floor(p[0] * floor(h * 0.5)) + 1.0
        corners = []
        for right, low in ((0, 0), (1, 0), (1, 1), (0, 1)):
            x, y = d.below(reach_x), d.below(reach_y)
            corners.append((w - 1.0 - x if right else x, h - 1.0 - y if low else y))
        self.fill_outside(p[1:5])
        self.resampled = True
        n = homography(corners, w - 1.0, h - 1.0)
        if n:
            self.place(n, w, h)

    def warp(self, p, more) -> None:
        h, w = more[4:6] if more[4] else (self.h, self.w)
        self.fill_outside(more[:4])
        self.resampled = True
        z = (p[6] * (w * 0.5) + p[7] * (h * 0.5)) + p[8]
        per_z = 1.0 / z if z else 1.0
        self.place([v * per_z for v in p[:9]], w, h)

    def crop_and_pad(self, p, more, k: int, flags: int, d: Draw) -> None:
        w, h, u = self.w, self.h, 0.0
        amounts = []
        for i in range(4):
            u = d.unit() if i == 0 or not k & 4 else u
            low, high = p[2 * i:2 * i + 2]
            amounts.append((low + (high - low) * u) * (w if i % 2 else h) if k & 1 else low + floor(u * (high - low + 1.0)))
        add, cut = [floor(max(v, 0.0)) for v in amounts], [floor(max(-v, 0.0)) for v in amounts]
        for i, side in enumerate((h, w)):
            both = cut[i] + cut[i + 2]
            if both >= side:
                cut[i] = floor(cut[i] * (side - 1.0) / both)
                cut[i + 2] = side - 1.0 - cut[i]
        self.crop(cut[3], cut[0], w - cut[3] - cut[1], h - cut[0] - cut[2], False, 0, more)
        self.crop(-add[3], -add[0], self.w + add[3] + add[1], self.h + add[0] + add[2], sum(add) > 0.0,
                  flags >> BORDER_SHIFT & 3, more[:4])
        if k & 2 and (self.w, self.h) != (w, h):
            self.interpolation = max(self.interpolation, flags & INTERPOLATION)
            self.cut_and_scale(0.0, 0.0, self.w, self.h, w, h, flags & ANTIALIAS)

    # ---- erasing and mixing ----

    def erase(self, p, mode: int, d: Draw) -> None:
        w, h = float(self.out_w), float(self.out_h)
        count = d.how_many(p[8], p[9])
        for _ in range(count):
            found = rectangle(d, w * h / float(count), p[:4], 0.0, (h - 1.0, w - 1.0))
            if found:
                eh, ew, u, v = found
                y, x = floor(u * (h - eh + 1.0)), floor(v * (w - ew + 1.0))
                self.erases.append((x, y, x + ew, y + eh, mode, d.noise_key(), p[4:8]))

    def dropout(self, p, mode: int, d: Draw) -> None:
        w, h = float(self.out_w), float(self.out_h)
        for _ in range(d.how_many(p[0], p[1])):
            if p[10]:
                eh, ew = floor(h * d.uniform(p[2], p[3])), floor(w * d.uniform(p[4], p[5]))
            else:
                eh, ew = d.between(min(p[2], h), min(p[3], h)), d.between(min(p[4], w), min(p[5], w))
            y, x = d.below(h - eh + 1.0), d.below(w - ew + 1.0)
            self.erases.append((x, y, x + ew, y + eh, mode, d.noise_key(), p[6:10]))

    def cutout(self, p, mode: int, d: Draw) -> None:
        w, h = float(self.out_w), float(self.out_h)
        x, y = d.below(w) - floor(p[0] * 0.5), d.below(h) - floor(p[0] * 0.5)
        box = max(x, 0.0), max(y, 0.0), min(x + p[0], w), min(y + p[0], h)
        self.erases.append((*box, mode, d.noise_key(), p[1:5]))

    def grid_mask(self, p, normalised: int, d: Draw) -> None:
        side = float(d.how_many(p[0], p[1]))
        across, down = d.unit(), d.unit()
        sine, cosine = exact.sincos_deg(d.uniform(p[3], p[4]))
        x, y = self.out_w * 0.5, self.out_h * 0.5
        self.lattice((SQUARES if p[9] else STRIPS) | normalised,
                     (cosine / side, sine / side, across - (cosine * x - sine * y) / side, down - (sine * x + cosine * y) / side),
                     0, p[5:9], (0.0 - floor(0.0 - side * p[2])) / side)

    def lattice(self, mode: int, affine, key: int, value, share: float) -> None:
        self.erases.append((*np.array(affine, np.float32).view(np.int32).tolist(), mode, key, value, share))

    def mixed(self, op: int, p, k: int, partner: int, d: Draw) -> None:
        w, h, frames = float(self.out_w), float(self.out_h), self.clip[0]
        count, clip = len(self.index) // frames, self.i // frames
        other = {0: lambda: neighbours(self.key, self.index[0], count)[clip],
                 1: lambda: (clip - 1) % count,
                 2: lambda: count - 1 - clip}[partner]() * frames + self.t
        if other == self.i:
            return
        x0, y0, x1, y1, lam = 0, 0, int(w), int(h), 1.0
        if op == MIXUP:
            lam = d.beta(p[0], p[1])
        elif op == CUTMIX and p[3] > 0.0:
            low_h, low_w = floor(h * p[2]), floor(w * p[2])
            box_h = low_h + d.below(max(floor(h * p[3]) - low_h, 1.0))
            box_w = low_w + d.below(max(floor(w * p[3]) - low_w, 1.0))
            y0, x0 = int(d.below(h - box_h + 1.0)), int(d.below(w - box_w + 1.0))
            x1, y1 = x0 + int(box_w), y0 + int(box_h)
        elif op == CUTMIX:
            lam = d.beta(p[0], p[1])
            side = exact.sqrt(1.0 - lam)
            half_w, half_h = int(w * side) // 2, int(h * side) // 2
            cx, cy = int(d.below(w)), int(d.below(h))
            x0, y0 = max(cx - half_w, 0), max(cy - half_h, 0)
            x1, y1 = min(cx + half_w, x1), min(cy + half_h, y1)
        elif op == RESIZEMIX:
            t = d.uniform(p[0], p[1])
            box_w, box_h = max(int(w * t), 1), max(int(h * t), 1)
            x0, y0 = int(d.below(w - box_w + 1.0)), int(d.below(h - box_h + 1.0))
            x1, y1 = x0 + box_w, y0 + box_h
        if op in (CUTMIX, RESIZEMIX) and not k:
            lam = 1.0 - (float(x1 - x0) * float(y1 - y0)) / (w * h)
        self.mix = {MIXUP: 1, CUTMIX: 2, RESIZEMIX: 3, MASKMIX: 4}[op], other, lam, (x0, y0, x1, y1)

    # ---- the row ----

    def words(self) -> np.ndarray:
        row = np.zeros(self.info["row_words"], np.int32)
        for k, layer in enumerate([self, *self.layers]):
            row[k * self.info["layer_words"]:][:self.info["layer_words"]] = layer.layer_words()
        return row

    def layer_words(self) -> np.ndarray:
        row = np.zeros(self.info["layer_words"], np.int32)
        as_float, as_unsigned = row.view(np.float32), row.view(np.uint32)

        def put(name: str, values) -> None:
            as_float[AT[name]:AT[name] + len(values)] = values

        put("MATRIX", self.m)
        put("RECT", self.rect)
        put("REACH", self.reach)
        put("FRAME", self.frame)
        put("SLOPE", self.slope)
        put("FOLD", self.fold)
        put("FILTER", self.filter)
        put("FILL", self.fill)
        put("VIEW", [self.w, self.h])
        row[AT["FLAGS"]] = (self.interpolation | ROW_ANTIALIAS * self.antialias | ROW_FRAME * self.framed
                            | ROW_PERSPECTIVE * (self.m[6] != 0.0 or self.m[7] != 0.0) | self.border << BORDER_SHIFT
                            | self.folding << FOLD_SHIFT)
        row[AT["FILL_STEP"]] = self.fill_step
        row[AT["SOURCE"]:AT["SOURCE"] + 2] = self.source
        rule, partner, lam, box = self.mix
        row[AT["MIX"]], row[AT["PARTNER"]] = rule, partner
        as_unsigned[AT["PARTNER_ID"]:AT["PARTNER_ID"] + 2] = split(self.index[partner])
        put("LAM", [lam])
        row[AT["BOX"]:AT["BOX"] + 4] = box
        row[AT["COLORS"]], row[AT["ERASES"]] = len(self.colors), len(self.erases)
        at = AT["HEADER"]
        for j, (op, value, third, last) in enumerate(self.colors):
            row[at + COLOR_WORDS * j], as_float[at + COLOR_WORDS * j + 1] = op, value
            as_unsigned[at + COLOR_WORDS * j + 2:at + COLOR_WORDS * j + 4] = third, last & 0xFFFFFFFF
        at += COLOR_WORDS * self.info["max_colors"]
        for x0, y0, x1, y1, mode, key, values, *share in self.erases:
            row[at:at + 5] = x0, y0, x1, y1, mode
            as_unsigned[at + 5] = key
            as_float[at + 6:at + 10 + len(share)] = *values, *share
            at += ERASE_WORDS
        return row


def iou(a, b) -> float:
    both = max(min(a[2], b[2]) - max(a[0], b[0]), 0.0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0.0)
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def whole(v: float) -> float:
    """Towards zero."""
    return -floor(-v) if v < 0.0 else floor(v)


def expanded(side: float, across: float, shift: float) -> float:
    """A rotated frame's side: whole pixels from one end to the other, with torchvision's rounding."""
    def cut(x: float) -> float:
        return (-floor(-x * 1e4) if x < 0.0 else floor(x * 1e4)) * 1e-4

    return -floor(-cut((side + across) * 0.5 + shift)) - floor(cut((side - across) * 0.5 + shift))


def homography(quad, right: float, low: float) -> list[float] | None:
    """The map that takes the quad's corners to (0, 0), (right, 0), (right, low), (0, low). None: there is none.

    What is 0 on a side is linear in the numerator of the coordinate that is 0 there; the weights make the two ways to write the
    denominator, left and right or top and bottom, the same in all four corners.
    """
    def line(a: int, b: int) -> tuple[float, float, float]:
        (ax, ay), (bx, by) = quad[a], quad[b]
        return ay - by, bx - ax, ax * by - bx * ay

    def at(side: tuple[float, float, float], corner: int) -> float:
        x, y = quad[corner]
        return (side[0] * x + side[1] * y) + side[2]

    top, east, bottom, west = line(0, 1), line(1, 2), line(2, 3), line(3, 0)
    area = [at(east, 3), at(bottom, 0), at(west, 1), at(top, 2)]  # of the triangle without this corner, twice
    weight_west, weight_east, weight_top = area[3] * area[0], area[1] * area[2], area[1] * area[0]
    z = weight_west * west[2] + weight_east * east[2]
    if z == 0.0:
        return None
    per_z = 1.0 / z
    x, y = right * weight_west * per_z, low * weight_top * per_z
    return ([x * v for v in west] + [y * v for v in top]
            + [(weight_west * a + weight_east * b) * per_z for a, b in zip(west, east, strict=True)])
