"""The CUDA route without a GPU: ``with emulated():`` makes recipes that run the CUDA kernels on CPU tensors.

    python tests/emulation/route.py [--seed N] PROGRAM

runs a Python program that way.
"""

import importlib.util
import os
import runpy
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import torch

import features_natives
import points_natives
from anamorph import _native
from natives import Natives

FOLDER = Path(os.environ.get("ANAMORPH_EMULATION", Path(__file__).parents[2] / "build" / "emulation"))
FOUND = sorted(FOLDER.glob("_emulated*.so"))
if FOUND:
    _spec = importlib.util.spec_from_file_location("_emulated", FOUND[0])
    native = importlib.util.module_from_spec(_spec)
    _spec.loader.exec_module(native)

    class Recipe(native.Recipe):
        """The bindings' Recipe, with a device's memory around it: a kernel finds noise where it is to write, and may touch
        nothing but the tensors of the call."""

        def plan(self, index, seed, epoch, view, h, w, sizes, out_h, out_w, rows, threads, boxes=None, counts=None, *clips):
            dials, moved = clips[4:] or ([], None)
            inputs = {"index": index, "epoch": epoch, "size": sizes, "boxes": boxes, "counts": counts,
                      **{f"schedule {i}": dial for i, dial in enumerate(dials)}}
            with memory(inputs, {"rows": rows, "programs": moved}):
                super().plan(index, seed, epoch, view, h, w, sizes, out_h, out_w, rows, threads, boxes, counts, *clips)

        def render(self, rows, images, first, table, channels, dtype, out, labels, soft, y_b, lam, mask, share, ready, *rest):
            floats = self.ready_floats(*out.shape)
            if floats:  # the public render makes them where the tensors are a GPU's
                ready = torch.empty(floats)
            inputs = {"plan": rows, "images": images, "sizes": table, "targets": labels, "mask": mask, "mask's means": share}
            outputs = {"out": out, "views made ready": ready, "soft targets": soft, "partners' targets": y_b, "shares": lam}
            with memory(inputs, outputs, pictures(table, channels, dtype) if images is None else []):
                super().render(rows, images, first, table, channels, dtype, out, labels, soft, y_b, lam, mask, share, ready,
                               *rest)

        def carry(self, rows, next_rows, source, view, known, valid, size, fill, undo, bilinear, scatter, *rest):
            read, written = ("view", "source") if undo and not scatter else ("source", "view")
            planes = {"source": source, "view": view}
            inputs = {"plan": rows, "next plan": next_rows, read: planes[read], "known": known, "valid": valid}
            outputs = {"valid values": valid if valid is not None and valid.dtype == torch.uint8 else None}
            if scatter or (planes[written].dtype == torch.int64 and planes[written].dim() == 2):  # added to; or a list's
                inputs[written] = planes[written]
            else:
                outputs[written] = planes[written]
            more = [span(written, planes[written], True)]
            more += [s for name in ("source", "view") for s in listed(name, planes[name], size)]
            more += [s for t in (known, valid) for s in listed("valid", t, 1)]
            with memory(inputs, outputs, more):
                super().carry(rows, next_rows, source, view, known, valid, size, fill, undo, bilinear, scatter, *rest)

        def boxes(self, rows, boxes, counts, out, keep, *rest):
            with memory({"plan": rows, "boxes": boxes, "counts": counts}, {"out": out, "keep": keep}):
                super().boxes(rows, boxes, counts, out, keep, *rest)

        def points(self, rows, points, counts, out, seen, *rest):
            with memory({"plan": rows, "points": points, "counts": counts}, {"out": out, "seen": seen}):
                super().points(rows, points, counts, out, seen, *rest)

    def paste_cutouts(images, out, texels, cutouts, placements, first, masks, *rest):
        inputs = {"images": images, "texels": texels, "cut-outs": cutouts, "placements": placements, "first": first}
        with memory(inputs, {"out": out, "masks": masks}):
            native.paste_cutouts(images, out, texels, cutouts, placements, first, masks, *rest)

    def paste_partners(images, out, partner, front, *rest):
        with memory({"images": images, "partner": partner, "front": front}, {"out": out}):
            native.paste_partners(images, out, partner, front, *rest)

    def paste_objects(given, objects, first, masks, extents, front, threads):
        both = [span("masks", masks, True), span("extents", extents, True)]  # read, too
        with memory({"given masks": given, "objects": objects, "first": first}, {"front": front}, both):
            native.paste_objects(given, objects, first, masks, extents, front, threads)

    def mosaic_pixels(images, first, table, channels, dtype, samples, out, *rest):
        inputs = {"images": images, "sizes": table, "samples": samples}
        with memory(inputs, {"out": out}, pictures(table, channels, dtype) if images is None else []):
            native.mosaic_pixels(images, first, table, channels, dtype, samples, out, *rest)

    def mosaic_masks(masks, rows, samples, out, threads):
        with memory({"masks": masks, "rows": rows, "samples": samples}, {"out": out}):
            native.mosaic_masks(masks, rows, samples, out, threads)

    def natives(family, table, prepare=None):
        """The functions of a family's submodule, likewise."""
        mine = getattr(native, family)

        def run(name, given, written, changed):
            inputs = {k: v for k, v in given.items() if isinstance(v, torch.Tensor) and k not in (*written, *changed)}
            with memory(inputs, {k: given[k] for k in written}, [span(k, given[k], True) for k in changed]):
                return getattr(mine, name)(**given)

        return Natives(getattr(_native, family), run, table.WRITTEN, getattr(table, "CHANGED", ()), prepare)

    FAMILIES = {"points": natives("points", points_natives, points_natives.prepare),
                "features": natives("features", features_natives)}
    AFTER_RENDER = {f.__name__: f for f in (paste_cutouts, paste_partners, paste_objects, mosaic_pixels, mosaic_masks)}


