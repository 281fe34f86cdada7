"""The exceptions. All are :class:`AnamorphError`, and each also is the built-in one that fits, for code that catches that."""


class AnamorphError(Exception):
    """Base of every error that anamorph raises on purpose."""


class ArgumentError(AnamorphError, ValueError):
    """A value outside its range, or something of the wrong kind."""


class ShapeError(AnamorphError, ValueError):
    """A tensor of the wrong shape, or an empty batch."""


class DtypeError(AnamorphError, TypeError):
    """A tensor of the wrong dtype."""


class DeviceError(AnamorphError, RuntimeError):
    """Tensors on different devices, or a device that this build or machine does not have."""


class DecodeError(AnamorphError, RuntimeError):
    """A file that cannot be read as a picture or a point cloud; the message names it."""


class MissingDependencyError(AnamorphError, ImportError):
    """An optional package is not installed; the message says which extra brings it."""
