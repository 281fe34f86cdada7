"""The sweep runs, its two sides mean the same, and it says what it measured. Nothing here depends on a time."""

import json
from itertools import count
from statistics import median

import pytest
import torch

import anamorph as am
from anamorph.bench import report, rounds, sweep
from anamorph.bench.work import Work, photographs
from anamorph.cli.main import main

EXACT = ["Resize(256), CenterCrop(224)", "Resize(256, bicubic), CenterCrop(224)", "Resize((256, 256)), CenterCrop(224)",
         "Resize((224, 224), bicubic)", "Resize((64, 64))", "grayscale", "posterize", "solarize", "invert"]  # nothing is drawn
RECIPES = list(sweep.recipes(am))
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def quiet():
    """As in a sweep."""
    with rounds.steady(), torch.no_grad():
        yield


@pytest.fixture
def short(monkeypatch):
    """A few tiny cases, as fast as can be."""
    monkeypatch.setattr(sweep, "SIZES", ((12, 16), (16, 16), (20, 16), (24, 16)))
    for name, value in (("ROUNDS", 2), ("FEWEST", 1), ("MOST", 2)):
        monkeypatch.setattr(sweep, name, value)


def swept(tmp_path, *options):
    """What a sweep's JSON says."""
    file = tmp_path / "sweep.json"
    assert main(["bench", "--sweep", "--seconds", "0", "--json", str(file), *options]) == 0
    return json.loads(file.read_text())


def test_result(short, tmp_path, capsys):
    result = swept(tmp_path, "--only", "flip, 12x16, packed")
    assert set(result) == {"date", "machine", "versions", "anamorph", "sweep", "device", "median", "below", "outputs"}
    rows = result["sweep"]
    recipes = [name for name in RECIPES if "flip" in name]
    assert {(row["recipe"], row["output"]) for row in rows} == {(r, o) for r in recipes for o in sweep.OUTPUTS}
    for row in rows:
        assert row["error"] is None and row["size"] == [12, 16] and row["source"] == "packed uint8"
        assert row["ratio"] == pytest.approx(row["images_per_second"] / row["torchvision"])
    ratios = [row["ratio"] for row in rows]
    assert ratios == sorted(ratios)
    assert result["median"] == median(ratios) and result["below"] == sum(r < 2 for r in ratios)
    assert set(result["outputs"]) == {"float16", "bfloat16", "uint8"}
    said = capsys.readouterr().out
    slowest = [line for line in said.splitlines() if "images/s to" in line]
    assert len(slowest) == 10 and slowest[0].endswith(rows[0]["case"])
    assert f"{len(rows)} cases: median {result['median']:.2f}x" in said


def test_progress_without_a_terminal(short, tmp_path, monkeypatch, capsys):
    """A line at once, and another when enough time has passed; on the standard error, so that the result can be kept alone."""
    times = iter([100.0, 100.0] + [105.0, 110.0, 110.0] + [111.0] * 99)
    monkeypatch.setattr(report, "monotonic", lambda: next(times))
    swept(tmp_path, "--only", "invert, 12x16, packed")
    said = capsys.readouterr()
    assert said.err.splitlines() == [f"{n} of 4: invert, 12x16 packed uint8 to {output}"
                                     for n, output in ((1, "float32"), (3, "bfloat16"))]
    assert " of 4: " not in said.out


def test_seconds_are_a_cases(short, tmp_path, monkeypatch):
    budgets = []
    monkeypatch.setattr(sweep, "race", lambda contenders, rounds, budget, *_, **__: budgets.append(budget) or [
        contender.samples.append(1.0) for contender in contenders])
    for options in ([], ["--seconds", "3.5"]):
        assert main(["bench", "--sweep", "--only", "invert,12x16,packed,to float32", *options]) == 0
    assert budgets == [0.2, 3.5]


def test_quick(short, tmp_path):
    result = swept(tmp_path, "--quick", "--only", "invert")
    assert {(tuple(row["size"]), row["source"]) for row in result["sweep"]} == {
        (size, source) for size in ((20, 16), (24, 16)) for source in sweep.SOURCES}
    assert {row["output"] for row in result["sweep"]} == {"float32"} and result["outputs"] == {}


