"""Phantoms for cards whose transforms are for other images than the head of the gallery."""

from __future__ import annotations

import numpy as np
import torch

import torchio_gpu as tio
from torchio_gpu.functional import speckle
from torchio_gpu.functional.ultrasound.geometry import Fan

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
#: Middle across and from front to back of the rods of metal, and their radius in mm.
_RODS, _ROD = ((-34.0, 22.0), (30.0, 26.0)), 3.5

#: Beams of the frame of ultrasound.
BEAMS = {"probe": "convex", "angle": 62, "radius": 50, "depth": 112, "center": (0, 10)}
PROBE = tio.BeamGeometry(**BEAMS)
#: Grey value of white, at 0 dB, and level of black in dB.
_WHITE, _BLACK = 255.0, -60.0
#: Discs of the frame, later ones over earlier ones: middle across and in depth and half axes in
#: mm, level in dB, label. A cyst, a small one, a bright lesion, a vessel.
_DISCS = (
    ((-24, 52), (12, 12), -90, 2),
    ((8, 34), (4, 4), -90, 2),
    ((26, 66), (10, 8), -14, 1),
    ((0, 78), (30, 3.5), -90, 2),
)


def ct_phantom(side: float = 1.0) -> tio.Subject:
    """Return a head in Hounsfield units, with noise: image ``ct``, labels ``seg`` and ``metal``.

    Air is -1000 HU, skull 900, scalp and brain 40, ventricles 10; a pattern of seven bars across,
    6 to 1.5 mm wide, lies in the brain. Labels are 1 for brain, 2 for ventricles, 3 for skull. The
    head is cut by both ends of the image, as in a scan. The map of metal has two rods within the
    brain, of which the image shows nothing. The middle of the image is at 0, 0, 0.

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
    metal = np.zeros(shape, dtype=np.uint8)
    for mx, my in _RODS:
        metal[np.broadcast_to(np.hypot(x - mx, y - my) < _ROD, shape)] = 1
    noise = np.random.default_rng(0).standard_normal(shape) * _NOISE
    hu = np.clip(hu + noise, -1024, 3071)
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = [each[0] for each in along]
    return tio.Subject(
        ct=tio.ScalarImage(torch.from_numpy(hu[None].astype(np.float32)), affine=affine),
        seg=tio.LabelMap(torch.from_numpy(labels[None]), affine=affine),
        metal=tio.LabelMap(torch.from_numpy(metal[None]), affine=affine),
    )


def ultrasound_phantom(side: float = 0.5) -> tio.Subject:
    """Return a frame of ultrasound of a convex probe: image ``us``, labels ``seg``, in one plane.

    Grey values are log-compressed, 0 at -60 dB and white, 255, at 0 dB; outside of the fan of
    :data:`PROBE`, which is metadata ``beams`` of the image, they are 0. The first axis runs across
    and the second one down. Tissue at -26 dB has a brighter layer at the surface, a bright line 95
    mm deep, and speckle. Labels are 1 for tissue, 2 for cysts and vessel, 3 for the bright line.

    Args:
        side: Side of a pixel in mm.

    >>> ultrasound_phantom().us.spatial_shape
    (384, 256, 1)
    """
    shape = (round(192 / side), round(128 / side), 1)
    fan = Fan(PROBE, shape, (0, 1), (side, side))
    inside = fan.inside(torch.device("cpu")).numpy()
    depth = fan.places(torch.device("cpu"))[1].numpy()[..., None]
    x = (np.arange(shape[0]) - (shape[0] - 1) / 2)[:, None, None] * side
    y = (np.arange(shape[1]) + 0.5)[:, None] * side - PROBE.center[1]
    level = np.where(depth < 12, -18.0, -26.0)
    labels = np.ones(shape, dtype=np.uint8)
    for (across, down), (wide, high), decibels, label in _DISCS:
        disc = ((x - across) / wide) ** 2 + ((y - down) / high) ** 2 < 1
        level[disc], labels[disc] = decibels, label
    line = abs(y - 95 - (x / 20) ** 2) < 1
    level[line], labels[line] = -6, 3
    seeds, wide = np.zeros(1, dtype=np.int64), {"dynamic_range": 100.0, "white": 100.0}
    above = torch.from_numpy(level + 100)[None, None].float()  # so that cysts stay black
    above = speckle(above, 1, PROBE, 1.2, 1.8, side, seeds=seeds, **wide)[0]
    grey = (1 - (above - 100) / _BLACK).clamp(0, 1) * _WHITE * torch.from_numpy(inside)
    affine = np.diag([side, -side, side, 1.0])
    return tio.Subject(
        us=tio.ScalarImage(grey, affine=affine, beams=PROBE),
        seg=tio.LabelMap(torch.from_numpy((labels * inside)[None]), affine=affine),
    )
