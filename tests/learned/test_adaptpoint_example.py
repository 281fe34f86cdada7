"""examples/adaptpoint.py does what it says, on meshes that stand for those of its package."""

import re
import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_the_example_compares_augmentations(tmp_path, monkeypatch, capsys):
    make = pytest.importorskip("trimesh").creation
    path = ROOT / "examples" / "adaptpoint.py"
    shapes = [make.box((1, 2, 3)), make.icosphere(2), make.cylinder(1, 3), make.cone(1, 2), make.torus(2, 0.4), make.capsule(),
              make.annulus(1, 2, 0.5), make.box((1, 1, 0.1))]
    names = re.findall(r'"([\w/-]+\.(?:obj|stl|STL|glb|gltf))"', path.read_text())
    assert len(names) == len(shapes)
    for name, shape in zip(names, shapes, strict=True):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shape.export(tmp_path / name)
    monkeypatch.setattr(sys, "argv", [str(path), str(tmp_path), "--epochs", "1", "--batch-size", "8", "--seeds", "1",
                                      "--clouds", "1", "--tested", "1", "--points", "384"])
    runpy.run_path(str(path), run_name="__main__")
    said = capsys.readouterr().out
    rows = re.findall(r"^\| ([\w+, ]+) \|((?: \d+\.\d{3} \|){9})$", said, re.M)
    assert [name for name, _ in rows] == ["nothing", "scale + shift", "PointWOLF", "RSMix", "AdaptPoint", "AdaptPoint, no mask"]
    for _, cells in rows:
        *right, mce = map(float, re.findall(r"[\d.]+", cells))
        assert all(0 <= share <= 1 for share in right) and 0 < mce < 6