@contextmanager
def emulated(seed=0):
    """Recipes made inside run their CUDA kernels, in an order that the seed decides."""
    native.set_seed(seed)
    mine = {"Recipe": Recipe, "launch_count": native.launch_count, "pictures": native.pictures, **FAMILIES, **AFTER_RENDER}
    theirs = {name: getattr(_native, name) for name in mine}
    for name, value in mine.items():
        setattr(_native, name, value)
    try:
        yield
    finally:
        for name, value in theirs.items():
            setattr(_native, name, value)


_one_call = threading.RLock()  # there is one list of what kernels may touch


@contextmanager
def memory(inputs, outputs, more=()):
    """What kernels may read and write; what they are to write is filled with noise. One thread at a time."""
    allowed = [span(name, t, False) for name, t in inputs.items() if isinstance(t, torch.Tensor)]
    for name, t in outputs.items():
        if t is not None:
            noise = {torch.uint8: 0xA5, torch.int16: -0x5A5B}.get(t.dtype, -0x5A5A5A5B)
            t.fill_(float("nan") if t.dtype.is_floating_point else noise)
            allowed.append(span(name, t, True))
    with _one_call:
        native.allow_memory([*allowed, *more])
        try:
            yield
        finally:
            native.allow_memory([])


def span(name, t, writable):
    """From a tensor's first value to its last."""
    values = 1 + sum((side - 1) * stride for side, stride in zip(t.shape, t.stride(), strict=True)) if t.numel() else 0
    return name, t.data_ptr(), values * t.element_size(), writable


def pictures(table, channels, dtype):
    """Those of a list, by their addresses."""
    addresses, sizes = table.split((len(table) // 3, len(table) // 3 * 2))
    return [(f"images[{i}]", address, h * w * channels * (1, 4, 2, 2)[dtype], False)
            for i, (address, (h, w)) in enumerate(zip(addresses.tolist(), sizes.reshape(-1, 2).tolist(), strict=True))]


def listed(name, table, size):
    """The planes of a list, by their table."""
    if table is None or table.dtype != torch.int64 or table.dim() != 2:
        return []
    return [(f"{name}[{i}]", address, planes * h * w * size, True) for i, (address, planes, h, w) in enumerate(table.tolist())]


if __name__ == "__main__":
    arguments = sys.argv[1:]
    seed = 0
    if arguments[0] == "--seed":
        seed, arguments = int(arguments[1]), arguments[2:]
    sys.argv = arguments
    with emulated(seed):
        runpy.run_path(arguments[0], run_name="__main__")
