"""COCO's format, in and out: ``am.coco``.

    target = am.coco.targets(annotations, (height, width), masks=True)
    (target,) = plan.apply_targets([target])
    annotations = am.coco.annotations(target, image_id=7)
"""

from anamorph.data.annotations import annotations, targets
from anamorph.data.coco_files import Dataset

__all__ = ["Dataset", "annotations", "targets"]
