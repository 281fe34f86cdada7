"""Layer masking against the published code's numbers, the card's rules, and plain nets where nothing is masked."""

import copy
import functools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import anamorph as am
from anamorph.bench import _torchvision
from devices import DEVICES

_torchvision.v2()
from torchvision import models  # noqa: E402
from torchvision.models.resnet import Bottleneck  # noqa: E402

FILLS = ["neighbour", "none", "partial"]
NETS = ["resnet18", "resnet50", "densenet121", "mobilenet_v3_small", "squeezenet1_1"]


def settle(net):
    """Parameters that anybody can write down."""
    with torch.no_grad():
        for i, (name, value) in enumerate(net.state_dict().items()):
            if value.dtype.is_floating_point:
                wave = torch.sin(torch.arange(value.numel()) * 1.7 + i).reshape(value.shape) * 0.5
                value.copy_(wave.abs() + 0.5 if name.endswith("running_var") else wave)
    return net.eval()


def small():
    return settle(nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(3, 2, 1),
        nn.Conv2d(3, 4, 5, padding=2, stride=2), nn.Sigmoid(), nn.Conv2d(4, 3, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()))


def waves(n=2, c=2, side=12):
    return torch.sin(torch.arange(n * c * side * side) * 0.37).reshape(n, c, side, side)


def holes():
    mask = torch.ones(2, 1, 12, 12)
    mask[0, :, 2:9, 3:12] = 0
    mask[1, :, ::2] = 0
    mask[1, :, :6, :5] = 0
    return mask


@functools.cache
def made(name, seed):
    torch.manual_seed(seed)
    with torch.device("meta"):
        model = getattr(models, name)(weights=None, num_classes=10)
    model.to_empty(device="cpu")
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):  # after which nothing is 0 any more
            nn.init.normal_(module.running_mean, 0, 0.3)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.8, 1.6)
            nn.init.normal_(module.bias, 0, 0.3)
            module.num_batches_tracked.zero_()
        elif isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return model


def net(name, seed=0):
    return copy.deepcopy(made(name, seed)).eval()


