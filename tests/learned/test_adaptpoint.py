"""AdaptPoint, AugTune and PatchAugment: each rule by the paper's formula in NumPy or by what must hold of it."""

import math
from itertools import product

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import anamorph as am
from anamorph.core.errors import ArgumentError, DtypeError, ShapeError
from anamorph.learned import adaptpoint as ap
from anamorph.learned import adaptpoint_nets as nets
from anamorph.learned import augtune, draws
from anamorph.learned.augtune import share

SMALL = {"widths": (16, 16, 16, 32, 32), "discriminator": (8, 16, 32, 16, 8)}
IDS = torch.tensor([4, 9, 2**40, 0])


def clouds(count=4, size=384, seed=0):
    """Ellipsoids in the unit sphere."""
    generator = torch.Generator().manual_seed(seed)
    points = F.normalize(torch.randn(count, size, 3, generator=generator), dim=2)
    return nets.normalised(points * (0.3 + torch.rand(count, 1, 3, generator=generator)))


def adapt(**options):
    torch.manual_seed(0)
    return ap.AdaptPoint(5, **SMALL | options)


class Net(nn.Module):
    """A small PointNet, with batch norm and dropout."""

    def __init__(self, classes=5):
        super().__init__()
        self.points = nn.Sequential(nn.Conv1d(3, 16, 1), nn.BatchNorm1d(16), nn.ReLU(), nn.Conv1d(16, 32, 1))
        self.head = nn.Sequential(nn.Dropout(0.4), nn.Linear(32, classes))

    def forward(self, points):
        return self.head(self.points(points.transpose(1, 2)).amax(2))


@pytest.fixture
def classifier():
    torch.manual_seed(1)
    return Net().train()


# What the generator says and does


def test_maps_keep_to_their_ranges():
    net = adapt().generator
    said = net.control(clouds())
    assert said.rotation.shape == said.scale.shape == said.shift.shape == (4, 4, 3) and said.logits.shape == (4, 384, 2)
    assert ((said.scale > 1) & (said.scale < 3)).all() and (said.shift.abs() < 0.25).all()
    assert (said.rotation.abs() < math.radians(10)).all() and said.rotation.abs().max() > math.radians(3)
    assert said.scale.min() < 1.8 < 2.2 < said.scale.max() and said.shift.abs().max() > 0.05


@pytest.mark.parametrize("compat", [False, True])
def test_a_cloud_is_bent_as_pointwolf_bends_it(compat):
    net, points = adapt(compat=compat), clouds()
    made = net(points, IDS, 7)
    anchors = torch.stack([p[i] for p, i in zip(points, am.points.farthest_point_sample(points, 4), strict=True)])
    for b in range(4):
        p, a = points[b].double().numpy(), anchors[b].double().numpy()
        rotation, scale, shift = (t[b].detach().double().numpy() for t in (made.rotation, made.scale, made.shift))
        moved = []
        for j in range(4):
            (sx, sy, sz), (cx, cy, cz) = np.sin(rotation[j]), np.cos(rotation[j])
            turn = (np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]]) @ np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
                    @ np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]]))
            if compat:
                turn[1, 1] = sz * sy * sx + cz * cy
            moved.append((p - a[j]) @ turn @ np.diag(scale[j]) + shift[j] + a[j])
        apart = []
        for axes in list(product((0, 1), repeat=3))[1:]:
            weight = np.exp(-(((p[None] - a[:, None]) * axes) ** 2).sum(2) / (2 * 0.5**2))[..., None]
            out = (weight * moved).sum(0) / weight.sum(0)
            out -= out.mean(0)
            out *= 0.999999 / np.linalg.norm(out, axis=1).max()
            apart.append(abs(out - made.deformed[b].detach().numpy()).max())
        assert min(apart) < 2e-6 and sorted(apart)[1] > 1e-4, "one subset of the axes, and it alone"