@pytest.mark.parametrize("source", ["packed uint8", "planar float32"])
@pytest.mark.parametrize("recipe", RECIPES)
def test_both_mean_the_same(recipe, source):
    """Where nothing is drawn the pixels agree; elsewhere what many draws have in common."""
    pictures = photographs(6 if recipe in EXACT else 32, (48, 64))
    images = sweep.SOURCES[source](Work(pictures, CPU))
    case = sweep.Case((48, 64), source, recipe, "float32")
    ours, theirs = case.ours(images)(), case.theirs(images)()
    assert ours.shape == theirs.shape
    if recipe in EXACT:
        assert (ours - theirs).abs().mean() < 0.02  # bytes that torchvision rounds between the steps are 0.018 apart
    else:
        assert (ours.mean() - theirs.mean()).abs() < 0.2 and (ours.std() / theirs.std() - 1).abs() < 0.1
        assert not torch.allclose(ours, theirs, atol=0.1)  # so the list above has all that can be compared by pixels


@pytest.mark.parametrize("output", sweep.OUTPUTS)
def test_every_output_is_the_same_picture(output):
    pictures = Work(photographs(2, (32, 32)), CPU)
    for source, layout in sweep.SOURCES.items():
        case = sweep.Case((32, 32), source, "invert", output)
        ours, theirs = case.ours(layout(pictures))(), case.theirs(layout(pictures))()
        assert ours.dtype == theirs.dtype == sweep.OUTPUTS[output]
        torch.testing.assert_close(ours.float(), theirs.float(), rtol=0.01, atol=0.01)


def test_steps_repeat_themselves():
    images = sweep.SOURCES["packed uint8"](Work(photographs(4, (32, 32)), CPU))
    case = sweep.Case((32, 32), "packed uint8", "affine", "float32")
    for step in (case.ours(images), case.theirs(images)):
        assert torch.equal(step().clone(), step())


def test_a_failing_case_has_a_row(short, tmp_path, monkeypatch, capsys):
    def fails(case, images):
        raise RuntimeError("too\nsmall")

    monkeypatch.setattr(sweep.Case, "theirs", fails)
    result = swept(tmp_path, "--only", "invert,12x16,packed,to float32")
    assert [row["error"] for row in result["sweep"]] == ["RuntimeError: too small"]
    assert result["median"] is None and result["below"] == 0
    assert "invert, 12x16 packed uint8 to float32: RuntimeError: too small" in capsys.readouterr().out


def test_without_torchvision(monkeypatch, capsys):
    def missing():
        raise ModuleNotFoundError("No module named 'torchvision'", name="torchvision")

    monkeypatch.setattr(sweep, "v2", missing)
    assert main(["bench", "--sweep"]) == 2
    said = capsys.readouterr().err
    assert "torchvision, which is missing" in said and said.count("\n") == 1


def test_best_by_a_clock_of_ones_own():
    ticks = count()
    step = rounds.Contender("step", 1, int, 6.0)
    rounds.race([step], 3, 4.0, CPU, warm_ups=1, clock=lambda: float(next(ticks)))
    assert step.samples == [6.0, 6.0, 6.0] and step.best == 6.0  # a tick a look, and one step in each: as many as fit
    step.samples += [9.0, 1.0]
    assert step.best == 9.0 and step.rate == 6.0


@pytest.mark.parametrize(("arguments", "says"), [
    (["--quick"], "--quick only with --sweep"),
    (["--only", "flip"], "--only only with --sweep"),
    (["--sweep", "--batch", "3"], "--batch only without --sweep"),
    (["--sweep", "--engines", "anamorph"], "--engines only without --sweep"),
    (["--sweep", "--only", "flip,no such thing"], "no such thing"),
])
def test_mistakes(arguments, says, capsys):
    assert main(["bench", *arguments]) == 2
    said = capsys.readouterr().err
    assert says in said and said.count("\n") == 1


def test_pictures_of_any_size():
    assert photographs(8, (30, 50)).shape == (8, 30, 50, 3)
