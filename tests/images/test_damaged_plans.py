"""Plans from elsewhere: every word is checked on the host, and an error says which row, which word and what was expected."""

import io
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import anamorph as am
from anamorph import _native
from anamorph.images.rows import RULES
from recipes import SINGLE, lists

W = _native.WORDS
RECIPE = am.Recipe([am.RandomResizedCrop(20), am.RandomRotation(20, "bilinear"), am.ColorJitter(0.4, 0.4), am.RandomErasing(1.0),
                    am.OneOf([am.MixUp(), am.CutMix()])])
COLORS, ERASES = W["HEADER"], W["HEADER"] + _native.COLOR_WORDS * RECIPE.info["max_colors"]


def bits(value):
    return torch.tensor(value, dtype=torch.float32).view(torch.int32).item() if isinstance(value, float) else value


def damaged(at, value, recipe=RECIPE, size=(24, 31), row=2):
    plan = recipe.plan(range(4), size=size, seed=1)
    plan.rows[row, at] = bits(value)
    return plan


NAN, INF = float("nan"), float("inf")
# What a word may not hold, by the meaning that program.h gives it: (word and place after it, value, what the error names).
DAMAGE = [
    ("MATRIX", 0, NAN, "MATRIX"), ("MATRIX", 2, INF, "MATRIX"), ("MATRIX", 4, -1e31, "MATRIX"), ("MATRIX", 6, 0.5, "MATRIX"),
    ("MATRIX", 0, 1e4, "MATRIX"), ("RECT", 0, -3.0, "RECT"), ("RECT", 2, 32.0, "RECT"), ("RECT", 3, 25.0, "RECT"),
    ("RECT", 1, 24.0, "RECT"), ("RECT", 0, NAN, "RECT"), ("SLOPE", 1, NAN, "SLOPE"), ("SLOPE", 0, -1.0, "SLOPE"),
    ("FILTER", 0, 4000.0, "FILTER"), ("FILTER", 1, 0.5, "FILTER"), ("FILTER", 1, NAN, "FILTER"), ("FLAGS", 0, -1, "FLAGS"),
    ("FLAGS", 0, 5, "FLAGS"), ("FLAGS", 0, 1 << 20, "FLAGS"), ("SOURCE", 0, 25, "SOURCE"), ("SOURCE", 1, 2**30, "SOURCE"),
    ("FILL", 3, INF, "FILL"), ("MIX", 0, 4, "MIX"), ("MIX", 0, -2, "MIX"), ("PARTNER", 0, 4, "PARTNER"),
    ("PARTNER", 0, -1, "PARTNER"), ("PARTNER_ID", 0, 99, "PARTNER_ID"), ("PARTNER_ID", 1, 1, "PARTNER_ID"),
    ("LAM", 0, 1.5, "LAM"), ("LAM", 0, NAN, "LAM"), ("BOX", 0, -1, "BOX"), ("BOX", 2, 21, "BOX"), ("BOX", 3, 2**31 - 1, "BOX"),
    ("COLORS", 0, 3, "COLORS"), ("COLORS", 0, -1, "COLORS"), ("ERASES", 0, 2, "ERASES"), ("ERASES", 0, 2**31 - 1, "ERASES"),
    ("VIEW", 0, NAN, "VIEW"), ("REACH", 0, -1e6, "REACH"), ("FRAME", 3, INF, "FRAME"), ("SLOPE", 3, -1.0, "SLOPE"),
    ("FOLD", 2, NAN, "FOLD"), ("FILL_STEP", 0, 3, "FILL_STEP"), (COLORS, 0, 99, "COLOR 0 op"), (COLORS, 1, NAN, "COLOR 0 number"),
    (COLORS, 1, -5.0, "COLOR 0 number"), (COLORS, 5, 1e9, "COLOR 1 number"), (ERASES, 0, -1, "ERASE 0 box"),
    (ERASES, 2, 21, "ERASE 0 box"), (ERASES, 4, 8, "ERASE 0 mode"), (ERASES, 10, 0.5, "ERASE 0 spare"),
    (ERASES, 6, NAN, "ERASE 0 value"),
]


