"""Test-time augmentation: what a net says of several views of a sample, put together."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from anamorph.core import checks
from anamorph.core.errors import ArgumentError, DtypeError, ShapeError
from anamorph.images.plan import Plan
from anamorph.images.recipe import Recipe
from anamorph.images.transforms.base import Transform
from anamorph.images.transforms.color import Normalize
from anamorph.images.transforms.geometry import Resize
from anamorph.training import given, philox
from anamorph.training.batches import Pictures, drawn

AGGREGATES = ("mean", "logit-mean", "entropy-weighted")
MAX_VIEWS = 4096


# ---- predictions ----


def aggregate_views(logits: Any, how: str = "mean") -> Tensor:
    """Several predictions of each sample as one.

    Args:
        logits: ``[B, V, K]``, V views of each sample.
        how: "mean": of the probabilities. "logit-mean": of the logits. "entropy-weighted": of the probabilities, each view's
            weighed by exp(-H), H its entropy in nats, so that what is sure counts more.

    Returns:
        float32 (of float64 that) ``[B, K]``: probabilities, with "logit-mean" logits.

    Raises:
        ArgumentError, ShapeError, DtypeError: what was given and what is expected.
    """
    how = checks.choice("how", how, AGGREGATES)
    t = given.floats("logits", logits, "[B, V, K]")
    if how == "logit-mean":
        return t.mean(1)
    _check_classes("logits", t, 2)
    weights, p = _weighed(t, how, 2)
    return (weights[..., None] * p).sum(1) / weights.sum(1)[:, None]


def prediction_entropy(logits: Any) -> Tensor:
    """How unsure predictions are, in nats: from logits ``[B, K]`` ``[B]``, 0 to log K.

    Raises:
        ShapeError, DtypeError: what is no prediction of at least two classes.
    """
    t = given.floats("logits", logits)
    _check_classes("logits", t, 1)
    return _entropy(torch.log_softmax(t, 1), 1)


def entropy_threshold(logits: Any, share: float) -> float:
    """The ``entropy_above`` by which a share of samples is augmented, from predictions of a validation set. (LLM-TTA's published
    code takes the threshold that is best on the set it is tested with.)

    Args:
        logits: of the validation set, ``[N, K]``, of the net without augmentation.
        share: of the samples that are to be augmented, 0 to 1, the least sure ones.

    Returns:
        Nats. For a share of 0 inf, of 1 0; else the entropy of the last sample that is augmented, rounded to the nearest whole
        number of samples (samples of the very same entropy come along). Reads one number from the device.
    """
    entropy = prediction_entropy(logits)
    share = checks.probability("share", share)
    if not bool(entropy.isfinite().all()):
        raise ArgumentError("logits: expected finite predictions, given some whose entropy is no number")
    count = round(share * len(entropy))
    if count in (0, len(entropy)):
        return 0.0 if count else math.inf
    return float(entropy.sort(descending=True).values[count - 1])


def _entropy(log_p: Tensor, axis: int) -> Tensor:
    return -(log_p.exp() * log_p.masked_fill(log_p == -torch.inf, 0)).sum(axis).clamp_max(0)


def _weighed(logits: Tensor, how: str, axis: int) -> tuple[Tensor, Tensor]:
    """Each prediction's weight, and what of it is averaged."""
    if how == "logit-mean":
        return torch.ones_like(logits.select(axis, 0)), logits
    log_p = torch.log_softmax(logits, axis)
    weights = (-_entropy(log_p, axis)).exp() if how == "entropy-weighted" else torch.ones_like(log_p.select(axis, 0))
    return weights, log_p.exp()


def _check_classes(name: str, t: Tensor, axis: int) -> None:
    if t.shape[axis] < 2:
        raise ShapeError(f"{name}: expected at least two classes for probabilities, given {list(t.shape)}; 'logit-mean' takes "
                         "numbers of any kind")


# ---- pictures ----


