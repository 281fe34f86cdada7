"""What stands around a training loop: pictures that a net has not seen the like of, and how it fares on them."""

from anamorph.training import corruptions as corruptions

__all__: list[str] = []