@pytest.mark.parametrize(("word", "place", "value", "named"), DAMAGE)
def test_a_damaged_word_is_named(word, place, value, named, route):
    at = (W[word] if isinstance(word, str) else word) + place
    plan = damaged(at, value)
    message = rf"rows\[2\]: expected {named}.*, given"
    for use in (lambda: am.Plan.from_state_dict(RECIPE, plan.state_dict()), lambda: pickle.loads(pickle.dumps(plan)),
                lambda: plan[2], plan.table, lambda: am.Plan(RECIPE, plan.rows, plan.index, 1, 0, 0, (24, 31), (20, 20))):
        with pytest.raises(am.ArgumentError, match=message):
            use()
    assert plan[1]  # the others can be read


def test_every_word_has_a_rule():
    assert {rule.word for rule in RULES} == set(W) - {"HEADER"}


@pytest.mark.parametrize("name", SINGLE)
@pytest.mark.parametrize("size", [(37, 45), (1, 3), torch.tensor([[9, 200], [64, 2], [5, 5]])], ids=["one", "tiny", "each"])
def test_what_is_drawn_is_right(name, size, route):
    recipe = am.Recipe(SINGLE[name])
    try:
        plan = recipe.plan([7, 2**40, 7], size=size, seed=5)
    except am.AnamorphError:
        pytest.skip("not a recipe for such pictures")
    assert am.Plan.from_state_dict(recipe, plan.state_dict()) == plan == pickle.loads(pickle.dumps(plan))
    assert len(plan.table()) == 3


@settings(deadline=None, max_examples=60)
@given(lists(), st.tuples(st.integers(1, 300), st.integers(1, 300)), st.integers(0, 99))
def test_what_any_recipe_draws_is_right(transforms, size, seed):
    recipe = am.Recipe(transforms)
    plan = recipe.plan(range(6), size=size, seed=seed)
    assert am.Plan.from_state_dict(recipe, plan.state_dict()) == plan


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 10**6), st.integers(-2**31, 2**31 - 1)), min_size=1, max_size=5))
def test_any_damage_is_an_error_or_can_be_read(damage):
    plan = RECIPE.plan(range(4), size=(24, 31), seed=1)
    for row, at, value in damage:
        plan.rows[row, at % plan.rows.shape[1]] = value
    try:
        read = am.Plan.from_state_dict(RECIPE, plan.state_dict())
    except am.ArgumentError:
        with pytest.raises(am.ArgumentError, match=r"rows\["):
            plan.table()
        return
    assert str(read.table()) and all(read)
    am.render(torch.zeros(4, 24, 31, 3), read)


def test_what_the_draw_brings_beyond_all_bounds_is_clamped(route):
    """Ten views aslant and as many tiny scales: a product of maps that may overflow."""
    far = [am.RandomPerspective(1.0, 1.0), am.RandomAffine(0, scale=(1e-3, 1e-3), interpolation="bilinear")] * 20
    recipe = am.Recipe([*far, am.Resize((8, 8))])
    plan = recipe.plan(range(64), size=(37, 45), seed=2)
    assert am.Plan.from_state_dict(recipe, plan.state_dict()) == plan
    assert torch.isfinite(am.render(torch.rand(64, 37, 45, 3), plan)).all()


