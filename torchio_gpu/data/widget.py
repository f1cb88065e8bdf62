"""Widget that shows an image in a notebook: NiiVue, by the package ipyniivue."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..plot import display, label_colour
from . import io

#: Width of the table of colours: every WebGL 2 takes textures of that size.
_WIDEST = 2048


def show_widget(voxels: Tensor, affine: np.ndarray, labels: bool) -> bool:
    """Show a volume in the notebook that runs this code; warn and return False without ipyniivue.

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
    table = None
    if labels:
        data, table = _labels(voxels.cpu())
    else:
        data = _intensities(voxels.cpu())
    file = io.to_nibabel(data, torch.from_numpy(affine)).to_bytes()
    volume = ipyniivue.Volume(data=file, name="image.nii")
    if table is not None:
        volume.set_colormap_label(table)
    # the patient's right at the left, as plots have it
    widget = ipyniivue.NiiVue(height=400, is_radiological_convention=True, sagittal_nose_left=True)
    widget.load_volumes([volume])
    display(widget)
    return True


def _intensities(voxels: Tensor) -> Tensor:
    """Return voxels of a type that NiiVue draws."""
    voxels = voxels.abs() if voxels.is_complex() else voxels
    return voxels if voxels.dtype in (torch.uint8, torch.int16) else voxels.float()


def _labels(voxels: Tensor) -> tuple[Tensor, dict[str, Any] | None]:
    """Return labels in one channel, and their colours and names as NiiVue takes them.

    Labels too far apart for a table of colours are numbered anew; names say which they are. There
    are no colours for more than 2000 labels.
    """
    voxels = voxels.int().argmax(0, keepdim=True) if len(voxels) > 1 else voxels
    present, ranks = torch.unique(
        voxels.double().nan_to_num(0, 0, 0).round().long(), return_inverse=True
    )
    names = present.tolist()
    zero = names.index(0) if 0 in names else -1
    far = max(*names, 0) - min(*names, 0) > _WIDEST - 64
    numbers = [n - zero for n in range(len(names))] if far else names
    data = torch.tensor(numbers)[ranks]
    low, high = min(*numbers, 0), max(*numbers, 0)
    size = high - low + 1
    kinds = [(kind, torch.iinfo(kind)) for kind in (torch.uint8, torch.int16, torch.int32)]
    data = data.to(next(kind for kind, n in kinds if n.min <= low and high <= n.max))
    if size > _WIDEST - 64:
        return data, None
    # NiiVue takes the first 2/256 of a table for its third colour: these must be of no label
    rows = {low - 1 - size // 64: ((0, 0, 0, 0), ""), 0: ((0, 0, 0, 0), "background")}
    for number, name in zip(numbers, names, strict=True):
        if name:
            red, green, blue = (round(255 * part) for part in label_colour(name))
            rows[number] = (red, green, blue, 255), str(name)
    colours, texts = zip(*rows.values(), strict=True)
    channels = dict(zip("RGBA", map(list, zip(*colours, strict=True)), strict=True))
    return data, {**channels, "I": list(rows), "labels": list(texts)}


__all__ = ["show_widget"]
