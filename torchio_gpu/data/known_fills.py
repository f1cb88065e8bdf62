"""Fill values that are kept with the voxels they were computed from."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..functional.dispatch.launch import packed
from ..functional.statistics import fill_value
from ..shapes import Volume

_MINIMUM = "minimum"


class KnownFills:
    """Fill values of voxels, each computed once, and forgotten when the voxels are written to.

    Writes by operators of torch are noticed, also through views of the voxels: torch counts them.
    It does not count writes through an array of numpy, a pointer or ``Tensor.data``, by a CUDA
    graph, or by ``torch.distributed``. So no fill is kept that was computed from memory which numpy
    shares at that time, nor any of voxels created in inference mode, where torch counts nothing.

    Args:
        voxels: The voxels.
        minimum: Fill 'minimum' of the voxels, [B, C] on the host, if it is known.
    """

    def __init__(self, voxels: Volume, minimum: Tensor | None = None) -> None:
        self._writes = _writes(voxels)
        # by rule and stream; None for the host, whose values can be read on any stream
        self._values: dict[tuple[str, int | None], Any] = {}
        if minimum is not None:
            self._values[_MINIMUM, None] = minimum

    def are_of(self, voxels: Volume) -> bool:
        """Return True unless the voxels were written to, or writes to them are not counted."""
        return self._writes is not None and _writes(voxels) == self._writes

    def value(self, voxels: Volume, rule: str) -> Any:
        """Return the fill value that a rule gives, [B, C] on the device of the voxels."""
        if voxels.is_cuda and torch.cuda.is_current_stream_capturing():
            return fill_value(voxels, rule)  # a graph must compute it again at each replay
        known = self._values.get((rule, None))
        if known is not None:
            if known.device != voxels.device:
                known = packed(voxels.device, [_numbers(known)])[0]
            return known.to(voxels.dtype)
        key = rule, _stream(voxels.device)
        value = self._values.get(key)
        if value is None:
            value = fill_value(voxels, rule)
            if isinstance(value, Tensor) and _are_kept_by_torch(voxels):
                self._values[key] = value
        return value

    def minimum(self, voxels: Volume) -> Tensor | None:
        """Return the fill 'minimum', [B, C] on the host, if it is known there."""
        return self._values.get((_MINIMUM, None)) if self.are_of(voxels) else None

    def moved(self, before: Volume, after: Volume) -> KnownFills | None:
        """Return what is known of voxels that were moved or converted, or None.

        It is the minimum, which rounding keeps in its place.

        Args:
            before: The voxels, to which these values belong.
            after: The same numbers on another device, in another order, or of another dtype.
        """
        if after is before:
            return self
        minimum = self.minimum(before)
        if minimum is None:
            return None
        if after.dtype != before.dtype:
            if (
                not after.is_floating_point()
            ):  # numbers that an integer cannot hold lose their order
                return None
            minimum = minimum.to(after.dtype).nan_to_num(0.0, 0.0, 0.0)  # infinite as float16
        return KnownFills(after, minimum)


def portable(minimum: Tensor | None) -> np.ndarray | None:
    """Return a minimum as an array, which is sent to another process without shared memory."""
    return None if minimum is None else _numbers(minimum)


def _numbers(values: Tensor) -> np.ndarray:
    """Return numbers on the host as an array; as float32 if numpy or a copy lacks their dtype."""
    short = values.dtype in (torch.float16, torch.bfloat16)
    array: np.ndarray = (values.float() if short else values).numpy()
    return array


def _writes(voxels: Volume) -> int | None:
    """Return the number of writes to voxels; None where torch does not count them."""
    return None if voxels.is_inference() else voxels._version


def _stream(device: torch.device) -> int | None:
    """Return the stream on which the device computes; another one would have to wait for it."""
    if device.type == "cpu":
        return None
    return torch.cuda.current_stream(device).cuda_stream if device.type == "cuda" else 0


def _are_kept_by_torch(voxels: Volume) -> bool:
    """Return True for voxels in memory that torch allocated."""
    try:
        storage = voxels.untyped_storage()
    except RuntimeError:  # of a transform of torch.func
        return False
    return voxels.device.type != "cpu" or storage.resizable()


__all__ = ["KnownFills", "portable"]
