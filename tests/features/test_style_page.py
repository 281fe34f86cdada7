"""The code of docs/features-style.md runs as it stands, in the page's order."""

import torch

import pages


def test_the_code_of_the_page_runs():
    torch.manual_seed(0)
    names = {}
    losses = [after.pop("loss") for after in pages.run("features-style", names)]
    assert len(losses) == 4 and all(loss.isfinite() for loss in losses)
    assert len(names["widths"]) == 6 and all(width.abs().min() > 0 for width in names["widths"]), "begun"
    assert any(width.grad.abs().max() > 0 for width in names["widths"]), "learnt"
    assert names["mixed"].shape == names["features"].shape and names["mean"].shape == (8, 16)
