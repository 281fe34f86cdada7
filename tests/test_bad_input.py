"""Every mistake gets a named error that says what was given, before anything runs; the interpreter survives them all."""

import numpy as np
import pytest
import torch
from PIL import Image

import anamorph as am

pytestmark = pytest.mark.usefixtures("route")

IMAGES = torch.zeros(2, 8, 8, 3, dtype=torch.uint8)
WIDE = torch.zeros(2, 20, 30, 3, dtype=torch.uint8)
SPARSE = torch.ones(2, 2).to_sparse()
NAN, INF = float("nan"), float("inf")


def recipe(**options):
    return am.Recipe([am.RandomResizedCrop(8), am.Normalize((0.4, 0.5, 0.6), 0.2)], **options)


def plan(**options):
    return recipe(**options).plan([0, 1], size=(8, 8))


TRANSFORMS = {
    "field of correlation 0": (lambda: am.RandomField(0.1, correlation=0), am.ArgumentError, "0.01 to 100, or math.inf, given 0"),
    "field of correlation -inf": (lambda: am.RandomField(0.1, correlation=-INF), am.ArgumentError, "a share of the sides"),
    "field of correlation nan": (lambda: am.RandomField(0.1, correlation=NAN), am.ArgumentError, "a share of the sides"),
    "field, negative": (lambda: am.RandomField(translation=-0.1), am.ArgumentError, "from 0 to 1, given -0.1"),
    "field, too strong": (lambda: am.RandomField(rotation=200), am.ArgumentError, "from 0 to 180"),
    "field, hue": (lambda: am.RandomField(hue=0.6), am.ArgumentError, "from 0 to 0.5"),
    "field, probability": (lambda: am.RandomField(0.1, p=1.5), am.ArgumentError, "a probability"),
    "field, interpolation": (lambda: am.RandomField(0.1, interpolation="lanczos"), am.ArgumentError, "'bicubic'"),
    "two fields": (lambda: am.Recipe([am.RandomField(0.1), am.ElasticTransform()]), am.ArgumentError, "at most one random field"),
    "elastic, sigma 0": (lambda: am.ElasticTransform(sigma=0), am.ArgumentError, "from 0.5 to 1000"),
    "elastic, three sigmas": (lambda: am.ElasticTransform(sigma=(5, 5, 5)), am.ArgumentError, "two for x and y"),
    "elastic, negative": (lambda: am.ElasticTransform(alpha=(50, -1)), am.ArgumentError, "from 0 to 10000"),
    "even blur": (lambda: am.GaussianBlur(4), am.ArgumentError, "odd numbers"),
    "even blur down": (lambda: am.GaussianBlur((3, 8)), am.ArgumentError, "odd numbers"),
    "blur of 0 taps": (lambda: am.GaussianBlur(0), am.ArgumentError, "of taps"),
    "blur of 129 taps": (lambda: am.GaussianBlur(129), am.ArgumentError, "of taps"),
    "blur of three": (lambda: am.GaussianBlur((3, 5, 7)), am.ArgumentError, "an odd number, or two"),
    "blur sigma 0": (lambda: am.GaussianBlur(3, 0), am.ArgumentError, "GaussianBlur.sigma"),
    "blur sigma reversed": (lambda: am.GaussianBlur(3, (2.0, 0.1)), am.ArgumentError, "low <= high"),
    "blur sigma NaN": (lambda: am.GaussianBlur(3, NAN), am.ArgumentError, "GaussianBlur.sigma"),
    "blur sigma 21": (lambda: am.GaussianBlur(3, 21), am.ArgumentError, "GaussianBlur.sigma"),
    "blur kind": (lambda: am.GaussianBlur(3, kind="box"), am.ArgumentError, "'reflect', 'zero', 'pil'"),
    "negative sharpness": (lambda: am.RandomAdjustSharpness(-1), am.ArgumentError, "sharpness_factor"),
    "sharpness text": (lambda: am.RandomAdjustSharpness("much"), am.ArgumentError, "sharpness_factor"),
    "sharpness p": (lambda: am.RandomAdjustSharpness(2, 1.5), am.ArgumentError, "RandomAdjustSharpness.p"),
    "noise sigma NaN": (lambda: am.GaussianNoise(sigma=NAN), am.ArgumentError, "GaussianNoise.sigma"),
    "negative noise": (lambda: am.GaussianNoise(sigma=-0.1), am.ArgumentError, "GaussianNoise.sigma"),
    "noise mean": (lambda: am.GaussianNoise(INF), am.ArgumentError, "GaussianNoise.mean"),
    "noise clip": (lambda: am.GaussianNoise(clip=None), am.ArgumentError, "True or False"),
    "solarize add 300": (lambda: am.RandomSolarizeAdd(300), am.ArgumentError, "RandomSolarizeAdd"),
    "autocontrast p": (lambda: am.RandomAutocontrast(-0.1), am.ArgumentError, "RandomAutocontrast.p"),
    "equalize p": (lambda: am.RandomEqualize("often"), am.ArgumentError, "RandomEqualize.p"),
    "distort hue": (lambda: am.RandomPhotometricDistort(hue=(-0.6, 0.6)), am.ArgumentError, "hue"),
    "size 0": (lambda: am.RandomResizedCrop(0), am.ArgumentError, "whole number of pixels"),
    "size of a meta tensor": (lambda: am.CenterCrop(torch.tensor(3, device="meta")), am.ArgumentError, "whole number of pixels"),
    "size text": (lambda: am.Resize("big"), am.ArgumentError, "whole number of pixels"),
    "size of three": (lambda: am.CenterCrop((1, 2, 3)), am.ArgumentError, "a side or"),
    "size bool": (lambda: am.CenterCrop(True), am.ArgumentError, "given True"),
    "scale reversed": (lambda: am.RandomResizedCrop(8, (1.0, 0.1)), am.ArgumentError, "low <= high"),
    "scale above 1": (lambda: am.RandomResizedCrop(8, (0.1, 1.1)), am.ArgumentError, "scale"),
    "scale 0": (lambda: am.RandomResizedCrop(8, (0, 0)), am.ArgumentError, "above 0"),
    "ratio 0": (lambda: am.RandomResizedCrop(8, ratio=(0, 1)), am.ArgumentError, "ratio"),
    "interpolation": (lambda: am.Resize(8, "hamming"), am.ArgumentError, "'nearest', 'bilinear', 'bicubic'"),
    "antialias": (lambda: am.Resize(8, antialias=None), am.ArgumentError, "True or False"),
    "max_size": (lambda: am.Resize(8, max_size=8), am.ArgumentError, "more than the shorter side"),
    "padding of three": (lambda: am.RandomCrop(8, (1, 2, 3)), am.ArgumentError, "1, 2 or 4"),
    "negative padding": (lambda: am.RandomCrop(8, -1), am.ArgumentError, "of pixels from 0"),
    "padding_mode": (lambda: am.RandomCrop(8, 1, padding_mode="wrap"), am.ArgumentError, "'symmetric'"),
    "fill of five": (lambda: am.RandomCrop(8, fill=(1,) * 5), am.ArgumentError, "1 to 4 channels"),
    "fill nan": (lambda: am.RandomRotation(5, fill=NAN), am.ArgumentError, "nan"),
    "degrees negative": (lambda: am.RandomRotation(-5), am.ArgumentError, "degrees"),
    "degrees infinite": (lambda: am.RandomRotation((0, INF)), am.ArgumentError, "inf"),
    "center": (lambda: am.RandomRotation(5, center=3), am.ArgumentError, r"\(x, y\)"),
    "translate": (lambda: am.RandomAffine(5, (2, 0)), am.ArgumentError, "0 to 1"),
    "translate of one": (lambda: am.RandomAffine(5, 0.1), am.ArgumentError, "two fractions"),
    "affine scale 0": (lambda: am.RandomAffine(5, scale=(0, 1)), am.ArgumentError, "scale"),
    "shear of three": (lambda: am.RandomAffine(5, shear=(1, 2, 3)), am.ArgumentError, "two or four"),
    "shear 90": (lambda: am.RandomAffine(5, shear=90), am.ArgumentError, "-90 and 90"),
    "distortion": (lambda: am.RandomPerspective(1.5), am.ArgumentError, "0 to 1"),
    "probability": (lambda: am.RandomHorizontalFlip(1.2), am.ArgumentError, "probability"),
    "probability nan": (lambda: am.RandomErasing(NAN), am.ArgumentError, "probability"),
    "number too big": (lambda: am.RandomRotation(5, fill=10**400), am.ArgumentError, "finite"),
    "fill beyond float32": (lambda: am.RandomRotation(5, fill=1e300), am.ArgumentError, "finite"),
    "degrees beyond reason": (lambda: am.RandomRotation((1e22, 1e22)), am.ArgumentError, "degrees"),
    "weights overflow": (lambda: am.OneOf([am.MixUp(), am.CutMix()], weights=(1e308, 1e308)), am.ArgumentError, "OneOf.weights"),
    "brightness": (lambda: am.ColorJitter(-0.1), am.ArgumentError, "brightness"),
    "hue": (lambda: am.ColorJitter(hue=0.6), am.ArgumentError, "at most 0.5"),
    "contrast_mode": (lambda: am.ColorJitter(contrast_mode="mid"), am.ArgumentError, "'midgray'"),
    "bits": (lambda: am.RandomPosterize(9), am.ArgumentError, "1 to 8"),
    "threshold": (lambda: am.RandomSolarize("a"), am.ArgumentError, "finite number"),
    "erasing value": (lambda: am.RandomErasing(value="noise"), am.ArgumentError, "'random'"),
    "std 0": (lambda: am.Normalize(0.5, 0), am.ArgumentError, "above 0"),
    "mean and std": (lambda: am.Normalize((0.1, 0.2, 0.3), (1, 2)), am.ArgumentError, "as many"),
    "alpha": (lambda: am.MixUp(0), am.ArgumentError, "alpha"),
    "mode": (lambda: am.CutMix(mode="all"), am.ArgumentError, "'elem'"),
    "partner": (lambda: am.MixUp(mode="pair", partner="roll"), am.ArgumentError, "'flip'"),
    "mix scale": (lambda: am.ResizeMix((0.5, 1.5)), am.ArgumentError, "scale"),
    "weights": (lambda: am.OneOf([am.MixUp()], weights=[1, 2]), am.ArgumentError, "1 numbers"),
    "weights 0": (lambda: am.RandomChoice([am.MixUp()], [0]), am.ArgumentError, "above 0"),
    "empty list": (lambda: am.RandomOrder([]), am.ArgumentError, "at least one"),
    "class for object": (lambda: am.Recipe([am.MixUp]), am.ArgumentError, r"call it: MixUp"),
    "not a transform": (lambda: am.Recipe([print]), am.ArgumentError, "anamorph transform"),
    "not a list": (lambda: am.Recipe(am.MixUp()), am.ArgumentError, "a list of transforms"),
    "inner Normalize": (lambda: am.RandomApply([am.Normalize(0, 1)]), am.ArgumentError, "whole batch"),
    "two Normalize": (lambda: am.Recipe([am.Normalize(0, 1)] * 2), am.ArgumentError, "at most one Normalize"),
    "colour after": (lambda: am.Recipe([am.Normalize(0, 1), am.ColorJitter(0.1)]), am.ArgumentError, "before Normalize"),
    "normalised bytes": (lambda: recipe(dtype=torch.uint8), am.ArgumentError, "float dtype"),
    "dtype": (lambda: recipe(dtype=torch.int32), am.ArgumentError, "dtype"),
    "classes": (lambda: recipe(num_classes=0), am.ArgumentError, "num_classes"),
    "smoothing": (lambda: recipe(label_smoothing=1.5), am.ArgumentError, "label_smoothing"),
    "labels": (lambda: recipe(labels="hard"), am.ArgumentError, "'pairs'"),
    "memory_format": (lambda: recipe(memory_format="NHWC"), am.ArgumentError, "channels_last"),
    "two mixers": (lambda: am.Recipe([am.MixUp(), am.CutMix()]), am.ArgumentError, "at most one mixing"),
    "modes": (lambda: am.OneOf([am.MixUp(mode="batch"), am.CutMix()]), am.ArgumentError, "same mode"),
    "channels": (lambda: am.Recipe([am.Normalize((0, 0, 0), 1), am.RandomCrop(8, fill=(1, 2))]), am.ArgumentError, "one length"),
    "many choices": (lambda: am.Recipe([am.OneOf([am.RandomInvert()] * 65)]), am.ArgumentError, "64 alternatives"),
    "many slots": (lambda: am.Recipe([am.RandomHorizontalFlip()] * 200), am.ArgumentError, "at most 256 slots"),
    "many colours": (lambda: am.Recipe([am.RandomInvert()] * 65), am.ArgumentError, "at most 64 colour"),
    "deep": (lambda: am.Recipe([nested(8)]), am.ArgumentError, "inside each other"),
}


