"""The code of docs/features-statistics.md runs as it stands, in the page's order."""

import re
from pathlib import Path

import torch

PAGE = (Path(__file__).parents[2] / "docs" / "features-statistics.md").read_text()


def test_the_code_of_the_page_runs():
    torch.manual_seed(0)
    blocks, names = re.findall(r"```python\n(.*?)```", PAGE, re.S), {}
    assert len(blocks) == PAGE.count("```") // 2 == 7
    for block in blocks:
        exec(block, names)
        assert names.get("loss", torch.zeros(())).isfinite()
    assert names["within"].shape == (32, 32) and names["each"].shape == names["safe"].shape == (10, 32, 32)
    assert len(names["losses"]) == 3 and names["scores"].shape == (5,) and len(names["limits"]) == 2
    assert 0 < names["right"] <= 1 and names["new"](names["shots"]).shape == (256, 5)
    assert names["head"](names["features"])[:, 9].isneginf().all()
