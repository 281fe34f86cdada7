"""Label augmentation, against the formulas of the paper written out with loops, in float64."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import anamorph as am
from anamorph.training.sla import TRANSFORMS

COUNTS = {"none": 1, "rotation": 4, "rotation2": 2, "color_perm": 6, "color_perm3": 3, "rot_color_perm6": 6,
          "rot_color_perm12": 12, "rot_color_perm24": 24}
PICTURES = torch.arange(2 * 3 * 4 * 4).view(2, 3, 4, 4)


def logits_of(rows, width, seed=0):
    return torch.randn(rows, width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_there_are_as_many_views_as_the_names_say():
    assert COUNTS.keys() == TRANSFORMS.keys()
    for name, count in COUNTS.items():
        sla = am.SLA(5, name)
        views, labels = sla(PICTURES, [3, 1])
        assert sla.count == count and sla.joint_classes == 5 * count
        assert views.shape == (2 * count, 3, 4, 4) and views.dtype == PICTURES.dtype
        assert labels.tolist() == [3 * count + j for j in range(count)] + [count + j for j in range(count)]
        assert torch.equal(views[::count], PICTURES)  # the first transform is none
        assert len({v.numpy().tobytes() for v in views}) == 2 * count  # and no two are the same


def test_turns_are_counter_clockwise():
    views, _ = am.SLA(1)(PICTURES, [0, 0])
    for b in range(2):
        for k in range(4):
            assert np.array_equal(views[4 * b + k], np.rot90(PICTURES[b].numpy(), k, (1, 2)))


def test_channels_change_places_in_the_published_order():
    flat = torch.tensor([ord(c) for c in "RGB"]).view(1, 3, 1, 1).expand(1, 3, 2, 2)

    def names(transforms):
        return ["".join(chr(c) for c in v[:, 0, 0]) for v in am.SLA(1, transforms).views(flat)]

    assert names("color_perm") == ["RGB", "RBG", "GRB", "GBR", "BRG", "BGR"]
    assert names("color_perm3") == ["RGB", "GBR", "BRG"]
    assert names("rot_color_perm12") == ["RGB", "GBR", "BRG"] * 4  # all orders of one turn, then those of the next
    views = am.SLA(1, "rot_color_perm24").views(PICTURES[:1])
    assert torch.equal(views[6 * 3 + 5], torch.rot90(PICTURES[0].flip(0), 3, (1, 2)))


@pytest.mark.parametrize("name", COUNTS)
def test_what_is_right_of_every_view_is_aggregated_to_the_class(name):
    sla = am.SLA(7, name)
    labels = torch.tensor([0, 6, 3])
    joint = sla.labels(labels)
    right = F.one_hot(joint, sla.joint_classes).float()
    assert torch.equal(sla.aggregate(right), F.one_hot(labels, 7).float())
    assert torch.equal(sla.single(right[::sla.count]), F.one_hot(labels, 7).float())


def test_aggregation_with_numbers():
    """K = 2, M = 2: view 0 answers in columns 0 and 2, view 1 in columns 1 and 3."""
    sla = am.SLA(2, "rotation2")
    logits = torch.tensor([[1.0, 9, 3, 9], [9, 5, 9, -7]])
    assert sla.aggregate(logits).tolist() == [[3.0, -2.0]]
    assert sla.single(logits[::2]).tolist() == [[1.0, 3.0]]


def test_the_loss_of_no_transform_is_cross_entropy():
    logits, labels = logits_of(6, 5), torch.tensor([0, 1, 2, 3, 4, 0])
    sla = am.SLA(5, "none", large_loss=True)
    assert torch.equal(sla.loss(logits, sla.labels(labels)), F.cross_entropy(logits, labels))
    assert torch.equal(sla.aggregate(logits), logits)


def test_the_loss_of_a_net_that_knows_nothing():
    labels = am.SLA(3).labels([2, 0])
    assert am.SLA(3).loss(torch.zeros(8, 12), labels).item() == pytest.approx(math.log(12))
    assert am.SLA(3, large_loss=True).loss(torch.zeros(8, 12), labels).item() == pytest.approx(4 * math.log(12))


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_distillation_is_the_papers_sum(temperature):
    sla, k, m = am.SLA(5, "color_perm3"), 5, 3
    joint, alone, labels = logits_of(4 * m, k * m), logits_of(4, k, 1), [4, 0, 2, 2]
    loss = sla.distillation_loss(joint, sla.labels(labels), alone, temperature=temperature, alone_weight=0.5, weight=2.0)

    def log_softmax(row):
        return row - np.log(np.exp(row).sum())

    expected = 0.0
    for b, y in enumerate(labels):
        for j in range(m):
            expected -= log_softmax(joint[b * m + j].numpy())[y * m + j] / (4 * m)
        expected -= 0.5 * log_softmax(alone[b].numpy())[y] / 4
        mean = np.mean([joint[b * m + j].numpy()[j::m] for j in range(m)], axis=0)
        p, q = log_softmax(mean / temperature), log_softmax(alone[b].numpy() / temperature)
        expected += 2.0 * temperature**2 * (np.exp(p) * (p - q)).sum() / 4
    assert loss.item() == pytest.approx(expected, rel=1e-12)


def test_the_teacher_gets_no_gradient():
    sla = am.SLA(3, "rotation2")
    joint, alone = logits_of(4, 6).requires_grad_(), logits_of(2, 3, 1).requires_grad_()
    labels = sla.labels([0, 2])
    distilled, = torch.autograd.grad(sla.distillation_loss(joint, labels, alone), joint)
    plain, = torch.autograd.grad(sla.loss(joint, labels), joint)
    assert torch.equal(distilled, plain)
    assert torch.autograd.grad(sla.distillation_loss(joint, labels, alone, alone_weight=0), alone)[0].abs().sum() > 0


SLA = am.SLA(3)
BAD = {
    "no classes": (lambda: am.SLA(0), am.ArgumentError, "num_classes.*given 0"),
    "transforms": (lambda: am.SLA(3, "mirror"), am.ArgumentError, "'rot_color_perm24', given 'mirror'"),
    "large loss": (lambda: am.SLA(3, large_loss=4), am.ArgumentError, "True or False"),
    "wide": (lambda: SLA(torch.zeros(2, 3, 4, 5), [0, 1]), am.ShapeError, "square pictures.*given 4 x 5"),
    "one picture": (lambda: SLA(torch.zeros(3, 4, 4), [0]), am.ShapeError, r"\[B, C, H, W\]"),
    "no pictures": (lambda: SLA(torch.zeros(0, 3, 4, 4), []), am.ShapeError, "nothing empty"),
    "grey": (lambda: am.SLA(3, "color_perm")(torch.zeros(1, 1, 4, 4), [0]), am.ShapeError, "3 channels.*given 1"),
    "label": (lambda: SLA(PICTURES, [0, 3]), am.ArgumentError, "from 0 to 2, given 0 to 3"),
    "negative label": (lambda: SLA.labels([-1]), am.ArgumentError, "given -1"),
    "float labels": (lambda: SLA(PICTURES, [0.0, 1.0]), am.DtypeError, "labels: expected integers"),
    "labels of others": (lambda: SLA(PICTURES, [0, 1, 2]), am.ShapeError, r"class ids \[2\], given \[3\]"),
    "narrow logits": (lambda: SLA.aggregate(torch.zeros(4, 3)), am.ShapeError, "3 classes times 4 transforms"),
    "some views": (lambda: SLA.aggregate(torch.zeros(6, 12)), am.ShapeError, "all 4 views.*given 6 rows"),
    "whole logits": (lambda: SLA.single(torch.zeros(4, 12).long()), am.DtypeError, "logits: expected floats"),
    "class for joint": (lambda: SLA.loss(torch.zeros(4, 12), [12, 0, 0, 0]), am.ArgumentError, "0 to 11"),
    "alone": (lambda: SLA.distillation_loss(torch.zeros(4, 12), [0, 1, 2, 3], torch.zeros(4, 3)), am.ShapeError,
              r"alone: expected \[1, 3\]"),
    "temperature": (lambda: SLA.distillation_loss(torch.zeros(4, 12), [0, 1, 2, 3], torch.zeros(1, 3), temperature=0),
                    am.ArgumentError, "temperature"),
    "weight": (lambda: SLA.distillation_loss(torch.zeros(4, 12), [0, 1, 2, 3], torch.zeros(1, 3), weight=-1), am.ArgumentError,
               "weight"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    call, error, words = BAD[name]
    with pytest.raises(error, match=words):
        call()
