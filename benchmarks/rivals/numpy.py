"""numpy and scipy.ndimage: what takes a few lines of them, on one core of the CPU."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy
import torch
from scipy.ndimage import affine_transform, gaussian_filter, label, map_coordinates

from .. import workloads as w
from . import Op, per_sample

NAME, DISTRIBUTION = "numpy and scipy", "numpy"
VERSION = f"{np.__version__}, {scipy.__version__}"
RANDOM = np.random.default_rng(0)
#: The new label of each.
TABLE = np.array([w.REMAPPING[label] for label in range(w.LABELS)], dtype=np.uint8)
CHANNELS = np.arange(w.LABELS, dtype=np.uint8)[:, None, None, None]


def of_arrays(function: Callable[..., np.ndarray]) -> Op:
    """From tensors to a tensor on the same device."""
    return lambda x, *more: torch.as_tensor(
        function(*(each.numpy(force=True) for each in (x, *more))), device=x.device
    )


def crop_or_pad(x: np.ndarray) -> np.ndarray:
    """A batch about its centre; an odd voxel is cut off or added at the beginning."""
    cut, pad = [], []
    for old, new in zip(x.shape[2:], w.crop_or_pad(x.shape[2:]), strict=True):
        last, odd = divmod(abs(new - old), 2)
        cut.append(slice(last + odd, old - last) if new < old else slice(None))
        pad.append((last + odd, last) if new > old else (0, 0))
    return np.pad(x[(..., *cut)], [(0, 0), (0, 0), *pad])


def rescale(x: np.ndarray) -> np.ndarray:
    low, high = np.percentile(x, w.PERCENTILES).tolist()
    return (x.clip(low, high) - low) / (high - low)


def blur(x: np.ndarray) -> np.ndarray:
    """A sample, blurred by a width of its own along each axis."""
    return gaussian_filter(x, RANDOM.uniform(*w.BLUR["std"], 3), axes=(1, 2, 3))


def resample(x: np.ndarray) -> np.ndarray:
    """A sample, at another spacing about the same centre."""
    size, after = x.shape[1:], w.resampled(x.shape[1:])
    first = [(n - 1 - w.SPACING * (m - 1)) / 2 for n, m in zip(size, after, strict=True)]
    to = {"order": 1, "mode": "nearest"}
    return np.stack([affine_transform(c, [w.SPACING] * 3, first, after, **to) for c in x])


def largest_component(mask: np.ndarray) -> np.ndarray:
    """That of a mask (1, I, J, K), whose components are voxels that share faces."""
    components, _ = label(mask[0])
    largest = np.bincount(components.ravel())[1:].argmax() + 1
    return (components == largest)[None].astype(mask.dtype)


def dense_field(x: np.ndarray, field: np.ndarray) -> np.ndarray:
    """A sample of one channel."""
    at = np.indices(x.shape[1:], np.float32) + field
    return map_coordinates(x[0], at, order=1)[None]


OPS: dict[str, Op] = {
    **{
        step.__name__: per_sample(of_arrays(step))
        for step in (blur, resample, rescale, largest_component, dense_field)
    },
    "crop_or_pad": of_arrays(crop_or_pad),
    "to_canonical": of_arrays(lambda x: x[:, :, ::-1, ::-1, ::-1].copy()),
    "z_normalization": per_sample(of_arrays(lambda x: (x - x.mean()) / x.std(ddof=1))),
    "remap_labels": of_arrays(lambda labels: TABLE[labels]),
    "one_hot": of_arrays(lambda labels: (labels == CHANNELS).view(np.uint8)),
    "percentile": of_arrays(lambda x: np.percentile(x[:, 0], w.PERCENTILES, axis=(1, 2, 3)).T),
}
