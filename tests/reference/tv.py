"""torchvision's transforms for the tests: ``v2`` and its functional forms ``F``."""

from anamorph.bench._torchvision import v2 as _load

v2 = _load()
F = v2.functional
