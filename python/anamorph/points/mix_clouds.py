"""Mixing of views by what a plan has drawn: one launch, behind that of the assignment where a rule needs it."""

from __future__ import annotations

import torch
from torch import Tensor

from anamorph import _native
from anamorph.points.assign import match


def mix_clouds(points: Tensor, partner: Tensor, rule: Tensor, numbers: Tensor, words: Tensor, matched: bool,
               ) -> tuple[Tensor, Tensor, Tensor]:
    """Views mixed with their partners'.

    Args:
        points: float32 ``[B, N, 3]``, contiguous.
        partner: int64 ``[B]``. rule: int32 ``[B]``, 0 for those that are not mixed. numbers: float32 ``[B, 2]``.
            words: int64 ``[B, 4]``. All as a plan's row has them.
        matched: may a rule be one that matches the clouds' points? Then those are assigned to their partners'
            (:func:`anamorph.points.assign`, by the auction, which is the same on every device) first.

    Returns:
        (mixed points ``[B, N, 3]``, origin int64 ``[B, N]``: which point of the cloud each is, or N + which one of the
        partner's; the share of the partner's label, float32 ``[B]``).
    """
    matches = match(points, points, "auction", None, partner, rule)[0] if matched else None
    out = torch.empty_like(points)
    origin = torch.empty(points.shape[:2], dtype=torch.int64, device=points.device)
    share = torch.empty(len(points), dtype=torch.float32, device=points.device)
    room = torch.empty(points.shape[:2], dtype=torch.int32, device=points.device) if points.is_cuda else None
    _native.points.mix(points=points, partner=partner, rule=rule, numbers=numbers, words=words, match=matches, out=out,
                       origin=origin, share=share, room=room, threads=torch.get_num_threads())
    return out, origin, share
