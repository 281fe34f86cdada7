"""What the documents say and a machine can check: the promises of docs/gpu.md have tests, and its code does what it says."""

import ast
import gc
import re
import tempfile
import weakref
from pathlib import Path

import pytest
import torch

import anamorph as am
import pages
from fake_cuda import FakeCuda

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "gpu.md").read_text()
SO_FAR = {"emulated", "faked", "on a CPU", "on an H100", "not yet"}
ROWS = [tuple(cell.strip() for cell in line.strip("|").split(" | ")) for line in PAGE.splitlines()
        if line.startswith("| ") and not line.startswith("| promise ")]


def cited(cell):
    """The tests that a cell names: file and function."""
    return re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", cell)


def function(file, name):
    """A test's definition; None where there is none."""
    path = ROOT / file
    tree = ast.parse(path.read_text()) if path.exists() else ast.Module([], [])
    return next((node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name), None)


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_a_promise_names_tests_that_exist_and_what_became_of_them(row):
    assert len(row) == 3, "expected: promise | held by | so far"
    _, tests, so_far = row
    found = cited(tests)
    assert found and len(found) == tests.count("::"), f"expected `tests/FILE.py::NAME`, given {tests}"
    words = set(so_far.split("; "))
    assert words <= SO_FAR, f"expected some of {sorted(SO_FAR)}, given {so_far}"
    waiting = partly = False
    for file, name in found:
        test = function(file, name)
        assert test and name.startswith("test_"), f"{file} has no {name}"
        decorators = [ast.unparse(decorator) for decorator in test.decorator_list]
        waits = any(text.startswith("pytest.mark.gpu") for text in decorators)  # in whole, not for some of its parameters
        waiting |= waits
        if not waits and any(re.search(r"\bgpu\(|\bDEVICES\b", text) for text in decorators):
            partly = True
            assert "on a CPU" in words, f"{name} has parameters that wait for a GPU: what ran is its body, on a CPU"
    of_a_gpu = words & {"on an H100", "not yet"}
    assert len(of_a_gpu) == 1 if waiting else len(of_a_gpu) <= partly, "expected what became of what nothing but a GPU can run"


def test_the_page_is_read():
    """The test of the test."""
    headings = re.findall(r"^## (.+)$", PAGE, re.M)
    assert headings == ["Kernels", "Streams", "Devices", "Graphs", "Forks", "Other libraries' arrays"]
    assert len(ROWS) == len(re.findall(r"^\| (?!promise)", PAGE, re.M)) >= 18
    assert PAGE.count("| promise | held by | so far |") == len(headings)
    assert function("tests/test_docs.py", "test_the_page_is_read") and not function("tests/test_docs.py", "cited_")
    assert not function("tests/none.py", "test_none")


def test_every_test_that_waits_for_a_gpu_holds_a_promise():
    named = {name for row in ROWS for _, name in cited(row[1])}
    for file in (ROOT / "tests").rglob("test_*.py"):
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.FunctionDef) and any("pytest.mark.gpu" in ast.unparse(d) for d in node.decorator_list):
                assert node.name in named, f"{file.name}::{node.name} holds no promise of docs/gpu.md"


def test_readme_and_docs_link_to_files_that_exist():
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            assert "://" in target or (page.parent / target).exists(), f"{page.name} links to {target}"
    assert "docs/gpu.md" in (ROOT / "README.md").read_text()


def test_the_gallery_has_every_transform_and_its_picture():
    page = (ROOT / "docs" / "gallery.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \| [^|]+ \| (.+) \|$", page, re.M)
    assert [name for name, _ in rows] == am.images.transforms.__all__
    unseen = {"Transform", "Normalize"}  # the base; numbers for a net
    for name, picture in rows:
        assert picture == ("none" if name in unseen else f"![{name}](gallery/{name}.png)")
    files = {file.stem for file in (ROOT / "docs" / "gallery").glob("*.png")}
    assert files == {"targets", "clips", "corruptions", "shifts", *(name for name, _ in rows)} - unseen


