"""The kernels on a GPU for tests that have their tensors on a CPU: ``with on_a_gpu():`` makes recipes each of whose calls takes
its tensors to the GPU and what was written back. What holds for the CPU's code and the emulated CUDA code is so held against a
GPU.
"""

import ctypes
from contextlib import contextmanager

import torch

import features_natives
import points_natives
from anamorph import _native
from natives import Natives

SIZES = (1, 4, 2, 2)  # bytes of a value, by the engine's number of a dtype


class Trip:
    """The tensors of one call on the GPU, with the strides they had and as many bytes off a multiple of 16."""

    def __init__(self):
        self.back = []  # (CPU, GPU)

    def there(self, tensor):
        if not isinstance(tensor, torch.Tensor) or tensor.is_cuda:
            return tensor
        values = 1 + sum((side - 1) * stride for side, stride in zip(tensor.shape, tensor.stride(), strict=True))
        flat = tensor.detach().as_strided((values if tensor.numel() else 0,), (1,), tensor.storage_offset())
        off = tensor.data_ptr() % 16 // tensor.element_size()
        self.flat, self.far = flat, torch.empty(off + len(flat), dtype=tensor.dtype, device="cuda")[off:]
        self.far.copy_(flat)
        return self.far.as_strided(tensor.shape, tensor.stride(), self.far.storage_offset())

    def and_back(self, tensor, noise=True):
        """One that kernels write, or with ``noise=False`` change."""
        if not isinstance(tensor, torch.Tensor) or tensor.is_cuda:
            return tensor
        moved = self.there(tensor)
        if noise:
            moved.fill_(float("nan") if tensor.dtype.is_floating_point else {torch.uint8: 0xA5}.get(tensor.dtype, -0x5A5B))
        self.back.append((self.flat, self.far))
        return moved

    def memory(self, address, size, back=False):
        """Bytes of the host by their address; the GPU's address."""
        if not size:
            return address
        host = torch.frombuffer((ctypes.c_uint8 * size).from_address(address), dtype=torch.uint8)
        moved = self.and_back(host, noise=False) if back else self.there(host)
        self.back.append((None, moved))  # kept until the call is over
        return moved.data_ptr()

    def end(self):
        for flat, far in self.back:
            if flat is not None:
                flat.copy_(far)
        torch.cuda.synchronize()


@contextmanager
def trip():
    there = Trip()
    yield there
    there.end()


def pictures(t, table, channels, dtype):
    """A list's table: addresses, then sizes."""
    count = len(table) // 3
    near = table.tolist()
    sizes = [near[count + 2 * i] * near[count + 2 * i + 1] * channels * SIZES[dtype] for i in range(count)]
    return torch.tensor([t.memory(a, size) for a, size in zip(near[:count], sizes, strict=True)] + near[count:]).cuda()


def planes(t, tensor, size, written):
    """A dense tensor, or a list's table of (address, planes, height, width)."""
    if isinstance(tensor, torch.Tensor) and tensor.dtype == torch.int64 and tensor.dim() == 2:
        rows = [[t.memory(a, n * h * w * size, written), n, h, w] for a, n, h, w in tensor.tolist()]
        return torch.tensor(rows, dtype=torch.int64).reshape(-1, 4).cuda()
    return t.and_back(tensor) if written else t.there(tensor)