def nested(depth):
    return am.RandomInvert() if not depth else am.OneOf([nested(depth - 1), am.RandomGrayscale()])


PLANS = {
    "dtype": (lambda: recipe(dtype=[]), am.ArgumentError, "torch.float32"),
    "label smoothing 1": (lambda: recipe(label_smoothing=1.0), am.ArgumentError, "less than 1"),
    "label smoothing of pairs": (lambda: recipe(labels="pairs", label_smoothing=0.1), am.ArgumentError, "pairs"),
    "order of sizes": (lambda: am.Recipe([am.RandomOrder([am.CenterCrop(8), am.RandomRotation(45, expand=True)])]).plan(
        [0], size=(16, 16)), am.ArgumentError, "differ between samples"),
    "order of resizes": (lambda: am.Recipe([am.RandomOrder([am.Resize((8, 8)), am.Resize(4)])]).plan([0], size=(9, 16)),
                         am.ArgumentError, "differ between samples"),
    "output too big": (lambda: am.Recipe([am.Resize(2)]).plan([0], size=(1, 32768)), am.ShapeError, "2 x 65536"),
    "output_size of 0": (lambda: recipe().output_size((0, 5)), am.ShapeError, "1 to 32768"),
    "epoch tensor negative": (lambda: recipe().plan([0], size=(8, 8), epoch=torch.tensor(-1)), am.ArgumentError, "epoch"),
    "ids beyond int64": (lambda: recipe().plan(np.array([2**63], np.uint64), size=(8, 8)), am.ArgumentError, "2\\*\\*63"),
    "sparse index": (lambda: recipe().plan(torch.zeros(2).long().to_sparse(), size=(8, 8)), am.ArgumentError,
                     r"index: expected a plain strided tensor, given one of layout torch.sparse_coo; its .to_dense\(\) is one"),
    "sparse epoch": (lambda: recipe().plan([0], size=(8, 8), epoch=torch.tensor(1).to_sparse()), am.ArgumentError, "sparse_coo"),
    "sparse sizes": (lambda: recipe().plan([0], size=torch.ones(1, 2).long().to_sparse()), am.ArgumentError, "size.*sparse_coo"),
    "sparse picture": (lambda: recipe()(torch.zeros(3, 8, 8).to_sparse()), am.ArgumentError, "image: .*sparse_coo"),
    "sparse rows": (lambda: am.Plan(recipe(), torch.zeros(1, 9).to_sparse(), torch.zeros(1), 0, 0, 0, (8, 8), (8, 8)),
                    am.ArgumentError, "rows.*sparse_coo"),
    "sparse state": (lambda: am.Plan.from_state_dict(recipe(), dict.fromkeys(("rows", "index", "size", "key"), SPARSE)),
                     am.ArgumentError, "state.*sparse_coo"),
    "sparse matrix": (lambda: am.Warp(torch.eye(3).to_sparse()), am.ArgumentError, "Warp.matrix.*sparse_coo"),
    "size of bools": (lambda: recipe().plan([0], size=(True, True)), am.AnamorphError, "size"),
    "device number": (lambda: recipe().plan([0], size=(8, 8), device=10**30), am.DeviceError, "device"),
    "to junk": (lambda: am.Plan.to(recipe(), "junk"), am.DeviceError, "junk"),
    "state of an int": (lambda: am.Plan.from_state_dict(recipe(), 3), am.ArgumentError, "dict"),
    "empty batch": (lambda: recipe().plan([], size=(8, 8)), am.ShapeError, "B >= 1"),
    "index of two axes": (lambda: recipe().plan(torch.zeros(2, 2, dtype=torch.int64), size=(8, 8)), am.ShapeError, "sample ids"),
    "index of floats": (lambda: recipe().plan([0.5], size=(8, 8)), am.DtypeError, "integers"),
    "index of text": (lambda: recipe().plan("ab", size=(8, 8)), am.ArgumentError, "index"),
    "size of one": (lambda: recipe().plan([0], size=8), am.ArgumentError, "height, width"),
    "size 0 ": (lambda: recipe().plan([0], size=(0, 8)), am.ShapeError, "1 to 32768"),
    "size of three ": (lambda: recipe().plan([0], size=(8, 8, 3)), am.ShapeError, "height, width"),
    "size too big": (lambda: recipe().plan([0], size=(8, 40000)), am.ShapeError, "1 to 32768"),
    "sizes for another batch": (lambda: recipe().plan([0], size=[[8, 8], [8, 8], [8, 8]]), am.ShapeError, r"\[1, 2\]"),
    "sizes 0": (lambda: recipe().plan([0], size=torch.zeros(1, 2, dtype=torch.int64)), am.ShapeError, "0 to 0"),
    "seed": (lambda: recipe().plan([0], size=(8, 8), seed=-1), am.ArgumentError, "seed"),
    "seed of text": (lambda: recipe().plan([0], size=(8, 8), seed="a"), am.ArgumentError, "seed"),
    "epoch": (lambda: recipe().plan([0], size=(8, 8), epoch=2**32), am.ArgumentError, "epoch"),
    "epoch of float": (lambda: recipe().plan([0], size=(8, 8), epoch=0.5), am.ArgumentError, "epoch"),
    "epoch of float tensor": (lambda: recipe().plan([0], size=(8, 8), epoch=torch.zeros(1)), am.DtypeError, "int64"),
    "epochs": (lambda: recipe().plan([0], size=(8, 8), epoch=torch.zeros(2, dtype=torch.int64)),
               am.ShapeError, "int64 tensor of one"),
    "view": (lambda: recipe().plan([0], size=(8, 8), view=4096), am.ArgumentError, "view"),
    "device": (lambda: recipe().plan([0], size=(8, 8), device="tpu"), am.DeviceError, "cuda:N"),
    "unknown output": (lambda: am.Recipe([am.RandomRotation(5, expand=True)]).plan([0], size=(8, 8)), am.ArgumentError, "differ"),
    "ragged output": (lambda: am.Recipe([]).plan([0], size=[[8, 8]]), am.ArgumentError, "one for each"),
    "crop too big": (lambda: am.Recipe([am.RandomCrop(9)]).plan([0], size=(8, 8)), am.ShapeError, "pad_if_needed"),
}