def pictures(side=48, seed=0):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(2, 3, side, side, generator=g)
    mask = torch.ones(2, 1, side, side)
    mask[0, :, side // 4:side // 2, side // 8:3 * side // 4] = 0
    mask[1] = (torch.rand(1, 4, 4, generator=g) > 0.4).float().repeat_interleave(side // 4, 1).repeat_interleave(side // 4, 2)
    return x, mask


# The published code's numbers (github.com/SriramB-98/layer_masking, commit a2610a5, flags 1 and 0).

@pytest.mark.parametrize(("fill", "expected"), [
    ("neighbour", [[-0.11173883, -0.32151389, 0.31333584], [-0.13357076, -0.33522376, 0.31132904]]),
    ("none", [[-0.11683486, -0.31838071, 0.32387975], [-0.13115552, -0.33474794, 0.30974114]])])
def test_a_small_net_is_the_published_one(fill, expected):
    out = am.layer_masking(small(), fill)(waves(), holes())
    assert torch.allclose(out, torch.tensor(expected), atol=1e-6)


@pytest.mark.parametrize(("fill", "expected"), [
    ("neighbour", [15.613654, 11.290542, 0.0, 8.878499, 17.356833, 0.0, 0.0, 16.448717]),
    ("none", [15.638775, 11.274277, 0.0, 8.848680, 17.297077, 0.0, 0.0, 16.416286])])
def test_a_bottleneck_is_the_published_one(fill, expected):
    down = nn.Sequential(nn.Conv2d(2, 8, 1, stride=2, bias=False), nn.BatchNorm2d(8))
    out = am.layer_masking(settle(Bottleneck(2, 2, 2, down)), fill)(waves(), holes())
    assert torch.allclose(out[0].sum((1, 2)), torch.tensor(expected), atol=1e-4)
    assert (out[0] != 0).any(0).sum() == 20  # places are kept, and of the other picture none
    assert not out[1].any()


# The card's tests.

def around(weights, channels=1):
    """A convolution of 3 x 3 whose every channel sees itself alone."""
    conv = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
    with torch.no_grad():
        conv.weight.copy_(torch.tensor(weights, dtype=torch.float32).reshape(3, 3).expand(channels, 1, 3, 3))
    return conv


CENTRE = [0, 0, 0, 0, 1, 0, 0, 0, 0]


def test_neighbours_of_a_9_and_a_3():
    x, mask = torch.full((1, 1, 5, 6), 100.0), torch.zeros(1, 1, 5, 6)
    x[0, 0, 2, 2:4] = torch.tensor([9.0, 3.0])
    mask[0, 0, 2, 2:4] = 1
    out = am.layer_masking(around(CENTRE))(x, mask)[0, 0]
    ring = torch.tensor([[9.0, 6, 6, 3], [9, 9, 3, 3], [9, 6, 6, 3]])
    assert torch.allclose(out[1:4, 1:5], ring)
    assert out.sum() == ring.sum()  # further out nothing is kept


@pytest.mark.parametrize("kernel", [3, 5, (1, 7), (7, 1)])
def test_a_constant_picture_stays_one(kernel):
    conv = nn.Conv2d(1, 1, kernel, padding=0, bias=False)
    nn.init.constant_(conv.weight, 1 / conv.weight.numel())
    x = torch.full((1, 1, 16, 16), 7.0)
    mask = (torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(1)) > 0.8).float()
    out = am.layer_masking(conv)(torch.where(mask > 0, x, -50.0), mask)
    kept = F.max_pool2d(mask, conv.kernel_size, 1) > 0
    assert (out[kept] / 7 - 1).abs().max() < 3e-5
    assert kept.any() and not out[~kept].any()


@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("name", NETS)
def test_a_mask_of_ones_is_the_plain_net(name, fill):
    model, (x, mask) = net(name), pictures()
    with torch.no_grad():
        plain, out = model(x), am.layer_masking(model, fill)(x, torch.ones_like(mask))
        assert type(out) is torch.Tensor
        assert (out - plain).abs().max() < 1e-5 * plain.abs().max()
        other = am.layer_masking(model, fill)(x, mask)
        assert (other - plain).abs().max() > 1e-3 * plain.abs().max()  # of another mask it is not


def test_a_mask_of_any_dtype():
    wrapped = am.layer_masking(small())
    for dtype in (torch.bool, torch.uint8, torch.int64, torch.float16, torch.float64):
        assert torch.equal(wrapped(waves(), holes().to(dtype)), wrapped(waves(), holes()))


@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("name", NETS)
def test_what_is_masked_has_no_influence(name, fill):
    wrapped, (x, mask) = am.layer_masking(net(name), fill), pictures()
    x.requires_grad_()
    out = wrapped(x, mask)
    out.sum().backward()
    assert not x.grad[(mask == 0).expand_as(x)].any() and x.grad[(mask == 1).expand_as(x)].any()
    for other in (float("nan"), 1e30):
        assert torch.equal(wrapped(torch.where(mask > 0, x, other), mask), out)


@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("name", NETS)
def test_gradients_are_numbers_whatever_is_masked(name, fill):
    model, (x, mask) = net(name).train(), pictures()
    mask[0] = 0
    am.layer_masking(model, fill)(x, mask).square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())
    assert all(torch.isfinite(b).all() for b in model.buffers())


# Rules, each against its meaning.

def test_infinities_of_empty_windows_reach_no_gradient():
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.MaxPool2d(2), nn.BatchNorm2d(2), nn.SiLU(), nn.AdaptiveMaxPool2d(2))
    model.eval()
    mask = torch.zeros(1, 1, 8, 8)
    mask[:, :, :2, :2] = 1
    am.layer_masking(model)(torch.randn(1, 1, 8, 8), mask).sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


def test_max_pooling_takes_the_largest_of_what_is_kept():
    x, mask = torch.tensor([[[[-5.0, 9.0], [-2.0, 9.0]]]]), torch.tensor([[[[1, 0], [1, 0]]]])
    for pool in (nn.MaxPool2d(2), nn.AdaptiveMaxPool2d(1)):
        assert am.layer_masking(pool)(x, mask).item() == -2


def test_means_are_of_what_is_kept():
    x, mask = torch.arange(16.0).reshape(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)
    mask[0, 0, 0, 1] = mask[0, 0, 3, 2] = 1
    for pool in (nn.AdaptiveAvgPool2d(1), nn.AvgPool2d(4), Mean()):
        assert am.layer_masking(pool)(x, mask).item() == (1 + 14) / 2
        assert am.layer_masking(pool)(x, torch.zeros_like(mask)).item() == 0
    cells = am.layer_masking(nn.AdaptiveAvgPool2d(2))(x, mask)
    assert cells.flatten().tolist() == [1, 0, 0, 14]
    assert am.layer_masking(nn.AvgPool2d(2))(x, mask).flatten().tolist() == [0.25, 0, 0, 3.5]  # with zeros, as published


