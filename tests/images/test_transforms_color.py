"""Gamma and channel shifts, against torchvision and NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import anamorph as am
from anamorph.bench._torchvision import v2 as load_torchvision
from pictures import pictures, render, unit

F = load_torchvision().functional


@pytest.mark.parametrize("gamma", [0.05, 0.3, 0.8, 1.0, 1.7, 4.0, 30.0])
def test_gamma_is_torchvisions(simd, gamma):
    images = pictures(40, 60)
    theirs = F.adjust_gamma(unit(images), gamma)
    ours, _ = render([am.RandomGamma((gamma, gamma), 1.0)], images)
    assert (ours.double() - theirs).abs().max() < 2e-6
    ours8, _ = render([am.RandomGamma((gamma, gamma), 1.0)], images, dtype=torch.uint8)
    assert torch.equal(ours8.double(), (theirs * 255).round())


def test_gamma_of_floats(simd):
    """Also of what lies outside [0, 1] and of the very small."""
    values = torch.tensor([0.0, 1e-38, 1e-30, 1e-7, 0.5, 1.0, 1.5, 9.0]).view(1, 2, 4, 1)
    recipe = am.Recipe([am.RandomGamma((0.5, 0.5), 1.0)])
    ours = am.render(values, recipe.plan([0], size=(2, 4)), layout="NHWC")
    theirs = F.adjust_gamma(values.permute(0, 3, 1, 2).double(), 0.5)
    assert (ours - theirs).abs().max() < 1e-6
    below = am.render(-values, recipe.plan([0], size=(2, 4)), layout="NHWC")
    assert (below == 0).all()


def test_gamma_draws(route):
    plan = am.Recipe([am.RandomGamma((0.8, 1.2), 0.5)]).plan(range(2000), size=(4, 4))
    drawn = [value for row in plan.table() for _, value in row["steps"]]
    assert 900 < len(drawn) < 1100 and 0.8 <= min(drawn) < 0.81 and 1.19 < max(drawn) <= 1.2


@pytest.mark.parametrize("shifts", [(30, -50, 0), (-255, 255, 7), (1.5, 2.5, -3.25)])
def test_rgb_shift_of_bytes(simd, shifts):
    images = pictures(20, 30)
    transform = am.RGBShift(*[(s, s) for s in shifts], p=1.0)
    ours, _ = render([transform], images, dtype=torch.uint8)
    theirs = np.clip(np.floor(images + np.array(shifts) + 0.5), 0, 255)
    assert torch.equal(ours.double(), torch.from_numpy(theirs).permute(0, 3, 1, 2))


def test_rgb_shift_of_floats(route):
    images = torch.rand(2, 9, 9, 3)
    recipe = am.Recipe([am.RGBShift((0.25, 0.25), (-0.5, -0.5), 0, 1.0)])
    ours = am.render(images, recipe.plan([0, 1], size=(9, 9)))
    theirs = (images + torch.tensor([0.25, -0.5, 0.0])).clamp(0, 1).permute(0, 3, 1, 2)
    assert (ours - theirs).abs().max() < 1e-6


def test_rgb_shift_draws_for_each_channel(route):
    plan = am.Recipe([am.RGBShift(20, (0, 5), 0)]).plan(range(1000), size=(4, 4))
    rows = [[value for _, value in row["steps"]] for row in plan.table()]
    drawn = np.array([r for r in rows if r])
    assert 430 < len(drawn) < 570 and drawn.shape[1] == 3
    assert -20 <= drawn[:, 0].min() < -18 and 18 < drawn[:, 0].max() <= 20
    assert drawn[:, 1].min() >= 0 and 4.5 < drawn[:, 1].max() <= 5 and (drawn[:, 2] == 0).all()
    assert abs(np.corrcoef(drawn[:, 0], drawn[:, 1])[0, 1]) < 0.2


def test_colour_that_cannot_be(route):
    for make, word in ((lambda: am.RandomGamma((0, 1)), "gamma"), (lambda: am.RandomGamma((2, 1)), "low <= high"),
                       (lambda: am.RGBShift(-1), "r_shift_limit"), (lambda: am.RGBShift(1, "a"), "g_shift_limit")):
        with pytest.raises(am.ArgumentError, match=word):
            make()
