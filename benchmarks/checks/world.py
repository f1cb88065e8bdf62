"""Geometry in millimetres, history and points. Images are (1, I, J, K), affines arrays (4, 4)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from .asking import Op, group, happened, noise, parts, reason, voxels

asks = group("Geometry")

Array = np.ndarray


def places(affine: Array, shape: tuple[int, ...]) -> Array:
    """Return the places of voxels in mm, [I, J, K, 3]."""
    return voxels(shape).movedim(0, -1).numpy() @ affine[:3, :3].T + affine[:3, 3]


def blob(affine: Array, shape: tuple[int, ...], centre: Any, widths: Any) -> Tensor:
    """Return a Gaussian, (1, I, J, K); centre and standard deviations in mm."""
    z = (places(affine, shape) - np.asarray(centre)) / np.asarray(widths)
    return torch.from_numpy(np.exp(-0.5 * (z**2).sum(-1))).float()[None]


def centroid(x: Tensor, affine: Array) -> Array:
    """Return where the intensity of an image lies, in mm."""
    weight = x.detach().double().numpy()[0, ..., None]
    return (weight * places(affine, x.shape[1:])).sum((0, 1, 2)) / weight.sum()


def _lengths(x: Tensor, affine: Array) -> Array:
    """Return the standard deviations along the three main axes, in mm, ascending."""
    weight = x.detach().double().numpy()[0]
    away = places(affine, weight.shape) - centroid(x, affine)
    covariance = np.einsum("ijk,ijka,ijkb->ab", weight, away, away) / weight.sum()
    return np.sqrt(np.linalg.eigvalsh(covariance))


@asks("images of different spacing stay aligned in mm")
def spacing(op: Op) -> str | None:
    """A blob at 1 mm and at 2 mm, rotated together: centroids within 0.5 mm."""
    fine, centre = np.eye(4), [20.0, 13, 18]
    # voxel centres such that both volumes have the same bounds
    coarse = np.array([[2, 0, 0, 0.5], [0, 2, 0, 0.5], [0, 0, 2, 0.5], [0, 0, 0, 1.0]])
    one, two = blob(fine, (32,) * 3, centre, 3.0), blob(coarse, (16,) * 3, centre, 3.0)
    try:
        y, z = op(one, fine, two, coarse)
    except RuntimeError as error:
        return f"refused: {reason(error)}"
    if z.shape != two.shape:
        return f"the second image becomes one of {'x'.join(map(str, z.shape[1:]))} voxels"
    first, second = centroid(y, fine), centroid(z, coarse)
    if np.linalg.norm(first - centre) < 1:
        raise AssertionError("nothing moved")
    apart = np.linalg.norm(first - second)
    return None if apart < 0.5 else f"{apart:.1f} mm apart"


@asks("rotates in mm on anisotropic voxels")
def millimetres(op: Op) -> str | None:
    """A bar turned by 45 degrees about I in a volume of 1x1x2 mm keeps its lengths in mm."""
    affine, shape = np.diag([1.0, 1, 2, 1]), (32, 32, 16)
    middle = places(affine, shape).reshape(-1, 3).mean(0)
    x = blob(affine, shape, middle, [2.5, 5.0, 2.5])
    y, _ = op(x, affine)
    happened(y, x, 0.05)
    before, after = _lengths(x, affine), _lengths(y, affine)
    # linear interpolation widens by at most half a voxel of 2 mm
    if np.abs(after - before).max() < 0.3:
        return None
    shown = " -> ".join("/".join(f"{length:.1f}" for length in each) for each in (before, after))
    return f"a bar's lengths become {shown} mm"


@asks("axes by anatomy ('LR')")
def anatomy(op: Op) -> str | None:
    """Flips left and right, stored along K, by their name."""
    # J, K and I grow to the posterior, left and superior
    affine = np.array([[0, 0, -1, 0], [-1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1.0]])
    x = noise(1, 6, 7, 8)
    return None if torch.equal(op(x, affine)[0], x.flip(-1)) else "another axis is flipped"


@asks("orientation and spacing")
def regrid(op: Op) -> str | None:
    """A blob in an image of other orientation and spacing, brought to RAS and 1 mm, stays where it
    was in mm."""
    # posterior, superior, left; 1.5, 1 and 2 mm
    raw = np.array([[0, 0, -2, 40], [-1.5, 0, 0, 30], [0, 1, 0, -5], [0, 0, 0, 1.0]])
    place = raw[:3, :3] @ [8, 13, 6] + raw[:3, 3]
    y, affine = op(blob(raw, (18, 24, 12), place, 3.0), raw)
    affine = np.asarray(affine, dtype=float)
    if not np.allclose(affine[:3, :3], np.eye(3), atol=1e-6):
        return f"the axes become {affine[:3, :3].round(3).tolist()}"
    apart = np.linalg.norm(centroid(y, affine) - place)
    return None if apart < 0.3 else f"the blob is {apart:.1f} mm from its place"


@asks("what was drawn is recorded and replayed")
def replay(op: Op) -> str | None:
    """A random affine and flip, applied again as recorded: the same voxels."""
    x = noise(1, 10, 11, 12)
    y, again = op(x)
    happened(y, x)
    return None if torch.equal(y, again) else "replayed, it is another"


def _restored(op: Op) -> str | None:
    x = blob(np.eye(4), (24, 24, 24), [13.0, 11, 10], 4.0)
    y, back = op(x)
    happened(y, x, 0.1)
    error = (back.reshape(x.shape) - x)[:, 6:18, 6:18, 6:18].abs().max()
    # a peak of 4 voxels' width, linearly interpolated twice, is up to 3 % lower
    return None if error < 0.05 else f"wrong by {error:.2f} of the peak"


@asks("transforms can be undone", "inverse", "undo")
def inverse(ops: dict[str, Op]) -> str | None:
    """A random affine and flip, and a deformation of a voxel, undone: a smooth image is what it was
    at its centre."""
    return parts(**{name: _restored(op) for name, op in ops.items()})


@asks("points move with the image", "point", "boundingbox", "boxes")
def points(op: Op) -> str | None:
    """A point at the peak of a blob stays there."""
    place = np.array([14.0, 10, 13])
    x = blob(np.eye(4), (24, 24, 24), place, 2.5)
    try:
        y, moved = op(x, torch.tensor(place, dtype=torch.float32)[None])
    except KeyError:
        raise NotImplementedError("a transform drops those of a subject") from None
    where = centroid(y.reshape(x.shape), np.eye(4))
    if np.linalg.norm(where - place) < 1:
        raise AssertionError("nothing moved")
    apart = np.linalg.norm(where - moved.detach().double().numpy().reshape(3))
    return None if apart < 0.3 else f"{apart:.1f} voxels from the blob"


@asks("2D images")
def planes(op: Op) -> str | None:
    """An image (1, I, J) of one slice is rotated by 30 degrees within it."""
    x = blob(np.eye(4), (24, 24, 1), [15.0, 12, 0], [3.0, 3, 1])[..., 0]
    y = op(x)
    if y.shape != x.shape:
        return f"the result of {list(x.shape)} is {list(y.shape)}"
    happened(y, x, 0.05)
    kept = y.sum() / x.sum()
    return None if abs(kept - 1) < 0.05 else f"{100 * kept:.0f} % of the intensity is left"


@asks("dtypes of labels are kept")
def dtypes(op: Op) -> str | None:
    """Label maps of uint8 and int16, moved at random."""
    for dtype in (torch.uint8, torch.int16):
        x = torch.zeros(1, 12, 12, 12, dtype=dtype)
        x[:, 3:7, 4:9, 5:9] = 2
        try:
            y = op(x)
        except (RuntimeError, TypeError) as error:
            return f"{str(dtype).removeprefix('torch.')} is refused: {type(error).__name__}"
        if y.dtype != dtype:
            return f"{dtype} becomes {y.dtype}".replace("torch.", "")
    return None


@asks("displacement fields, one vector a voxel", "dense", "displacement", "warp")
def dense_field(op: Op) -> str | None:
    """A blob sampled at places that are moved by a smooth field (1, 3, I, J, K) in voxels, against
    the blob at these places."""
    at, shape = voxels((24, 24, 24)), (24, 24, 24)
    field = 2 * torch.stack([(at[(a + 1) % 3] / 6).sin() for a in range(3)])
    centre = torch.tensor([12.0, 11, 13]).view(3, 1, 1, 1)
    right = (-(at + field - centre).square().sum(0) / 50).exp()
    y = op(blob(np.eye(4), shape, centre.flatten().numpy(), 5.0)[None], field[None].float())
    apart = (y[0, 0] - right)[4:-4, 4:-4, 4:-4].abs().max()
    return None if apart < 0.02 else f"wrong by up to {apart:.2f} of the peak"