@pytest.mark.parametrize("options", [
    dict(kernel_size=4), dict(kernel_size=6, padding=1), dict(kernel_size=(4, 8), padding=(0, 2)),
    dict(kernel_size=4, divisor_override=1), dict(kernel_size=4, divisor_override=10**14),
    dict(kernel_size=6, padding=2, ceil_mode=True), dict(kernel_size=6, padding=1, count_include_pad=False)])
def test_an_average_pool_to_one_cell_is_its_own_and_of_what_is_kept(options):
    """Padding and divisor make a multiple of the mean of it; where the mask takes some away the mean is of the others."""
    pool, x, ones = nn.AvgPool2d(**options), waves(2, 3, 4).double() + 1, torch.ones(2, 1, 4, 4)
    assert pool(x).shape[2:] == (1, 1)
    assert torch.equal(am.layer_masking(pool)(x, ones), pool(x))
    assert torch.equal(am.layer_masking(pool)(x.bfloat16(), ones), pool(x.bfloat16()))
    keep = torch.rand(2, 1, 4, 4, generator=torch.Generator().manual_seed(3)) > 0.5
    mean = torch.stack([picture[:, place[0]].mean(1) for picture, place in zip(x, keep)])
    multiple = pool(torch.ones(1, 1, 4, 4, dtype=torch.float64)).item()
    assert torch.allclose(am.layer_masking(pool)(x, keep).flatten(1), mean * multiple, rtol=1e-12, atol=0)
    assert not am.layer_masking(pool)(x, keep & False).any()


@pytest.mark.parametrize(("side", "options"), [
    (2, dict(kernel_size=3, padding=1)), (9, dict(kernel_size=9, divisor_override=1)),
    *((side, dict(kernel_size=10, ceil_mode=True, padding=1)) for side in (2, 5, 9)), (5, dict(kernel_size=3, stride=7)),
    (5, dict(kernel_size=2)), (9, dict(kernel_size=5, padding=2, stride=9, count_include_pad=False))])
def test_average_pools_are_the_plain_ones_of_a_mask_of_ones(side, options):
    pool, x = nn.AvgPool2d(**options), waves(2, 3, side)
    assert torch.equal(am.layer_masking(pool)(x, torch.ones(2, 1, side, side)), pool(x))


class Mean(nn.Module):
    def forward(self, x):
        return x.mean((-1, -2))


def test_a_residual_sum_is_kept_where_both_branches_are():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = around([1] * 9)

        def forward(self, x):
            return x + self.conv(x)

    mask = holes()[:1, :, :, :]
    x = torch.ones(1, 1, 12, 12)
    out = am.layer_masking(Block())(x, mask)
    assert torch.equal(out != 0, mask != 0)


def test_channels_side_by_side_are_kept_where_most_are():
    class Dense(nn.Module):
        def __init__(self, branches):
            super().__init__()
            self.branches = branches
            self.one, self.two = around([1] * 9), nn.Conv2d(1, 1, 5, padding=2)

        def forward(self, x):
            x = x + 1  # which leaves something at masked places
            return torch.cat([x, self.one(x), self.two(x)][:self.branches], 1)

    mask = torch.zeros(1, 1, 9, 9)
    mask[0, 0, 4, 4] = 1
    out = am.layer_masking(Dense(3))(torch.ones(1, 1, 9, 9), mask)
    kept = (out != 0).any(1)[0]
    expected = torch.zeros(9, 9, dtype=torch.bool)
    expected[3:6, 3:6] = True  # of 1, 9 and 25 places two have 9
    assert torch.equal(kept, expected)
    assert out[0, 0].count_nonzero() == 1
    pair = am.layer_masking(Dense(2))(torch.ones(1, 1, 9, 9), mask)
    assert pair[0].count_nonzero() == 2 and pair[0, :, 4, 4].all()  # half is not most


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("options", [dict(padding=2, dilation=2), dict(padding="same"), dict(padding="valid", stride=2),
                                     dict(padding=(2, 0), stride=(1, 3)), dict(padding=3)])
