"""``recipe(image)``: one picture, as a torchvision transform takes it."""

import math

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

import anamorph as am
from anamorph.bench._torchvision import v2
from pictures import word

PICTURE = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 20, 31), dtype=np.uint8))
ARRAY = PICTURE.permute(1, 2, 0).numpy()
RANDOM = am.Recipe([am.RandomResizedCrop(8), am.ColorJitter(0.4, 0.4), am.RandomErasing(0.5)])


@pytest.mark.parametrize("image", [PICTURE, ARRAY, Image.fromarray(ARRAY), PICTURE / 255, np.asfortranarray(ARRAY),
                                   PICTURE.flip(0).contiguous().flip(0)], ids=lambda i: type(i).__name__)
def test_what_torchvision_makes_of_it(image):
    t = v2()
    theirs = t.Compose([t.CenterCrop(16), t.RandomHorizontalFlip(1.0), t.RandomInvert(1.0), t.ToDtype(torch.float32, scale=True),
                        t.Normalize([0.5] * 3, [0.25] * 3)])(PICTURE)
    ours = am.Recipe([am.CenterCrop(16), am.RandomHorizontalFlip(1.0), am.RandomInvert(1.0), am.Normalize(0.5, 0.25)])(image)
    torch.testing.assert_close(ours, theirs, atol=2e-6, rtol=0)


@pytest.mark.parametrize(("image", "channels"), [
    (PICTURE[:1], 1), (ARRAY[..., 0], 1), (Image.fromarray(ARRAY[..., 0]), 1), (Image.fromarray(ARRAY).convert("RGBA"), 4),
    (Image.fromarray(ARRAY).convert("LA"), 2)])
def test_channels(image, channels):
    view = am.Recipe([am.CenterCrop(8)], dtype=torch.uint8)(image)
    assert view.shape == (channels, 8, 8)
    theirs = v2().functional.center_crop(image if isinstance(image, torch.Tensor) else v2().functional.to_image(image), [8, 8])
    assert torch.equal(view, theirs)


def test_a_tensor_of_torchvisions():
    from torchvision import tv_tensors

    assert torch.equal(RANDOM(tv_tensors.Image(PICTURE), seed=3), RANDOM(PICTURE, seed=3))


def test_its_seed_is_torchs_or_given():
    torch.manual_seed(5)
    first, second = RANDOM(PICTURE), RANDOM(PICTURE)
    assert not torch.equal(first, second)
    torch.manual_seed(5)
    assert torch.equal(RANDOM(PICTURE), first)
    state = torch.get_rng_state()
    given = RANDOM(PICTURE, seed=7)
    assert torch.equal(given, RANDOM(PICTURE, seed=7)) and torch.equal(torch.get_rng_state(), state)
    plan = RANDOM.plan([0], size=(20, 31), seed=7)
    assert torch.equal(given, am.render(PICTURE[None], plan)[0])


class Same(Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, i):
        return RANDOM(PICTURE)


def test_workers_of_a_dataloader_differ():
    def views(seed):
        torch.manual_seed(seed)
        return torch.cat(list(DataLoader(Same(), batch_size=1, num_workers=2)))

    first = views(0)
    assert len({view.numpy().tobytes() for view in first}) == 4
    assert torch.equal(views(0), first) and not torch.equal(views(1), first)


@pytest.mark.parametrize(("image", "error", "text"), [
    (PICTURE[None], am.ShapeError, r"one picture \[C, H, W\], given \[1, 3, 20, 31\]"),
    (PICTURE[0], am.ShapeError, r"\[C, H, W\]"),
    (PICTURE.permute(1, 2, 0), am.ShapeError, r"expected \[C, H, W\] .*, given \[20, 31, 3\]; .*image.permute\(2, 0, 1\)$"),
    (ARRAY.transpose(2, 0, 1), am.ShapeError, r"expected \[H, W, C\] .*, given \[3, 20, 31\]; .*image.transpose\(1, 2, 0\)$"),
    (PICTURE.double(), am.DtypeError, r"image.float\(\)$"),
    (ARRAY > 9, am.DtypeError, r"255 \* image.astype\('uint8'\)$"),
    (ARRAY[None], am.ShapeError, r"\[H, W, C\]"),
    ([PICTURE], am.ArgumentError, "given a list"),
    ("a.jpg", am.ArgumentError, "given str"),
    (None, am.ArgumentError, "given NoneType"),
    (PICTURE.long(), am.DtypeError, "int64"),
    (PICTURE.expand(3, 20, 31)[:, :0], am.ShapeError, "1 to 32768"),
    (torch.zeros(17, 9, 9), am.ShapeError, "1 to 16 channels"),
    (torch.zeros(5, 9, 9), am.ShapeError, "1 or 3 channels"),
    (torch.zeros(4, 9, 9), am.ShapeError, "1 or 3 channels"),
    (torch.zeros(3, 9, 9, requires_grad=True), am.ArgumentError, "detach"),
    (Image.new("P", (9, 9)), am.ArgumentError, r"'P'; convert it"),
    (Image.new("I;16", (9, 9)), am.ArgumentError, "RGB"),
])
def test_what_is_none(image, error, text):
    with pytest.raises(error, match=text):
        RANDOM(image)