def test_points_stay_or_are_exactly_zero():
    net, points = adapt(), clouds()
    made = net(points, IDS)
    assert set(made.keep.unique().tolist()) == {0.0, 1.0}
    assert 0.4 < made.keep.mean() < 0.6  # before it has learnt anything
    gone = made.keep == 0
    assert (made.points[gone] == 0).all() and torch.equal(made.points[~gone], made.deformed[~gone])
    logits, = torch.autograd.grad(made.points.sum(), made.logits)
    assert torch.isfinite(logits).all() and (logits != 0).float().mean() > 0.1
    assert (logits[gone] != 0).any(), "a dropped point teaches too"


def test_the_mask_is_a_hard_gumbel_softmax():
    """P(stays) is the softmax of the logits, whatever the temperature; the gradient is that of the soft one."""
    key = draws.Key(torch.arange(4000), 3, 0)
    noise = draws.gumbel(key, 16, draws.NOISE).view(4000, 8, 2)
    assert abs(noise.mean() - 0.57722) < 0.03 and abs(noise.var() - math.pi**2 / 6) < 0.05  # Gumbel's
    for odds in (-2.0, 0.0, 0.7):
        logits = torch.tensor([odds, 0.0]).expand(4000, 8, 2).clone().requires_grad_()
        keep = nets.straight_through(logits, noise, 0.1)
        assert abs(keep.mean() - 1 / (1 + math.exp(-odds))) < 0.01
        grad, = torch.autograd.grad(keep.sum(), logits)
        soft = ((logits + noise) / 0.1).softmax(2).detach()[..., 0]
        torch.testing.assert_close(grad[..., 0], soft * (1 - soft) / 0.1, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(grad[..., 1], -grad[..., 0], rtol=1e-4, atol=1e-6)


def test_switches_and_subsets_are_pointwolfs():
    many = 5000
    ones = torch.ones(many, 4, 3)
    rotation, scale, shift = nets.switched(0.1 * ones, 2 * ones, 0.2 * ones, draws.Key(torch.arange(many), 0, 5))
    turned, scaled, moved = rotation != 0, scale != 1, shift != 0
    assert torch.equal(turned.all(2), turned.any(2)), "subsets do not mask rotations"
    assert abs(turned.float().mean() - 0.5) < 0.01
    assert abs(scaled.float().mean() - 2 / 7) < 0.01 and abs(moved.float().mean() - 2 / 7) < 0.01
    identity = ~(turned.any(2) | scaled.any(2) | moved.any(2))
    assert abs(identity.float().mean() - 1 / 8) < 0.01
    both = scaled.any(2) & moved.any(2)
    assert torch.equal(scaled[both], moved[both]), "one subset for both"
    subsets = (scaled[scaled.any(2)] * torch.tensor([1, 2, 4])).sum(1).bincount(minlength=8)
    assert subsets[0] == 0 and (subsets[1:] / subsets.sum() - 1 / 7).abs().max() < 0.02


def test_farthest_points_come_in_one_order():
    """A stage's farthest points of the stage before are its first half, also where points come twice."""
    points = clouds(2, 400)
    points[1, 200:] = points[1, :200]
    order = am.points.farthest_point_sample(points, 200)
    at = am.points.group(points, order)
    for half in (100, 50, 25):
        again = am.points.group(at, am.points.farthest_point_sample(at, half))
        at = at[:, :half]
        assert torch.equal(again, at)


def test_features_are_spread_by_the_inverse_of_distances():
    asked, known = clouds(2, 40), clouds(2, 9, seed=1)
    features = torch.randn(2, 5, 9, generator=torch.Generator().manual_seed(0))
    found = nets._spread(features, known, asked)
    distance = torch.cdist(asked.double(), known.double(), compute_mode="donot_use_mm_for_euclid_dist")
    for b, i in product(range(2), range(40)):
        three = distance[b, i].argsort()[:3]
        weight = 1 / (distance[b, i, three] + 1e-8)
        expected = (features[b].double()[:, three] * weight).sum(1) / weight.sum()
        torch.testing.assert_close(found[b, :, i].double(), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(nets._spread(features, known, known), features, rtol=0, atol=1e-5)


def test_attention_is_that_of_four_heads():
    torch.manual_seed(0)
    net, x, points = nets.Attention(16).eval(), torch.randn(2, 16, 7), torch.randn(2, 7, 3)
    assert net.looks.bias is None
    found = net(x, points)
    place = net.place((points - points.mean(1, keepdim=True)).transpose(1, 2))
    q, k, v = (part + place for part in (net.looks.weight[:, :, 0] @ x).split(16, 1))
    heads = []
    for h in range(4):
        rows = slice(4 * h, 4 * h + 4)
        look = (q[:, rows].transpose(1, 2) @ k[:, rows] / 2).softmax(2)  # the root of four channels
        heads.append(v[:, rows] @ look.transpose(1, 2))
    torch.testing.assert_close(found, x + net.found(torch.cat(heads, 1)))


def test_a_ball_gives_the_largest_difference_to_its_centre():
    torch.manual_seed(0)
    net, x = nets.Gather(3), torch.randn(1, 3, 6)
    with torch.no_grad():
        net.gain.copy_(torch.tensor([1.0, -2.0, 0.5]))
        net.offset.copy_(torch.tensor([0.0, 1.0, -1.0]))
    net.requires_grad_(False)
    index, centre = torch.tensor([[[0, 1, 2], [5, 5, 3]]]), torch.tensor([[2, 5]])
    found = net(x, index, centre)
    for m, c in product(range(2), range(3)):
        expected = max(float(net.gain[c] * (x[0, c, i] - x[0, c, centre[0, m]]) + net.offset[c]) for i in index[0, m])
        assert abs(float(found[0, c, m]) - expected) < 1e-6


def test_published_sizes():
    """The trunk's, the heads' and the discriminator's layers, by their numbers of weights."""
    net = ap.Generator()
    convs = {name: tuple(p.shape[:2]) for name, p in net.named_parameters() if p.dim() == 3}
    assert [convs[f"down.{i}.0.weight"] for i in range(4)] == [(128, 64), (256, 128), (512, 256), (1024, 512)]
    assert [convs[f"up.{i}.0.weight"] for i in range(4)] == [(64, 192), (128, 384), (256, 768), (512, 1536)]
    assert convs["embed.0.weight"] == (64, 3) and convs["whole.0.weight"] == (1024, 3) and convs["maps.0.weight"] == (9, 2048)
    assert convs["of_point.0.weight"] == (3, 64) and convs["of_cloud.0.weight"] == (3, 1024) and convs["stays.0.weight"] == (2, 6)
    assert convs["anchors.looks.weight"] == (3072, 1024) and convs["local.looks.weight"] == (192, 64)
    biases = {name for name, module in net.named_modules() if isinstance(module, nn.Conv1d) and module.bias is not None}
    assert biases == {f"{block}.{part}.0" for block in ("anchors", "local") for part in ("place", "found")}
    layers = [tuple(m.weight.shape[:2]) for m in ap.Discriminator(15).modules() if isinstance(m, nn.Conv1d | nn.Linear)]
    assert layers == [(64, 3), (128, 64), (1024, 128), (512, 1024), (256, 512), (15, 256), (1, 15)]


def test_options_leave_parts_out():
    points = clouds()
    plain = adapt(use_mask=False)(points, IDS)
    assert plain.keep is None and plain.logits is None and torch.equal(plain.points, plain.deformed)
    assert (plain.points.norm(dim=2).amax(1) - 1).abs().max() < 1e-5 and plain.points.mean(1).abs().max() < 1e-6
    masked = adapt(use_deformation=False)(points, IDS)
    assert masked.scale is None and torch.equal(masked.deformed, nets.normalised(points)) and (masked.keep == 0).any()
    assert adapt(use_discriminator=False).discriminator is None
    names = [name for name, _ in adapt(use_mask=False).generator.named_parameters()]
    assert not [name for name in names if name.startswith(("up", "local", "stays"))]


def test_the_generator_runs_by_either_code(route):
    points = clouds(2)
    made = adapt(widths=(4, 4, 4, 4, 4)).eval()(points, IDS[:2], 3)
    made.points.square().sum().backward()
    assert torch.isfinite(made.points).all() and 0 < made.keep.mean() < 1


# Losses


def test_losses_are_the_papers():
    generator = torch.Generator().manual_seed(0)
    real, fake = torch.randn(6, generator=generator), torch.randn(6, generator=generator)

    def bce(logits, label):
        p = 1 / (1 + np.exp(-logits.double().numpy()))
        return float(-(label * np.log(p) + (1 - label) * np.log(1 - p)).mean())

    assert float(ap.discriminator_loss(real, fake)) == pytest.approx((bce(real, 0.9) + bce(fake, 0.1)) / 2, rel=1e-5)
    assert float(ap.generator_loss(fake)) == pytest.approx(bce(fake, 0.9), rel=1e-5)
    harder, easier = torch.tensor(1.5), torch.tensor(0.5)
    assert float(ap.feedback_loss(harder, easier, 3.0)) == 0
    assert float(ap.feedback_loss(harder, easier, 2.0)) == pytest.approx(math.exp(0.5) - 1)
    assert float(ap.feedback_loss(harder, easier, 4.0)) == pytest.approx(1 - math.exp(-0.5))
    assert [ap.hardness(e, 300, 1, 4) for e in (0, 100, 300)] == [1, 2, 4] and ap.hardness(17, 300) == 3


def test_smoothing_is_shared_by_the_other_classes():
    logits, targets = torch.randn(8, 15, generator=torch.Generator().manual_seed(0)), torch.arange(8)
    assert torch.equal(ap.cross_entropy(logits, targets), F.cross_entropy(logits, targets))
    wanted = torch.full((8, 15), 0.3 / 14).scatter(1, targets[:, None], 0.7)
    torch.testing.assert_close(ap.cross_entropy(logits, targets, 0.3), F.cross_entropy(logits, wanted))
    # The best that can be said: the smoothed label itself. Three times that is above uniform guessing.
    lowest = float(ap.cross_entropy(wanted.log(), targets, 0.3))
    assert lowest == pytest.approx(1.403, abs=5e-4) and 3 * lowest > math.log(15)


def test_every_layer_of_the_discriminator_has_spectral_norm_one():
    net = adapt().discriminator
    layers = [m for m in net.modules() if isinstance(m, nn.Conv1d | nn.Linear)]
    with torch.no_grad():
        for layer in layers:
            layer.parametrizations.weight.original.mul_(3)
        for _ in range(40):  # each pass in training mode is a step of the power iteration
            net(clouds(2))
    norms = [float(torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2)) for layer in layers]
    assert len(norms) == 7 and all(abs(norm - 1) < 0.02 for norm in norms), norms
    assert not [m for m in net.modules() if isinstance(m, nn.BatchNorm1d)]


# Steps


def test_gradients_reach_the_generator_through_a_frozen_classifier(classifier):
    classifier.head[1].bias.requires_grad_(False)
    classifier.points[1].eval()
    before = {name: t.clone() for name, t in classifier.state_dict().items()}
    net, points = adapt(use_discriminator=False), clouds()
    old = [p.detach().clone() for p in net.parameters()]
    modes = [m.training for m in classifier.modules()]
    step = net.generator_step(points, torch.arange(4), IDS, classifier, net.optimizers().generator, step=0)
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in net.generator.parameters())
    assert sum(float(p.grad.abs().sum()) > 0 for p in net.generator.parameters()) > 0.9 * len(old)
    assert any(not torch.equal(p, q) for p, q in zip(net.parameters(), old, strict=True))
    assert all(torch.equal(t, before[name]) for name, t in classifier.state_dict().items())
    assert all(p.grad is None for p in classifier.parameters())
    assert [m.training for m in classifier.modules()] == modes and not classifier.head[1].bias.requires_grad
    assert classifier.head[1].weight.requires_grad
    with torch.no_grad():
        classifier.eval()
        harder, easier = (F.cross_entropy(classifier(p), torch.arange(4)) for p in (step.made.points, points))
    torch.testing.assert_close((step.harder, step.easier), (harder, easier))
    expected = abs(1 - math.exp(float(harder) - 3 * float(easier)))
    assert float(step.feedback) == pytest.approx(expected, rel=1e-5) == float(step.loss) and step.adversarial is None