def test_the_gallery_of_clouds_has_every_transform_and_corruption():
    """Mixing too, as soon as its pictures are made."""
    page = (ROOT / "docs" / "gallery-points.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \| [^|]+ \|(?: [^|]*\|)? (.+) \|$", page, re.M))
    corruptions = dict(re.findall(r"^\| `(\w+)` \| (!\S+) \|$", page, re.M))
    files = {file.stem for file in (ROOT / "docs" / "gallery" / "points").glob("*.png")}
    mixing = {"PointCutMix", "PointMixup", "RSMix", "WOLFMix"}
    assert {*rows} == {*am.points.transforms.__all__} - (mixing - files)
    assert [*corruptions] == list(am.points.corruptions.NAMES)
    assert files == {"recipe", *(f"corruption-{name}" for name in corruptions), *rows}
    for name, picture in rows.items():
        assert picture == f"![{name}](gallery/points/{name}.png)"
    for name, picture in corruptions.items():
        assert picture == f"![{name}](gallery/points/corruption-{name}.png)"
    assert all(file.stat().st_size < 40_000 for file in (ROOT / "docs" / "gallery" / "points").glob("*.png"))


@pytest.mark.parametrize("name", ["points", "points-loading"])
def test_the_code_of_the_pages_on_clouds_runs(name, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "mkdtemp", lambda: str(tmp_path))
    torch.manual_seed(0)
    assert len(list(pages.run(name))) >= 8


def test_the_code_of_the_page_on_learnt_augmentation_runs():
    torch.manual_seed(0)
    assert len(list(pages.run("learned"))) == 4


def test_the_code_of_readme_on_clouds_runs(capsys):
    page = (ROOT / "README.md").read_text().partition("\n## Point clouds\n")[2].partition("\n## ")[0]
    (code,) = re.findall(r"```python\n(.*?)```", page, re.S)
    torch.manual_seed(0)
    clouds = torch.nn.functional.normalize(torch.randn(4, 2048, 3), dim=2)
    names = {"am": am, "torch": torch, "clouds": clouds, "normals": clouds, "index": torch.arange(4), "labels": torch.arange(4),
             "parts": torch.zeros(4, 2048, dtype=torch.uint8)}
    exec(code, names)
    assert names["views"].shape == (4, 1024, 3) and names["soft"].shape == (4, 40) and names["worse"].shape == (4, 1748, 3)
    assert {*names["found"]} == {"points", "normals", "parts", "origin"}
    assert "deformation" in capsys.readouterr().out


def test_the_page_on_clouds_says_the_defaults():
    page, points = (ROOT / "docs" / "points.md").read_text(), am.points
    calls = re.findall(r"^\| `(\w+)(\(.*?\))` \|", page, re.M)
    assert sorted(name for name, _ in calls) == sorted(points.transforms.__all__)
    given = {"num_points": 7, "transforms": [points.Jitter()]}
    for name, arguments in calls:
        said = eval(name + arguments, vars(points) | given)
        needed = {key: value for key, value in given.items() if f"({key}" in arguments}
        default = getattr(points, name)(**needed)
        if name == "RotationJitter":  # degrees of .06 and .18 radians, in decimals
            assert abs(said.sigma - default.sigma) < 1e-3 and abs(said.clip - default.clip) < 1e-3
        else:
            assert said == default, name


def test_the_graph_of_the_page_keeps_what_it_reads(monkeypatch):
    cuda, names = FakeCuda(monkeypatch), {"am": am, "torch": torch}
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    exec(code, names)
    images = torch.randint(256, (4, 256, 256, 3), dtype=torch.uint8)
    labels, index, epoch = torch.arange(4), torch.arange(10, 14), torch.zeros(1, dtype=torch.int64)
    recipe = am.Recipe([am.RandomResizedCrop(8), am.MixUp()], num_classes=4)
    expected = am.render(images, recipe.plan(index, size=(256, 256)), targets=labels)
    replay = names["in_a_graph"](recipe, images, labels, index, epoch)
    held = [weakref.ref(tensor) for tensor in (images, labels, index, epoch)]
    del images, labels, index, epoch
    gc.collect()
    assert all(one() is not None for one in held), "the graph would read freed memory"
    assert cuda.graphs[0].captured_on is not None
    assert all(torch.equal(a, b) for a, b in zip(replay(), expected, strict=True)) and cuda.graphs[0].replays == 1
    del replay
    gc.collect()
    assert all(one() is None for one in held)