def test_a_place_is_kept_where_the_kernel_sees_a_kept_one(options):
    conv = nn.Conv2d(1, 1, (3, 4), bias=False, **options)
    nn.init.constant_(conv.weight, 1.0)
    mask = (torch.rand(2, 1, 11, 13, generator=torch.Generator().manual_seed(2)) > 0.9).float()
    with torch.no_grad():
        seen = conv(mask)
    for fill in FILLS:
        out = am.layer_masking(conv, fill)(torch.ones_like(mask), mask)
        assert torch.equal(out > 0, seen > 0), fill
        x = torch.randn_like(mask)
        assert torch.allclose(am.layer_masking(conv, fill)(x, torch.ones_like(mask)), conv(x), atol=1e-5)
    assert torch.equal(am.layer_masking(conv, "none")(torch.ones_like(mask), mask), seen)


def test_a_dilated_kernel_finds_every_place_filled():
    conv = nn.Conv2d(1, 1, 3, dilation=3, bias=False)
    nn.init.constant_(conv.weight, 1 / 9)
    mask = torch.zeros(1, 1, 13, 13)
    mask[0, 0, 6, 6] = 1
    out = am.layer_masking(conv)(torch.full((1, 1, 13, 13), 4.0), mask)
    assert torch.allclose(out[out != 0], torch.tensor(4.0)) and out.count_nonzero() == 9


def test_partial_convolution_divides_by_what_is_kept():
    conv = settle(nn.Conv2d(2, 3, 3, padding=1, stride=2))
    x, mask = waves(), holes()
    out = am.layer_masking(conv, "partial")(x, mask)
    for n, y, z in ((0, 1, 1), (0, 0, 5), (0, 5, 0), (1, 3, 4), (1, 0, 5)):
        rows, columns = slice(max(2 * y - 1, 0), 2 * y + 2), slice(max(2 * z - 1, 0), 2 * z + 2)
        inside = conv.weight[:, :, rows.start - 2 * y + 1:, columns.start - 2 * z + 1:]
        m, seen = mask[n, :, rows, columns], x[n, :, rows, columns]
        assert m.sum() > 0
        expected = (inside * seen * m).sum((1, 2, 3)) * m.numel() / m.sum() + conv.bias
        assert torch.allclose(out[n, :, y, z], expected, atol=1e-6)


@pytest.mark.parametrize("pad", [dict(padding_mode="reflect"), dict(padding_mode="circular"), dict(padding_mode="replicate")])
def test_padding_of_the_picture_takes_the_mask_along(pad):
    conv = settle(nn.Conv2d(1, 1, 3, padding=2, **pad))
    x, mask = waves(2, 1), holes()
    assert torch.allclose(am.layer_masking(conv)(x, torch.ones_like(mask)), conv(x), atol=1e-6)
    mode = pad["padding_mode"]
    inner = nn.Conv2d(1, 1, 3)
    inner.load_state_dict(conv.state_dict())
    padded = am.layer_masking(inner)(F.pad(x, (2,) * 4, mode), F.pad(mask, (2,) * 4, mode))
    assert torch.equal(am.layer_masking(conv)(x, mask), padded)


def test_padding_by_a_constant_is_kept():
    model = settle(nn.Sequential(nn.ZeroPad2d((0, 1, 2, 1)), nn.Conv2d(1, 1, 3), nn.AdaptiveAvgPool2d(1)))
    x = waves(2, 1)
    assert torch.allclose(am.layer_masking(model)(x, torch.ones(2, 1, 12, 12)), model(x), atol=1e-6)


@pytest.mark.parametrize("norm", [nn.BatchNorm2d(4), nn.BatchNorm2d(4, momentum=None), nn.BatchNorm2d(4, affine=False),
                                  nn.GroupNorm(2, 4), nn.InstanceNorm2d(4), nn.InstanceNorm2d(4, affine=True)],
                         ids=["batch", "cumulative", "plain batch", "group", "instance", "affine instance"])
