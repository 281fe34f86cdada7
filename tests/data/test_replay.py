"""Any view that was ever trained on, rendered again: the same bits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

import anamorph as am
from anamorph.cli.main import main

COUNT = 11
RECIPES = {
    "plain": ([am.RandomResizedCrop(24), am.RandomHorizontalFlip(), am.RandAugment(2, 9)], {}),
    "normalised halves": ([am.RandomResizedCrop(24), am.ColorJitter(0.3, 0.3), am.Normalize((0.5,) * 3, (0.2,) * 3)],
                          {"dtype": torch.float16}),
    "bytes": ([am.RandomResizedCrop(24), am.RandomErasing(1.0)], {"dtype": torch.uint8}),
    "mixed": ([am.RandomResizedCrop(24), am.OneOf([am.MixUp(1.0), am.CutMix(), am.ResizeMix()])], {"num_classes": 2}),
    "field": ([am.RandomResizedCrop(24), am.RandomField(0.05, hue=0.1), am.CutMix()], {"num_classes": 2}),
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
    file.write_text("import anamorph as am\n"
                    "plain = am.Recipe([am.RandomResizedCrop(24), am.Normalize((0.5,) * 3, (0.5,) * 3)])\n"
                    "mixes = am.Recipe([am.RandomResizedCrop(24), am.CutMix()], num_classes=2)\n"
                    "masked = am.Recipe([am.Resize((24, 24)), am.MaskMix()], num_classes=2)\n")
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


BAD = {
    "no such data": ({"--data": "nowhere"}, "nowhere"), "no such recipe": ({"--recipe": "x.py:r"}, "x.py"),
    "no such name": ({"--recipe": "{recipes}:other"}, "other"), "index beyond": ({"--index": "11"}, "0 to 10"),
    "negative index": ({"--index": "-1"}, "0 to 10"), "index of words": ({"--index": "six"}, "six"),
    "negative epoch": ({"--epoch": "-1"}, "epoch"), "epoch beyond": ({"--epoch": str(2**32)}, "epoch"),
    "negative seed": ({"--seed": "-1"}, "seed"), "a JPEG": ({"-o": "view.jpg"}, ".png"), "a folder": ({"-o": "/"}, "a file"),
    "a mix without its batch": ({"--recipe": "{recipes}:mixes"}, "--batch-size"),
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