def tta(model: Callable[[Tensor], Any], images: Any, recipe: Recipe, views: int = 8, *, aggregate: str = "mean",
        entropy_above: float | None = None, plain: Recipe | bool = True, dense: bool = False, index: Any = None, seed: int = 0,
        epoch: int = 0, batch_size: int | None = None, layout: str | None = None, grad: bool = False) -> Any:
    """What a model says of pictures as they are and of ``views`` random views of each, put together.

    With ``entropy_above`` only the samples that the model is not sure of are augmented, as LLM-TTA does with texts (O'Brien et
    al., "Improving black-box robustness with in-context rewriting", 2024; github.com/Kyle1668/LLM-TTA).

    Args:
        model: takes views ``[N, C, h, w]`` of the recipe's dtype, gives logits ``[N, K]``; with ``dense`` predictions
            ``[N, K, h, w]``. Whether it trains or evaluates is the caller's: ``model.eval()``.
        images: ``[B, H, W, C]`` or ``[B, C, H, W]``, or a list of pictures, as :func:`anamorph.render` takes them.
        recipe: of the random views; one that does not mix. View v is ``recipe.plan(index, view=v, ...)``'s.
        views: how many random views, 1 to 4095; the picture itself comes before them and is not counted.
        aggregate: "mean", "logit-mean" or "entropy-weighted", as :func:`aggregate_views` has them; of ``dense`` ones for each
            pixel.
        entropy_above: t in nats: only samples whose own prediction has an entropy of at least t are augmented (of a dense one:
            in the mean over its pixels), the others keep their own. 0 augments all, inf none. **The host waits once**, to
            read which they are. :func:`entropy_threshold` finds t for a share. None: all, and nothing is read.
        plain: how the model sees the picture itself. True: resized to the views' size, where it has another, and normalised as
            the recipe does. A Recipe: by that one. False: not at all, the random views alone count.
        dense: predictions for each pixel, which are taken back to the picture by ``plan.undo``.
        index: the sample ids, integers ``[B]``; None: 0 to B - 1.
        seed, epoch: as a plan's. A recipe's schedules see step 0.
        batch_size: how many views are rendered and given to the model at once, at most; None: all views of all pictures, in one
            launch of the render, of pictures that are not copied (those chosen by ``entropy_above`` are).
        layout: "NHWC" or "NCHW", where the shape fits both; of a list, its pictures' without the N.
        grad: whether gradients are kept; else the model runs under ``torch.no_grad()``.

    Returns:
        ``[B, K]``, float32: probabilities, with "logit-mean" logits. Of ``dense`` predictions, of pictures of one size: ``[B, K,
        H, W]``, the mean of what the views say of each pixel of the picture, and how many views show it, float32 ``[B, H, W]``
        (with "entropy-weighted" the sum of their weights): sum w * undo(p) / sum w with w = undo(1), 0 where no view shows the
        pixel. A picture's own view, where it is resized, is taken back like the others.

    Raises:
        ArgumentError, ShapeError, DtypeError, DeviceError: what was given and what is expected.
    """
    aggregate = checks.choice("aggregate", aggregate, AGGREGATES)
    views = checks.whole("views", views, 1, MAX_VIEWS - 1)
    dense, grad = checks.flag("dense", dense), checks.flag("grad", grad)
    least = _threshold(entropy_above)
    _check_recipe("recipe", recipe)
    pictures = Pictures(images, layout)
    if dense and isinstance(pictures.size, Tensor):
        raise ArgumentError("images: expected pictures of one size for dense=True, given a list of several")
    if not isinstance(plain, bool):
        _check_recipe("plain", plain)
    elif plain:
        plain = _plain(recipe, pictures.size)
    elif least is not None:
        raise ArgumentError("plain: expected a picture's own view for entropy_above, which is about its prediction, given False")
    index = torch.arange(len(pictures), device=pictures.device) if index is None else index
    key = philox.key(index, seed, epoch, 0, pictures.device, len(pictures))
    ids = key.index
    limit = None if batch_size is None else checks.whole("batch_size", batch_size, 1)
    run = _Run(_checked_model(model), key.seed, key.epoch, limit, _Dense(aggregate) if dense else _Classes(aggregate))
    with nullcontext() if grad else torch.no_grad():
        own = run(plain, pictures, ids, 1) if isinstance(plain, Recipe) else None
        if least is None or own is None:
            return run.sink.result(run.sink.joined(own, run(recipe, pictures, ids, views)))
        if least == math.inf:
            return run.sink.result(own)
        unsure = (~(run.sink.entropy(own) < least)).nonzero().flatten()  # the one host read
        if len(unsure):
            some = [t.index_select(0, unsure) for t in own]
            more = run.sink.joined(some, run(recipe, pictures.part(unsure), ids[unsure], views))
            return run.sink.result(own, unsure, more)
        return run.sink.result(own)


class _Classes:
    """Predictions [B, K]: those of all views [B, V, K] are kept."""

    def __init__(self, how: str) -> None:
        self.how = how

    def take(self, prediction: Tensor, plan: Plan, count: int) -> list[Tensor]:
        if prediction.dim() != 2 or not prediction.shape[1]:
            raise ShapeError(f"model: expected logits [{len(prediction)}, K], given {list(prediction.shape)}; dense=True takes "
                             "predictions of pixels")
        if self.how != "logit-mean":
            _check_classes("model", prediction, 1)
        return [prediction.unflatten(0, (count, -1))]

    def joined(self, own: list[Tensor] | None, more: list[Tensor]) -> list[Tensor]:
        return more if own is None else [torch.cat([a, b], 1) for a, b in zip(own, more, strict=True)]

    def entropy(self, own: list[Tensor]) -> Tensor:
        _check_classes("model", own[0], 2)
        return _entropy(torch.log_softmax(own[0][:, 0], 1), 1)

    def result(self, own: list[Tensor], at: Tensor | None = None, more: list[Tensor] | None = None) -> Tensor:
        out = aggregate_views(own[0], self.how)
        return out if at is None or more is None else out.index_copy(0, at, aggregate_views(more[0], self.how))


