"""Curves of intensity between the minimum and the maximum of each channel."""

from __future__ import annotations

import torch
from torch import Tensor

from ...shapes import Volume
from .normalization import Pieces, map_pieces


def histogram_shift(x: Volume, shift: Tensor, low: Tensor, high: Tensor) -> Volume:
    """Map each channel by the piecewise linear curve through its control points.

    Args:
        x: Volume in float32 or float64.
        shift: Shifts of K control points, in distances between them, [1 or B, 1 or C, K].
        low, high: Ends of the range of each channel, [B, C].
    """
    batch, channels, *size = x.shape
    pieces = shift.shape[-1] + 1
    places = torch.arange(1, pieces, dtype=torch.float64, device=x.device) + shift
    none = torch.zeros_like(places[..., :1])
    places = torch.cat((none, places, none + pieces), -1) / pieces  # shares of the range
    low, span = low[..., None], (high - low)[..., None]
    start = low + span * torch.arange(pieces, dtype=torch.float64, device=x.device) / pieces
    slope = (places.diff(dim=-1) * pieces).expand_as(start)
    value = low + span * places[..., :-1]
    rows = (each.reshape(batch * channels, pieces) for each in (start, value, slope))
    out = map_pieces(x.reshape(batch * channels, 1, *size), Pieces(*rows))
    return out.view(x.shape)
