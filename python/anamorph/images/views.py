"""Several views of each picture: recipes drawn and rendered together."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from anamorph import _native
from anamorph.core import checks
from anamorph.core.errors import ArgumentError
from anamorph.images.plan import MAX_VIEW, Plan, Plans
from anamorph.images.recipe import Recipe
from anamorph.images.transforms.base import Transform
from anamorph.images.transforms.color import Normalize
from anamorph.images.transforms.compose import SharedAcrossViews
from anamorph.images.transforms.program import BY_VIEW
from anamorph.images.transforms.views import ByView


def views(recipes: Mapping[str, Any] | None = None, *, share_geometry: bool = False, **more: Any) -> Views:
    """Recipes of several views of each picture, drawn and rendered together: one launch for all views of one output size.

        crops = am.views({"global": (recipe_a, 2), "local": (recipe_b, 8)})
        plans = crops.plan(ids, size=(256, 256), seed=0, epoch=0)
        batch = am.render(images, plans)          # batch["global"] is [2, B, C, H, W], batch["local"] [8, B, C, h, w]
        for batch, labels in am.Loader("train/", crops, batch_size=256): ...

        pair = am.views(weak=weak, strong=strong, share_geometry=True)       # batch["weak"], batch["strong"]: [B, C, H, W]

    Args:
        recipes, more: by name an ``am.Recipe``, or (recipe, number of views); at most 64 recipes of one output, 4096 views.
        share_geometry: all views have the same geometry as far as the recipes' lists begin alike: the transforms that all of
            them have in common at their beginning, up to the last one of these that is geometry, are drawn once for a picture.
            What follows (colour, fields, erasing, more geometry) is each view's own. The recipes then have one output size,
            dtype and Normalize.

    Returns:
        :class:`Views`, which has ``plan`` as a recipe has and goes where a recipe goes in a :class:`anamorph.Loader`.

    Raises:
        ArgumentError: no recipe, or what is none; recipes that treat labels differently, or cannot share their geometry.
    """
    named = {**(recipes if recipes is not None else {}), **more} if recipes is None or isinstance(recipes, Mapping) else None
    if named is None:
        checks.wrong("views", "a dict of recipes by name", recipes)
    twice = set(recipes or ()) & set(more)
    if twice:
        raise ArgumentError(f"views: expected each name once, given {sorted(twice)[0]!r} twice")
    return Views({name: _counted(name, value) for name, value in named.items()},
                 checks.flag("share_geometry", share_geometry))


def _counted(name: Any, value: Any) -> tuple[Recipe, int | None]:
    if not isinstance(name, str):
        checks.wrong("views", "names that are strings", name)
    recipe, count = value if checks.is_sequence(value) and len(value) == 2 else (value, None)
    if not isinstance(recipe, Recipe):
        checks.wrong(f"views[{name!r}]", "an anamorph.Recipe, or (recipe, number of views)", value)
    return recipe, None if count is None else checks.whole(f"views[{name!r}][1]", count, 1, MAX_VIEW + 1, " of views")


@dataclass(frozen=True)
class _Group:
    """Views of one output: the recipe that draws them all, from view ``first`` on, and how many are whose."""

    recipe: Recipe
    first: int
    counts: dict[str, int]

    @property
    def views(self) -> int:
        return sum(self.counts.values())


class Views:
    """Recipes of several views of each picture. Made by :func:`views`.

    Attributes:
        recipes: by name.
        counts: by name how many views; None where the recipe was given alone.
        share_geometry: as given.
    """

    def __init__(self, recipes: dict[str, tuple[Recipe, int | None]], share_geometry: bool) -> None:
        if not recipes:
            raise ArgumentError("views: expected at least one recipe, given none")
        self.recipes = {name: recipe for name, (recipe, _) in recipes.items()}
        self.counts = {name: count for name, (_, count) in recipes.items()}
        self.share_geometry = share_geometry
        name, first = next(iter(self.recipes.items()))
        for other, recipe in self.recipes.items():
            if _labels(recipe) != _labels(first):
                raise ArgumentError("views: expected recipes of one num_classes, label_smoothing, labels and multi_label, given "
                                    f"{_labels(first)} for {name!r} and {_labels(recipe)} for {other!r}")
            if recipe._masks:
                raise ArgumentError(f"views[{other!r}]: expected a recipe without MaskMix, whose mask only a call of render can "
                                    "be given")
        self._groups = self._grouped()

    def _grouped(self) -> list[_Group]:
        """Recipes of one output make one recipe, of which the number of the view says whose list is taken."""
        alike: dict[Any, list[str]] = {}
        for name, recipe in self.recipes.items():
            size = recipe._fixed or (None if self.share_geometry else name)  # where the source decides it may be another
            turn = _turn(recipe)
            if turn > 1 and self.share_geometry:
                raise ArgumentError(f"share_geometry: expected recipes without FiveCrop, TenCrop and num_splits, which go by the "
                                    f"number of the view, given some in {name!r}")
            alike.setdefault((size, *_form(recipe), name if turn > 1 else ""), []).append(name)
        if self.share_geometry and len(alike) > 1:
            (size, *form, _), (other_size, *other, _) = list(alike)[:2]
            raise ArgumentError("share_geometry: expected recipes of one output size, dtype, memory_format and Normalize, given "
                                + (f"{size or 'as the source'} and {other_size or 'as the source'}" if size != other_size
                                   else f"{tuple(form)} and {tuple(other)}"))
        groups: list[_Group] = []
        used = 0
        for names, recipe in self._compiled(alike.values()):
            counts = {name: self.counts[name] or 1 for name in names}
            views = sum(counts.values())
            each = math.lcm(views, _turn(recipe))
            first = -(-used // each) * each  # a multiple, as ByView counts; and of other numbers than the groups before
            used = first + views
            if used > MAX_VIEW + 1:
                raise ArgumentError(f"views: expected at most {MAX_VIEW + 1} views, given more than that")
            groups.append(_Group(recipe, first, counts))
        return groups

    def _compiled(self, alike: Iterable[list[str]]) -> Iterator[tuple[list[str], Recipe]]:
        """Names of one output, and their recipe; alone those that would be too much for one: more slots than it may have, say."""
        for names in alike:
            recipes = [self.recipes[name] for name in names]
            try:
                yield names, recipes[0] if len(names) == 1 else Recipe(
                    _together(recipes, [self.counts[name] or 1 for name in names], self.share_geometry), *recipes[0]._options())
            except ArgumentError:
                if self.share_geometry:
                    raise
                yield from ((names[i:i + 1], recipe) for i, recipe in enumerate(recipes))

    def plan(self, index: Any, *, size: Any, seed: int = 0, epoch: int | Tensor = 0, device: Any = None, boxes: Any = None,
             counts: Any = None, frames: int | None = None, change: str = "none", drift: float = 0.2,
             step: int | Tensor = 0) -> Plans:
        """Draw all views of a batch, as :meth:`anamorph.Recipe.plan` draws one: one launch for those of one output size.

        Returns:
            :class:`Plans`: by name a :class:`anamorph.Plan`, or a tuple of them where (recipe, number) was given. All go to
            :func:`anamorph.render` together; each carries boxes, masks and keypoints into its view.

        Raises:
            As Recipe.plan.
        """
        groups: list[tuple[Plan, Mapping[str, int]]] = []
        boxed = any(group.recipe._boxed for group in self._groups)
        for group in self._groups:
            objects, some = (boxes, counts) if group.recipe._boxed or not boxed else (None, None)
            drawn = group.recipe._draw(index, size, seed, epoch, group.first, device, objects, some, frames, change, drift, step,
                                       group.views)
            groups.append((drawn, group.counts))
        return Plans(self.counts, groups)

    def output_size(self, size: tuple[int, int]) -> dict[str, tuple[int, int]]:
        """By name (height, width) of the views of pictures of ``size``."""
        return {name: group.recipe.output_size(size) for name in self.recipes for group in self._groups if name in group.counts}

    @property
    def fingerprint(self) -> int:
        """A 63-bit number of what is drawn, as a recipe's."""
        text = repr([(g.recipe.fingerprint, g.first, g.counts) for g in self._groups])
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1

    # What a Loader asks of a recipe.

    @property
    def labels(self) -> str:
        return next(iter(self.recipes.values())).labels

    @property
    def num_classes(self) -> int | None:
        return next(iter(self.recipes.values())).num_classes

    @property
    def label_smoothing(self) -> float:
        return next(iter(self.recipes.values())).label_smoothing

    @property
    def _mixes(self) -> bool:
        return any(r._mixes for r in self.recipes.values())

    @property
    def _of_the_batch(self) -> bool:
        return any(r._of_the_batch for r in self.recipes.values())

    @property
    def _fixed(self) -> bool:
        return all(r._fixed is not None for r in self.recipes.values())

    _masks = False

    def _with_classes(self, num_classes: int) -> Views:
        return Views({name: (r._with_classes(num_classes), self.counts[name]) for name, r in self.recipes.items()},
                     self.share_geometry)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Views) and self.__reduce__() == other.__reduce__()

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __reduce__(self) -> tuple[Any, ...]:
        return Views, ({name: (r, self.counts[name]) for name, r in self.recipes.items()}, self.share_geometry)

    def __repr__(self) -> str:
        lines = "".join(f"{name!r}: {r!r},\n" if self.counts[name] is None else f"{name!r}: ({r!r}, {self.counts[name]}),\n"
                        for name, r in self.recipes.items())
        return f"views({{\n{lines}}}{', share_geometry=True' if self.share_geometry else ''})"


