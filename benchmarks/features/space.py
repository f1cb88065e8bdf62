"""Checks of geometry: what moves, whereto, and how often it is interpolated."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from .answers import Answer, no, partly, yes
from .tensors import noise

Array = np.ndarray


def world(affine: Array, shape: tuple[int, ...]) -> Array:
    """Places of voxels in mm, [I, J, K, 3]."""
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    return index @ np.asarray(affine)[:3, :3].T + np.asarray(affine)[:3, 3]


def blob(affine: Array, shape: tuple[int, ...], centre: Array, widths: Array | float) -> Tensor:
    """A Gaussian, (1, I, J, K); centre and widths (standard deviations) in mm."""
    z = (world(affine, shape) - centre) / widths
    return torch.from_numpy(np.exp(-0.5 * (z**2).sum(-1))).float()[None]


def middle(affine: Array, shape: tuple[int, ...]) -> Array:
    """The centre of a volume in mm."""
    return world(affine, shape).reshape(-1, 3).mean(0)


def centroid(x: Tensor, affine: Array) -> Array:
    """Where the intensity of (1, I, J, K) lies, in mm."""
    weight = x.detach().double().numpy()[0]
    places = world(affine, weight.shape)
    return (weight[..., None] * places).sum((0, 1, 2)) / weight.sum()


def lengths(x: Tensor, affine: Array) -> Array:
    """Standard deviations along the three main axes, in mm, ascending."""
    weight = x.detach().double().numpy()[0]
    away = world(affine, weight.shape) - centroid(x, affine)
    covariance = np.einsum("ijk,ijka,ijkb->ab", weight, away, away) / weight.sum()
    return np.sqrt(np.linalg.eigvalsh(covariance))


def labels(call: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> Answer:
    """call: Image and label map (1, I, J, K) to both, moved at random."""
    affine, shape = np.eye(4), (32, 32, 32)
    x = blob(affine, shape, np.array([18.0, 15, 14]), np.array([7.0, 5, 6]))
    mask = ((x > 0.5) * 3).to(torch.uint8)
    y, moved = call(x, mask)
    if torch.allclose(y.float(), x, atol=0.05):
        raise AssertionError("nothing moved")
    moved = moved.reshape(shape).float()
    strange = sorted(set(moved.unique().tolist()) - {0.0, 3.0})
    if strange:
        return no(f"labels that were not there: {strange[:3]}")
    truth = y.reshape(shape) > 0.5
    dice = 2 * (truth & (moved == 3)).sum() / (truth.sum() + (moved == 3).sum())
    return yes() if dice > 0.9 else no(f"Dice with the mask of the moved image is {dice:.2f}")


FINE = np.diag([1.0, 1, 1, 1]), (32, 32, 32)
# voxel centres such that both volumes have the same bounds
COARSE = np.array([[2, 0, 0, 0.5], [0, 2, 0, 0.5], [0, 0, 2, 0.5], [0, 0, 0, 1.0]]), (16, 16, 16)


def spacing(call: Callable[[Tensor, Array, Tensor, Array], tuple[Tensor, Tensor]]) -> Answer:
    """call: Two images, each with its affine, to both, rotated at random by up to 40 degrees."""
    centre = np.array([20.0, 13, 18])
    one, two = (blob(*grid, centre, 3.0) for grid in (FINE, COARSE))
    y, z = call(one, FINE[0], two, COARSE[0])
    if z.shape != two.shape:
        return no(f"the second image becomes one of {'x'.join(map(str, z.shape[1:]))} voxels")
    first, second = centroid(y, FINE[0]), centroid(z, COARSE[0])
    if np.linalg.norm(first - centre) < 1:
        raise AssertionError("nothing moved")
    apart = np.linalg.norm(first - second)
    return yes() if apart < 0.5 else no(f"{apart:.1f} mm apart")


THICK = np.diag([1.0, 1, 2, 1]), (32, 32, 16)


def millimetres(call: Callable[[Tensor, Array], Tensor]) -> Answer:
    """call: Image and affine to the image turned by 45 degrees about the first axis."""
    affine, shape = THICK
    x = blob(affine, shape, middle(affine, shape), np.array([2.5, 5.0, 2.5]))
    y = call(x, affine)
    if torch.allclose(y, x, atol=0.05):
        raise AssertionError("nothing moved")
    before, after = lengths(x, affine), lengths(y, affine)
    # linear interpolation widens by at most half a voxel of 2 mm
    if np.abs(after - before).max() < 0.3:
        return yes()
    shown = " -> ".join("/".join(f"{length:.1f}" for length in each) for each in (before, after))
    return no(f"a bar's lengths become {shown} mm")


#: J, K and I grow to the posterior, left and superior; K is the axis of left and right.
PLS = np.array([[0, 0, -1, 0], [-1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1.0]])


def anatomy(call: Callable[[Tensor, Array], Tensor]) -> Answer:
    """call: Image and affine to the image with left and right exchanged."""
    x = noise(1, 6, 7, 8)
    y = call(x, PLS)
    return yes() if torch.equal(y, x.flip(-1)) else no("another axis is flipped")


def interpolations(call: Callable[[Tensor], Tensor]) -> bool:
    """Whether white noise is interpolated once by a random motion.

    One trilinear sampling leaves (2/3)^3 = 0.30 of its variance, two leave 0.17 or less.
    """
    x = noise(1, 32, 32, 32)
    left = torch.stack([call(x).reshape(x.shape)[:, 8:24, 8:24, 8:24].var() for _ in range(3)])
    share = (left.mean() / x.var()).item()
    if share > 0.6:
        raise AssertionError("nothing was interpolated")
    return share > 0.23


def fused(
    whole: Callable[[Tensor], Tensor] | None,
    affines: Callable[[Tensor], Tensor] | None = None,
    pair: Callable[[Tensor], Tensor] | None = None,
) -> Answer:
    """How much is one interpolation. All rotate and shift at random, and do not scale.

    Args:
        whole: Composed of two affines, a flip and an elastic deformation.
        affines: Composed of two affines.
        pair: An affine and an elastic deformation in one class.
    """
    if whole is not None and interpolations(whole):
        return yes()
    parts = {"affines composed": affines, "an affine with an elastic step in one class": pair}
    good = [name for name, call in parts.items() if call is not None and interpolations(call)]
    return partly("; ".join(good)) if good else no("each step interpolates")


def replay(call: Callable[[Tensor], tuple[Tensor, Tensor]]) -> Answer:
    """call: Image to its augmentation, and to the same replayed."""
    x = noise(1, 10, 11, 12)
    y, again = call(x)
    if torch.equal(y.reshape(x.shape), x):
        raise AssertionError("nothing happened")
    return yes() if torch.equal(y, again) else no("replayed, it is another")


Undone = Callable[[Tensor], tuple[Tensor, Tensor]]


def inverse(call: Undone, elastic: Undone | None = None) -> Answer:
    """Image to its augmentation (at most 10 degrees), and that undone.

    Args:
        call: By an affine and a flip.
        elastic: By a deformation of about a voxel as well; asked for a note.
    """
    wrong = _wrong(call)
    if wrong:
        return no(wrong)
    if elastic is None:
        return yes("not elastic deformations")
    wrong = _wrong(elastic)
    return yes(f"with an elastic deformation {wrong}" if wrong else "elastic deformations, too")


def _wrong(call: Undone) -> str:
    """How an image is not restored, if it is not."""
    affine, shape = np.eye(4), (24, 24, 24)
    x = blob(affine, shape, np.array([13.0, 11, 10]), 4.0)
    y, back = call(x)
    if (y.reshape(x.shape) - x).abs().max() < 0.1:
        raise AssertionError("nothing moved")
    error = (back.reshape(x.shape) - x)[:, 6:18, 6:18, 6:18].abs().max()
    # a peak of 4 voxels' width, linearly interpolated twice, is up to 3 % lower
    return "" if error < 0.05 else f"wrong by {error:.2f} of the peak"


def points(call: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> Answer:
    """call: Image and one point (3) in voxels to both, moved at random."""
    place = np.array([14.0, 10, 13])
    x = blob(np.eye(4), (24, 24, 24), place, 2.5)
    y, point = call(x, torch.tensor(place, dtype=torch.float32))
    where = centroid(y.reshape(x.shape), np.eye(4))
    if np.linalg.norm(where - place) < 1:
        raise AssertionError("nothing moved")
    apart = np.linalg.norm(where - point.detach().double().numpy().reshape(3))
    return yes() if apart < 0.3 else no(f"{apart:.1f} voxels from the blob")


def planes(call: Callable[[Tensor], Tensor]) -> Answer:
    """call: Image (1, I, J) to the image rotated by 30 degrees within its plane."""
    x = blob(np.eye(4), (24, 24, 1), np.array([15.0, 12, 0]), np.array([3.0, 3, 1]))[..., 0]
    y = call(x)
    if y.shape != x.shape:
        return no(f"the result of {list(x.shape)} is {list(y.shape)}")
    if torch.allclose(y, x, atol=0.05):
        raise AssertionError("nothing moved")
    kept = y.sum() / x.sum()
    return yes() if abs(kept - 1) < 0.05 else no(f"{100 * kept:.0f} % of the intensity is left")


def dtypes(call: Callable[[Tensor], Tensor]) -> Answer:
    """call: Label map (1, I, J, K) to itself, moved at random."""
    kept = []
    for dtype in (torch.uint8, torch.int16):
        x = torch.zeros(1, 12, 12, 12, dtype=dtype)
        x[:, 3:7, 4:9, 5:9] = 2
        try:
            y = call(x)
        except (RuntimeError, TypeError) as error:
            return no(f"{str(dtype).removeprefix('torch.')} is refused: {type(error).__name__}")
        if y.dtype != dtype:
            return no(f"{dtype} becomes {y.dtype}".replace("torch.", ""))
        kept.append(dtype)
    return yes()