def test_the_discriminators_step_is_its_own(classifier):
    net, points = adapt(), clouds()
    optimizers = net.optimizers((1e-4, 1e-2))
    assert [o.param_groups[0]["lr"] for o in net.optimizers()] == [1e-4, 4e-4]
    assert all(o.param_groups[0]["betas"] == (0.5, 0.999) for o in optimizers)
    step = net.generator_step(points, torch.arange(4), IDS, classifier, optimizers.generator, step=0)
    assert all(p.grad is None for p in net.discriminator.parameters())
    assert float(step.loss) == pytest.approx(float(step.adversarial + step.feedback), rel=1e-6)
    old = [p.detach().clone() for p in net.generator.parameters()]
    fakes = 0.2 * step.made.points
    losses = [float(net.discriminator_step(points, fakes, IDS, optimizers.discriminator, step=i)) for i in range(60)]
    assert all(torch.equal(p, q) for p, q in zip(net.generator.parameters(), old, strict=True))
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.02, losses
    assert float(adapt(use_discriminator=False).discriminator_step(points, fakes, IDS, optimizers.discriminator, step=0)) == 0


def test_a_step_replays(classifier):
    def run(step=2, seed=0, ids=IDS):
        net = adapt(seed=seed)
        optimizers = net.optimizers()
        torch.manual_seed(step + 100)  # torch's generator is not asked
        fakes = net.epoch([(clouds(), torch.arange(4), ids)] * 2, classifier, optimizers, first=step)
        return torch.cat([f.points for f in fakes]), [p.detach() for p in net.parameters()]

    first, parameters = run()
    torch.rand(3)
    again, same = run()
    assert torch.equal(first, again) and all(torch.equal(p, q) for p, q in zip(parameters, same, strict=True))
    assert not torch.equal(first[:4], first[4:]), "the next step draws anew"
    assert not torch.equal(first, run(step=4)[0]) and not torch.equal(first, run(seed=1)[0])