def test_mixing_needs_a_batch():
    with pytest.raises(am.ArgumentError, match="a recipe that mixes"):
        am.Recipe([am.RandomApply([am.MixUp()])])(PICTURE)
    with pytest.raises(am.ArgumentError, match="seed"):
        RANDOM(PICTURE, seed=-1)


@pytest.mark.parametrize("turn", [30, 90, (20, 200)])
def test_it_may_have_a_size_of_its_own(turn):
    """Where the draw decides the size, it is torchvision's for the same angle."""
    recipe = am.Recipe([am.RandomRotation(turn, expand=True), am.RandomErasing(1.0, value=1)], dtype=torch.uint8)
    unlike = set()
    for seed in range(20):
        view = recipe(PICTURE, seed=seed)
        still = am.Recipe([am.RandomRotation(turn)]).plan([0], size=(20, 31), seed=seed)  # draws the same angle
        cosine, sine = word(still, "MATRIX", 2, torch.float32)[0].tolist()
        assert view.shape == v2().functional.rotate(PICTURE, math.degrees(math.atan2(sine, cosine)), expand=True).shape
        unlike.add(view.shape)
        with pytest.raises(am.ArgumentError, match=r"differ between samples.*or give pictures one by one: recipe\(image\)"):
            recipe.plan([0], size=(20, 31), seed=seed)
    assert len(unlike) > 3


def test_a_size_of_its_own_is_whole():
    """Quarter turns: every pixel, and none beside."""
    recipe = am.Recipe([am.RandomRotate90(1.0)], dtype=torch.uint8)
    turns = {k: torch.rot90(PICTURE, k, (1, 2)) for k in range(4)}
    found = set()
    for seed in range(40):
        view = recipe(PICTURE, seed=seed)
        found |= {k for k, turned in turns.items() if torch.equal(view, turned)}
    assert found == set(turns)
    with pytest.raises(am.ShapeError, match="at most 32768"):
        am.Recipe([am.RandomRotation((30, 31), expand=True)])(torch.zeros(1, 1, 1).expand(1, 32768, 32768))


def test_pil_in_a_list():
    """As each by itself, in whatever layout the tensors beside it are."""
    pictures = [Image.fromarray(ARRAY), Image.fromarray(ARRAY[:9]), PICTURE]
    recipe = am.Recipe([am.CenterCrop((8, 12))], dtype=torch.uint8)
    plan = recipe.plan(range(3), size=[[20, 31], [9, 31], [20, 31]])
    for layout in (None, "NCHW"):
        theirs = [v2().functional.center_crop(PICTURE[:, :h], [8, 12]) for h in (20, 9, 20)]
        assert torch.equal(am.render(pictures, plan, layout=layout), torch.stack(theirs))
    grey = am.render([picture.convert("L") for picture in pictures[:2]], plan[:2])
    assert grey.shape == (2, 1, 8, 12)


def test_torchs_default_device_changes_nothing():
    image = torch.randint(0, 256, (3, 20, 24), dtype=torch.uint8)
    recipe = [am.RandomCrop(8), am.RandomErasing(1.0, value=0.5), am.Normalize(0.5, 0.2)]
    views = am.Recipe(recipe)(image, seed=3)
    with torch.device("meta"):
        assert torch.equal(am.Recipe(recipe)(image, seed=3), views)
