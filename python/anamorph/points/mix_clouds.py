"""Mixing of views by what a plan has drawn: one launch, behind that of the assignment where a rule needs it."""

from __future__ import annotations

import torch
from torch import Tensor

from anamorph import _native
from anamorph.points.assign import assign

#: The rules whose points are matched with the partner's: csrc/points/program.h.
MATCHED = (1, 2, 3)


def mix_clouds(points: Tensor, partner: Tensor, rule: Tensor, numbers: Tensor, words: Tensor, matched: bool,
               ) -> tuple[Tensor, Tensor, Tensor]:
    """Views mixed with their partners'.

    Args: points: float32 ``[B, N, 3]``, contiguous. partner: int64 ``[B]``. rule: int32 ``[B]``, 0 for those that are not mixed.
        numbers: float32 ``[B, 2]``. words: int64 ``[B, 4]``.
            All as a plan's row has them.
        matched: may a rule be one of ``MATCHED``? Then clouds are assigned to their partners (:func:`anamorph.points.assign`); on
            the host only those that need it.

    Returns: (mixed points ``[B, N, 3]``, origin int64 ``[B, N]``: which point of the cloud each is, or N + which one of the
        partner's; the share of the partner's label, float32 ``[B]``).
    """
    match = None
    if matched:
        if points.is_cuda:
            match = assign(points, points[partner])[0]
        else:
            match = torch.zeros(points.shape[:2], dtype=torch.int64)
            some = (rule != 0).nonzero()[:, 0]
            if len(some):
                match[some] = assign(points[some], points[partner[some]])[0]
    out = torch.empty_like(points)
    origin = torch.empty(points.shape[:2], dtype=torch.int64, device=points.device)
    share = torch.empty(len(points), dtype=torch.float32, device=points.device)
    room = torch.empty(points.shape[:2], dtype=torch.int32, device=points.device) if points.is_cuda else None
    _native.points.mix(points=points, partner=partner, rule=rule, numbers=numbers, words=words, match=match, out=out,
                       origin=origin,
                       share=share, room=room, threads=torch.get_num_threads())
    return out, origin, share
