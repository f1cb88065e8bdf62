"""Phantoms for cards whose transforms are for other images than the head of the gallery."""

from __future__ import annotations

import numpy as np
import torch

import torchio_gpu as tio

#: Extent of the phantom along x, y, z in mm; slices are three times as thick as voxels are wide.
_EXTENT, _ASPECT = (176, 208, 120), (1, 1, 3)
#: Ellipsoids of the head, later ones over earlier ones: centre and half axes in mm from the middle
#: of the image, HU, label. Soft tissue, skull, brain, ventricles and sinus.
_ELLIPSOIDS = (
    ((0, 0, -20), (76, 94, 82), 40, 0),
    ((0, 0, -20), (71, 89, 77), 900, 3),
    ((0, 0, -20), (65, 83, 71), 40, 1),
    ((-11, -6, -5), (7, 30, 18), 10, 2),
    ((11, -6, -5), (7, 30, 18), 10, 2),
    ((0, 76, -42), (22, 13, 22), -1000, 0),
)
#: Standard deviation of the noise within the head, HU.
_NOISE = 6.0


def ct_phantom(side: float = 1.0) -> tio.Subject:
    """Return a head in Hounsfield units, with noise: image ``ct``, labels ``seg``.

    Air is -1000 HU, skull 900, scalp and brain 40, ventricles 10; a pattern of seven bars across,
    6 to 1.5 mm wide, lies in the brain. Labels are 1 for brain, 2 for ventricles, 3 for skull. The
    head is cut by both ends of the image, as in a scan. The middle of the image is at 0, 0, 0.

    Args:
        side: Side of a voxel within an axial plane in mm.

    >>> ct_phantom().ct.spatial_shape
    (176, 208, 40)
    """
    spacing = [side * each for each in _ASPECT]
    shape = [round(mm / each) for mm, each in zip(_EXTENT, spacing, strict=True)]
    along = [(np.arange(n) - (n - 1) / 2) * mm for n, mm in zip(shape, spacing, strict=True)]
    x, y, z = np.meshgrid(*along, indexing="ij", sparse=True)
    hu, labels = np.full(shape, -1000.0), np.zeros(shape, dtype=np.uint8)
    for (cx, cy, cz), (rx, ry, rz), value, label in _ELLIPSOIDS:
        radius = np.sqrt(((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 + ((z - cz) / rz) ** 2)
        # share of the voxel that is inside, for edges without steps: half a voxel either side
        inside = np.clip((1 - radius) * min(rx, ry) / side + 0.5, 0, 1)
        hu += inside * (value - hu)
        labels[np.broadcast_to(inside > 0.5, shape)] = label
    at = -30.0
    for width in (6, 5, 4, 3, 2.5, 2, 1.5):
        bar = np.clip((width / 2 - abs(x - at)) / side + 0.5, 0, 1) * (abs(y + 48) < 12)
        hu += bar * 60
        at += 2 * width + 2
    noise = np.random.default_rng(0).standard_normal(shape) * _NOISE
    hu = np.clip(hu + noise, -1024, 3071)
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = [each[0] for each in along]
    return tio.Subject(
        ct=tio.ScalarImage(torch.from_numpy(hu[None].astype(np.float32)), affine=affine),
        seg=tio.LabelMap(torch.from_numpy(labels[None]), affine=affine),
    )
