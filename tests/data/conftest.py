from types import SimpleNamespace

import numpy as np
import pytest

import anamorph as am
import anamorph.data.family as family_module
from loading import SIZES, encoded, picture


@pytest.fixture
def seen(monkeypatch):
    """Replaces render: batches come out as (ids, labels), and all that went in is kept, pixels copied."""
    calls = []

    def render(images, plan, targets=None, layout=None):
        pixels = [image.clone() for image in (images.tensors if isinstance(images, am.Ragged) else images)]
        calls.append(SimpleNamespace(images=pixels, given=type(images), plan=plan, targets=targets))
        return plan.index if targets is None else (plan.index, targets)

    monkeypatch.setattr(family_module, "render", render)
    return calls


@pytest.fixture
def folder(tmp_path):
    """Two classes of five images of different sizes; ids follow the sorted paths."""
    for index, (height, width) in enumerate(SIZES):
        path = tmp_path / "images" / ("cat", "dog")[index // 5] / f"{index}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(picture(height, width, index)))
    return tmp_path / "images"


@pytest.fixture
def array():
    return np.arange(10, dtype=np.uint8)[:, None, None, None] * np.ones((1, 6, 8, 3), dtype=np.uint8)