def test_a_clouds_numbers_are_its_own():
    """In evaluation mode a cloud's fake does not depend on the batch it is in."""
    net, points = adapt().eval(), clouds()
    whole = net(points, IDS, 5)
    part = net(points[2:3], IDS[2:3], 5)
    assert torch.equal(whole.keep[2:3], part.keep)
    torch.testing.assert_close(whole.points[2:3], part.points, rtol=0, atol=1e-5)


def test_an_epoch_stores_fakes_and_the_classifier_learns_from_them(classifier):
    net, seen = adapt(), []
    optimizers = net.optimizers()
    batches = [(clouds(seed=s), torch.arange(4), IDS) for s in range(2)]
    fakes = net.epoch(batches, classifier, optimizers, epoch=3, seen=lambda step, loss: seen.append((step, loss)))
    assert len(fakes) == len(seen) == 2 and torch.equal(fakes[1].points, seen[1][0].made.points)
    assert not fakes[0].points.requires_grad and torch.equal(fakes[0].ids, IDS)
    optimizer = torch.optim.AdamW(classifier.parameters(), 0.01)
    losses = [float(ap.classifier_epoch(fakes, classifier, optimizer, smoothing=0)) for _ in range(25)]
    assert np.mean(losses[-3:]) < np.mean(losses[:3]) - 0.2, losses
    with pytest.raises(ShapeError, match="fakes"):
        ap.classifier_epoch([], classifier, optimizer)