class Recipe(_native.Recipe):
    def plan(self, index, seed, epoch, view, h, w, sizes, out_h, out_w, rows, threads, boxes=None, counts=None, *clips):
        *clips, dials, moved = clips if len(clips) == 6 else (*clips, [], None)
        with trip() as t:
            super().plan(t.there(index), seed, t.there(epoch), view, h, w, t.there(sizes), out_h, out_w, t.and_back(rows),
                         threads, t.there(boxes), t.there(counts), *(clips or (1, 0, 0.0, 1)), [t.there(d) for d in dials],
                         t.and_back(moved))

    def render(self, rows, images, first, table, channels, dtype, out, labels, soft, y_b, lam, mask, share, ready, *rest):
        with trip() as t:
            floats = self.ready_floats(*out.shape)
            if floats:  # the public render makes them where the tensors are a GPU's
                ready = torch.full((floats,), float("nan"), device="cuda")
            table = t.there(table) if images is not None else pictures(t, table, channels, dtype)
            super().render(t.there(rows), t.there(images), first, table, channels, dtype, t.and_back(out), t.there(labels),
                           t.and_back(soft), t.and_back(y_b), t.and_back(lam), t.there(mask), t.there(share), ready, *rest)

    def carry(self, rows, next_rows, source, view, known, valid, size, fill, undo, bilinear, scatter, *rest):
        with trip() as t:
            out = source if undo and not scatter else view
            if scatter:
                view, source = (t.and_back(x, noise=False) if x is out else planes(t, x, size, False) for x in (view, source))
            else:
                view, source = (planes(t, x, size, x is out) for x in (view, source))
            written = isinstance(valid, torch.Tensor) and (valid.dtype == torch.uint8 or valid.dim() == 2)
            super().carry(t.there(rows), t.there(next_rows), source, view, planes(t, known, 1, False),
                          planes(t, valid, 1, written), size, fill, undo, bilinear, scatter, *rest)

    def boxes(self, rows, boxes, counts, out, keep, *rest):
        with trip() as t:
            super().boxes(t.there(rows), t.there(boxes), t.there(counts), t.and_back(out), t.and_back(keep), *rest)

    def points(self, rows, points, counts, out, seen, *rest):
        with trip() as t:
            super().points(t.there(rows), t.there(points), t.there(counts), t.and_back(out), t.and_back(seen), *rest)


THEIRS = {name: getattr(_native, name) for name in ("Recipe", "paste_cutouts", "paste_partners", "paste_objects",
                                                    "mosaic_pixels", "mosaic_masks", "points", "features")}


def paste_cutouts(images, out, texels, cutouts, placements, first, masks, *rest):
    with trip() as t:
        tables = [t.there(x) for x in (texels, cutouts, placements, first)]
        THEIRS["paste_cutouts"](t.there(images), t.and_back(out), *tables, t.and_back(masks, noise=False), *rest)


def paste_partners(images, out, partner, front, *rest):
    with trip() as t:
        THEIRS["paste_partners"](t.there(images), t.and_back(out), t.there(partner), t.there(front), *rest)


def paste_objects(given, objects, first, masks, extents, front, threads):
    with trip() as t:
        changed = [t.and_back(x, noise=False) for x in (masks, extents)]
        THEIRS["paste_objects"](t.there(given), t.there(objects), t.there(first), *changed, t.and_back(front), threads)


def mosaic_pixels(images, first, table, channels, dtype, samples, out, *rest):
    with trip() as t:
        table = t.there(table) if images is not None or table is None else pictures(t, table, channels, dtype)
        THEIRS["mosaic_pixels"](t.there(images), first, table, channels, dtype, t.there(samples), t.and_back(out), *rest)


def mosaic_masks(masks, rows, samples, out, threads):
    with trip() as t:
        THEIRS["mosaic_masks"](t.there(masks), t.there(rows), t.there(samples), t.and_back(out), threads)


def natives(family, table, prepare=None):
    def run(name, given, written, changed):
        with trip() as t:
            moved = {k: t.and_back(v, noise=k in written) if k in (*written, *changed) else t.there(v) for k, v in given.items()}
            return getattr(THEIRS[family], name)(**moved)

    return Natives(THEIRS[family], run, table.WRITTEN, getattr(table, "CHANGED", ()), prepare)


MINE = {f.__name__: f for f in (Recipe, paste_cutouts, paste_partners, paste_objects, mosaic_pixels, mosaic_masks)}
MINE["points"] = natives("points", points_natives, points_natives.prepare)
MINE["features"] = natives("features", features_natives)


def entered():
    return _native.Recipe is Recipe


@contextmanager
def on_a_gpu():
    """Recipes made inside run their kernels on the GPU; so do copy-paste and mosaics."""
    for name, mine in MINE.items():
        setattr(_native, name, mine)
    try:
        yield
    finally:
        for name, theirs in THEIRS.items():
            setattr(_native, name, theirs)