class _Dense:
    """Predictions [B, K, H, W]: the sum of what the views say in the picture's frame and the sum of their weights, and of the
    own one, which is the first, its entropy."""

    def __init__(self, how: str) -> None:
        self.how = how

    def take(self, prediction: Tensor, plan: Plan, count: int) -> list[Tensor]:
        h, w = plan.output_size
        if prediction.dim() != 4 or not prediction.shape[1] or list(prediction.shape[2:]) != [h, w]:
            raise ShapeError(f"model: expected predictions [{len(prediction)}, K, {h}, {w}] of the views' pixels, given "
                             f"{list(prediction.shape)}")
        if self.how != "logit-mean":
            _check_classes("model", prediction, 1)
        weights, values = _weighed(prediction, self.how, 1)
        entropy = _entropy(torch.log_softmax(prediction, 1), 1).mean((1, 2))
        planes = torch.cat([weights[:, None] * values, weights[:, None]], 1).unflatten(0, (count, -1))
        back = plan.undo(planes)[0].sum(1)  # 0 where a view does not show the pixel
        return [back[:, :-1], back[:, -1], entropy.unflatten(0, (count, -1)).sum(1)]

    def joined(self, own: list[Tensor] | None, more: list[Tensor]) -> list[Tensor]:
        return more if own is None else [a + b for a, b in zip(own, more, strict=True)]

    def entropy(self, own: list[Tensor]) -> Tensor:
        return own[2]

    def result(self, own: list[Tensor], at: Tensor | None = None,
               more: list[Tensor] | None = None) -> tuple[Tensor, Tensor]:
        total, weight, _ = own if at is None or more is None else (a.index_copy(0, at, b) for a, b in zip(own, more, strict=True))
        seen = weight > 0
        return torch.where(seen[:, None], total / torch.where(seen, weight, 1)[:, None], 0), weight