def test_the_feedback_makes_clouds_harder():
    """A classifier that tells long clouds from flat ones by their extent: the generator finds maps that it does worse on."""

    class Extent(nn.Module):
        def forward(self, points):
            wide = points.std(1)
            return 2 * torch.stack([wide[:, 0] - wide[:, 2], wide[:, 2] - wide[:, 0]], 1)

    points = F.normalize(torch.randn(8, 384, 3, generator=torch.Generator().manual_seed(0)), dim=2)
    points[:4] *= torch.tensor([1, 0.6, 0.5])
    points[4:] *= torch.tensor([0.5, 0.6, 1])
    targets = (torch.arange(8) >= 4).long()
    points = nets.normalised(points)
    net = adapt(use_discriminator=False, use_mask=False, hardness=(6, 6))
    optimizer = torch.optim.Adam(net.generator.parameters(), 0.01)
    steps = [net.generator_step(points, targets, torch.arange(8), Extent(), optimizer, step=0) for _ in range(20)]
    losses, harder = ([float(getattr(step, name)) for step in steps] for name in ("loss", "harder"))
    assert losses[-1] < losses[0] - 0.02 and harder[-1] > 1.05 * harder[0], "on the same draws"


# AugTune


def test_augtunes_share_is_the_papers():
    one, zero = torch.ones(1), torch.zeros(1)
    assert float(share(one, zero)) == pytest.approx(0.9 / 1.0001, rel=1e-6)
    c_o, c_a = torch.tensor([0.8, 0.8, 0.2, 0.5, 0.5, 0.4]), torch.tensor([0.1, 0.75, 0.9, 0.5, 0.5001, 0.36])
    for lam in (0.1, 0.5):
        target = np.maximum((1 - lam) * c_o.double().numpy(), c_a.double().numpy())
        expected = np.clip((target - c_a.numpy()) / (c_o.numpy() - c_a.numpy() + 1e-4), 0, 1)
        expected[target <= c_a.numpy()] = 0  # 0 / 0 where the two differ by the 1e-4
        np.testing.assert_allclose(share(c_o, c_a, lam).numpy(), expected, atol=1e-5)