def test_statistics_are_those_of_what_is_kept(norm):
    """Of one rectangle: those of the picture that it cuts out."""
    torch.manual_seed(0)
    norm = norm.double().train()
    for p in norm.parameters():
        nn.init.normal_(p)
    x = torch.randn(3, 4, 8, 9, dtype=torch.float64) * 3 + 1
    mask = torch.zeros(3, 1, 8, 9)
    mask[:, :, 2:6, 1:8] = 1
    other = copy.deepcopy(norm)
    out, expected = am.layer_masking(norm)(x, mask), other(x[:, :, 2:6, 1:8])
    assert torch.allclose(out[:, :, 2:6, 1:8], expected) and not out[:, :, :2].any()
    for name, buffer in norm.named_buffers():
        assert torch.allclose(buffer.double(), dict(other.named_buffers())[name].double()), name


def test_nothing_kept_leaves_running_statistics_alone():
    norm = nn.BatchNorm2d(3)
    for count in (0, 1):
        mask = torch.zeros(1, 1, 4, 4)
        mask[0, 0, 0, :count] = 1
        am.layer_masking(norm)(torch.randn(1, 3, 4, 4), mask)
    assert not norm.running_mean.any() and bool((norm.running_var == 1).all())


def test_channels_can_be_parted():
    class Parts(nn.Module):
        def forward(self, x):
            a, b = x.chunk(2, dim=1)
            c, d = torch.split(b, [1, 1], 1)
            return torch.cat([d, c, a], dim=1)

    x = waves(2, 4)
    assert torch.equal(am.layer_masking(Parts())(x, holes()), x[:, [3, 2, 0, 1]] * holes())


def test_activations_in_place_mean_what_they_mean_in_the_model():
    """The shortcut of a block that activates first sees what has been activated in place."""
    class Block(nn.Module):
        def __init__(self, inplace):
            super().__init__()
            self.first, self.relu, self.conv = nn.Conv2d(2, 2, 1), nn.SiLU(inplace), nn.Conv2d(2, 2, 3, padding=1)

        def forward(self, x):
            x = self.first(x)
            shortcut = x
            x = self.conv(self.relu(x))
            x += shortcut
            return x.mean((2, 3))

    for inplace in (True, False):
        one = settle(Block(inplace)).double()
        two = copy.deepcopy(one)
        a, b = one(waves().double()), am.layer_masking(two)(waves().double(), torch.ones(2, 1, 12, 12))
        a.square().sum().backward()
        b.square().sum().backward()
        assert torch.allclose(a, b)
        for p, q in zip(one.parameters(), two.parameters()):
            assert torch.allclose(p.grad, q.grad)


def test_a_function_of_the_models_own_keeps_the_mask_and_the_gradient():
    class Swish(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * torch.sigmoid(x)

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            s = torch.sigmoid(x)
            return g * s * (1 + x * (1 - s))

    class Net(nn.Module):
        def __init__(self, act):
            super().__init__()
            self.a, self.b, self.act = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 2, 3), act

        def forward(self, x):
            return self.b(self.act(self.a(x))).mean((2, 3))

    one, two = settle(Net(Swish.apply)), settle(Net(F.silu))
    a, b = (am.layer_masking(model)(waves(), holes()) for model in (one, two))
    a.sum().backward()
    b.sum().backward()
    assert torch.allclose(a, b) and torch.allclose(one.a.weight.grad, two.a.weight.grad)


# A module like others.

@pytest.mark.parametrize("name", ["resnet18", "resnet50", "densenet121"])
def test_training_with_a_mask_of_ones_is_training(name):
    one = net(name).double().train()
    two = copy.deepcopy(one)
    x, mask = pictures()
    a, b = one(x.double()), am.layer_masking(two)(x.double(), torch.ones_like(mask))
    a.square().sum().backward()
    b.square().sum().backward()
    assert torch.allclose(a, b)
    for (key, p), q in zip(one.named_parameters(), two.parameters()):
        assert (p.grad - q.grad).norm() <= 1e-6 * p.grad.norm(), key
    for p, q in zip(one.buffers(), two.buffers()):
        assert torch.allclose(p, q)


def test_parameters_are_shared():
    model = net("resnet18")
    wrapped, (x, mask) = am.layer_masking(model), pictures()
    assert wrapped.model is model and [*wrapped.parameters()] == [*model.parameters()]
    assert [*wrapped.state_dict()] == [f"model.{key}" for key in model.state_dict()]
    before, plain = wrapped(x, mask), model(x)
    optimizer = torch.optim.SGD(wrapped.parameters(), 0.01)
    wrapped.train()
    assert model.training and model.bn1.training
    F.cross_entropy(wrapped(x, mask), torch.tensor([1, 2])).backward()
    optimizer.step()
    wrapped.eval()
    assert not torch.equal(wrapped(x, mask), before) and not torch.equal(model(x), plain)
    other = am.layer_masking(net("resnet18", seed=5))
    other.load_state_dict(wrapped.state_dict())
    assert torch.equal(other(x, mask), wrapped(x, mask))


