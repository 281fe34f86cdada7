"""The image family: transforms, the recipe that compiles them, the plan it draws and the call that renders it."""

from anamorph.images import presets as presets
from anamorph.images import transforms
from anamorph.images.correspondence import correspondence, overlap_boxes, pixpro_mask
from anamorph.images.jsd import jensen_shannon_loss
from anamorph.images.mosaic import Mosaic
from anamorph.images.paste import InstancePaste, SimpleCopyPaste
from anamorph.images.plan import Plan, Plans
from anamorph.images.ragged import Ragged
from anamorph.images.recipe import Recipe
from anamorph.images.render import render
from anamorph.images.transforms import *  # noqa: F403
from anamorph.images.transforms.schedule import schedule
from anamorph.images.views import Views, views

__all__ = ["InstancePaste", "Mosaic", "Plan", "Plans", "Ragged", "Recipe", "SimpleCopyPaste", "Views", "correspondence",
           "jensen_shannon_loss", "overlap_boxes", "pixpro_mask", "render", "schedule",
           "views"]
__all__ += transforms.__all__