RENDERS = {
    "no plan": (lambda: am.render(IMAGES, recipe()), am.ArgumentError, "anamorph.Plan"),
    "images of text": (lambda: am.render("a.jpg", plan()), am.ArgumentError, "speaks DLPack"),
    "three axes": (lambda: am.render(IMAGES[0], plan()), am.ShapeError, r"\[B, H, W, C\]"),
    "another batch": (lambda: am.render(IMAGES[:1], plan()), am.ShapeError, "2 pictures"),
    "another size": (lambda: am.render(torch.zeros(2, 9, 8, 3), plan()), am.ShapeError, "plan's size 8 x 8"),
    "offset past all": (lambda: am.Ragged(torch.zeros(99), [2**63 - 1], [[2, 2]], 3), am.ShapeError, "at least 92233"),
    "ragged gradient": (lambda: am.Ragged(torch.zeros(99, requires_grad=True), [0], [[2, 2]], 3), am.ArgumentError, "detach"),
    "list gradient": (lambda: am.render([torch.zeros(8, 8, 3, requires_grad=True)] * 2, plan()), am.ArgumentError, "detach"),
    "layout of a list": (lambda: am.render(list(IMAGES), plan(), layout="CHWN"), am.ArgumentError, "'NCHW'"),
    "layout unhashable": (lambda: am.render(IMAGES, plan(), layout=[]), am.ArgumentError, "'NCHW'"),
    "nested images": (lambda: am.render(torch.nested.nested_tensor([IMAGES[0]]), plan()), am.ArgumentError, "nested"),
    "rows cut": (lambda: am.render(IMAGES, other_rows(lambda r: r[:, :3].contiguous())), am.ShapeError, "words"),
    "rows strided": (lambda: am.render(IMAGES, other_rows(lambda r: r.repeat(2, 1)[::2])), am.ArgumentError, "contiguous"),
    "rows of int64": (lambda: am.render(IMAGES, other_rows(lambda r: r.long())), am.DtypeError, "int32"),
    "out of the list": (lambda: out_overlaps(list), am.ArgumentError, "other memory than images"),
    "out of the images": (lambda: out_overlaps(lambda x: x), am.ArgumentError, "other memory than images"),
    "out overlaps itself": (lambda: am.render(IMAGES, plan(), out=torch.zeros(400).as_strided((2, 3, 8, 8), (8, 64, 8, 1))),
                            am.ArgumentError, "overlaps itself"),
    "mask above 1": (lambda: am.render(IMAGES, masked(), mask=torch.full((2, 1, 8, 8), 5.0)), am.ArgumentError, "0 to 1"),
    "mask nan": (lambda: am.render(IMAGES, masked(), mask=torch.full((2, 1, 8, 8), NAN)), am.ArgumentError, "nan"),
    "five channels": (lambda: am.render(torch.zeros(2, 8, 8, 5), plan()), am.ShapeError, "expected 3 channels"),
    "seventeen channels": (lambda: am.render(torch.zeros(2, 8, 8, 17), plan()), am.ShapeError, "1 to 16 channels"),
    "nine of ten channels": (lambda: wide(9, am.Normalize((0.5,) * 10, 1)), am.ShapeError, "expected 10 channels"),
    "three of ten channels": (lambda: wide(3, am.Normalize(0.5, (1,) * 10)), am.ShapeError, "expected 10 channels"),
    "fill for five channels": (lambda: wide(5, am.RandomRotation(5, fill=(1, 2, 3, 4))), am.ShapeError, "expected 4 channels"),
    "colour of five channels": (lambda: wide(5, am.ColorJitter(0.5)), am.ShapeError, "1 or 3 channels"),
    "noise of five channels": (lambda: wide(5, am.RandomErasing(value="random")), am.ShapeError, "4 channels for an erasure's"),
    "permuted five channels": (lambda: wide(5, am.RandomChannelPermutation()), am.ShapeError, "4 channels for channel_perm"),
    "shifted grey": (lambda: wide(1, am.RGBShift()), am.ShapeError, "expected 3 channels for RGBShift"),
    "other channels": (lambda: am.render(torch.zeros(2, 8, 8, 1), plan()), am.ShapeError, "3 channels"),
    "int64 images": (lambda: am.render(IMAGES.long(), plan()), am.DtypeError, "int64"),
    "float64 images": (lambda: am.render(IMAGES.double(), plan()), am.DtypeError, "float64"),
    "complex images": (lambda: am.render(IMAGES.to(torch.complex64), plan()), am.DtypeError, "complex64"),
    "object array": (lambda: am.render(np.full((2, 8, 8, 3), None), plan()), am.ArgumentError, "object"),
    "sparse images": (lambda: am.render(torch.zeros(2, 8, 8, 3).to_sparse(), plan()), am.ArgumentError, "strided"),
    "sparse out": (lambda: am.render(IMAGES, plan(), out=torch.zeros(2, 3, 8, 8).to_sparse()), am.ArgumentError, "out.*sparse"),
    "sparse mask": (lambda: am.render(IMAGES, masked(), mask=torch.ones(2, 1, 8, 8).to_sparse()), am.ArgumentError, "mask.*spa"),
    "sparse labels": (lambda: am.render(IMAGES, plan(), targets=torch.ones(2).to_sparse()), am.ArgumentError, "sparse_coo"),
    "sparse soft labels": (lambda: am.render(IMAGES, plan(), targets=SPARSE.to_sparse_csr()), am.ArgumentError, "sparse_csr"),
    "sparse list": (lambda: am.render([IMAGES[0].to_sparse()] * 2, plan()), am.ArgumentError, r"images\[0\].*sparse_coo"),
    "sparse buffer": (lambda: am.Ragged(torch.zeros(99).to_sparse(), [0], [[2, 2]], 3), am.ArgumentError, "buffer.*sparse_coo"),
    "NHWC as NCHW": (lambda: am.render(WIDE, wide_plan((20, 30)), layout="NCHW"), am.ShapeError,
                     r'of NHWC: layout="NHWC", or images.permute\(0, 3, 1, 2\)$'),
    "NCHW as NHWC": (lambda: am.render(WIDE.permute(0, 3, 1, 2), wide_plan((20, 30)), layout="NHWC"), am.ShapeError,
                     r'of NCHW: layout="NCHW", or images.permute\(0, 2, 3, 1\)$'),
    "plan of NCHW's H and W": (lambda: am.render(WIDE, wide_plan((30, 3))), am.ShapeError,
                               r"NHWC batch: .*size=images.shape\[1:3\]"),
    "plan of NHWC's H and W": (lambda: am.render(WIDE.permute(0, 3, 1, 2), wide_plan((3, 20))), am.ShapeError,
                               r"NCHW batch: .*size=images.shape\[2:\]"),
    "list of HWC as CHW": (lambda: am.render(list(WIDE), wide_plan((20, 30)), layout="NCHW"), am.ShapeError,
                           r"expected \[C, H, W\] .* without layout="),
    "float64 array": (lambda: am.render(np.zeros((2, 8, 8, 3)), plan()), am.DtypeError, r"images.astype\('float32'\)$"),
    "float64 tensor": (lambda: am.render(IMAGES.double(), plan()), am.DtypeError, r"given float64; images.float\(\)$"),
    "float64 list": (lambda: am.render(list(IMAGES.double()), plan()), am.DtypeError, r"images\[0\].float\(\)$"),
    "int64 tensor": (lambda: am.render(IMAGES.long(), plan()), am.DtypeError, r"0 to 255: images.to\(torch.uint8\)$"),
    "int64 array": (lambda: am.render(IMAGES.long().numpy(), plan()), am.DtypeError, r"images.astype\('uint8'\)$"),
    "flags": (lambda: am.render(IMAGES.bool(), plan()), am.DtypeError, r"given bool; of flags: 255 \* images.to\(torch.uint8\)$"),
    "int64 buffer": (lambda: am.Ragged([0] * 99, [0], [[2, 2]], 3), am.DtypeError, r"buffer.to\(torch.uint8\)$"),
    "palette in a list": (lambda: am.render([Image.new("P", (8, 8))] * 2, plan()), am.ArgumentError,
                          r"images\[0\]: .* given 'P'; convert it: images\[0\].convert\('RGB'\)"),
    "one PIL image": (lambda: am.render(Image.new("RGB", (8, 8)), plan()), am.ArgumentError, r"numpy.asarray\(...\)"),
    "meta images": (lambda: am.render(torch.zeros(2, 8, 8, 3, device="meta"), plan()), am.AnamorphError, "images"),
    "gradient": (lambda: am.render(torch.zeros(2, 8, 8, 3, requires_grad=True), plan()), am.ArgumentError, "detach"),
    "layout": (lambda: am.render(IMAGES, plan(), layout="CHWN"), am.ArgumentError, "'NCHW'"),
    "ambiguous": (lambda: am.render(torch.zeros(1, 3, 3, 3), recipe().plan([0], size=(3, 3))), am.ArgumentError, "fits both"),
    "empty list ": (lambda: am.render([], plan()), am.ShapeError, "empty list"),
    "list of another size": (lambda: am.render([IMAGES[0], IMAGES[0, :4]], plan()), am.ShapeError, r"images\[1\]"),
    "list of mixed dtypes": (lambda: am.render([IMAGES[0], IMAGES[0].float()], plan()), am.DtypeError, r"images\[1\]"),
    "list of mixed channels": (lambda: am.render([IMAGES[0], IMAGES[0, ..., :1]], plan()), am.ShapeError, r"images\[1\]"),
    "list of flat": (lambda: am.render([IMAGES[0, 0]] * 2, plan()), am.ShapeError, r"\[H, W, C\]"),
    "short buffer": (lambda: am.Ragged(torch.zeros(10), [0], [[2, 2]], 3), am.ShapeError, "at least 12"),
    "negative offset": (lambda: am.Ragged(torch.zeros(99), [-1], [[2, 2]], 3), am.ShapeError, "offsets"),
    "ragged channels": (lambda: am.Ragged(torch.zeros(99), [0], [[2, 2]], 5), am.ArgumentError, "1 to 4"),
    "ragged dtype": (lambda: am.Ragged(torch.zeros(99).long(), [0], [[2, 2]], 3), am.DtypeError, "int64"),
    "no classes to smooth": (lambda: am.render(IMAGES, am.Recipe([am.Resize(4)], label_smoothing=.1).plan([0, 1], size=(8, 8)),
                                               targets=[0, 1]), am.ArgumentError, "num_classes"),
    "no classes to mix": (lambda: am.render(IMAGES, am.Recipe([am.CutMix()]).plan([0, 1], size=(8, 8)), targets=[0, 1]),
                          am.ArgumentError, "num_classes"),
    "kept labels short": (lambda: am.render(IMAGES, plan(), targets=[0]), am.ShapeError, "2 rows"),
    "kept labels deep": (lambda: am.render(IMAGES, plan(), targets=torch.zeros(2, 1, 1).long()), am.ShapeError, "1, 1"),
    "kept labels of ints": (lambda: am.render(IMAGES, plan(), targets=[[0, 1], [1, 0]]), am.DtypeError, "int64"),
    "label too big": (lambda: am.render(IMAGES, plan(num_classes=2), targets=[0, 2]), am.ArgumentError, "given 2 at 1"),
    "label negative": (lambda: am.render(IMAGES, plan(num_classes=2), targets=[-1, 0]), am.ArgumentError, "given -1"),
    "labels short": (lambda: am.render(IMAGES, plan(num_classes=2), targets=[0]), am.ShapeError, "2 rows"),
    "labels of floats": (lambda: am.render(IMAGES, plan(num_classes=2), targets=[0.5, 1]), am.DtypeError, "integers"),
    "hot integers": (lambda: am.render(IMAGES, plan(num_classes=2), targets=[[0, 1], [1, 0]]), am.DtypeError, "float"),
    "soft of three": (lambda: am.render(IMAGES, plan(num_classes=2), targets=torch.zeros(2, 3)), am.ShapeError, r"\[2, 2\]"),
    "soft pairs": (lambda: am.render(IMAGES, plan(labels="pairs"), targets=torch.zeros(2, 3)), am.ShapeError, "pairs"),
    "out dtype": (lambda: am.render(IMAGES, plan(), out=torch.zeros(2, 3, 8, 8).half()), am.DtypeError, "float16"),
    "out shape": (lambda: am.render(IMAGES, plan(), out=torch.zeros(2, 8, 8, 3)), am.ShapeError, "out"),
    "out expanded": (lambda: am.render(IMAGES, plan(), out=torch.zeros(1, 3, 8, 8).expand(2, 3, 8, 8)), am.ArgumentError, "out"),
    "out array": (lambda: am.render(IMAGES, plan(), out=np.zeros((2, 3, 8, 8))), am.ArgumentError, "torch tensor"),
    "mask for none": (lambda: am.render(IMAGES, plan(), mask=torch.zeros(2, 1, 8, 8)), am.ArgumentError, "without MaskMix"),
    "no mask": (lambda: am.render(IMAGES, masked()), am.ArgumentError, "float32"),
    "mask shape": (lambda: am.render(IMAGES, masked(), mask=torch.zeros(2, 1, 4, 4)), am.ShapeError, r"\[2, 1, 8, 8\]"),
    "mask dtype": (lambda: am.render(IMAGES, masked(), mask=torch.zeros(2, 1, 8, 8).long()), am.DtypeError, "float32"),
    "mask axes": (lambda: am.render(IMAGES, masked(), mask=torch.zeros(2, 8, 8)), am.ShapeError, "mask"),
}


