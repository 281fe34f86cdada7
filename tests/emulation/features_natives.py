"""The native functions for features, ``_native.features``: which tensors each of them writes, and which it changes."""

WRITTEN = {
    "affine": ("out",),
    "aggregate": ("out",),
    "class_moments": ("mean", "squares"),
    "combine": ("out",),
    "draw": ("out",),
    "edge_dots": ("out",),
    "hardest": ("index",),
    "mix_rows": ("out",),
    "mochi": ("scores", "made"),
    "mochi_grad": ("grad_query",),
    "moments": ("mean", "variance"),
    "sample_neighbours": ("out",),
    "sums": ("first", "second"),
}
CHANGED = {"hardest": ("scores",)}