def test_augtune_brings_clouds_back_and_leaves_the_model_alone(classifier):
    points = clouds()
    augmented = nets.normalised(points * torch.tensor([0.2, 1, 2]))
    classifier.points[1].eval()
    with torch.no_grad():
        classifier.head[1].weight.mul_(40)
        targets = classifier.eval()(points).argmax(1)  # sure of the clouds as they are
    classifier.train().points[1].eval()
    before = {name: t.clone() for name, t in classifier.state_dict().items()}
    found = augtune(classifier, points, augmented, targets)
    assert all(torch.equal(t, before[name]) for name, t in classifier.state_dict().items())
    assert classifier.training and classifier.head[0].training and not classifier.points[1].training
    classifier.eval()
    with torch.no_grad():
        c_o, c_a = (classifier(p).softmax(1)[range(4), targets] for p in (points, augmented))
    alpha = share(c_o, c_a)[:, None, None]
    assert (alpha > 0).any() and (alpha < 1).any() and not found.requires_grad
    torch.testing.assert_close(found, nets.normalised(alpha * points + (1 - alpha) * augmented))
    assert torch.equal(augtune(classifier, points, augmented, targets, lam=1), nets.normalised(augmented))
    classifier.train()
    augtune(classifier, points, augmented, targets, published=True)
    assert int(classifier.points[1].num_batches_tracked) == int(before["points.1.num_batches_tracked"]) + 2


# PatchAugment


def groups(batch=3, many=8, k=16, channels=5):
    return torch.randn(batch, many, k, channels, generator=torch.Generator().manual_seed(0))


QUIET = {"scale": (1, 1), "angle": 0, "shift": 0, "jitter": 0}


def test_patches_lose_any_quarter():
    given, ids = groups(), torch.arange(3)
    given[..., 4] = torch.arange(16.0)  # which neighbour it is
    found = am.points.patch_augment(given, ids, **QUIET)
    assert found.shape == (3, 8, 12, 5)
    place = found[..., 4].long()
    assert (place.diff(dim=2) > 0).all(), "in their order, none twice"
    torch.testing.assert_close(found, given.gather(2, place[..., None].expand(-1, -1, -1, 5)))
    many = am.points.patch_augment(given[:1].expand(500, -1, -1, -1), torch.arange(500), **QUIET)[..., 4].long()
    share = many.flatten().bincount(minlength=16) / (500 * 8)
    assert (share - 0.75).abs().max() < 0.03, "published: always the first twelve"