def test_a_copy_stands_alone():
    wrapped, (x, mask) = am.layer_masking(net("resnet18"), "partial"), pictures()
    twin = copy.deepcopy(wrapped)
    assert torch.equal(twin(x, mask), wrapped(x, mask)) and twin.fill == "partial" and "partial" in repr(twin)
    nn.init.zeros_(twin.model.fc.weight)
    assert wrapped.model.fc.weight.any() and not torch.equal(twin(x, mask), wrapped(x, mask))


@pytest.mark.parametrize("device", DEVICES)
def test_it_runs_where_its_tensors_are(device):
    x, mask = pictures()
    for fill in FILLS:
        wrapped = am.layer_masking(net("resnet18"), fill)
        expected = wrapped(x, mask)
        out = wrapped.to(device)(x.to(device), mask.to(device))
        assert out.device.type == torch.device(device).type
        assert torch.allclose(out.cpu(), expected, rtol=1e-3, atol=1e-3 * expected.abs().max().item())


@pytest.mark.parametrize("fill", FILLS)
def test_autocast_and_halves(fill):
    model, (x, mask) = net("resnet18"), pictures()
    exact = am.layer_masking(model, fill)(x, mask)
    with torch.autocast("cpu", torch.bfloat16):
        out = am.layer_masking(model, fill)(x, mask)
        assert out.dtype == model(x).dtype == torch.bfloat16
    assert (out - exact).abs().max() < 0.05 * exact.abs().max()
    halves = am.layer_masking(copy.deepcopy(model).bfloat16(), fill)(x.bfloat16(), mask)
    assert halves.dtype == torch.bfloat16 and (halves - exact).abs().max() < 0.05 * exact.abs().max()
    double = am.layer_masking(copy.deepcopy(model).double(), fill)(x.double(), mask)
    assert double.dtype == torch.float64 and (double - exact).abs().max() < 1e-4 * exact.abs().max()


def test_channels_last():
    wrapped, (x, mask) = am.layer_masking(net("resnet50")), pictures()
    expected = wrapped(x, mask)
    wrapped.to(memory_format=torch.channels_last)
    assert torch.allclose(wrapped(x.to(memory_format=torch.channels_last), mask), expected, rtol=1e-3, atol=1e-4)


def test_inference_hooks_and_functional_calls():
    wrapped, seen = am.layer_masking(small()), []
    expected = wrapped(waves(), holes())
    with torch.inference_mode():
        assert torch.equal(wrapped(waves(), holes()), expected)
    handle = wrapped.model[1].register_forward_hook(lambda module, args, out: seen.append(out.shape))
    assert torch.equal(wrapped(waves(), holes()), expected) and seen == [(2, 3, 12, 12)]
    handle.remove()
    state = {key: value.clone() for key, value in wrapped.state_dict().items()}
    assert torch.equal(torch.func.functional_call(wrapped, state, (waves(), holes())), expected)


def test_outputs_of_any_structure():
    class Maps(nn.Module):
        def forward(self, x):
            return {"out": x * 2, "both": (x.mean((2, 3)), [x + 1]), "name": "maps"}

    x, mask = waves(), holes()
    out = am.layer_masking(Maps())(x, mask)
    assert torch.equal(out["out"], x * 2 * mask) and torch.equal(out["both"][1][0], (x + 1) * mask)
    assert type(out["out"]) is type(out["both"][0]) is torch.Tensor and out["name"] == "maps"


@pytest.mark.slow
def test_compiled_it_runs_as_it_is():
    wrapped, (x, mask) = am.layer_masking(net("resnet18")), pictures()
    assert torch.equal(torch.compile(wrapped, backend="eager")(x, mask), wrapped(x, mask))


# Mistakes.

class Asks(nn.Module):
    """A module that does one thing."""

    def __init__(self, what):
        super().__init__()
        self.what = what

    def forward(self, x):
        return self.what(x)


