"""Images as bytes: a header in JSON, then raw voxels, little-endian."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from ..data import Image

#: Voxels of an image that are sent, at most; of larger ones, each second or third along each axis.
MOST = 24_000_000
_LEVELS = 65534
#: Value of voxels that are no finite number.
_NONE = 65535


def volume(image: Image, channel: int = 0) -> tuple[dict[str, Any], np.ndarray]:
    """Return the voxels of a channel in the order that pages draw, with a header.

    Axes grow to the right, anterior and superior, as near as they can without sampling. Labels are
    sent as they are, up to 65534; intensities as 16-bit steps between the least and greatest.

    Args:
        image: The image.
        channel: The channel; the nearest one there is.

    Returns:
        The header, and uint16 [K, J, I]. In the header are ``shape`` (I, J, K), ``affine`` (4, 4)
        row by row, ``scale`` and ``offset`` of values, ``window`` (a low and a high percentile),
        ``tilt`` (greatest angle in degrees between an axis and the world's), ``stride``,
        ``channels`` and the image's own ``orientation``, ``spacing`` and ``size``.
    """
    ras = image.to_ras()
    data = ras.data[min(channel, image.num_channels - 1)].detach().cpu()
    data = data.abs() if data.is_complex() else data
    stride = 1
    while data.numel() / stride**3 > MOST:
        stride += 1
    if stride > 1:
        data = data[::stride, ::stride, ::stride]
    affine = ras.affine @ np.diag([stride] * 3 + [1])
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    tilt = float(np.degrees(np.arccos(np.clip(np.diag(directions).min(), -1, 1))))
    header: dict[str, Any] = {
        "shape": list(data.shape), "affine": affine.ravel().tolist(), "tilt": round(tilt, 1),
        "stride": stride, "channels": image.num_channels, "orientation": image.orientation_str,
        "spacing": list(image.spacing), "size": list(image.spatial_shape),
    }  # fmt: skip
    if image.kind == "label" and image.num_channels > 1:  # shares of labels
        data = ras.data.detach().cpu()[:, ::stride, ::stride, ::stride].argmax(0)
    if image.kind == "label":
        labels = data.nan_to_num().round() if data.is_floating_point() else data
        codes = labels.to(torch.int64).clamp_(0, _LEVELS).numpy().astype("<u2")
        return {**header, "scale": 1, "offset": 0, "window": [0, 1]}, _ordered(codes)
    values = data.float().numpy()
    finite = np.isfinite(values)
    whole = bool(finite.all())
    known = values if whole else values[finite]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 0.0)
    scale = (high - low) / _LEVELS or 1.0
    # in place: a volume is read once for each operation
    steps = values - np.float32(low)
    steps *= np.float32(1 / scale) if np.isfinite(1 / scale) else 0
    steps += np.float32(0.5)
    if not whole:
        steps[~finite] = 0
    codes = np.minimum(steps, _LEVELS, out=steps).astype("<u2")
    if not whole:
        codes[~finite] = _NONE
    some = known.ravel()[:: max(1, known.size // 50_000)]
    window = [float(each) for each in np.percentile(some, (1, 99.5))] if some.size else [0.0, 1.0]
    return {**header, "scale": scale, "offset": low, "window": window}, _ordered(codes)


def message(header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> bytes:
    """Return the bytes of a header and arrays.

    They are: the length of the header in 4 bytes; the header, JSON, filled up by blanks so that
    arrays begin at multiples of 8 bytes; the arrays. The header gets ``arrays``: for each name the
    first byte after the header, and the number of voxels.
    """
    places, start = {}, 0
    for name, array in arrays.items():
        places[name] = [start, array.size]
        start += -(-array.nbytes // 8) * 8
    text = json.dumps({**header, "arrays": places}, allow_nan=False).encode()
    text += b" " * (-(4 + len(text)) % 8)
    parts = [len(text).to_bytes(4, "little"), text]
    for array in arrays.values():
        parts += [array.tobytes(), b"\0" * (-array.nbytes % 8)]
    return b"".join(parts)


def _ordered(codes: np.ndarray) -> np.ndarray:
    """Return voxels with I fastest, as pages index them."""
    return np.ascontiguousarray(codes.transpose(2, 1, 0))


__all__ = ["MOST", "message", "volume"]
