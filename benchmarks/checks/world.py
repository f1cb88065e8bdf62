"""Geometry in millimetres, history and points. Images are (1, I, J, K), affines arrays (4, 4)."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .asking import Op, happened, need, noise, parts, refusal, row, voxels

asks = partial(row, "Geometry")

Array = np.ndarray
_EYE = np.eye(4)


def _places(affine: Array, shape: tuple[int, ...]) -> Array:
    """Return the places of voxels in mm, [I, J, K, 3]."""
    return voxels(shape).movedim(0, -1).numpy() @ affine[:3, :3].T + affine[:3, 3]


def _blob(shape: tuple[int, ...], centre: Any, widths: Any, affine: Array = _EYE) -> Tensor:
    """Return a Gaussian, (1, I, J, K); centre and standard deviations in mm."""
    z = (_places(affine, shape) - np.asarray(centre)) / np.asarray(widths)
    return torch.from_numpy(np.exp(-0.5 * (z**2).sum(-1))).float()[None]


def _centroid(x: Tensor, affine: Array = _EYE) -> Array:
    """Return where the intensity of an image lies, in mm."""
    weight = x.detach().double().numpy()[0, ..., None]
    return (weight * _places(affine, x.shape[1:])).sum((0, 1, 2)) / weight.sum()


def _lengths(x: Tensor, affine: Array) -> Array:
    """Return the standard deviations along the three main axes, in mm, ascending."""
    weight = x.detach().double().numpy()[0]
    away = _places(affine, weight.shape) - _centroid(x, affine)
    covariance = np.einsum("ijk,ijka,ijkb->ab", weight, away, away) / weight.sum()
    return np.sqrt(np.linalg.eigvalsh(covariance))


def _apart(one: Array, two: Any, moved_from: Any = None) -> float:
    """Return the distance of two places, and raise an error where the first has not moved."""
    if moved_from is not None and np.linalg.norm(one - moved_from) < 1:
        raise AssertionError("nothing moved")
    return float(np.linalg.norm(one - two))


@asks("images of different spacing stay aligned in mm")
def spacing(op: Op) -> None:
    """A blob at 1 mm and at 2 mm, rotated together: centroids within 0.5 mm."""
    centre, coarse = [20.0, 13, 18], np.diag([2, 2, 2, 1.0])
    coarse[:3, 3] = 0.5  # both volumes have the same bounds
    two = _blob((16,) * 3, centre, 3.0, coarse)
    with refusal("refused: "):
        y, z = op(_blob((32,) * 3, centre, 3.0), _EYE, two, coarse)
    shape = "x".join(map(str, z.shape[1:]))
    need(z.shape == two.shape, f"the second image becomes one of {shape} voxels")
    apart = _apart(_centroid(y), _centroid(z, coarse), centre)
    need(apart < 0.5, f"{apart:.1f} mm apart")


@asks("rotates in mm on anisotropic voxels")
def millimetres(op: Op) -> None:
    """A bar turned by 45 degrees about I in a volume of 1x1x2 mm keeps its lengths in mm."""
    affine = np.diag([1.0, 1, 2, 1])
    x = _blob((32, 32, 16), [15.5, 15.5, 15], [2.5, 5.0, 2.5], affine)
    y, _ = op(x, affine)
    happened(y, x, 0.05)
    before, after = _lengths(x, affine), _lengths(y, affine)
    shown = " -> ".join("/".join(f"{length:.1f}" for length in each) for each in (before, after))
    # linear interpolation widens by at most half a voxel of 2 mm
    need(np.abs(after - before).max() < 0.3, f"a bar's lengths become {shown} mm")


@asks("axes by anatomy ('LR')")
def anatomy(op: Op) -> None:
    """Flips left and right, stored along K, by their name."""
    # J, K and I grow to the posterior, left and superior
    affine = np.array([[0, 0, -1, 0], [-1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1.0]])
    x = noise(1, 6, 7, 8)
    need(torch.equal(op(x, affine)[0], x.flip(-1)), "another axis is flipped")


@asks("orientation and spacing")
def regrid(op: Op) -> None:
    """A blob in an image of other orientation and spacing, brought to RAS and 1 mm, stays where it
    was in mm."""
    # posterior, superior, left; 1.5, 1 and 2 mm
    raw = np.array([[0, 0, -2, 40], [-1.5, 0, 0, 30], [0, 1, 0, -5], [0, 0, 0, 1.0]])
    place = raw[:3, :3] @ [8, 13, 6] + raw[:3, 3]
    y, affine = op(_blob((18, 24, 12), place, 3.0, raw), raw)
    axes = np.asarray(affine, dtype=float)[:3, :3]
    need(np.allclose(axes, np.eye(3), atol=1e-6), f"the axes become {axes.round(3).tolist()}")
    apart = _apart(_centroid(y, np.asarray(affine, dtype=float)), place)
    need(apart < 0.3, f"the blob is {apart:.1f} mm from its place")


@asks("what was drawn is recorded and replayed")
def replay(op: Op) -> None:
    """A random affine and flip, applied again as recorded: the same voxels."""
    x = noise(1, 10, 11, 12)
    y, again = op(x)
    happened(y, x)
    need(torch.equal(y, again), "replayed, it is another")


def _restored(op: Op) -> None:
    x = _blob((24, 24, 24), [13.0, 11, 10], 4.0)
    y, back = op(x)
    happened(y, x, 0.1)
    error = (back.reshape(x.shape) - x)[:, 6:18, 6:18, 6:18].abs().max()
    # a peak of 4 voxels' width, linearly interpolated twice, is up to 3 % lower
    need(error < 0.05, f"wrong by {error:.2f} of the peak")


@asks("transforms can be undone", "inverse", "undo")
def inverse(ops: dict[str, Op]) -> None:
    """A random affine and flip, and a deformation of a voxel, undone: a smooth image is what it was
    at its centre."""
    parts(_restored, ops)


@asks("points move with the image", "point", "boundingbox", "boxes")
def points(op: Op) -> None:
    """A point at the peak of a blob stays there."""
    place = np.array([14.0, 10, 13])
    x = _blob((24, 24, 24), place, 2.5)
    try:
        y, moved = op(x, torch.tensor(place, dtype=torch.float32)[None])
    except KeyError:
        raise NotImplementedError("a transform drops those of a subject") from None
    apart = _apart(_centroid(y.reshape(x.shape)), moved.detach().numpy().reshape(3), place)
    need(apart < 0.3, f"{apart:.1f} voxels from the blob")


@asks("2D images")
def planes(op: Op) -> None:
    """An image (1, I, J) of one slice is rotated by 30 degrees within it."""
    x = _blob((24, 24, 1), [15.0, 12, 0], [3.0, 3, 1])[..., 0]
    y = op(x)
    need(y.shape == x.shape, f"the result of {list(x.shape)} is {list(y.shape)}")
    happened(y, x, 0.05)
    kept = y.sum() / x.sum()
    need(abs(kept - 1) < 0.05, f"{100 * kept:.0f} % of the intensity is left")


@asks("dtypes of labels are kept")
def dtypes(op: Op) -> None:
    """Label maps of uint8 and int16, moved at random."""
    for name in ("uint8", "int16"):
        x = torch.zeros(1, 12, 12, 12, dtype=getattr(torch, name))
        x[:, 3:7, 4:9, 5:9] = 2
        with refusal(f"{name} is refused: "):
            y = op(x)
        need(y.dtype == x.dtype, f"{name} becomes {y.dtype}".replace("torch.", ""))


@asks("displacement fields, one vector a voxel", "dense", "displacement", "warp")
def dense_field(op: Op) -> None:
    """A blob sampled at places that are moved by a smooth field (1, 3, I, J, K) in voxels, against
    the blob at these places."""
    at = voxels((24, 24, 24))
    field = 2 * (at.roll(-1, 0) / 6).sin()
    right = (-(at + field - torch.tensor([12, 11, 13]).view(3, 1, 1, 1)).square().sum(0) / 50).exp()
    y = op(_blob((24, 24, 24), [12.0, 11, 13], 5.0)[None], field[None].float())
    apart = (y[0, 0] - right)[4:-4, 4:-4, 4:-4].abs().max()
    need(apart < 0.02, f"wrong by up to {apart:.2f} of the peak")
