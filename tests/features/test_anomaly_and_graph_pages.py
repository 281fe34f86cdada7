"""docs/features-anomaly.md and docs/features-graphs.md: their code runs as it stands, their examples do what they say, and their
tables have the examples' rows."""

import re
import runpy
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

import pages

ROOT = Path(__file__).parents[2]
PAGES = {name: (ROOT / "docs" / f"features-{name}.md").read_text() for name in ("anomaly", "graphs")}
ANOMALY = ["SimpleNet, sigma 0", "SimpleNet, sigma 0.2", "Gaussian of each level's mean", "Gaussian of places"]
GRAPH = ["GCN", "GCN, four passes", "own features", "random neighbours", "LAGNN"]


def run(name, folder, monkeypatch, *more):
    path = ROOT / "examples" / f"{name}.py"
    monkeypatch.setattr(sys, "argv", [str(path), str(folder), "--quick", *more])
    runpy.run_path(str(path), run_name="__main__")
    table = (folder / f"{name}.md").read_text().splitlines()
    return [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in table]


@pytest.mark.parametrize("name", PAGES)
def test_the_code_of_the_page_runs(name):
    torch.manual_seed(0)
    names = {}
    losses = [after.pop("loss") for after in pages.run(f"features-{name}", names)]
    assert len(losses) == 2 and all(loss.isfinite() for loss in losses)
    if name == "anomaly":
        assert names["of_pictures"].shape == (2,) and names["of_pixels"].shape == (2, 64, 64)
        assert names["answers"].shape == (8, 3) and names["features"].shape == (16, 8, 64)
        torch.testing.assert_close(names["power_normalised"](names["body"](names["views"][3])).detach(), names["features"][3])
    else:
        assert names["node"].tolist() == [0, 0, 1, 1, 2, 2, 2, 3] and names["few"].shape == (4, 2)
        assert names["total"].shape == (4, 8) and len(names["losses"]) == 10 and names["back"].indptr.tolist() == [0, 2, 4, 7, 8]


def test_anomalies(tmp_path, monkeypatch, capsys):
    pytest.importorskip("skimage")
    pytest.importorskip("sklearn")
    rows = run("features_anomaly", tmp_path, monkeypatch, "--sheet", str(tmp_path / "maps.png"))
    assert rows[0] == ["brick", "mean"] and [row[0] for row in rows[2:]] == ANOMALY
    areas = {row[0]: [float(v) for v in row[1].split(", ")] for row in rows[2:]}
    assert all(len(each) == (1 if "level" in row else 2) and min(each) > 20 for row, each in areas.items())
    assert areas["Gaussian of places"][1] > 80, "pixels are found even with a net of 30 steps"
    assert re.search(r"The features' standard deviation is 0\.\d\d", capsys.readouterr().out)
    assert Image.open(tmp_path / "maps.png").width > 300


def test_graphs(tmp_path, monkeypatch):
    pytest.importorskip("networkx")
    pytest.importorskip("sklearn")
    rows = run("features_graph", tmp_path, monkeypatch)
    assert rows[0] == ["digits, 2 each", "karate club"]
    assert [row[0] for row in rows[2:]] == GRAPH + [f"{way}, more than GCN" for way in GRAPH[1:]]
    right = {row[0]: [float(v) for v in row[1:]] for row in rows[2:]}
    assert all(right[way][0] > 40 and right[way][1] > 70 for way in GRAPH), "far more than the tenth and the half of guessing"
    for way in GRAPH[1:]:
        for column in (0, 1):
            assert right[f"{way}, more than GCN"][column] == pytest.approx(right[way][column] - right["GCN"][column], abs=0.11)


def test_the_pages_have_every_row():
    def rows(page):
        return re.findall(r"^\| (.+?) \| \d+\.\d ± \d+\.\d", page, re.M)

    sigmas = [f"SimpleNet, sigma {sigma}" for sigma in ("0", "0.005", "0.015", "0.05", "0.2", "0.5")]
    assert rows(PAGES["anomaly"]) == [*sigmas, *ANOMALY[2:]]
    assert rows(PAGES["graphs"]) == GRAPH
