"""The installed package beside torch and numpy alone: a program, for there is no pytest.  smoke.py on|off (CUDA built)"""

import importlib.metadata
import importlib.util
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import numpy as np
import torch

import anamorph as am

PYTHON = [sys.executable, "-m", "anamorph"]
SCRIPT = [str(Path(sysconfig.get_path("scripts")) / "anamorph")]


def refuses(error: type[Exception], words: str, call, *arguments, **named) -> None:
    """A call must fail with this error and these words."""
    try:
        call(*arguments, **named)
    except error as raised:
        assert words in str(raised), raised
    else:
        raise AssertionError(f"no {error.__name__}")


def runs(command: list[str], *arguments: str, code: int = 0) -> str:
    """What a command prints, or says of its error."""
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=120)
    assert done.returncode == code, (arguments, done)
    assert "Traceback" not in done.stderr and bool(done.stderr) == (code != 0), done.stderr
    return done.stderr if code else done.stdout


def installed(cuda: bool) -> None:
    """The right package, with nothing of an extra beside it that would hide what is missing."""
    assert am.__version__ == importlib.metadata.version("anamorph")
    assert Path(am.__file__).is_relative_to(sysconfig.get_path("platlib")), am.__file__
    assert (Path(am.__file__).parent / "py.typed").is_file()
    assert am.info()["cuda_built"] is cuda, am.info()
    assert not [name for name in ("PIL", "rich", "matplotlib", "mlxtend", "skimage") if importlib.util.find_spec(name)]


def draws_and_renders(recipe: am.Recipe, pictures: np.ndarray, labels: np.ndarray) -> None:
    """A plan replays, a view has its shape, dtype and label."""
    plan = recipe.plan(np.arange(len(pictures)), seed=1, epoch=2, size=pictures.shape[1:3])
    again = recipe.plan(np.arange(len(pictures)), seed=1, epoch=2, size=pictures.shape[1:3])
    other = recipe.plan(np.arange(len(pictures)), seed=1, epoch=3, size=pictures.shape[1:3])
    assert torch.equal(plan.rows, again.rows) and not torch.equal(plan.rows, other.rows)
    before = am.launch_count()
    views, soft = am.render(pictures, plan, targets=labels)
    assert am.launch_count() == before + 1
    assert views.shape == (len(pictures), 3, 24, 24) and views.dtype == torch.float16 and views.float().std() > 0.1
    torch.testing.assert_close(soft.sum(1), torch.ones(len(pictures)))
    whole = am.Recipe([am.Resize((40, 48))], dtype=torch.uint8)
    same = am.render(pictures, whole.plan(np.arange(len(pictures)), size=pictures.shape[1:3]))
    assert np.array_equal(same.permute(0, 2, 3, 1).numpy(), pictures)


def loads(recipe: am.Recipe, pictures: np.ndarray, labels: np.ndarray) -> None:
    """The Loader feeds arrays; each epoch has other views."""
    loader = am.Loader((pictures, labels), recipe, batch_size=4, seed=3)
    first, second = [list(loader) for _ in range(2)]
    assert [len(views) for views, _ in first] == [4, 4, 2]
    assert not torch.equal(first[0][0], second[0][0])
    loader.set_epoch(0)
    for (views, soft), (same, also) in zip(first, loader, strict=True):
        assert torch.equal(views, same) and torch.equal(soft, also)


def refusals(recipe: am.Recipe, pictures: np.ndarray, folder: Path) -> None:
    """Mistakes are named errors, and so is what is not there."""
    plan = recipe.plan(np.arange(len(pictures)), size=pictures.shape[1:3])
    refuses(am.ArgumentError, "expected a probability", am.RandomHorizontalFlip, 2.0)
    refuses(am.ShapeError, "given [40, 48, 3]", am.render, pictures[0], plan)
    refuses(am.DtypeError, "given int64", am.render, pictures.astype(np.int64), plan)
    refuses(am.MissingDependencyError, "'anamorph[dali]'", am.Loader, folder, recipe, 2)
    refuses(am.MissingDependencyError, "'anamorph[pillow]'", am.Loader, folder, recipe, 2, decoder="pillow")
    if not am.info()["cuda_usable"]:
        refuses(am.DeviceError, "no usable GPU", am.Loader, pictures, recipe, 2, device="cuda")


def commands(folder: Path) -> None:
    """Every command does what the base package can, or names the one extra that it needs."""
    for command in (PYTHON, SCRIPT):
        assert runs(command, "--version") == f"anamorph {am.__version__}\n"
    told = dict(line.split(maxsplit=1) for line in runs(SCRIPT, "info").replace("cuda ", "cuda_").splitlines())
    assert told["version"] == am.__version__ and told["simd"] == am.info()["simd"] and told["dali"] == "-"
    assert told["cuda_built"] == ("yes" if am.info()["cuda_built"] else "no")
    for name in ("info", "preview", "train", "bench"):
        assert name in runs(SCRIPT, "--help") and f"anamorph {name}" in runs(SCRIPT, name, "--help")
    picture = str(next(folder.rglob("*.jpg")))
    for extra, arguments in (("pillow", ["preview", picture, "--recipe", "r.py:x"]), ("demo", ["train"]), ("bench", ["bench"])):
        said = runs(SCRIPT, *arguments, code=2)
        assert said.count("\n") == 1 and said.count("anamorph[") == 1 and f"'anamorph[{extra}]'" in said, said


def main(cuda: bool) -> None:
    """All of it."""
    pictures = np.random.default_rng(0).integers(0, 256, (10, 40, 48, 3), dtype=np.uint8)
    labels = np.arange(10)
    recipe = am.Recipe([am.RandomResizedCrop(24), am.RandomHorizontalFlip(), am.ColorJitter(0.4, 0.4, 0.4, 0.1),
                        am.RandomErasing(0.5), am.CutMix(alpha=1.0), am.Normalize((0.5,) * 3, (0.25,) * 3)],
                       dtype=torch.float16, num_classes=10)
    installed(cuda)
    draws_and_renders(recipe, pictures, labels)
    loads(recipe, pictures, labels)
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "class").mkdir()
        (Path(name) / "class" / "a.jpg").write_bytes(b"not read before its decoder is found")
        refusals(recipe, pictures, Path(name))
        commands(Path(name))
    print(f"anamorph {am.__version__} works with torch {torch.__version__} and numpy {np.__version__} alone")


if __name__ == "__main__":
    main({"on": True, "off": False}[sys.argv[1]])
