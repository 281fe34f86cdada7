"""What stands in a training loop beside the views: nets that see through masks, and the masks."""

from anamorph.training.layer_masking import layer_masking
from anamorph.training.patches import block_mask, patch_mask

__all__ = ["block_mask", "layer_masking", "patch_mask"]