class _Run:
    """The model on views of pictures, as many at once as there may be."""

    def __init__(self, model: Callable[[Tensor], Any], seed: int, epoch: int | Tensor, limit: int | None,
                 sink: _Classes | _Dense) -> None:
        self.model, self.seed, self.epoch, self.limit, self.sink = model, seed, epoch, limit, sink

    def __call__(self, recipe: Recipe, pictures: Pictures, ids: Tensor, views: int) -> list[Tensor]:
        parts = [self._part(recipe, pictures if at is None else pictures.part(at), ids if at is None else ids[at], views)
                 for at in _parts(len(ids), self.limit)]
        return [torch.cat(each) for each in zip(*parts, strict=True)] if len(parts) > 1 else parts[0]

    def _part(self, recipe: Recipe, pictures: Pictures, ids: Tensor, views: int) -> list[Tensor]:
        """All views of a few pictures."""
        found: list[Tensor] | None = None
        at_once = views if self.limit is None else max(1, self.limit // len(ids))
        for first in range(0, views, at_once):
            plan = drawn(recipe, ids, pictures.size, self.seed, self.epoch, first, min(at_once, views - first))
            inputs = pictures.views(plan).flatten(0, 1)
            found = self.sink.joined(found, self.sink.take(_predicted(self.model(inputs), len(inputs)), plan, len(ids)))
        assert found is not None
        return found


def _parts(count: int, limit: int | None) -> Iterator[slice | None]:
    if limit is None or count <= limit:
        yield None
    else:
        yield from (slice(at, min(at + limit, count)) for at in range(0, count, limit))


def _plain(recipe: Recipe, size: Any) -> Recipe:
    """A picture as it is, at the size and with the numbers of the recipe's views."""
    out = recipe._output(size)
    same = not isinstance(size, Tensor) and tuple(size) == out
    transforms: list[Transform] = [] if same else [Resize(out)]
    if recipe.mean is not None and recipe.std is not None:
        transforms.append(Normalize(recipe.mean, recipe.std))
    return Recipe(transforms, dtype=recipe.dtype, memory_format=recipe.memory_format)


def _check_recipe(name: str, recipe: Any) -> None:
    if not isinstance(recipe, Recipe):
        checks.wrong(name, "an anamorph.Recipe" + (", True or False" if name == "plain" else ""), recipe)
    if recipe._mixes:
        raise ArgumentError(f"{name}: expected a recipe that does not mix, whose views show one picture, given one that does")


# ---- texts ----


def tta_text(model: Callable[[list[str]], Any], texts: Sequence[str],
             rewrite: Callable[[list[str], int], Sequence[Sequence[str]]], views: int = 4, *, aggregate: str = "logit-mean",
             entropy_above: float | None = None, batch_size: int | None = None, grad: bool = False) -> Tensor:
    """What a model says of texts and of rewritten versions of each, put together: LLM-TTA (O'Brien et al., "Improving black-box
    robustness with in-context rewriting", 2024; github.com/Kyle1668/LLM-TTA), whose mean is that of the logits.

    Args:
        model: takes a list of N texts, gives logits ``[N, K]``.
        texts: B of them.
        rewrite: takes a list of texts and ``views``, gives for each of the texts a list of ``views`` others that mean the same:
            a language model, a back-translation, a list of synonyms. It is called once, with the texts that are augmented.
        views: how many rewritten ones; 4 as published.
        aggregate: as :func:`tta`'s; "logit-mean" as published.
        entropy_above: t in nats: only texts whose own prediction has an entropy of at least t are rewritten, which is what
            costs. The host waits once, to read which they are. None: all.
        batch_size: how many texts are given to the model at once, at most.
        grad: whether gradients are kept; else the model runs under ``torch.no_grad()``.

    Returns:
        ``[B, K]``, float32: logits, with the other aggregates probabilities.

    Raises:
        ArgumentError, ShapeError, DtypeError: what was given, by the caller, ``model`` or ``rewrite``, and what is expected.
    """
    aggregate = checks.choice("aggregate", aggregate, AGGREGATES)
    views = checks.whole("views", views, 1, MAX_VIEWS - 1)
    grad, least = checks.flag("grad", grad), _threshold(entropy_above)
    limit = None if batch_size is None else checks.whole("batch_size", batch_size, 1)
    originals = _texts("texts", texts)
    if not originals:
        raise ShapeError("texts: expected at least one, given none")
    _checked_model(model)
    if not callable(rewrite):
        checks.wrong("rewrite", "a function of a list of texts and a number", rewrite)
    sink = _Classes(aggregate)

    def run(inputs: list[str]) -> Tensor:
        parts = [inputs if at is None else inputs[at] for at in _parts(len(inputs), limit)]
        found = torch.cat([_predicted(model(part), len(part)) for part in parts])
        if found.dim() != 2 or not found.shape[1]:
            raise ShapeError(f"model: expected logits [{len(inputs)}, K], given {list(found.shape)}")
        return found

    with nullcontext() if grad else torch.no_grad():
        own = [run(originals)[:, None]]
        if least is None:
            at = list(range(len(originals)))
        elif least == math.inf:
            at = []
        else:
            at = (~(sink.entropy(own) < least)).nonzero().flatten().tolist()  # the one host read
        if not at:
            return sink.result(own)
        others = _rewritten(rewrite([originals[i] for i in at], views), len(at), views)
        which = torch.tensor(at, device=own[0].device)
        more = sink.joined([own[0].index_select(0, which)], [run(others).unflatten(0, (len(at), views))])
        return sink.result(own, which, more)


def _rewritten(found: Any, count: int, views: int) -> list[str]:
    """The rewritten texts one after the other."""
    if not isinstance(found, list | tuple) or len(found) != count:
        checks.wrong("rewrite", f"a function that gives a list of {count} lists, one for each text", found)
    others: list[str] = []
    for i, each in enumerate(found):
        versions = _texts(f"rewrite's [{i}]", each)
        if len(versions) != views:
            raise ShapeError(f"rewrite: expected {views} texts for each, given {len(versions)} for text {i}")
        others += versions
    return others


def _texts(name: str, value: Any) -> list[str]:
    if isinstance(value, str) or not isinstance(value, Sequence) or not all(isinstance(t, str) for t in value):
        checks.wrong(name, "a list of texts", value)
    return [*value]


# ---- what both take ----


def _threshold(value: Any) -> float | None:
    if value is None:
        return None
    value = checks.plain(value)
    return math.inf if value == math.inf else checks.number("entropy_above", value, 0, expected="nats of at least 0, or inf")


def _checked_model(model: Any) -> Any:
    if not callable(model):
        checks.wrong("model", "something to be called with a batch", model)
    return model


def _predicted(prediction: Any, count: int) -> Tensor:
    """What the model has given, as floats to add."""
    if not isinstance(prediction, Tensor):
        raise ArgumentError(f"model: expected a model that gives a tensor, given one that gives {type(prediction).__name__}; "
                            "lambda x: model(x).logits gives the tensor of a dict of results")
    if not prediction.dtype.is_floating_point:
        raise DtypeError(f"model: expected floats, given {prediction.dtype}")
    if prediction.dim() < 2 or len(prediction) != count:
        raise ShapeError(f"model: expected {count} rows, one for each view, given {list(prediction.shape)}")
    return prediction if prediction.dtype == torch.float64 else prediction.float()
