"""The code of docs/features-contrastive.md runs as written."""


import pytest
import torch

import pages


def test_the_code_runs(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    losses = [after.get("loss", torch.zeros(())) for after in pages.run("features-contrastive")]
    assert len(losses) == 7 and all(loss.isfinite() for loss in losses)
    assert (tmp_path / "scores.png").stat().st_size > 1000
