"""The native functions for point clouds, ``_native.points``: which tensors each of them writes. They take arguments by name, so that
the routes of the tests can tell what is what."""

WRITTEN = {
    "deform": ["out"],
    "deform_grad": ["sums", "grad_points", "grad_at", "grad_matrix", "grad_shift", "grad_falloff"],
    "mask_points": ["out"],
    "mask_grad": ["grad_points", "grad_keep"],
}


class Natives:
    """In the place of ``_native.points``: calls go to ``run(name, arguments, the names of what is written)``."""

    def __getattr__(self, name):
        if name not in WRITTEN:
            raise AttributeError(f"{name}: WRITTEN has no line for it")

        def call(**given):
            return self.run(name, given, [k for k in WRITTEN[name] if given[k] is not None])

        return call
