"""mCE and RmCE against numbers that were published."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from anamorph.core.errors import ArgumentError
from anamorph.points.robustness import (
    CORRUPTIONS,
    MODELNET_C_DGCNN,
    SCANOBJECTNN_C_DGCNN,
    ce,
    mce,
    rce,
    relative_ce,
)

# PointNet's accuracies on ModelNet-C (Ren et al., ICML 2022), of which that paper gives mCE 1.422 and RmCE 1.488.
POINTNET = {"clean": 0.907, "scale": 0.881, "jitter": 0.797, "rotate": 0.591, "dropout_global": 0.876, "dropout_local": 0.778,
            "add_global": 0.121, "add_local": 0.562}


@pytest.mark.parametrize("baseline", [MODELNET_C_DGCNN, SCANOBJECTNN_C_DGCNN])
def test_the_baseline_is_one(baseline):
    assert mce(baseline, baseline) == rce(baseline, baseline) == 1
    assert set(ce(baseline, baseline).values()) == {1} and list(ce(baseline, baseline)) == list(CORRUPTIONS)


def test_what_the_paper_gives_for_pointnet():
    assert mce(POINTNET) == 1.422 and rce(POINTNET) == 1.488


def test_without_rounding_it_is_the_formula():
    exact = [(1 - Fraction(str(POINTNET[c]))) / (1 - Fraction(str(MODELNET_C_DGCNN[c]))) for c in CORRUPTIONS]
    assert mce(POINTNET, digits=None) == pytest.approx(float(sum(exact) / 7), abs=1e-12)
    clean = Fraction(str(SCANOBJECTNN_C_DGCNN["clean"]))
    exact = [(Fraction("0.907") - Fraction(str(POINTNET[c]))) / (clean - Fraction(str(SCANOBJECTNN_C_DGCNN[c])))
             for c in CORRUPTIONS]
    assert rce(POINTNET, SCANOBJECTNN_C_DGCNN, digits=None) == pytest.approx(float(sum(exact) / 7), abs=1e-12)


def test_levels_count_with_their_rounded_mean():
    """A mean of .68446 is .684, the error of which is the baseline's; rounding after the division would not say so."""
    levels = [0.8, 0.75, 0.7, 0.65, 0.5223]
    given = {**MODELNET_C_DGCNN, "jitter": levels}
    assert np.mean(levels) == pytest.approx(0.68446)
    assert ce(given)["jitter"] == 1 and mce(given) == 1
    assert ce(given, digits=None)["jitter"] == pytest.approx((1 - 0.68446) / 0.316, abs=1e-12) != 1
    for form in (tuple(levels), np.array(levels), torch.tensor(levels, dtype=torch.float64)):
        assert ce({**MODELNET_C_DGCNN, "jitter": form}, digits=5) == ce(given, digits=5)
    assert relative_ce(given)["jitter"] == 1


def test_what_is_lost_counts_more_than_what_was_never_there():
    """A classifier that is as bad on clean clouds loses nothing: RmCE 0, mCE not."""
    flat = dict.fromkeys(MODELNET_C_DGCNN, 0.5)
    assert rce(flat) == 0 and mce(flat) == pytest.approx(0.5 * np.mean([1 / (1 - MODELNET_C_DGCNN[c]) for c in CORRUPTIONS]),
                                                         abs=2e-3)


@pytest.mark.parametrize("change, said", [
    ({"jitter": None}, "accuracies\\['jitter'\\]: expected an accuracy"),
    ({"jitter": 1.01}, "0 to 1"),
    ({"jitter": -0.1}, "0 to 1"),
    ({"jitter": 68.4}, "0 to 1"),
    ({"jitter": float("nan")}, "0 to 1"),
    ({"jitter": [0.5] * 4}, "5 levels"),
    ({"jitter": [0.5, 0.5, 0.5, 0.5, 1.5]}, "0 to 1"),
    ({"jitter": "0.5"}, "an accuracy"),
    ({"fog": 0.5}, "fog"),
    ({"clean": [0.9, 0.8, 0.9, 0.9, 0.9]}, "an accuracy"),
])
def test_bad_accuracies(change, said):
    with pytest.raises(ArgumentError, match=said):
        rce({**MODELNET_C_DGCNN, **change})


def test_what_is_missing_is_named():
    without = {k: v for k, v in MODELNET_C_DGCNN.items() if k != "rotate"}
    with pytest.raises(ArgumentError, match="'rotate'"):
        mce(without)
    without = {k: v for k, v in MODELNET_C_DGCNN.items() if k != "clean"}
    assert mce(without) == 1
    with pytest.raises(ArgumentError, match="'clean'"):
        rce(without)
    with pytest.raises(ArgumentError, match="mapping"):
        mce([0.5] * 7)


def test_a_baseline_must_have_errors():
    with pytest.raises(ArgumentError, match=r"baseline\['scale'\]: expected an accuracy below 1"):
        mce(POINTNET, {**MODELNET_C_DGCNN, "scale": 1.0})
    with pytest.raises(ArgumentError, match=r"baseline\['scale'\]: expected an accuracy below that of clean"):
        rce(POINTNET, {**MODELNET_C_DGCNN, "scale": 0.926})
    with pytest.raises(ArgumentError, match="digits"):
        mce(POINTNET, digits=-1)


def test_baselines_are_not_for_writing():
    with pytest.raises(TypeError):
        MODELNET_C_DGCNN["scale"] = 1.0