def wide_plan(size):
    return recipe().plan([0, 1], size=size)


def wide(channels, transform):
    am.render(torch.zeros(2, 20, 20, channels), am.Recipe([transform]).plan([0, 1], size=(20, 20)))


def other_rows(change):
    changed = plan()
    changed.rows = change(changed.rows)
    return changed


def out_overlaps(given):
    images = torch.zeros(2, 8, 8, 3)
    am.render(given(images), plan(), out=images.permute(0, 3, 1, 2))


def masked():
    return am.Recipe([am.MaskMix()]).plan([0, 1], size=(8, 8))


@pytest.mark.parametrize("case", [*TRANSFORMS, *PLANS, *RENDERS])
def test_named_error(case, route):
    if route != "cpu" and case in ("label too big", "label negative"):
        pytest.skip("labels on a device are not looked at")
    call, error, text = {**TRANSFORMS, **PLANS, **RENDERS}[case]
    before = am.launch_count()
    try:
        call()
    except Exception as e:
        raised = e
    else:
        pytest.fail("no error")
    assert isinstance(raised, error), f"{type(raised).__name__}: {raised}"
    import re

    assert re.search(text, str(raised)), str(raised)
    started = am.launch_count() - before
    assert started <= (1 if case in RENDERS else 0)  # a render's own plan, at most


def test_each_error_is_the_builtin_that_fits():
    for error, builtin in ((am.ArgumentError, ValueError), (am.ShapeError, ValueError), (am.DtypeError, TypeError),
                           (am.DeviceError, RuntimeError), (am.DecodeError, RuntimeError)):
        assert issubclass(error, builtin) and issubclass(error, am.AnamorphError)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_no_gpu_here():
    with pytest.raises(am.DeviceError, match="0 CUDA devices"):
        recipe().plan([0], size=(8, 8), device="cuda")
