"""docs/skeletons.md and examples/pose_gpa.py do what they say."""

import re
import runpy
import sys
from pathlib import Path

import numpy as np
import torch

import pages
from anamorph.points import skeleton

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "skeletons.md").read_text()


def test_the_code_of_the_page_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    assert len(list(pages.run("skeletons"))) >= 8
    said = capsys.readouterr().out
    assert "torch.Size([8, 15, 3])" in said and "01_01.bvh: expected a motion file" in said and "\n2.98\n" in said
    unknown = [name for name in re.findall(r"`(\w+)\(pose", PAGE) if name not in skeleton.__all__]
    assert not unknown and set(skeleton.__all__) >= {"change_angles", "turn_bones"}


def motion(path, names, units, count, seed):
    """A file in which every joint hangs on the hip and moves by position channels."""
    g = np.random.default_rng(seed)
    joints = " ".join(f"JOINT {name} {{ OFFSET {' '.join(map(str, g.normal(0, 0.5 * units, 3).round(3)))} CHANNELS 3 Xposition "
                      "Yposition Zposition }" for name in names[1:])
    rows = g.normal(0, 0.05 * units, (count, 3 * len(names))).round(3)
    rows[:, 1] += units
    path.write_text(f"HIERARCHY ROOT {names[0]} {{ OFFSET 0 0 0 CHANNELS 3 Xposition Yposition Zposition {joints} }} MOTION "
                    f"Frames: {count} Frame Time: 0.01 " + " ".join(map(str, rows.flatten())))


def test_the_example_runs(tmp_path, monkeypatch, capsys):
    path = ROOT / "examples" / "pose_gpa.py"
    names = runpy.run_path(str(path))
    motion(tmp_path / "01_01.bvh", names["CMU"], 17.7, 240, 0)
    motion(tmp_path / "01_03.bvh", names["CMU"], 17.7, 120, 1)
    motion(tmp_path / "Boxing_Toes.bvh", names["BOXER"], 100, 400, 2)
    monkeypatch.setattr(sys, "argv", [str(path), str(tmp_path), "--epochs", "1", "--batch-size", "20", "--seeds", "1"])
    runpy.run_path(str(path), run_name="__main__")
    said = capsys.readouterr().out
    assert "120 poses of the source; of the target 68 seen before and 66 tested" in said
    errors = re.findall(r"^\| [\w +]+ \| (\d+\.\d) \| (\d+\.\d) \|$", said, re.M)
    assert len(errors) == 5 and all(0 < float(e) < 5000 for pair in errors for e in pair)


def test_a_level_camera_of_the_example_sees_what_stands_there():
    """By hand: a camera at yaw 90 stands on x's positive side and looks along -x; z is to its left."""
    seen = runpy.run_path(str(ROOT / "examples" / "pose_gpa.py"))["seen"]
    world = torch.zeros(1, 16, 3)
    world[:, :, 1] = 1
    world[0, 1] += torch.tensor([0.5, 0.25, 2.0])
    found = seen(world, 90, 1.0, 4.0)
    torch.testing.assert_close(found[0, 0], torch.tensor([0.0, 0.0, 4.0]), atol=1e-6, rtol=0)
    torch.testing.assert_close(found[0, 1], torch.tensor([-2.0, -0.25, 3.5]), atol=1e-6, rtol=0)


def test_the_table_is_the_examples(capsys):
    """The page names every way that the example trains."""
    text = (ROOT / "examples" / "pose_gpa.py").read_text()
    (ways,) = re.findall(r"for way in \((.*?)\):", text)
    for way in re.findall(r'"([^"]+)"', ways):
        assert re.search(rf"^\| {re.escape(way)}[ :|]", PAGE, re.M), way
