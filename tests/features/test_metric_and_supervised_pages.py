"""The code of docs/features-metric.md and docs/features-supervised.md runs as it stands, in the pages' order."""

import re
from pathlib import Path

import pytest
import torch

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("name, count", [("features-metric", 3), ("features-supervised", 5)])
def test_the_code_of_the_page_runs(name, count):
    if name == "features-metric":
        pytest.importorskip("pytorch_metric_learning")
    torch.manual_seed(0)
    blocks, names = re.findall(r"```python\n(.*?)```", (DOCS / f"{name}.md").read_text(), re.S), {}
    assert len(blocks) >= count
    for block in blocks:
        exec(block, names)
        assert names["loss"].isfinite()


def test_the_table_has_every_way_of_the_example():
    page = (DOCS / "features-metric.md").read_text()
    rows = re.findall(r"^\| ([a-z-]+(?: anchor)?) \| (alone|pictures|feature maps|embeddings) \|", page, re.M)
    assert len(rows) == len({*rows}) == 12
