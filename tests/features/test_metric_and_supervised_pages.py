"""The code of docs/features-metric.md and docs/features-supervised.md runs as it stands, in the pages' order."""

import re

import pytest
import torch

import pages


@pytest.mark.parametrize("name, count", [("features-metric", 3), ("features-supervised", 5)])
def test_the_code_of_the_page_runs(name, count):
    if name == "features-metric":
        pytest.importorskip("pytorch_metric_learning")
    torch.manual_seed(0)
    losses = [after["loss"] for after in pages.run(name)]
    assert len(losses) >= count and all(loss.isfinite() for loss in losses)


def test_the_table_has_every_way_of_the_example():
    page = (pages.DOCS / "features-metric.md").read_text()
    rows = re.findall(r"^\| ([a-z-]+(?: anchor)?) \| (alone|pictures|feature maps|embeddings) \|", page, re.M)
    assert len(rows) == len({*rows}) == 12
