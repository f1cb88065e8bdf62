"""numpy: what takes a few lines of it, on the CPU and one of its cores."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from .. import workloads as w
from . import Op, per_sample

NAME, VERSION = "numpy", np.__version__
#: The new label of each.
TABLE = np.array([w.REMAPPING[label] for label in range(w.LABELS)], dtype=np.uint8)
CHANNELS = np.arange(w.LABELS, dtype=np.uint8)[:, None, None, None]


def of_arrays(function: Callable[[np.ndarray], np.ndarray]) -> Op:
    """From tensor to tensor on the same device."""
    return lambda x: torch.as_tensor(function(x.numpy(force=True)), device=x.device)


def crop_or_pad(x: np.ndarray) -> np.ndarray:
    """A batch about its centre; an odd voxel is cut off or added at the beginning."""
    cut, pad = [], []
    for old, new in zip(x.shape[2:], w.crop_or_pad(x.shape[2:]), strict=True):
        last, odd = divmod(abs(new - old), 2)
        cut.append(slice(last + odd, old - last) if new < old else slice(None))
        pad.append((last + odd, last) if new > old else (0, 0))
    return np.pad(x[(..., *cut)], [(0, 0), (0, 0), *pad])


def z_normalization(x: np.ndarray) -> np.ndarray:
    """A sample."""
    result: np.ndarray = (x - x.mean()) / x.std(ddof=1)
    return result


def rescale(x: np.ndarray) -> np.ndarray:
    """A sample."""
    low, high = np.percentile(x, w.PERCENTILES).tolist()
    return (x.clip(low, high) - low) / (high - low)


def percentile(x: np.ndarray) -> np.ndarray:
    """Of each sample, (B, Q)."""
    return np.percentile(x.reshape(len(x), -1), w.PERCENTILES, axis=1).T


OPS: dict[str, Op] = {
    "crop_or_pad": of_arrays(crop_or_pad),
    "to_canonical": of_arrays(lambda x: x[:, :, ::-1, ::-1, ::-1].copy()),
    "z_normalization": per_sample(of_arrays(z_normalization)),
    "rescale": per_sample(of_arrays(rescale)),
    "remap_labels": of_arrays(lambda labels: TABLE[labels]),
    "one_hot": of_arrays(lambda labels: (labels == CHANNELS).view(np.uint8)),
    "percentile": of_arrays(percentile),
}