def test_patches_are_scaled_turned_and_shifted_within_bounds():
    given, ids = groups(64), torch.arange(64)
    kept = {"keep": 1.0}

    def only(**changed):
        return am.points.patch_augment(given, ids, **kept, **QUIET | changed)[..., :3].double() - 0, given[..., :3].double()

    new, old = only(scale=(0.95, 1.05))
    factor = (new / old).flatten(2)
    assert (factor - factor[..., :1]).abs().max() < 1e-4, "one for a group"
    assert factor.min() > 0.9499 and factor.max() < 1.0501 and factor.max() - factor.min() > 0.09
    new, old = only(shift=0.05)
    moved = (new - old).flatten(2)
    assert (moved - moved[..., :1]).abs().max() < 1e-6, "one for all three coordinates"
    assert -0.0501 < moved.min() < -0.04 and 0.04 < moved.max() < 0.0501
    new, old = only(jitter=0.01)
    noise = new - old
    assert noise.abs().max() < 0.0101 and abs(noise.mean()) < 1e-4 and abs(noise.std() - 0.01 / 3**0.5) < 1e-4
    new, old = only(angle=0.1)
    torch.testing.assert_close(torch.cdist(new, new), torch.cdist(old, old), rtol=0, atol=1e-5)
    # The map that was used, by least squares: a rotation, and turns both ways about each axis.
    turn = torch.linalg.lstsq(old, new).solution.transpose(2, 3)
    torch.testing.assert_close(turn @ turn.transpose(2, 3), torch.eye(3, dtype=torch.float64).expand_as(turn), rtol=0, atol=1e-5)
    for i, j, most in ((2, 1, 0.1), (0, 2, 0.2), (1, 0, 0.1)):
        about = turn[..., i, j] - turn[..., j, i]
        assert abs((about > 0).double().mean() - 0.5) < 0.08 and about.abs().max() < 2.2 * most
        assert about.abs().max() > most


def test_patches_are_drawn_anew_in_each_step_and_replay():
    given, ids = groups(), torch.tensor([5, 6, 7])
    first = am.points.patch_augment(given, ids, seed=3, step=1)
    assert torch.equal(first, am.points.patch_augment(given, ids, seed=3, step=1))
    assert torch.equal(first[1:2], am.points.patch_augment(given[1:2], ids[1:2], seed=3, step=1))
    for other in ({"step": 2}, {"seed": 4}, {"layer": 1}):
        assert not torch.equal(first, am.points.patch_augment(given, ids, **{"seed": 3, "step": 1} | other))
    assert am.points.patch_augment(given, ids, training=False) is given
    given.requires_grad_()
    am.points.patch_augment(given, ids).sum().backward()
    assert (given.grad[..., :3] != 0).any(3).sum() == 3 * 8 * 12


# Errors