def _labels(recipe: Recipe) -> tuple[Any, ...]:
    return recipe.num_classes, recipe.label_smoothing, recipe.labels, recipe.multi_label


def _turn(recipe: Recipe) -> int:
    """After how many views what goes by their number comes round; 1 where nothing does."""
    return math.lcm(*(int(s.numbers[1]) for s in recipe.slots if s.op == _native.OPS["CHOICE"] and s.flags & BY_VIEW))


def _form(recipe: Recipe) -> tuple[Any, ...]:
    return recipe.dtype, recipe.memory_format, recipe.mean, recipe.std


def _together(recipes: Sequence[Recipe], counts: Sequence[int], share: bool) -> list[Transform]:
    """The lists of recipes of one Normalize as one list, in which the number of the view says whose transforms run."""
    before, normalize, after = zip(*(_halves(r.transforms) for r in recipes), strict=True)
    common = _common(before) if share else 0
    shared = [SharedAcrossViews(before[0][:common])] if common else []
    return [*shared, *_by_view([one[common:] for one in before], counts), *(t for t in normalize[:1] if t),
            *_by_view(after, counts)]


def _by_view(lists: Sequence[Sequence[Transform]], counts: Sequence[int]) -> Sequence[Transform]:
    return lists[0] if all(one == lists[0] for one in lists) else [ByView(lists, counts)]


def _halves(transforms: Sequence[Transform]) -> tuple[tuple[Transform, ...], Transform | None, tuple[Transform, ...]]:
    at = next((i for i, t in enumerate(transforms) if isinstance(t, Normalize)), None)
    if at is None:
        return tuple(transforms), None, ()
    return tuple(transforms[:at]), transforms[at], tuple(transforms[at + 1:])


def _common(lists: Sequence[Sequence[Transform]]) -> int:
    """How many transforms all lists begin with, up to the last that is geometry."""
    geometry = frozenset(_native.GEOMETRY_OPS)
    last = 0
    for i, each in enumerate(zip(*lists, strict=False)):
        if any(t != each[0] for t in each) or each[0].mixers():
            break
        if any(s.op in geometry for s in each[0].slots()):
            last = i + 1
    if not last:
        raise ArgumentError("share_geometry: expected recipes whose lists begin with the same geometry, given "
                            + " and ".join(repr(list(one[:1])) for one in lists))
    return last