X, MASK = torch.zeros(2, 3, 8, 8), torch.ones(2, 1, 8, 8)
PLAIN = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
MISTAKES = {
    "no module": (lambda: am.layer_masking(print), am.ArgumentError, "a torch.nn.Module, given <built-in"),
    "a class": (lambda: am.layer_masking(nn.ReLU), am.ArgumentError, r"call it: ReLU\(...\)"),
    "fill": (lambda: am.layer_masking(PLAIN, "mean"), am.ArgumentError, "one of 'neighbour', 'none', 'partial', given 'mean'"),
    "twice": (lambda: am.layer_masking(nn.Sequential(am.layer_masking(PLAIN))), am.ArgumentError, "not wrapped yet, given 0"),
    "scripted": (lambda: am.layer_masking(nn.Sequential(torch.jit.trace(PLAIN, X))), am.ArgumentError, "0 that is scripted"),
    "compiled": (lambda: am.layer_masking(torch.compile(PLAIN, backend="eager")), am.ArgumentError, "that torch.compile has"),
    "x": (lambda: wrap()(None, MASK), am.ArgumentError, "x: expected a tensor"),
    "bytes": (lambda: wrap()(X.byte(), MASK), am.DtypeError, "x: expected floats, given torch.uint8"),
    "one picture": (lambda: wrap()(X[0], MASK), am.ShapeError, r"x: expected images \[N, C, H, W\], given shape \[3, 8, 8\]"),
    "no pictures": (lambda: wrap()(X[:0], MASK[:0]), am.ShapeError, r"given shape \[0, 3, 8, 8\]"),
    "no channel": (lambda: wrap()(X, MASK[:, 0]), am.ShapeError, r"mask: expected \[2, 1, 8, 8\].* given shape \[2, 8, 8\]"),
    "three channels": (lambda: wrap()(X, X), am.ShapeError, r"mask: expected \[2, 1, 8, 8\]"),
    "another size": (lambda: wrap()(X, MASK[..., 1:]), am.ShapeError, r"given shape \[2, 1, 8, 7\]"),
    "fewer": (lambda: wrap()(X, MASK[:1]), am.ShapeError, r"given shape \[1, 1, 8, 8\]"),
    "half kept": (lambda: wrap()(X, MASK * 0.5), am.ArgumentError, "1 where a pixel is kept and 0 where it is not, given 0.5"),
    "255": (lambda: wrap()(X, MASK.byte() * 255), am.ArgumentError, "given 255 among them"),
    "nan": (lambda: wrap()(X, MASK * float("nan")), am.ArgumentError, "given nan among them"),
    "complex": (lambda: wrap()(X, MASK.cfloat()), am.DtypeError, "given torch.complex64"),
    "sparse": (lambda: wrap()(X, MASK.to_sparse()), am.ArgumentError, "mask: expected a plain strided tensor"),
    "another device": (lambda: am.layer_masking(nn.Conv2d(3, 4, 3, device="meta"))(X, MASK), am.DeviceError, "cpu and meta"),
    "layer norm": (lambda: am.layer_masking(nn.Sequential(nn.ReLU(), nn.LayerNorm(8)))(X, MASK), am.ArgumentError,
                   r"1 \(LayerNorm\): no rule for layer_norm of masked activations; there are some for convolutions"),
    "transposed": (lambda: am.layer_masking(nn.ConvTranspose2d(3, 4, 2))(X, MASK), am.ArgumentError,
                   r"the model \(ConvTranspose2d\): no rule for conv_transpose2d"),
    "linear": (lambda: am.layer_masking(nn.Linear(8, 2))(X, MASK), am.ArgumentError, "no rule for linear"),
    "softmax": (lambda: asked(lambda x: x.softmax(1)), am.ArgumentError, r"the model \(Asks\): no rule for softmax"),
    "cat of rows": (lambda: asked(lambda x: torch.cat([x, x], 2)), am.ArgumentError, "cat but of masked ones along channels"),
    "cat with another": (lambda: asked(lambda x: torch.cat([x, X], 1)), am.ArgumentError, "cat but of masked ones"),
    "five dimensions": (lambda: asked(lambda x: x.view(2, 3, 2, 4, 8)), am.ArgumentError, r"view to \[2, 3, 2, 4, 8\]"),
    "all in one row": (lambda: asked(torch.flatten), am.ArgumentError, "flatten to"),
    "mean of channels": (lambda: asked(lambda x: x.mean(1)), am.ArgumentError, "mean but over both sides"),
    "cat by axis": (lambda: asked(lambda x: torch.cat([x, x], axis=1)), am.ArgumentError, "cat with these arguments"),
    "indices": (lambda: am.layer_masking(nn.MaxPool2d(2, return_indices=True))(X, MASK), am.ArgumentError, "rule for max_pool2d"),
    "rows parted": (lambda: asked(lambda x: x.chunk(2, 2)), am.ArgumentError, "chunk but along channels"),
    "divided by": (lambda: asked(lambda x: x / x), am.ArgumentError, "by masked activations"),
    "a part of a picture": (lambda: asked(lambda x: x[:, :, 1:]), am.ArgumentError, "no rule for __getitem__"),
    "a value": (lambda: asked(lambda x: float(x.max())), am.ArgumentError, "no rule for max of"),
    "spread": (lambda: asked(lambda x: x + torch.zeros(5, 2, 3, 8, 8)), am.ArgumentError, r"add to \[5, 2, 3, 8, 8\]"),
    "a kernel": (lambda: asked(lambda x: F.conv2d(X, x)), am.ArgumentError, "conv2d with a kernel or a statistic"),
    "a transposed matrix": (lambda: asked(lambda x: x.mT), am.ArgumentError, "no rule for mT"),
    "data": (lambda: asked(lambda x: x.data * 2), am.ArgumentError, "no rule for data"),
    "out": (lambda: asked(lambda x: torch.add(x, 1, out=torch.empty(0))), am.ArgumentError, "add with these arguments"),
    "convnext": (lambda: am.layer_masking(models.convnext_tiny(weights=None))(X, MASK), am.ArgumentError,
                 r"features.0.1 \(LayerNorm2d\): no rule for permute"),
}


