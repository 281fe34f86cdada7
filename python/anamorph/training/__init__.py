"""What stands in a training loop beside the views: nets that see through masks, and the masks; labels and tasks that transforms
make, the losses that go with them, predictions from several views, and pictures that a net has not seen the like of."""

from anamorph.training import corruptions as corruptions
from anamorph.training.layer_masking import layer_masking
from anamorph.training.losses import nt_xent
from anamorph.training.one_class import hierarchical_loss, hierarchical_recipes, one_class_loss, virtual_outliers
from anamorph.training.patches import block_mask, patch_mask
from anamorph.training.pretext import JigsawPretext, RotationPretext, jigsaw_permutations, rotnet
from anamorph.training.sla import SLA
from anamorph.training.tta import aggregate_views, entropy_threshold, prediction_entropy, tta, tta_text

__all__ = ["SLA", "JigsawPretext", "RotationPretext", "aggregate_views", "block_mask", "entropy_threshold", "hierarchical_loss",
           "hierarchical_recipes", "jigsaw_permutations", "layer_masking", "nt_xent", "one_class_loss", "patch_mask",
           "prediction_entropy", "rotnet", "tta", "tta_text", "virtual_outliers"]
