"""The code of docs/features-style.md runs as it stands, in the page's order."""

import re
from pathlib import Path

import torch

PAGE = (Path(__file__).parents[2] / "docs" / "features-style.md").read_text()


def test_the_code_of_the_page_runs():
    torch.manual_seed(0)
    blocks, names = re.findall(r"```python\n(.*?)```", PAGE, re.S), {}
    assert len(blocks) == PAGE.count("```") // 2 == 4
    for block in blocks:
        exec(block, names)
        assert names.pop("loss").isfinite()
    assert len(names["widths"]) == 6 and all(width.abs().min() > 0 for width in names["widths"]), "begun"
    assert any(width.grad.abs().max() > 0 for width in names["widths"]), "learnt"
    assert names["mixed"].shape == names["features"].shape and names["mean"].shape == (8, 16)
