"""The comparison of accuracies runs, on equal terms. Nothing here depends on how well a net learns."""

import accuracy
import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("matplotlib")  # of the net's module


@pytest.fixture
def folder(tmp_path):
    """Two categories of eight small stamps each, half transparent."""
    random = np.random.default_rng(0)
    for category in ("animals", "plants"):
        (tmp_path / category / "some").mkdir(parents=True)
        for i in range(8):
            pixels = random.integers(0, 256, (40, 60, 4), np.uint8)
            pixels[:, 30:, 3] = 0
            Image.fromarray(pixels).save(tmp_path / category / "some" / f"{i}.png")
    return tmp_path


def test_table(folder, capsys):
    threads = torch.get_num_threads()
    results = accuracy.main(["--stamps", str(folder), "--seeds", "2", "--epochs", "1", "--batch", "4"])
    assert torch.get_num_threads() == threads
    said = capsys.readouterr().out
    assert "stamps: 8 pictures to train, 8 to test" in said
    assert [line.split(" | ")[0] for line in said.splitlines()[-3:]] == ["| none", "| torchvision v2", "| anamorph"]
    assert all(len(runs) == 2 and all(0 <= right <= 1 for right, _ in runs) for runs in results.values())


def test_split(folder):
    (taught, labels), (asked, classes) = accuracy.stamps(folder)
    assert labels.tolist() == classes.tolist() == [0] * 4 + [1] * 4
    assert len({picture.numpy().tobytes() for picture in torch.cat([taught, asked])}) == 16
    # Grey around a stamp and through it, where the filter does not reach what is opaque.
    assert (taught[:, :, 0] == 128).all() and (taught[:, :, 24, 28:] == 128).all()
    again, _ = accuracy.stamps(folder)
    assert torch.equal(taught, again[0])


def test_rows_differ_in_their_views_alone(folder):
    """A row that augments nothing learns what ``none`` does, bit for bit, from the same seed."""
    halves = accuracy.stamps(folder)
    terms = {"seed": 3, "epochs": 2, "batch": 4}
    orders = []

    def watched(pictures, seed):
        views = accuracy.plain(pictures)
        torch.rand(100)  # a row's own draws

        def make(chosen, epoch):
            orders.append(chosen.tolist())
            torch.rand(7)
            return views[chosen]

        return make

    first, second = (accuracy.train(row, *halves, **terms)[0] for row in (watched, accuracy.none))
    assert first == second
    assert len(orders) == 4 and sorted(orders[0] + orders[1]) == list(range(8)) != orders[0] + orders[1]


def test_views_of_both_are_of_one_kind(folder):
    (pictures, _), _ = accuracy.stamps(folder)
    chosen = torch.arange(8)
    made = [row(pictures, 0) for row in accuracy.ROWS.values()]
    shown = [views(chosen, 0) for views in made]
    assert all(batch.shape == (8, 3, 32, 32) and batch.dtype == torch.float32 for batch in shown)
    assert all(batch.min() >= -2.001 and batch.max() <= 2.001 for batch in shown)
    for views, batch in list(zip(made, shown))[1:]:
        assert not torch.equal(views(chosen, 1), batch)
