"""Any view that was ever trained on, rendered again: the same bits."""

from __future__ import annotations

import argparse
import inspect
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

import anamorph as am
from anamorph.cli.main import main, parser
from anamorph.cli.preview import load_recipe
from anamorph.images.views import Views
from devices import DEVICES, is_gpu

COUNT = 11
RECIPES = {
    "plain": ([am.RandomResizedCrop(24), am.RandomHorizontalFlip(), am.RandAugment(2, 9)], {}),
    "normalised halves": ([am.RandomResizedCrop(24), am.ColorJitter(0.3, 0.3), am.Normalize((0.5,) * 3, (0.2,) * 3)],
                          {"dtype": torch.float16}),
    "bytes": ([am.RandomResizedCrop(24), am.RandomErasing(1.0)], {"dtype": torch.uint8}),
    "mixed": ([am.RandomResizedCrop(24), am.OneOf([am.MixUp(1.0), am.CutMix(), am.ResizeMix()])], {"num_classes": 2}),
    "field": ([am.RandomResizedCrop(24), am.RandomField(0.05, hue=0.1), am.CutMix()], {"num_classes": 2}),
    "schedules": ([am.RandomResizedCrop(24), am.ColorJitter(am.schedule(lambda epoch, step: (1 + epoch + step) / 8))], {}),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pictures of different sizes in two classes."""
    root = tmp_path_factory.mktemp("pictures")
    sources = (data.astronaut(), data.chelsea(), data.coffee(), data.rocket())
    for i in range(COUNT):
        where = root / "ab"[i % 2]
        where.mkdir(exist_ok=True)
        picture = sources[i % 4][i * 7:i * 7 + 40 + 3 * i, i * 5:i * 5 + 50 + 2 * i]
        Image.fromarray(picture).save(where / f"{i:02}.{'png' if i % 3 else 'jpg'}")
    return root


@pytest.mark.parametrize("decoder", ["pillow", "dali"])
@pytest.mark.parametrize("name", RECIPES)
def test_the_view_that_a_pass_gave(folder, name, decoder):
    if decoder == "dali":
        pytest.importorskip("nvidia.dali")
    transforms, options = RECIPES[name]
    loader = am.Loader(folder, am.Recipe(transforms, **options), 4, seed=3, decoder=decoder, with_index=True)
    other = am.Loader(folder, am.Recipe(transforms, **options), 4, seed=3, decoder=decoder)
    for epoch in range(2):
        for views, *_, ids in loader:
            for i in range(0, len(ids), 2):
                view, sentence = other.replay(int(ids[i]), epoch)
                assert torch.equal(view, views[i]) and sentence


@pytest.mark.parametrize("options", [{"shuffle": False}, {"drop_last": True}, {"shard": (1, 2)}, {"pad": False, "shard": (1, 2)}])
def test_of_every_order(folder, options):
    recipe = am.Recipe([am.RandomResizedCrop(16), am.CutMix()], num_classes=2)
    loader = am.Loader(folder, recipe, 3, with_index=True, **options)
    for views, _, ids in loader:
        for i in range(len(ids)):
            if (ids == ids[i]).sum() == 1:
                assert torch.equal(loader.replay(int(ids[i]), 0)[0], views[i])


def test_a_pass_that_runs_is_not_disturbed(folder):
    recipe = am.Recipe([am.RandomResizedCrop(16), am.MixUp()], num_classes=2)
    alone = [v.clone() for v, _ in am.Loader(folder, recipe, 3)]
    loader = am.Loader(folder, recipe, 3)
    for i, (views, _) in enumerate(loader):
        assert torch.equal(views, alone[i])
        loader.replay(5, 7)
    assert loader.epoch == 1


def test_unreadable_neighbours_are_left_out_as_they_were(folder, tmp_path):
    for source in folder.rglob("*.*"):
        (tmp_path / source.parent.name).mkdir(exist_ok=True)
        (tmp_path / source.parent.name / source.name).write_bytes(source.read_bytes())
    broken = sorted(tmp_path.rglob("*.png"))[2]
    broken.write_bytes(broken.read_bytes()[:100])
    recipe = am.Recipe([am.RandomResizedCrop(16), am.CutMix()], num_classes=2)
    loader = am.Loader(tmp_path, recipe, 4, on_error="skip", with_index=True)
    seen = set()
    for views, _, ids in loader:
        for i, index in enumerate(ids.tolist()):
            seen.add(index)
            assert torch.equal(loader.replay(index, 0)[0], views[i])
    lost = ({*range(COUNT)} - seen).pop()
    with pytest.raises(am.DecodeError, match=broken.name):
        loader.replay(lost, 0)


@pytest.fixture
def recipes(tmp_path):
    file = tmp_path / "recipes.py"
    file.write_text("import anamorph as am, torch\n"
                    "plain = am.Recipe([am.RandomResizedCrop(24), am.Normalize((0.5,) * 3, (0.5,) * 3)])\n"
                    "mixes = am.Recipe([am.RandomResizedCrop(24), am.CutMix()], num_classes=2)\n"
                    "masked = am.Recipe([am.Resize((24, 24)), am.MaskMix()], num_classes=2)\n"
                    "small = am.Recipe([am.RandomResizedCrop(16), am.ColorJitter(0.4)], dtype=torch.uint8)\n"
                    "scheduled = am.Recipe([am.RandomResizedCrop(24), am.ColorJitter(am.schedule(\n"
                    "    lambda epoch, step: (epoch + step) / 9))])\n"
                    "several = am.views({'one': plain, 'local': (small, 3)})\n"
                    "mixed = lambda: am.views({'a': mixes, 'b': (mixes, 2)})\n"
                    "sliced = am.views({'a/b': plain})\ntwice = am.views({'a-0': plain, 'a': (plain, 1)})\n")
    return file


def test_the_command(folder, recipes, tmp_path, capsys):
    loader = am.Loader(folder, am.Recipe([am.RandomResizedCrop(24), am.Normalize((0.5,) * 3, (0.5,) * 3)]), 4, seed=9, epoch=2,
                       with_index=True)
    seen = {int(i): v for views, _, ids in loader for i, v in zip(ids, views, strict=True)}
    call = ["replay", "--data", str(folder), "--recipe", f"{recipes}:plain", "--seed", "9", "--epoch", "2", "--index", "6"]
    assert main([*call, "-o", str(tmp_path / "view.pt")]) == 0
    assert torch.equal(torch.load(tmp_path / "view.pt"), seen[6])
    assert main([*call, "-o", str(tmp_path / "view.npy")]) == 0
    assert np.array_equal(np.load(tmp_path / "view.npy"), seen[6].numpy())
    assert main([*call, "-o", str(tmp_path / "view.png")]) == 0
    shown = np.asarray(Image.open(tmp_path / "view.png")).transpose(2, 0, 1)
    assert np.abs(shown - (seen[6].numpy() * 0.5 + 0.5) * 255).max() <= 0.51
    assert "view.png: " in capsys.readouterr().out


def test_the_command_of_a_mix(folder, recipes, tmp_path):
    loader = am.Loader(folder, am.Recipe([am.RandomResizedCrop(24), am.CutMix()], num_classes=2), 4, seed=1, shard=(1, 2),
                       with_index=True)
    views, _, ids = next(iter(loader))
    assert main(["replay", "--data", str(folder), "--recipe", f"{recipes}:mixes", "--seed", "1", "--index", str(int(ids[2])),
                 "--batch-size", "4", "--shard", "1/2", "-o", str(tmp_path / "v.pt")]) == 0
    assert torch.equal(torch.load(tmp_path / "v.pt"), views[2])


def test_the_command_of_a_recipe_with_schedules(folder, recipes, tmp_path):
    loader = am.Loader(folder, load_recipe(f"{recipes}:scheduled"), 4, seed=1, epoch=2, with_index=True)
    for views, _, ids in loader:
        assert main(["replay", "--data", str(folder), "--recipe", f"{recipes}:scheduled", "--seed", "1", "--epoch", "2",
                     "--index", str(int(ids[1])), "--batch-size", "4", "-o", str(tmp_path / "v.pt")]) == 0
        assert torch.equal(torch.load(tmp_path / "v.pt"), views[1])


def test_the_command_of_views(folder, recipes, tmp_path, capsys):
    several = load_recipe(f"{recipes}:several", (Views,))
    loader = am.Loader(folder, several, 4, seed=9, epoch=2, with_index=True)
    seen = {int(i): (batch["one"][k], batch["local"][:, k]) for batch, _, ids in loader for k, i in enumerate(ids)}
    call = ["replay", "--data", str(folder), "--recipe", f"{recipes}:several", "--seed", "9", "--epoch", "2", "--index", "6"]
    names = ["one", "local-0", "local-1", "local-2"]
    expected = [seen[6][0], *seen[6][1]]
    for suffix, read in ((".pt", torch.load), (".npy", lambda file: torch.from_numpy(np.load(file)))):
        capsys.readouterr()
        assert main([*call, "-o", str(tmp_path / f"view{suffix}")]) == 0
        assert sorted(f.name for f in tmp_path.glob(f"*{suffix}")) == sorted(f"view-{name}{suffix}" for name in names)
        for name, view in zip(names, expected, strict=True):
            found = read(tmp_path / f"view-{name}{suffix}")
            assert torch.equal(found, view) and found.dtype == view.dtype
        lines = capsys.readouterr().out.splitlines()
        assert [line.split(": sample 6: ")[0] for line in lines] == [str(tmp_path / f"view-{name}{suffix}") for name in names]
    assert not torch.equal(seen[6][1][0], seen[6][1][1])
    assert main([*call, "-o", str(tmp_path / "view.png")]) == 0
    assert np.array_equal(np.asarray(Image.open(tmp_path / "view-local-2.png")), seen[6][1][2].permute(1, 2, 0).numpy())
    shown = np.asarray(Image.open(tmp_path / "view-one.png")).transpose(2, 0, 1)
    assert np.abs(shown - (seen[6][0].numpy() * 0.5 + 0.5) * 255).max() <= 0.51


def test_the_command_of_views_that_mix(folder, recipes, tmp_path):
    loader = am.Loader(folder, load_recipe(f"{recipes}:mixed", (Views,)), 4, seed=1, with_index=True)
    batch, _, ids = next(iter(loader))
    assert main(["replay", "--data", str(folder), "--recipe", f"{recipes}:mixed", "--seed", "1", "--index", str(int(ids[2])),
                 "--batch-size", "4", "-o", str(tmp_path / "v.pt")]) == 0
    assert torch.equal(torch.load(tmp_path / "v-a.pt"), batch["a"][2])
    assert torch.equal(torch.load(tmp_path / "v-b-1.pt"), batch["b"][1, 2])


def test_the_command_of_a_run_without_padding(folder, recipes, tmp_path):
    """The last batch of the second of two ranks has a sample less, and so other partners."""
    call = ["replay", "--data", str(folder), "--recipe", f"{recipes}:mixes", "--seed", "1", "--batch-size", "3", "--shard", "1/2",
            "-o", str(tmp_path / "v.pt")]
    mixes = load_recipe(f"{recipes}:mixes")
    *_, (views, _, ids) = am.Loader(folder, mixes, 3, seed=1, shard=(1, 2), pad=False, with_index=True)
    assert len(ids) == 2
    differ = 0
    for view, index in zip(views, ids.tolist(), strict=True):
        assert main([*call, "--index", str(index), "--no-pad"]) == 0
        assert torch.equal(torch.load(tmp_path / "v.pt"), view)
        assert main([*call, "--index", str(index)]) == 0
        differ += not torch.equal(torch.load(tmp_path / "v.pt"), view)
    assert differ


@pytest.fixture
def damaged(folder, tmp_path):
    """A copy with a picture that cannot be read, and a class without pictures."""
    root = tmp_path / "damaged"
    shutil.copytree(folder, root)
    (root / "c").mkdir()
    broken = sorted(root.rglob("*.png"))[2]
    broken.write_bytes(broken.read_bytes()[:100])
    return root


def test_the_command_of_a_run_that_left_pictures_out(damaged, recipes, tmp_path):
    """Its batch was smaller, and had other partners."""
    loader = am.Loader(damaged, load_recipe(f"{recipes}:mixes"), 4, seed=1, on_error="skip", allow_empty=True, labels=False,
                       with_index=True)
    (lost,) = ({*range(COUNT)} - {int(i) for _, ids in loader for i in ids})
    number = int(np.flatnonzero(loader.sampler.ids(1) == lost)[0]) // 4
    views, index = next((views, int(ids[0])) for k, (views, ids) in enumerate(loader) if k == number)
    call = ["replay", "--data", str(damaged), "--recipe", f"{recipes}:mixes", "--seed", "1", "--epoch", "1", "--batch-size", "4",
            "--index", str(index), "-o", str(tmp_path / "v.pt")]
    assert main(call) == 2
    assert main([*call, "--on-error", "skip"]) == 0
    assert torch.equal(torch.load(tmp_path / "v.pt"), views[0])


def test_the_command_of_a_run_without_labels(folder, recipes, tmp_path):
    """Whose labels the recipe could not have taken: the second class is one too many."""
    recipes.write_text("import anamorph as am\nr = am.Recipe([am.RandomResizedCrop(24), am.CutMix()], num_classes=1)\n")
    with pytest.raises(am.ArgumentError):
        am.Loader(folder, load_recipe(f"{recipes}:r"), 4)
    views, ids = next(iter(am.Loader(folder, load_recipe(f"{recipes}:r"), 4, labels=False, with_index=True)))
    assert main(["replay", "--data", str(folder), "--recipe", f"{recipes}:r", "--batch-size", "4", "--index", str(int(ids[1])),
                 "-o", str(tmp_path / "v.pt")]) == 0
    assert torch.equal(torch.load(tmp_path / "v.pt"), views[1])


@pytest.mark.parametrize("device", DEVICES)
def test_the_command_of_a_run_on_a_device(folder, recipes, tmp_path, device):
    if is_gpu(device):
        pytest.importorskip("nvidia.dali")
    loader = am.Loader(folder, load_recipe(f"{recipes}:plain"), 4, device=device, with_index=True)
    views, _, ids = next(iter(loader))
    assert main(["replay", "--data", str(folder), "--recipe", f"{recipes}:plain", "--device", str(device), "--index",
                 str(int(ids[1])), "-o", str(tmp_path / "v.pt")]) == 0
    assert torch.equal(torch.load(tmp_path / "v.pt"), views[1].cpu())


def test_every_argument_of_a_loader_that_changes_pixels_is_an_option():
    """Whoever adds one says here what it is to the command."""
    options = {"data" if a == "source" else a for a in inspect.signature(am.Loader.__init__).parameters} - {"self", "unknown"}
    (commands,) = (a for a in parser()._actions if isinstance(a, argparse._SubParsersAction))
    known = {"shuffle" if a.dest == "in_order" else "pad" if a.dest == "no_pad" else a.dest
             for a in commands.choices["replay"]._actions}
    of_speed, of_targets, of_clips = {"prefetch", "num_threads"}, {"with_index", "labels", "allow_empty"}, {"change", "drift"}
    of_clouds = {"attributes", "mesh_points"}
    assert options - known == of_speed | of_targets | of_clips | of_clouds  # it takes pictures


BAD = {
    "no such data": ({"--data": "nowhere"}, "nowhere"), "no such recipe": ({"--recipe": "x.py:r"}, "x.py"),
    "no such name": ({"--recipe": "{recipes}:other"}, "other"), "index beyond": ({"--index": "11"}, "0 to 10"),
    "negative index": ({"--index": "-1"}, "0 to 10"), "index of words": ({"--index": "six"}, "six"),
    "negative epoch": ({"--epoch": "-1"}, "epoch"), "epoch beyond": ({"--epoch": str(2**32)}, "epoch"),
    "negative seed": ({"--seed": "-1"}, "seed"), "a JPEG": ({"-o": "view.jpg"}, ".png"), "a folder": ({"-o": "/"}, "a file"),
    "a mix without its batch": ({"--recipe": "{recipes}:mixes"}, "--batch-size"),
    "schedules without their batch": ({"--recipe": "{recipes}:scheduled"}, "--batch-size"),
    "views that mix without their batch": ({"--recipe": "{recipes}:mixed"}, "--batch-size"),
    "a view's name that is a path": ({"--recipe": "{recipes}:sliced"}, "a/b"),
    "two views of one file": ({"--recipe": "{recipes}:twice"}, "a-0"),
    "no device": ({"--device": "tpu"}, "device"), "no way with errors": ({"--on-error": "stop"}, "raise"),
    "left out, and not padded": ({"--batch-size": "2", "--no-pad": None, "--drop-last": None}, "pad"),
    "a mask": ({"--recipe": "{recipes}:masked", "--batch-size": "2"}, "MaskMix"),
    "no batch": ({"--batch-size": "0"}, "batch_size"), "a shard of one": ({"--batch-size": "2", "--shard": "3"}, "RANK/WORLD"),
    "a rank beyond": ({"--batch-size": "2", "--shard": "2/2"}, "shard"),
    "another rank's": ({"--batch-size": "2", "--shard": "1/2", "--in-order": None, "--index": "4"}, "rank 1 of 2"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_replayed(folder, recipes, tmp_path, capsys, name):
    given, message = BAD[name]
    options = {"--data": str(folder), "--recipe": f"{recipes}:plain", "--index": "3", "-o": str(tmp_path / "v.png"), **given}
    words = [w for k, v in options.items() for w in ([k] if v is None else [k, v.replace("{recipes}", str(recipes))])]
    assert main(["replay", *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith("anamorph: error: ") and message in error and error.count("\n") == 1
