"""A policy's step, done by torchvision's own code for its policies."""

from __future__ import annotations

from typing import Any

from anamorph.bench._torchvision import v2 as load_torchvision

V2 = load_torchvision()
NAMES = {"brightness": "Brightness", "saturation": "Color", "contrast": "Contrast", "sharpness": "Sharpness",
         "posterize": "Posterize", "solarize": "Solarize", "autocontrast": "AutoContrast", "equalize": "Equalize",
         "invert": "Invert", "identity": "Identity", "shear x": "ShearX", "shear y": "ShearY", "translate x": "TranslateX",
         "translate y": "TranslateY", "rotate by": "Rotate"}
MAPS = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")


def step(view: Any, name: str, value: float, interpolation: Any = V2.InterpolationMode.NEAREST, fill: Any = None) -> Any:
    """torchvision's call for a step of ours, whose enhancers' numbers are factors and whose thresholds are of 255."""
    if name in ("Brightness", "Color", "Contrast", "Sharpness"):
        value -= 1.0
    elif name == "Solarize":
        value /= 255.0
    policy = V2.RandAugment(interpolation=interpolation, fill=fill)
    return policy._apply_image_or_video_transform(view, name, value, interpolation, policy._fill)
