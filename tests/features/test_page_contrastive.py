"""The code of docs/features-contrastive.md runs as written."""

import re
from pathlib import Path

import pytest
import torch

PAGE = (Path(__file__).parents[2] / "docs" / "features-contrastive.md").read_text()


def test_the_code_runs(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    blocks, names = re.findall(r"```python\n(.*?)```", PAGE, re.S), {}
    assert len(blocks) == PAGE.count("```") // 2 == 7
    for block in blocks:
        exec(block, names)
        assert "loss" not in names or torch.isfinite(names["loss"])
    assert (tmp_path / "scores.png").stat().st_size > 1000
