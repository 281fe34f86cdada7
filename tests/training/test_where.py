"""Corruptions, shifts and edge maps where the pictures are: the bytes that a CPU makes."""

import pytest
import torch

from anamorph.training.corruptions import edge_map, shifts, suite
from devices import DEVICES
from pictures import pictures

PHOTOS = torch.from_numpy(pictures())
IDS = torch.tensor([5, 2**40 + 1, 7, 0])
CORRUPTIONS = suite()
SHIFTS = shifts()


@pytest.mark.parametrize("name", [*CORRUPTIONS])
@pytest.mark.parametrize("device", DEVICES)
def test_corruptions_where_the_pictures_are(device, name):
    there = PHOTOS.to(device)
    for severity in (1, 3, 5):
        ours = CORRUPTIONS[name](there, severity, index=IDS)  # ids on the host, too
        assert ours.device == there.device and torch.equal(ours, CORRUPTIONS[name](there, severity, index=IDS.to(device)))
        assert torch.equal(ours.cpu(), CORRUPTIONS[name](PHOTOS, severity, index=IDS)), severity


@pytest.mark.parametrize("name", [*SHIFTS])
@pytest.mark.parametrize("device", DEVICES)
def test_shifts_where_the_pictures_are(device, name):
    ours, theirs = SHIFTS[name](PHOTOS.to(device), index=IDS), SHIFTS[name](PHOTOS, index=IDS)
    assert ours.device.type == torch.device(device).type
    off = (ours.cpu().int() - theirs.int()).abs()
    assert (off <= 1).float().mean() > 0.999  # rounding, and lines that hang on it


@pytest.mark.parametrize("thin", [True, False])
@pytest.mark.parametrize("device", DEVICES)
def test_edge_maps_where_the_pictures_are(device, thin):
    options = {"sigma": (0.5, 1.0), "threshold": ("otsu", "yen", "mean", "isodata", "li"), "noise": 0.04, "spread": 0.2}
    ours = edge_map(PHOTOS.to(device), **options, thin=thin, index=IDS)
    assert ours.device.type == torch.device(device).type
    assert (ours.cpu() == edge_map(PHOTOS, **options, thin=thin, index=IDS)).float().mean() > 0.999
