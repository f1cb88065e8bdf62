"""Widget that shows an image in a notebook: NiiVue, by the package ipyniivue."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..plot import label_colour
from . import io

#: Labels with a colour of their own: NiiVue takes one table from the first to the last of them.
_MOST_LABELS = 2**16


def show_widget(voxels: Tensor, affine: np.ndarray, labels: bool) -> bool:
    """Show a volume in the notebook that runs this code; return False, and warn, if that fails.

    Args:
        voxels: Voxels, (C, I, J, K), on any device.
        affine: Voxel to world, (4, 4).
        labels: The voxels are labels, or, with several channels, each channel is a label.
    """
    try:
        import ipyniivue
    except ImportError:
        warnings.warn(
            'show() in a notebook needs ipyniivue, pip install "torchio-gpu[notebook]"; '
            "the middle planes are drawn instead",
            RuntimeWarning,
            stacklevel=3,
        )
        return False
    from IPython.display import display

    data = _drawable(voxels, labels)
    file = io.to_nibabel(data, torch.from_numpy(affine)).to_bytes()
    volume = ipyniivue.Volume(data=file, name="image.nii")
    if labels:
        table = _colours(data)
        if table is not None:
            volume.set_colormap_label(table)
    widget = ipyniivue.NiiVue(height=400)
    widget.load_volumes([volume])
    display(widget)
    return True


def _drawable(voxels: Tensor, labels: bool) -> Tensor:
    """Return voxels on the host, of a type that NiiVue draws; labels in one channel."""
    if labels:
        voxels = voxels.to("cpu")
        voxels = voxels.int().argmax(0, keepdim=True) if len(voxels) > 1 else voxels
        whole = voxels.double().round().long()
        sizes = [(t, torch.iinfo(t)) for t in (torch.uint8, torch.int16, torch.int32)]
        low, high = int(whole.min()), int(whole.max())
        return whole.to(next(t for t, size in sizes if size.min <= low and high <= size.max))
    voxels = (voxels.abs() if voxels.is_complex() else voxels).to("cpu")
    return voxels if voxels.dtype in (torch.uint8, torch.int16) else voxels.float()


def _colours(labels: Tensor) -> dict[str, Any] | None:
    """Return the colours of labels as NiiVue takes them, the background transparent."""
    present = [n for n in torch.unique(labels).tolist() if n != 0]
    if not present or max(*present, 0) - min(*present, 0) > _MOST_LABELS:
        return None
    colours = [tuple(round(255 * part) for part in label_colour(n)) for n in present]
    red, green, blue = zip((0, 0, 0), *colours, strict=True)
    return {
        "R": list(red), "G": list(green), "B": list(blue), "A": [0] + [255] * len(present),
        "I": [0, *present], "labels": ["background", *map(str, present)],
    }  # fmt: skip


__all__ = ["show_widget"]
