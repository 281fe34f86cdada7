"""The code of docs/features-statistics.md runs as it stands, in the page's order."""

import torch

import pages


def test_the_code_of_the_page_runs():
    torch.manual_seed(0)
    names = {}
    losses = [after.get("loss", torch.zeros(())) for after in pages.run("features-statistics", names)]
    assert len(losses) == 7 and all(loss.isfinite() for loss in losses)
    assert names["within"].shape == (32, 32) and names["each"].shape == names["safe"].shape == (10, 32, 32)
    assert len(names["losses"]) == 3 and names["scores"].shape == (5,) and len(names["limits"]) == 2
    assert 0 < names["right"] <= 1 and names["new"](names["shots"]).shape == (256, 5)
    assert names["head"](names["features"])[:, 9].isneginf().all()
