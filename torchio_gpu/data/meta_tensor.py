"""Tensors that carry an affine, as those of MONAI do.

MONAI is not imported: a tensor can only be a MetaTensor if the user has imported it. Its affine is
voxel to world in RAS+ mm, as ours, (4, 4) or one for each sample of a batch.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..geometry import Space


def is_meta_tensor(x: object) -> bool:
    """Return True if a value is a MetaTensor of MONAI."""
    module: Any = sys.modules.get("monai.data.meta_tensor")
    return module is not None and isinstance(x, module.MetaTensor)


def split(x: Any) -> tuple[Tensor, np.ndarray]:
    """Return the voxels as a plain tensor, and the affine, (4, 4) or (B, 4, 4).

    Raises:
        ValueError: Operations are pending that MONAI has not carried out.
    """
    if x.pending_operations:
        raise ValueError(
            "a MetaTensor must have no pending operations: let MONAI carry them out first, with "
            f"apply_pending or lazy=False, got {len(x.pending_operations)}"
        )
    affine = x.affine
    affine = affine.detach().cpu().numpy() if isinstance(affine, Tensor) else np.asarray(affine)
    return x.as_tensor(), _four(np.asarray(affine, dtype=np.float64))


def check_volume(x: Any, name: str = "a MetaTensor") -> None:
    """Raise a ValueError for a plane (C, I, J), or a batch of planes, as MONAI has them.

    Args:
        x: The MetaTensor.
        name: Its name, for the error.
    """
    if x.ndim == (4 if x.is_batch else 3):
        shape = tuple(x.shape)
        raise ValueError(
            f"{name} must be a volume (C, I, J, K) or a batch of volumes, got "
            f"{'planes' if x.is_batch else 'a plane'} of shape {shape}: planes are volumes with "
            f"one slice, {(*shape, 1)}, as x[..., None] makes them"
        )


def voxels_at(x: Any, affine: np.ndarray) -> Tensor:
    """Return the voxels (C, I, J, K) of a MetaTensor as a plain tensor.

    Args:
        x: The MetaTensor.
        affine: Affine that the MetaTensor must have, (4, 4).

    Raises:
        ValueError: The MetaTensor lies elsewhere.
    """
    voxels, own = split(x)
    i, j, k = voxels.shape[-3:]
    if voxels.ndim == 4 and not Space((i, j, k), affine[None]).is_aligned(
        Space((i, j, k), own.reshape(-1, 4, 4))
    ):
        raise ValueError(
            f"data must lie where the image does, at {affine.tolist()}, got a MetaTensor at "
            f"{own.tolist()}; make an image of it, or give its as_tensor()"
        )
    return voxels


def join(voxels: Tensor, affine: np.ndarray, like: Any, moved: Sequence[str]) -> Any:
    """Return a MetaTensor with other voxels and another affine.

    Args:
        voxels: Voxels, with as many dimensions as ``like``.
        affine: [B, 4, 4].
        like: MetaTensor to take all else from.
        moved: Names of transforms that moved voxels. MONAI cannot undo these, and must not undo
            earlier operations of its own: its list of applied operations is replaced by a single
            entry for which its inverses raise.
    """
    out = type(like)(voxels)
    out.copy_meta_from(like)
    one = like.affine.ndim == 2 and bool((affine == affine[:1]).all())
    matrix = torch.from_numpy(np.array(affine[0] if one else affine))
    out.affine = matrix
    if moved:
        record = {
            "class": f"torchio_gpu.{moved[-1]}",
            "id": 0,
            "orig_size": tuple(like.shape[-3:]),
            "extra_info": {
                "warn": f"torchio_gpu.{moved[-1]} moved voxels, which MONAI cannot undo: put it "
                "into torchio_gpu.adapters.monai.adapt"
            },
            "tracing": True,
            "do_transforms": True,
        }
        several = out.is_batch and like.ndim == 5
        out.applied_operations = [[dict(record)] for _ in voxels] if several else [record]
    return out


def _four(affine: np.ndarray) -> np.ndarray:
    """Return affines as (4, 4), also those of 2D images, (3, 3)."""
    if affine.shape[-1] == 4:
        return affine
    out = np.broadcast_to(np.eye(4), (*affine.shape[:-2], 4, 4)).copy()
    n = affine.shape[-1] - 1
    out[..., :n, :n], out[..., :n, 3] = affine[..., :n, :n], affine[..., :n, n]
    return out