CLOUDS, FIVE = clouds(), torch.arange(4)
WRONG = [
    (lambda: adapt()(CLOUDS[:, :383], IDS), ShapeError, "N of at least 384"),
    (lambda: adapt()(CLOUDS.double(), IDS), DtypeError, "float32"),
    (lambda: adapt()(CLOUDS[:1], IDS[:1]), ShapeError, "at least 2 clouds"),
    (lambda: adapt()(CLOUDS, IDS[:3]), ShapeError, "index"),
    (lambda: adapt()(CLOUDS, IDS.float()), DtypeError, "index"),
    (lambda: adapt()(CLOUDS * math.nan, IDS), ArgumentError, "NaN"),
    (lambda: adapt()(CLOUDS, IDS, -1), ArgumentError, "step"),
    (lambda: adapt()(3, IDS), ArgumentError, "points"),
    (lambda: adapt(use_mask=False, use_deformation=False), ArgumentError, "use_deformation"),
    (lambda: adapt(use_discriminator=False, use_feedback=False), ArgumentError, "use_discriminator"),
    (lambda: adapt(widths=(16, 16)), ArgumentError, "widths"),
    (lambda: adapt(widths=(18, 16, 16, 16, 16)), ArgumentError, "multiples of 4"),
    (lambda: adapt(discriminator=(8, 8)), ArgumentError, "widths"),
    (lambda: adapt(hardness=3), ArgumentError, "hardness"),
    (lambda: adapt(smoothing=2), ArgumentError, "smoothing"),
    (lambda: adapt(tau=0), ArgumentError, "tau"),
    (lambda: ap.AdaptPoint(0), ArgumentError, "classes"),
    (lambda: adapt().generator_step(CLOUDS, FIVE.int(), IDS, Net(), None, step=0), DtypeError, "targets"),
    (lambda: adapt().generator_step(CLOUDS, FIVE[:2], IDS, Net(), None, step=0), ShapeError, "targets"),
    (lambda: augtune(Net(), CLOUDS, CLOUDS[:2], FIVE), ShapeError, "augmented"),
    (lambda: augtune(Net(), CLOUDS, CLOUDS, FIVE, 2), ArgumentError, "lam"),
    (lambda: augtune(nn.Identity(), CLOUDS, CLOUDS, FIVE), ShapeError, "logits"),
    (lambda: am.points.patch_augment(groups()[0], [0]), ShapeError, "groups"),
    (lambda: am.points.patch_augment(groups().long(), torch.arange(3)), DtypeError, "groups"),
    (lambda: am.points.patch_augment(groups(), torch.arange(2)), ShapeError, "index"),
    (lambda: am.points.patch_augment(groups(), torch.arange(3), keep=0), ArgumentError, "keep"),
    (lambda: am.points.patch_augment(groups(), torch.arange(3), scale=(2, 1)), ArgumentError, "scale"),
    (lambda: am.points.patch_augment(torch.zeros(1, 20000, 32, 3), [0]), ShapeError, "groups of 32"),
]


@pytest.mark.parametrize(("call", "error", "said"), WRONG, ids=[said for _, _, said in WRONG])
def test_what_cannot_be_is_said(call, error, said):
    with pytest.raises(error, match=said):
        call()


def test_what_a_stranger_gave():
    net = _Counts(5)
    clouds = torch.randn(4, 400, 3)
    labels = torch.tensor([0, 1, 2, 5])
    with pytest.raises(am.ArgumentError, match="class ids from 0 to 4"):
        am.learned.augtune(net, clouds, clouds, labels)
    with pytest.raises(am.ArgumentError, match="model: expected a torch module, given NoneType"):
        am.learned.augtune(None, clouds, clouds, labels)
    adapt = am.learned.AdaptPoint(5, widths=(8, 8, 8, 8, 8))
    with pytest.raises(am.ArgumentError, match="points, targets, index"):
        adapt.epoch([(clouds, labels)], net, adapt.optimizers())
    with pytest.raises(am.ArgumentError, match="class ids from 0 to 4"):
        adapt.epoch([(clouds, labels, torch.arange(4))], net, adapt.optimizers())


class _Counts(torch.nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.head = torch.nn.Linear(3, classes)

    def forward(self, points):
        return self.head(points.amax(1))


def test_autocast_is_for_the_networks_alone():
    from anamorph import points as P

    torch.manual_seed(0)
    groups, ids, clouds = torch.randn(2, 3, 16, 5), torch.arange(2), torch.nn.functional.normalize(torch.randn(2, 400, 3), dim=2)
    adapt = am.learned.AdaptPoint(5, widths=(8, 8, 8, 8, 8))
    plain = P.patch_augment(groups, ids, step=1)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(P.patch_augment(groups, ids, step=1), plain)
        made = adapt(clouds, ids, step=0)
    assert made.points.dtype == torch.float32 and torch.isfinite(made.points).all()
