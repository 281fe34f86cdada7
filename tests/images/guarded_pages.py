"""Renders pictures that end, or begin, at a page that must not be touched. Run as a program: it dies where something is."""

import ctypes
import itertools
import mmap

import numpy as np
import torch

import anamorph as am

PAGE = mmap.PAGESIZE
libc = ctypes.CDLL(None, use_errno=True)
libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]

RECIPES = [
    [am.RandomHorizontalFlip()],
    [am.Resize((40, 40))],
    [am.Resize((9, 11))],
    [am.Resize((9, 11), "bicubic")],
    [am.Resize((40, 40), "bicubic", antialias=False)],
    [am.RandomAffine(180, (0.5, 0.5), (0.5, 2.0), 20, interpolation="bilinear")],
    [am.RandomAffine(180, (0.5, 0.5), (0.5, 2.0), 20, interpolation="bicubic")],
    [am.RandomAffine(180, (0.5, 0.5), (0.5, 2.0), 20)],
    [am.RandomPerspective(0.9, 1.0, "bilinear")],
    [am.RandomResizedCrop((15, 15)), am.RandomInvert(), am.ResizeMix()],
]
CONTRAST = [am.RandomResizedCrop((15, 15)), am.ColorJitter(0.4, 0.4), am.ResizeMix()]  # of grey or RGB


def between_guards(nbytes, at_end):
    """uint8 [nbytes] that ends (or begins) where a forbidden page begins (or ends), and what keeps it."""
    pages = -(-nbytes // PAGE)
    room = mmap.mmap(-1, (pages + 2) * PAGE)
    base = ctypes.addressof(ctypes.c_char.from_buffer(room))
    for guard in (base, base + (pages + 1) * PAGE):
        if libc.mprotect(guard, PAGE, 0):
            raise OSError(ctypes.get_errno(), "mprotect")
    start = PAGE + (pages * PAGE - nbytes if at_end else 0)
    return np.frombuffer(room, np.uint8, nbytes, start), room


def main():
    random = np.random.default_rng(0)
    kept = []
    for shape in ((2, 20, 30, 3), (2, 7, 5, 3), (1, 1, 1, 3), (1, 3, 2, 4), (2, 20, 30, 1), (2, 9, 13, 2)):
        numbers = random.integers(0, 256, shape, dtype=np.uint8)
        for dtype, at_end, layout in itertools.product((np.uint8, np.float32, np.float16), (False, True), ("NHWC", "NCHW")):
            array = numbers if dtype == np.uint8 else (numbers / 255).astype(dtype)
            array = np.ascontiguousarray(array if layout == "NHWC" else array.transpose(0, 3, 1, 2))
            memory, room = between_guards(array.nbytes, at_end)
            kept.append(room)
            memory[:] = array.reshape(-1).view(np.uint8)
            images = torch.from_numpy(memory.view(dtype).reshape(array.shape))
            for transforms in [*RECIPES, CONTRAST] if shape[3] in (1, 3) else RECIPES:
                recipe = am.Recipe(transforms)
                for epoch in range(4):
                    plan = recipe.plan(range(shape[0]), size=shape[1:3], epoch=epoch)
                    out = am.render(images, plan, layout=layout)
                    assert torch.equal(out, am.render(torch.from_numpy(array), plan, layout=layout))
    print(f"{len(kept)} pictures, nothing outside was read")


if __name__ == "__main__":
    main()