def wrap():
    return am.layer_masking(PLAIN)


def asked(what):
    return am.layer_masking(Asks(what))(X, MASK)


@pytest.mark.filterwarnings("ignore:`torch.jit.trace:DeprecationWarning")
@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_has_a_name(case):
    call, error, text = MISTAKES[case]
    with pytest.raises(error, match=text):
        call()


def test_a_model_may_ask_what_it_gets():
    seen = []

    def ask(x):
        seen.extend([x.shape, x.size(1), x.dim(), x.dtype, x.device, len(x), x.is_floating_point(), isinstance(x, torch.Tensor)])
        seen.append(repr(x))
        return x

    asked(ask)
    assert seen == [X.shape, 3, 4, torch.float32, X.device, 2, True, True, "Masked([2, 3, 8, 8], torch.float32, cpu)"]


def test_a_model_may_ask_what_is_no_tensor():
    questions = [
        lambda x: x.type(), lambda x: torch.Tensor.type(x), lambda x: x.is_same_size(X), lambda x: torch.is_same_size(x, X),
        lambda x: x.is_conj(), lambda x: x.is_neg(), lambda x: x.is_pinned(), lambda x: x.is_shared(), lambda x: x.dim_order(),
        lambda x: x.is_distributed(), lambda x: x.dense_dim(), lambda x: x.sparse_dim(), lambda x: x.name,
        lambda x: x.output_nr, lambda x: x.retains_grad, lambda x: x.is_sparse_csr, lambda x: x.is_xla, lambda x: x.is_vulkan,
        lambda x: x.is_ipu, lambda x: x.is_mtia, lambda x: x.is_maia, lambda x: x._version, lambda x: torch.result_type(x, 1.0)]
    seen = []

    def ask(x):
        seen.extend(question(x) for question in questions)
        return x.type(torch.float64).type("torch.FloatTensor").type(x.type())

    out = asked(ask)
    assert out.dtype == torch.float32 and out.shape == X.shape
    assert seen == [question(X) for question in questions] and seen[0] == "torch.FloatTensor"


def test_a_model_may_look_at_its_gradients():
    seen = []

    def look(x):
        y = x * 2
        y.retain_grad()
        y.register_hook(seen.append)
        return y

    x = X.clone().requires_grad_()
    am.layer_masking(Asks(look))(x, MASK).sum().backward()
    assert torch.equal(x.grad, torch.full_like(X, 2.0)) and torch.equal(torch.as_tensor(seen[0]), torch.ones_like(X))