def test_keys_are_checked():
    good = RECIPE.plan(range(4), size=(24, 31), seed=1)
    for change, error, text in (
            (lambda s: s["key"].__setitem__(1, -1), am.ArgumentError, "epoch"),
            (lambda s: s["key"].__setitem__(2, 4096), am.ArgumentError, "view"),
            (lambda s: s["key"].__setitem__(3, 21), am.ArgumentError, "output_size: expected 20 x 20, given 21 x 20"),
            (lambda s: s["key"].__setitem__(6, 3), am.ArgumentError, "format 3"),
            (lambda s: s.update(key=s["key"].double()), am.ArgumentError, "format"),
            (lambda s: s.update(size=torch.tensor([0, 4])), am.ShapeError, "1 to 32768"),
            (lambda s: s.update(size=torch.tensor([24.0, 31.0])), am.AnamorphError, "size"),
            (lambda s: s.update(index=s["index"][:3]), am.ShapeError, r"\[4, \d+\], torch.int64 \[3\]"),
            (lambda s: s.update(index=torch.tensor(3)), am.ShapeError, "index"),
            (lambda s: s.update(rows=s["rows"][:0], index=s["index"][:0]), am.ShapeError, "rows")):
        state = good.state_dict()
        state["key"] = state["key"].clone()
        change(state)
        with pytest.raises(error, match=text):
            am.Plan.from_state_dict(RECIPE, state)


@pytest.mark.parametrize("change", [lambda r: r[:, :3], lambda r: r.long(), lambda r: r[:2], lambda r: r.repeat(1, 2),
                                    lambda r: r.reshape(-1)])
def test_rows_of_another_shape_are_named(change):
    plan = RECIPE.plan(range(4), size=(24, 31))
    plan.rows = change(plan.rows)
    for use in (plan.table, lambda: plan[0], lambda: am.Plan.from_state_dict(RECIPE, plan.state_dict())):
        with pytest.raises(am.ShapeError, match="expected int32"):
            use()


# ---- files of other versions ----

def as_of_0_1(plan):
    """The bytes that anamorph 0.1 would have written: classes by the files they were in then, a key of six numbers."""
    state = plan.state_dict()
    state["key"] = state["key"][:6]
    file = io.BytesIO()
    torch.save(Old(plan.recipe, state), file)
    return file


class Old:
    def __init__(self, recipe, state):
        self.parts = recipe, state

    def __reduce__(self):
        from anamorph.images.plan import _restore

        return _restore, self.parts


OLD_NAMES = {"Recipe": "anamorph.recipe", "RandomResizedCrop": "anamorph.images.geometry", "ColorJitter": "anamorph.images.color",
             "_restore": "anamorph.plan"}


@pytest.fixture
def old_names(monkeypatch):
    """Pickle names classes by ``__module__`` and looks there for them."""
    import sys
    from types import ModuleType

    from anamorph.images import plan

    for name, place in OLD_NAMES.items():
        found = getattr(am, name, None) or getattr(plan, name)
        module = sys.modules.get(place) or ModuleType(place)
        monkeypatch.setitem(sys.modules, place, module)
        monkeypatch.setattr(module, name, found, raising=False)
        monkeypatch.setattr(found, "__module__", place)
    yield
    monkeypatch.undo()


@pytest.mark.parametrize("weights_only", [True, False])
def test_a_plan_of_0_1_is_a_named_error(old_names, monkeypatch, weights_only):
    recipe = am.Recipe([am.RandomResizedCrop(8), am.ColorJitter(0.4)])
    file = as_of_0_1(recipe.plan([0, 1], size=(9, 9)))
    if weights_only:
        monkeypatch.undo()  # torch's own reader goes by names alone
    file.seek(0)
    with pytest.raises(am.ArgumentError, match="format 1"):
        torch.load(file, weights_only=weights_only)


def test_a_recipe_of_0_1_loads(old_names, monkeypatch):
    recipe = am.Recipe([am.RandomResizedCrop(8), am.ColorJitter(0.4)], dtype=torch.float16)
    file = io.BytesIO()
    torch.save(recipe, file)
    assert b"anamorph.images.geometry" in file.getvalue()
    monkeypatch.undo()
    file.seek(0)
    assert torch.load(file) == recipe
