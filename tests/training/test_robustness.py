"""Errors under corruption, and their mean."""

import numpy as np
import pytest
import torch

import anamorph as am
from anamorph import corruptions
from anamorph.training.corruptions import evaluate, mean_corruption_error
from pictures import pictures

PHOTOS = torch.from_numpy(pictures(32, 48))
BATCH = (PHOTOS, torch.arange(4), torch.arange(10, 14))


def nearest(images):
    """A net that knows the four photographs."""
    off = (images.reshape(len(images), 1, -1).float() - PHOTOS.reshape(1, 4, -1)).square().mean(2)
    return -off


def darker(images, severity, *, index, seed, layout):
    """A corruption whose errors are known: as many of a batch as its severity says become the first photograph."""
    out = images.clone()
    out[:severity] = PHOTOS[0]
    return out


def test_errors_are_counted():
    batches = [BATCH, (PHOTOS[2:], torch.tensor([2, 3]), torch.tensor([0, 1]))]
    found = evaluate(nearest, iter(batches), {"darker": darker}, severities=(1, 3))
    assert found == {"clean": [0.0], "darker": [pytest.approx((0 + 1) / 6), pytest.approx((2 + 2) / 6)]}


def test_the_suite_is_evaluated_with_the_batchs_ids():
    seen = []

    def watching(images):
        seen.append(images.clone())
        assert not torch.is_grad_enabled()
        return nearest(images)

    suite = corruptions.suite("cifar")
    found = evaluate(watching, [BATCH], suite, severities=[2], seed=5)
    assert [*found] == ["clean", *suite] and len(seen) == 11
    for images, (name, corruption) in zip(seen[1:], suite.items(), strict=True):
        assert torch.equal(images, corruption(PHOTOS, 2, index=BATCH[2], seed=5)), name


def test_mean_corruption_error_is_the_papers():
    net = {"clean": [0.1], "noise": [0.2, 0.4], "blur": [0.5, 0.5]}
    alexnet = {"clean": [0.4], "noise": [0.4, 0.8], "blur": [0.5, 0.75], "fog": [0.1, 0.2]}
    assert mean_corruption_error(net) == pytest.approx((0.3 + 0.5) / 2)
    assert mean_corruption_error(net, alexnet) == pytest.approx((0.6 / 1.2 + 1.0 / 1.25) / 2)
    assert mean_corruption_error(alexnet, alexnet) == 1


ERRORS = {"a": [0.1, 0.2]}
BAD = {
    "severity 6": (lambda: evaluate(nearest, [BATCH], {"a": darker}, severities=[6]), am.ArgumentError, "1 to 5, given 6"),
    "no severity": (lambda: evaluate(nearest, [BATCH], {"a": darker}, severities=[]), am.ArgumentError, "severities"),
    "one function": (lambda: evaluate(nearest, [BATCH], darker), am.ArgumentError, "a mapping of names"),
    "none": (lambda: evaluate(nearest, [BATCH], {}), am.ArgumentError, "a mapping of names"),
    "clean twice": (lambda: evaluate(nearest, [BATCH], {"clean": darker}), am.ArgumentError, "none of them 'clean'"),
    "no batch": (lambda: evaluate(nearest, [], {"a": darker}), am.ArgumentError, "at least one batch"),
    "batches of two": (lambda: evaluate(nearest, [BATCH[:2]], {"a": darker}), am.ArgumentError, "class ids, sample ids"),
    "labels of floats": (lambda: evaluate(nearest, [(PHOTOS, [0.5] * 4, BATCH[2])], {"a": darker}), am.DtypeError, "integers"),
    "three labels": (lambda: evaluate(nearest, [(PHOTOS, torch.arange(3), BATCH[2])], {"a": darker}), am.ShapeError, "given"),
    "a class id beyond": (lambda: evaluate(nearest, [(PHOTOS, [0, 1, 2, 4], BATCH[2])], {"a": darker}), am.ArgumentError,
                          "labels: expected class ids from 0 to 3, given 0 to 4"),
    "a class id of -1": (lambda: evaluate(nearest, [(PHOTOS, [0, -1, 2, 3], BATCH[2])], {"a": darker}), am.ArgumentError,
                         "labels: expected class ids from 0 to 3, given -1 to 3"),
    "flat logits": (lambda: evaluate(lambda x: x.flatten(), [BATCH], {"a": darker}), am.ShapeError, r"logits \[B, K\]"),
    "logits of NumPy": (lambda: evaluate(lambda x: np.zeros((4, 4)), [BATCH], {"a": darker}), am.ShapeError, "ndarray"),
    "three ids": (lambda: evaluate(nearest, [(*BATCH[:2], [1, 2, 3])], corruptions.suite()), am.ShapeError, "4 sample ids"),
    "negative seed": (lambda: evaluate(nearest, [BATCH], corruptions.suite(), seed=-1), am.ArgumentError, "seed"),
    "other devices": (lambda: evaluate(lambda x: nearest(x).to("meta"), [BATCH], {"a": darker}), am.DeviceError, "labels"),
    "errors of nothing": (lambda: mean_corruption_error({"clean": [0.1]}), am.ArgumentError, "errors"),
    "errors of a list": (lambda: mean_corruption_error([0.1]), am.ArgumentError, "a mapping"),
    "error 2": (lambda: mean_corruption_error({"a": [2]}), am.ArgumentError, "0 to 1"),
    "one error": (lambda: mean_corruption_error({"a": 0.5}), am.ArgumentError, "1 to 5 errors"),
    "baseline without": (lambda: mean_corruption_error(ERRORS, {"b": [0.1, 0.2]}), am.ArgumentError, r"baseline\['a'\]"),
    "baseline of other severities": (lambda: mean_corruption_error(ERRORS, {"a": [0.1]}), am.ArgumentError, "2 errors"),
    "baseline without errors": (lambda: mean_corruption_error(ERRORS, {"a": [0, 0]}), am.ArgumentError, "above 0"),
}


@pytest.mark.parametrize("case", BAD)
def test_named_errors(case):
    call, error, text = BAD[case]
    with pytest.raises(error, match=text):
        call()
