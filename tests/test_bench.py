"""The benchmark runs, says what it measured and what it could not. Nothing here depends on a time."""

import gc
import json
import sys
import weakref
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import anamorph as am
from anamorph import bench
from anamorph.bench import host, ours, rounds
from anamorph.bench._torchvision import v2
from anamorph.bench.work import CHAINS, ENTRIES, SIZE, SOURCE, Unavailable, Work, photographs, sides
from anamorph.cli import bench as cli_bench
from anamorph.cli.main import main
from anamorph.core.errors import ArgumentError
from fake_cuda import FakeCuda
from fake_gpu import fake_gpus

CPU = torch.device("cpu")


def measured(tmp_path, *options):
    """A short run of the real thing; what its JSON says."""
    file = tmp_path / "sub" / "bench.json"
    short = ["--batch", "2", "--rounds", "2", "--seconds", "0.05", "--device", "cpu"]
    assert main(["bench", *short, "--json", str(file), *options]) == 0
    return json.loads(file.read_text())


def test_result(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(bench, "COPIED", 2**20)
    before = torch.get_num_threads()
    result = measured(tmp_path, "--engines", "anamorph,anamorph-midgray,torchvision-sample", "--threads", "2")
    assert torch.get_num_threads() == before
    assert set(result) == {"date", "machine", "versions", "anamorph", "settings", "chain", "copy", "bytes_per_image",
                           "host"}
    assert result["machine"]["cpu"] and result["machine"]["cores"] >= 1
    assert {"anamorph", "torch", "numpy"} <= set(result["versions"])
    assert result["settings"] == {"device": "cpu", "chain": "rrc-jitter", "batch": 2, "rounds": 2, "seconds": 0.05,
                                  "threads": [1, 2]}
    rows = result["chain"]
    assert [(r["engine"], r["threads"]) for r in rows] == [
        ("anamorph", 1), ("anamorph", 2), ("anamorph-midgray", 1), ("anamorph-midgray", 2), ("torchvision-sample", 1)]
    for row in rows:
        assert row["error"] is None and len(row["samples"]) == 2
        assert min(row["samples"]) <= row["images_per_second"] <= max(row["samples"])
        assert row["anamorph_speedup"] > 0
        if row["ours"]:
            assert row["launches_per_batch"] == 2 and row["scaling"] > 0 and row["roofline_fraction"] > 0
    assert rows[0]["anamorph_speedup"] == rows[0]["scaling"] == 1
    assert [c["threads"] for c in result["copy"]] == [1, 2]
    assert result["host"]["total_us"] > 0
    said = capsys.readouterr().out
    assert "torchvision-sample" in said and "roofline" in said and "host" in said


@pytest.mark.parametrize("chain", CHAINS)
def test_every_cpu_engine_makes_the_batch(chain):
    torch.manual_seed(0)  # of the 162 crops and flips of 32 x 32 a batch may draw one twice
    work = Work(photographs(8, (sides(chain)[0],) * 2), CPU, chain)
    tried = []
    for entry in ENTRIES.values():
        if "cpu" not in entry.devices or entry.name == "kornia-compile":  # compiling takes a minute
            continue
        try:
            step = bench.prepare(entry, work)
        except (ImportError, Unavailable):
            continue
        first, second = step().clone(), step().clone()
        assert not torch.equal(first, second), f"{entry.name} draws the same numbers again"
        tried.append(entry.name)
    second_row = {"rrc-jitter": "anamorph-midgray", "field": "anamorph-no-field"}.get(chain, "anamorph")
    assert {"anamorph", second_row} <= set(tried)


def test_a_missing_or_failing_peer_has_a_row(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(bench, "COPIED", 2**20)
    monkeypatch.setitem(sys.modules, "albumentations", None)

    def fails(step):
        raise RuntimeError("no\ncompiler")

    monkeypatch.setattr(torch, "compile", fails)
    pytest.importorskip("kornia")
    result = measured(tmp_path, "--engines", "albumentations,kornia-compile,triton-augment")
    assert [(r["engine"], r["error"]) for r in result["chain"]] == [
        ("kornia-compile", "RuntimeError: no compiler"),
        ("albumentations", "not installed: albumentations"),
        ("triton-augment", "only on cuda"),
    ]
    assert result["copy"] == [] and "host" not in result
    assert "not installed" in capsys.readouterr().out


def test_failing_in_the_race():
    steps = iter([None] * 4)
    good, bad = (rounds.Contender(name, 1, step, 3.0) for name, step in (("good", int), ("bad", lambda: next(steps))))
    rounds.race([good, bad], 4, 0.0, CPU)
    assert good.error is None and len(good.samples) == 4
    assert bad.error == "StopIteration:" and len(bad.samples) == 1


def test_everybody_begins_a_round_in_turn():
    order = []
    contenders = [rounds.Contender(name, 1, lambda name=name: order.append(name), 1.0) for name in "abc"]
    rounds.race(contenders, 3, 0.0, CPU)
    assert "".join(order[-9:]) == "abcbcacab"


@pytest.mark.parametrize(("arguments", "says"), [
    (["--engines", "anamorph,imgaug"], "imgaug"),
    (["--chain", "imagenet"], "--chain"),
    (["--batch", "0"], "--batch"),
    (["--batch", "many"], "--batch"),
    (["--rounds", "0"], "--rounds"),
    (["--seconds", "nan"], "--seconds"),
    (["--threads", "1,x"], "--threads"),
    (["--threads", "0"], "--threads"),
    (["--device", "tpu"], "--device"),
    (["--speed"], "--speed"),
])
def test_mistakes(arguments, says, capsys):
    with pytest.raises(ArgumentError, match=says):
        cli_bench.main(arguments)
    assert main(["bench", *arguments]) == 2
    assert says in capsys.readouterr().err


def test_the_json_is_tried_before_the_race(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(bench, "run_chain", None)
    (tmp_path / "file").touch()
    for bad in (tmp_path, tmp_path / "file" / "bench.json", ""):
        assert main(["bench", "--json", str(bad)]) == 2
        said = capsys.readouterr().err
        assert "bench: --json" in said and said.count("\n") == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_no_gpu(capsys):
    assert main(["bench", "--device", "cuda"]) == 2
    assert "CUDA" in capsys.readouterr().err


def test_bytes():
    """The output alone is 602,112 bytes; the source brings between nothing and all of the picture."""
    output = 3 * 4 * SIZE**2
    mean = ours.bytes_per_image()
    # Crops have 54 % of the area on average, of which the affine map shows a part.
    assert output + 0.3 * 3 * SOURCE**2 < mean < output + 0.54 * 3 * SOURCE**2


def test_bytes_without_chance(monkeypatch):
    """A whole picture scaled down is read once."""
    monkeypatch.setattr(ours, "chain", lambda mode: am.Recipe([am.Resize((SIZE, SIZE))]))
    assert ours.bytes_per_image(count=2) == pytest.approx(3 * 4 * SIZE**2 + 3 * SOURCE**2, rel=1e-4)


def test_a_graph_keeps_what_it_reads_and_writes(monkeypatch):
    """A graph holds addresses and no tensors: what lies there must live as long as the step that replays it."""
    cuda, given, where = FakeCuda(monkeypatch), [], []
    plan, render = am.Recipe.plan, am.render

    def spied_plan(recipe, index, *, epoch, **rest):
        given.extend((index, epoch))
        return plan(recipe, index, epoch=epoch, **rest)

    def spied_render(images, plan, *, out):
        given.extend((images, out))
        where.append(cuda.current_stream())
        return render(images, plan, out=out)

    monkeypatch.setattr(am.Recipe, "plan", spied_plan)
    monkeypatch.setattr(am, "render", spied_render)
    step = ours.graph(Work(photographs(2), CPU))
    (graph,) = cuda.graphs
    assert where[1] is graph.captured_on and where[0] is not cuda.current_stream()  # warmed up on a side stream, then captured
    assert where[0] in cuda.current_stream().waits_for and cuda.current_stream() in where[0].waits_for
    warm_up, captured = given[:4], given[4:]
    assert all(a is b for a, b in zip(warm_up, captured, strict=True))

    held = [weakref.ref(tensor) for tensor in captured]
    del given[:], warm_up, captured
    gc.collect()
    assert all(one() is not None for one in held), "the graph would read or write freed memory"
    assert step() is step() and step() is held[3]() and graph.replays == 3
    del step
    gc.collect()
    assert all(one() is None for one in held)  # and no longer


def test_host_calls():
    calls = host.Calls(CPU)
    images, labels = calls.both()
    assert images.shape == (4, 3, 8, 8) and images.dtype == torch.float16
    assert labels.shape == (4, 10)
    assert set(host.overhead(CPU, calls=20)) == {"calls", "plan_us", "render_us", "total_us"}


def test_photographs_differ():
    pictures = photographs(20)
    assert pictures.shape == (20, SOURCE, SOURCE, 3) and len({p.tobytes() for p in pictures}) == 20


def test_torchvision():
    pytest.importorskip("PIL")
    try:
        transforms = v2()
    except ModuleNotFoundError:
        pytest.skip("torchvision is not installed")
    assert v2() is transforms and transforms.RandomResizedCrop(4)(torch.zeros(3, 8, 8)).shape == (3, 4, 4)


@pytest.fixture
def asked(monkeypatch):
    """How often DALI's peer has asked its source for a batch."""
    dali = pytest.importorskip("nvidia.dali")
    asked, external_source = [], dali.fn.external_source
    monkeypatch.setattr(dali.fn, "external_source", lambda source, **options: external_source(
        source=lambda: asked.append(1) or source(), **options))
    return asked


def test_dalis_peer_makes_no_batch_ahead(asked):
    step = ENTRIES["dali"].build(Work(photographs(2), CPU))
    for n in range(1, 4):
        assert step().shape == (2, 3, SIZE, SIZE) and len(asked) == n


def test_dalis_peer_runs_in_torchs_stream(asked, monkeypatch):
    gpu = fake_gpus(monkeypatch)
    gpu.stream = 0x70
    dali = pytest.importorskip("nvidia.dali")
    given = []

    class Pipeline(dali.Pipeline):
        """One that stops where DALI would ask the GPU, and refuses before that what DALI refuses."""

        def build(self):
            assert self.device_id == 1

        def schedule_run(self):
            self._batches_to_consume = 1

        def _outputs(self, stream=None):
            given.append((stream.device.index, stream.cuda_stream, gpu.current))
            return (SimpleNamespace(as_tensor=lambda: np.zeros((2, 3, SIZE, SIZE), np.float32)),)

    monkeypatch.setattr(dali, "Pipeline", Pipeline)
    step = ENTRIES["dali"].build(Work(photographs(2), torch.device("cuda", 1)))
    step()
    assert given == [(1, 0x70, 1)]
