"""TEEN's and ProC-KD's prototypes against their formulas in float64, by loops."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from anamorph.core.errors import ArgumentError, DtypeError, ShapeError
from anamorph.features.prototypes import TEEN, PrototypeAugmentation, calibrate_prototypes, prototype_losses


def drawn(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


# ---- TEEN ----


def calibrated(new, base, shift, scale):
    out = []
    for c in unit(np.asarray(new)):
        weights = np.exp(scale * unit(np.asarray(base)) @ c)
        out.append((1 - shift) * c + shift * unit((weights / weights.sum()) @ unit(np.asarray(base))))
    return np.stack(out)


@pytest.mark.parametrize("shift, scale", [(0.5, 16), (0.1, 16), (1.0, 32), (0.5, 0)])
def test_calibration_as_published(shift, scale):
    new, base = drawn(4, 6), drawn(9, 6, seed=1)
    np.testing.assert_allclose(calibrate_prototypes(new, base, shift, scale), calibrated(new, base, shift, scale), rtol=1e-12)
    np.testing.assert_allclose(calibrate_prototypes(3 * new, base / 7, shift, scale), calibrated(new, base, shift, scale),
                               rtol=1e-12)


def test_without_shift_nothing_moves():
    new, base = drawn(4, 6), drawn(9, 6, seed=1)
    assert torch.equal(calibrate_prototypes(F.normalize(new), base, 0), F.normalize(F.normalize(new)))
    torch.testing.assert_close(calibrate_prototypes(F.normalize(new), base, 0), F.normalize(new), rtol=1e-15, atol=0)
    found = calibrate_prototypes(new, base)
    torch.testing.assert_close(found, calibrate_prototypes(new, base, 0.5, 16.0))
    assert float((found.norm(dim=1) - 1).abs().min()) > 1e-3, "the result is not normalised again"


def test_gradients_of_calibration():
    assert torch.autograd.gradcheck(calibrate_prototypes, (drawn(3, 4).requires_grad_(), drawn(5, 4, seed=1).requires_grad_()))


def sessions():
    features, labels = drawn(70, 6) + 1, torch.arange(70) % 7
    return features + 2 * drawn(7, 6, seed=1)[labels], labels


def test_the_classifier_over_sessions():
    """Five base classes, then one new class after another; the last is never seen."""
    features, labels = sessions()
    model = TEEN(6, 8, base=5, shift=0.3, temperature=20, dtype=torch.float64)
    test = drawn(10, 6, seed=2)
    for session in ([0, 1, 2, 3, 4], [5], [6]):
        here = (labels[:, None] == torch.tensor(session)).any(1)
        for a, b in zip(features[here].split(9), labels[here].split(9), strict=True):
            model.update(a, b)
        mean = np.stack([features[labels == c].numpy().mean(0) for c in range(max(session) + 1)])
        prototypes = unit(mean[:5])
        if len(mean) > 5:
            prototypes = np.concatenate([prototypes, calibrated(mean[5:], mean[:5], 0.3, 16)])
        found = model(test).numpy()
        np.testing.assert_allclose(found[:, :len(mean)], 20 * unit(test.numpy()) @ unit(prototypes).T, rtol=1e-11)
        assert np.isneginf(found[:, len(mean):]).all()
        np.testing.assert_allclose(model.prototypes()[:len(mean)], prototypes, rtol=1e-12)
        assert not model.prototypes()[len(mean):].any()


def test_the_order_of_new_classes_does_not_matter():
    features, labels = sessions()
    one, other = (TEEN(6, 7, 5, dtype=torch.float64) for _ in range(2))
    order = torch.argsort(labels, descending=True)
    one.update(features, labels)
    other.update(features[order], labels[order])
    torch.testing.assert_close(one(features), other(features), rtol=1e-12, atol=1e-12)
    assert torch.equal(TEEN(6, 5, 5).prototypes(), torch.zeros(5, 6))


def test_an_unseen_base_class_draws_nothing_to_itself():
    features, labels = sessions()
    keep = labels != 3
    model = TEEN(6, 7, 5, dtype=torch.float64).update(features[keep], labels[keep])
    mean = np.stack([features[labels == c].numpy().mean(0) for c in range(7)])
    np.testing.assert_allclose(model.prototypes()[5:], calibrated(mean[5:], mean[[0, 1, 2, 4]], 0.5, 16), rtol=1e-11)


def test_state_autocast_and_compile():
    torch.compiler.reset()
    features, labels = sessions()
    model = TEEN(6, 7, 5).update(features.float(), labels)
    other = TEEN(6, 7, 5)
    other.load_state_dict(model.state_dict())
    expected = model(features.float())
    assert torch.equal(other(features.float()), expected)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(other(features.float()), expected)
    assert other(features.bfloat16()).dtype == torch.float32
    torch.testing.assert_close(torch.compile(other, fullgraph=True, backend="aot_eager")(features.float()), expected)


# ---- ProC-KD ----

DIM, COUNT, BATCH, TOKENS = 6, 4, 3, 7


def module(**options):
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        return PrototypeAugmentation(DIM, **{"prototypes": COUNT} | options).double()


def dense(layer, x):
    out = x @ layer.weight.detach().numpy().T
    return out if layer.bias is None else out + layer.bias.detach().numpy()


def two_layers(layers, x):
    for layer in layers:
        x = np.maximum(x, 0) if isinstance(layer, nn.ReLU) else dense(layer, x)
    return x


def softmax(x):
    e = np.exp(x - x.max())
    return e / e.sum()


def described(m, x):
    """Token by token, prototype by prototype."""
    c = m.prototypes.detach().numpy()
    v = np.zeros_like(c)
    for token in unit(x):
        share = softmax(dense(m.assign, token))
        for k in range(len(c)):
            v[k] += share[k] * (token - c[k])
    return unit(unit(v).ravel())


def augmented(m, tokens):
    c, out = dense(m.encode, m.prototypes.detach().numpy()), []
    for token in tokens:
        e = dense(m.encode, token)
        share = softmax(c @ e)
        assert share.sum() == pytest.approx(1)
        found = sum(share[k] * c[k] for k in range(len(c)))
        out.append(np.maximum(token + two_layers(m.transform, np.concatenate([e, found])), 0))
    return np.stack(out)


def test_learning_and_augmentation_as_published():
    m, teacher = module(layers=2, teacher_dim=5), [drawn(BATCH, TOKENS, 5, seed=s) for s in (1, 2)]
    found = m.learn(teacher).detach().numpy()
    for b in range(BATCH):
        x = np.maximum(dense(m.gather[0], np.concatenate([t[b].numpy() for t in teacher], 1)), 0)
        joined = dense(m.describe, described(m, x))
        np.testing.assert_allclose(found[b], two_layers(m.join, np.concatenate([x, np.tile(joined, (TOKENS, 1))], 1)), rtol=1e-10)
        np.testing.assert_allclose(m.augment(torch.from_numpy(found))[b].detach(), augmented(m, found[b]), rtol=1e-10)
    tokens = drawn(BATCH, TOKENS, DIM, seed=3)
    torch.testing.assert_close(m(tokens), m.augment(tokens))
    torch.testing.assert_close(m(tokens, teacher), m.augment(torch.from_numpy(found)))


def test_the_descriptor_has_length_1_and_so_have_its_parts():
    """72 prototypes: each part 1 / sqrt(72)."""
    m = module(prototypes=72)
    found = m.descriptor(drawn(BATCH, TOKENS, DIM))
    torch.testing.assert_close(found.norm(dim=1), torch.ones(BATCH, dtype=torch.float64))
    parts = found.view(BATCH, 72, DIM).norm(dim=2)
    assert torch.allclose(parts, torch.tensor(0.117851, dtype=torch.float64), rtol=0, atol=1e-6)


def test_one_prototype_is_what_is_found():
    """Its share is 1 whatever the token is: r = E(c)."""
    m, tokens = module(prototypes=1), drawn(BATCH, TOKENS, DIM)
    seen = []
    m.transform.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    m.augment(tokens)
    torch.testing.assert_close(seen[0][..., :DIM], m.encode(tokens))
    torch.testing.assert_close(seen[0][..., DIM:], m.encode(m.prototypes).expand(BATCH, TOKENS, DIM))


def test_shares_of_prototypes_add_up_to_1():
    """Of prototypes that are all the same the one is found, by every token."""
    m, tokens = module(), drawn(BATCH, TOKENS, DIM)
    m.prototypes.data[:] = m.prototypes.data[0]
    seen = []
    m.transform.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    m.augment(tokens)
    torch.testing.assert_close(seen[0][..., DIM:], m.encode(m.prototypes[0]).expand(BATCH, TOKENS, DIM), rtol=1e-14, atol=1e-14)


def test_a_transform_of_zeros_leaves_the_positive_part():
    m, tokens = module(), drawn(BATCH, TOKENS, DIM)
    nn.init.zeros_(m.transform[2].weight)
    assert torch.equal(m.augment(tokens), tokens.relu()) and not torch.equal(m.augment(tokens), tokens)


def test_the_order_of_prototypes_does_not_matter_to_augmentation():
    m, tokens = module(), drawn(BATCH, TOKENS, DIM)
    before = m.augment(tokens)
    m.prototypes.data = m.prototypes.data[[2, 0, 3, 1]]
    torch.testing.assert_close(m.augment(tokens), before, rtol=1e-12, atol=1e-12)


def test_parts_have_the_published_form():
    """No bias in E, T and the assignment; prototypes between 0 and 1; 72 of them, three layers of a teacher as wide."""
    m = PrototypeAugmentation(8)
    assert m.prototypes.shape == (72, 8) and m.gather[0].in_features == 24
    assert 0 <= m.prototypes.min() < 0.1 and 0.9 < m.prototypes.max() < 1
    assert all(layer.bias is None for layer in (m.assign, m.encode, m.transform[0], m.transform[2], m.join[0], m.join[2]))
    assert m.gather[0].bias is not None and m.describe.bias is not None and m.describe.in_features == 72 * 8


def test_gradients_of_augmentation():
    m = module(layers=1)
    tokens, teacher = drawn(2, 3, DIM).requires_grad_(), drawn(2, 3, DIM, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda t, s, _: (m(t), m(t, [s])), (tokens, teacher, m.prototypes))
    m(tokens, [teacher]).sum().backward()
    missing = [name for name, p in m.named_parameters() if p.grad is None]
    assert not missing


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_of_augmentation(dtype):
    m, tokens = module().float(), drawn(BATCH, TOKENS, DIM).float()
    teacher = [drawn(BATCH, TOKENS, DIM, seed=s).float() for s in range(3)]
    teacher[0][0, 0], m.gather[0].bias.data = -50, m.gather[0].bias.data - 0.1
    assert not m.gather(torch.cat(teacher, 2)).any(2).all(), "a token of zeros"
    with torch.autocast("cpu", dtype):
        found = m(tokens), m(tokens, teacher)
    for a, b in zip(found, (m(tokens), m(tokens, teacher)), strict=True):
        torch.testing.assert_close(a.float(), b, rtol=0.05, atol=0.05)


def test_a_module_of_halves():
    m, tokens, teacher = module(), drawn(BATCH, TOKENS, DIM), [drawn(BATCH, TOKENS, DIM, seed=s) for s in range(3)]
    expected = m(tokens, teacher)
    found = m.bfloat16()(tokens.bfloat16(), [t.bfloat16() for t in teacher])
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.double(), expected, rtol=0.05, atol=0.05)


def test_compiled_whole():
    torch.compiler.reset()
    m, tokens, teacher = module(), drawn(BATCH, TOKENS, DIM), [drawn(BATCH, TOKENS, DIM, seed=s) for s in range(3)]
    labels, head = torch.tensor([0, 2, 1]), drawn(DIM, 5, seed=4)

    def step(tokens, teacher):
        return sum(prototype_losses(tokens[:, 0] @ head, m(tokens, teacher)[:, 0] @ head, labels))

    grads = [torch.autograd.grad(run(tokens, teacher), list(m.parameters()))
             for run in (step, torch.compile(step, fullgraph=True, backend="aot_eager"))]
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b)


def test_losses_as_defined():
    plain, other, labels = drawn(5, 4), drawn(5, 4, seed=1), torch.tensor([0, 3, 1, 1, 2])
    p, q = (np.stack([softmax(row) for row in t.numpy()]) for t in (plain, other))
    expected = (-np.log(p[range(5), labels]).mean(), -np.log(q[range(5), labels]).mean(),
                10 * (q * np.log(q / p)).sum(1).mean())
    for found, value in zip(prototype_losses(plain, other, labels), expected, strict=True):
        assert found.item() == pytest.approx(value, rel=1e-12)
    assert prototype_losses(plain, other, labels, 2).distillation.item() == pytest.approx(expected[2] / 5)
    same = prototype_losses(plain, plain, labels)
    assert same.distillation.item() == pytest.approx(0, abs=1e-14) and same.plain == same.augmented


def test_gradients_of_losses():
    """The augmented probabilities teach, and are not taught by, the plain ones."""
    plain, other, labels = drawn(3, 4).requires_grad_(), drawn(3, 4, seed=1).requires_grad_(), torch.tensor([0, 3, 1])
    assert torch.autograd.gradcheck(lambda a: sum(prototype_losses(a, other.detach(), labels)), plain)
    losses = prototype_losses(plain, other, labels)
    by_plain, by_other = torch.autograd.grad(losses.distillation, (plain, other), allow_unused=True)
    torch.testing.assert_close(by_plain, 10 * (plain.softmax(1) - other.softmax(1)).detach() / 3)
    assert by_other is None
    with torch.autocast("cpu", torch.bfloat16):
        halves = prototype_losses(plain.bfloat16(), other.bfloat16(), labels)
    assert all(t.dtype == torch.float32 for t in halves)


# ---- what is wrong ----

T32 = torch.zeros(BATCH, TOKENS, DIM)


@pytest.mark.parametrize("call, error, says", [
    (lambda: calibrate_prototypes(torch.ones(3), torch.ones(2, 3)), ShapeError, r"new: expected \[N, D\]"),
    (lambda: calibrate_prototypes(torch.ones(2, 3), torch.ones(2, 4)), ShapeError, r"base: expected \[C, 3\]"),
    (lambda: calibrate_prototypes(torch.ones(2, 3), torch.ones(0, 3)), ShapeError, r"base: expected \[C, 3\] with nothing empty"),
    (lambda: calibrate_prototypes(torch.ones(2, 3).long(), torch.ones(2, 3)), DtypeError, "new: expected floats"),
    (lambda: calibrate_prototypes(torch.ones(2, 3), torch.ones(2, 3), 1.5), ArgumentError, "shift: expected a finite"),
    (lambda: calibrate_prototypes(torch.ones(2, 3), torch.ones(2, 3), 0.5, math.nan), ArgumentError, "scale: expected"),
    (lambda: TEEN(6, 5, 6), ArgumentError, "base: expected a whole number from 1 to 5, given 6"),
    (lambda: TEEN(6, 5, 0), ArgumentError, "base: expected a whole number from 1 to 5, given 0"),
    (lambda: TEEN(6, 7, 5)(torch.ones(2, 5)), ShapeError, r"features: expected \[B, 6\]"),
    (lambda: TEEN(6, 7, 5).update(torch.ones(2, 6), torch.tensor([0, 7])), ArgumentError, "labels: expected class ids"),
    (lambda: PrototypeAugmentation(0), ArgumentError, "dim: expected a whole number"),
    (lambda: PrototypeAugmentation(6, prototypes=0), ArgumentError, "prototypes: expected a whole number"),
    (lambda: PrototypeAugmentation(6).augment(T32[..., 1:]), ShapeError, r"tokens: expected \[B, N, 6\]"),
    (lambda: PrototypeAugmentation(6).augment(T32[:, :0]), ShapeError, r"tokens: expected \[B, N, 6\] with nothing empty"),
    (lambda: PrototypeAugmentation(6)(T32, [T32]), ArgumentError, "teacher: expected tokens of 3 layers, given '1 of them'"),
    (lambda: PrototypeAugmentation(6)(T32, T32), ArgumentError, "teacher: expected tokens of 3 layers, given 'Tensor'"),
    (lambda: PrototypeAugmentation(6)(T32, [T32, T32, T32[:, 1:]]), ShapeError, r"teacher\[2\]: expected \[3, 7, 6\]"),
    (lambda: PrototypeAugmentation(6)(T32, [T32, T32.double(), T32]), DtypeError, r"teacher\[1\]: expected torch.float32"),
    (lambda: prototype_losses(torch.ones(2, 3), torch.ones(2, 4), torch.tensor([0, 1])), ShapeError, "augmented: expected"),
    (lambda: prototype_losses(torch.ones(2, 3), torch.ones(2, 3), torch.tensor([0, 3])), ArgumentError, "labels: expected"),
    (lambda: prototype_losses(torch.ones(2, 3), torch.ones(2, 3), torch.tensor([0, 1]), -1), ArgumentError, "weight: expected"),
])
def test_bad_input(call, error, says):
    with pytest.raises(error, match=says):
        call()
