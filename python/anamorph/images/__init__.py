"""The image family: transforms, the recipe that compiles them, the plan it draws and the call that renders it."""

from anamorph.images import presets as presets
from anamorph.images import transforms
from anamorph.images.jsd import jensen_shannon_loss
from anamorph.images.mosaic import Mosaic
from anamorph.images.paste import InstancePaste, SimpleCopyPaste
from anamorph.images.plan import Plan
from anamorph.images.ragged import Ragged
from anamorph.images.recipe import Recipe
from anamorph.images.render import render
from anamorph.images.transforms import *  # noqa: F403

__all__ = ["InstancePaste", "Mosaic", "Plan", "Ragged", "Recipe", "SimpleCopyPaste", "jensen_shannon_loss", "render"]
__all__ += transforms.__all__
