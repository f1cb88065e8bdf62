"""Accumulation of patches as they come, into a whole volume or plane by plane."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torchio_gpu_kernels import load

from ..memory import zeros
from ..shapes import Triple, Volume, spatial_shape
from .dispatch.backend import use_kernel
from .dispatch.launch import to_device
from .dispatch.limits import DTYPES, GRID_LIMIT
from .eager import patches as eager
from .eager.patches import Places

__all__ = [
    "OVERLAPS",
    "Planes",
    "Stitcher",
    "check_overlap",
    "stream",
    "table",
    "why_no_kernel",
]

#: Ways of combining overlapping patches.
OVERLAPS = ("crop", "average", "hann", "gaussian")
#: Limit on the patches that begin in a cell of half their size. It is exceeded on a grid whose
#: neighbours share more than half of their voxels, where rounding of float32 sums would show.
_MANY = 8
#: Dtypes that kernels support.
_DTYPES = {*DTYPES, torch.float64}


class Stitcher:
    """Accumulator of patches of one size, for :func:`aggregate_patches` and aggregators.

    Args:
        volume: Shape of the volume that patches were cut from.
        shape: Shape of the output, which differs if a network changes the resolution.
        mode, overlap: As for :func:`aggregate_patches`; in voxels of ``volume``.
        device: Device of the sum; by default, that of the first patches.
    """

    def __init__(
        self,
        volume: Triple,
        shape: Triple,
        mode: str = "crop",
        overlap: Triple = (0, 0, 0),
        device: torch.device | None = None,
    ) -> None:
        if mode not in OVERLAPS:
            raise ValueError(f"overlap_mode must be one of {', '.join(OVERLAPS)}, got {mode!r}")
        self.volume, self.shape, self.mode, self.overlap = volume, shape, mode, overlap
        self.device = device
        self.scale = np.array(shape) / np.array(volume)
        self.size: Triple | None = None  # of a prediction
        self.dtype: torch.dtype  # of predictions
        self.total: Tensor  # [C, I, J, K]
        self.kernel: bool  # False for the eager path
        #: Weights of the voxels of a patch, [i, j, k]; for the kernel, three vectors, one per axis.
        #: Empty for 'crop', and for the kernel where all weights are 1.
        self.weights: list[Tensor] = []
        self.first: list[np.ndarray] = []  # [N, 3] in voxels of the output
        self._pending: list[tuple[Tensor, Places]] = []  # patches with a gradient
        self._cells: Counter[tuple[int, ...]] = Counter()  # patches that begin in each cell

    def add(self, patches: Volume, first: np.ndarray, size: Triple) -> None:
        """Add predictions.

        Args:
            patches: (N, C, i, j, k).
            first: First voxels of the patches that were predicted from, [N, 3].
            size: Shape of these patches.
        """
        where = self.place(patches, first, size)
        if self.size is None:
            self.begin(patches)
        self.first.append(where.first)
        self.widen(where.first)
        if self._pending or (patches.requires_grad and torch.is_grad_enabled()):
            self._pending.append((patches, where))
        else:
            self.put(self.total, patches.detach(), where)

    def put(self, volume: Tensor, patches: Volume, where: Places) -> None:
        """Add patches to a volume, in place."""
        if self.kernel:
            patches, crop = patches.to(volume.device), self.mode == "crop"
            load().scatter_patches_(volume[None], [patches], table(where), self.weights, crop)
        else:
            weights = self.cube if self.cube is None or volume.is_complex() else self.cube.real
            eager.scatter(volume, patches, where, weights)

    @property
    def cube(self) -> Tensor | None:
        """Weights of the voxels of a patch on the eager path, [i, j, k]."""
        return self.weights[0] if self.weights else None

    def widen(self, first: np.ndarray) -> None:
        """Switch to float64 where so many patches overlap that rounding in float32 would show.

        Args:
            first: First voxels of the newest patches, [N, 3].
        """
        if self.mode == "crop" or self.total.dtype not in (torch.float32, torch.complex64):
            return
        assert self.size is not None
        half = (np.array(self.size) + 1) // 2
        self._cells.update(map(tuple, (first // half).tolist()))
        if max(self._cells.values()) > _MANY:
            wide = torch.complex128 if self.total.is_complex() else torch.float64
            with torch.inference_mode(False):
                self.total = self.total.to(wide)
                self.weights = [weights.to(wide) for weights in self.weights]

    def result(self) -> Tensor:
        """Return the volume, (C, I, J, K), normalized in place: add no patches afterwards."""
        total = self.total
        if self._pending:
            batches, where = zip(*self._pending, strict=True)
            if self.kernel:
                patches, crop = [batch.to(total.device) for batch in batches], self.mode == "crop"
                places = table(Places.joined(where))
                given = patches, places, self.weights, total[None].shape, crop, total[None]
                (total,) = load().scatter_patches(*given)
            else:
                total = eager.Scatter.apply(total, where, self.cube, *batches)  # type: ignore[no-untyped-call]
        self._pending = []
        self.total = self.finish(total, np.concatenate(self.first))
        return self.total

    def finish(self, total: Tensor, first: np.ndarray) -> Tensor:
        """Divide by the sum of the weights of the patches that begin at ``first``."""
        if self.mode != "crop":
            size = spatial_shape(total)
            sums = eager.weight_sums(first, self.profiles, size)
            if sums is None:
                weight = self._weight(first, size, total)
                total = total / weight if total.requires_grad else total.div_(weight)
            elif self.kernel and not total.requires_grad:
                load().divide_by_product_(total, *to_device(total.device, *sums))
            else:
                total = eager.divide(total, to_device(total.device, *sums))
        return total.to(self.dtype)

    def _weight(self, first: np.ndarray, size: Triple, like: Tensor) -> Tensor:
        """Return the sum of weights for any set of patches, [1, I, J, K]; 1 where there is none."""
        assert self.size is not None
        total = zeros((1, *size), like.real.dtype, like.device)
        one = torch.ones((1, 1, 1, 1, 1), device=like.device)
        where = eager.places(first, self.size, size)
        self.put(total, one.expand(len(where), 1, *self.size), where)
        return total.masked_fill_(total == 0, 1)

    def begin(self, patches: Volume, planes: int | None = None) -> None:
        """Set size and dtype from the first predictions, and allocate their sum.

        Args:
            patches: The first predictions.
            planes: Number of planes along I to allocate; all by default.
        """
        shape = (patches.shape[1], planes or self.shape[0], *self.shape[1:])
        dtype = self._kept(patches.dtype)
        half = dtype.is_floating_point and dtype.itemsize < 4 and self.mode != "crop"
        work = torch.float32 if half else dtype
        device = self.device or patches.device
        self.kernel = use_kernel(device, lambda: why_no_kernel(patches.dtype, shape))
        self.size, self.dtype = spatial_shape(patches), dtype
        self.profiles = [eager.profile(self.mode, n) for n in self.size]
        unweighted = self.mode == "crop" or (self.kernel and self.mode == "average")
        with torch.inference_mode(False):  # the caller may leave it before the last patch
            if not unweighted:
                weights = to_device(device, *self.profiles)
                weights = weights if self.kernel else [eager.cube(weights)]
                self.weights = [each.to(work) for each in weights]
            self.total = zeros(shape, work, device)

    def _kept(self, dtype: torch.dtype) -> torch.dtype:
        """Return the dtype of the output for patches of ``dtype``."""
        keeps = self.mode == "crop" or dtype.is_floating_point or dtype.is_complex
        return dtype if keeps else torch.float32

    def _check(self, patches: Volume) -> None:
        """Raise unless predictions have the shape and dtype of the first ones."""
        if self.size is None:
            return
        known = (self.total.shape[0], *self.size, self.dtype)
        given = (*patches.shape[1:], self._kept(patches.dtype))
        if given != known:
            raise ValueError(
                f"batch must be like the ones before, {known[:-1]} of {known[-1]} for each patch, "
                f"got {given[:-1]} of {given[-1]}"
            )

    def place(self, patches: Volume, first: np.ndarray, size: Triple) -> Places:
        """Return the places of predictions in the output.

        Raises:
            ValueError: They are not like the first ones, or do not fit their places.
        """
        self._check(patches)
        if len(patches) != len(first):
            raise ValueError(
                f"locations must be one for each patch: expected {len(patches)}, got {len(first)}"
            )
        volume, shape = np.array(self.volume), np.array(self.shape)
        middle = first + np.array(size) // 2
        if ((middle < 0) | (middle >= volume)).any():
            n = int(((middle < 0) | (middle >= volume)).any(1).argmax())
            raise ValueError(
                f"patches must lie in the volume of shape {self.volume}, at least their middle: "
                f"patch {n} of {size} voxels begins at {first[n].tolist()}"
            )
        got = np.array(spatial_shape(patches))
        wish = np.array(size) * self.scale
        if (abs(got - wish) >= 1).any():
            text = "x".join(f"{n:g}" for n in wish)
            raise ValueError(
                f"batch must hold patches of {text} voxels: {size} at {self.shape} for "
                f"{self.volume}, got {tuple(got.tolist())}"
            )
        last = first + np.array(size)
        # Prefer the scale of the patch, which is exact: the shape of the volume may be rounded.
        own = got / np.array(size)
        scale = np.where(abs(shape - volume * own) < 1, own, self.scale)
        corner = _scaled(first, scale)
        corner = np.where(last == volume, shape - got, np.where(first == 0, 0, corner))
        low = high = None
        if self.mode == "crop":
            check_overlap(self.overlap, size)
            before = np.array(self.overlap) // 2
            after = np.array(self.overlap) - before
            low = np.where(first > 0, _scaled(first + before, scale), corner)
            high = np.where(last < volume, _scaled(last - after, scale), corner + got)
        return eager.places(corner, spatial_shape(patches), self.shape, low, high)


def _scaled(voxel: np.ndarray, scale: np.ndarray) -> np.ndarray:
    return np.floor(voxel * scale + 0.5).astype(np.int64)


def check_overlap(overlap: Triple, size: Triple, name: str = "patch_overlap") -> Triple:
    """Return an overlap if it is >= 0 and smaller than the patch; raise otherwise."""
    fits = len(overlap) == 3 and all(0 <= o < n for o, n in zip(overlap, size, strict=True))
    if not fits:
        raise ValueError(
            f"{name} must be >= 0 and smaller than the patch of {size} voxels, got {overlap}"
        )
    return overlap


def why_no_kernel(dtype: torch.dtype, shape: Sequence[int]) -> str | None:
    """Return the reason why kernels cannot extract or add patches, or None if they can.

    Args:
        dtype: Dtype of the volumes or of the patches.
        shape: Shape of the volumes, ([B], C, I, J, K).
    """
    if dtype not in _DTYPES:
        return f"voxels must be floats or integers, got {dtype}"
    if np.prod(shape[:-3]) > GRID_LIMIT or shape[-3] > GRID_LIMIT:
        return f"there must be at most {GRID_LIMIT} volumes and planes, got {list(shape)}"
    return None


def table(where: Places, sample: np.ndarray | int = 0) -> Tensor:
    """Return places in the layout of the kernels, int64 [N, 10].

    Args:
        where: The places.
        sample: Sample of each patch, [N] or one for all.
    """
    volumes = np.broadcast_to(sample, len(where))[:, None]
    return torch.from_numpy(np.concatenate([volumes, where.first, where.low, where.high], 1))


class Planes(NamedTuple):
    """Finished planes of a volume along I.

    Args:
        first: Number of the first one.
        data: Voxels, [C, planes, J, K].
    """

    first: int
    data: Tensor


def stream(
    stitcher: Stitcher, batches: Iterable[tuple[Volume, np.ndarray, Triple]]
) -> Iterator[Planes]:
    """Yield planes as soon as no further patch can reach them.

    Args:
        stitcher: An empty stitcher.
        batches: Predictions, first voxels [N, 3] and size of the patches, in ascending order along
            I.

    Raises:
        ValueError: A patch begins in a plane that was yielded already.
    """
    done = 0  # planes yielded: the volume of the stitcher begins there
    firsts = np.empty((0, 3), dtype=np.int64)
    for patches, first, size in batches:
        where = stitcher.place(patches, first, size)
        if stitcher.size is None:
            stitcher.begin(patches, planes=patches.shape[2])
        stitcher.widen(where.first)
        starts = where.low[:, 0]
        # groups of patches that begin in one plane
        ends = [*(np.flatnonzero(np.diff(starts)) + 1).tolist(), len(starts)]
        for n, end in zip([0, *ends], ends, strict=False):
            start = int(starts[n])
            if start < done:
                raise ValueError(
                    "patches must come in order along I, as from a GridSampler: one begins in "
                    f"plane {start}, and planes before {done} were yielded already"
                )
            if start > done:
                yield from _until(stitcher, done, start, firsts)
                done = start
            some = where[n:end]
            stitcher.put(stitcher.total, patches[n:end].detach(), some.moved((-done, 0, 0)))
            firsts = np.concatenate([firsts, some.first])
        assert stitcher.size is not None
        firsts = firsts[firsts[:, 0] + stitcher.size[0] > done]
    if stitcher.size is not None:
        yield from _until(stitcher, done, stitcher.shape[0], firsts)


def _until(stitcher: Stitcher, first: int, last: int, firsts: np.ndarray) -> Iterator[Planes]:
    """Yield finished planes, at most as many at a time as a patch has."""
    step = len(stitcher.total[0])
    for n in range(first, last, step):
        yield _take(stitcher, n, min(n + step, last), firsts)


def _take(stitcher: Stitcher, first: int, last: int, firsts: np.ndarray) -> Planes:
    """Remove finished planes from the front of the volume of a stitcher, and return them."""
    total, planes = stitcher.total, last - first
    out, rest = total[:, :planes].clone(), total[:, planes:].clone()
    total[:, : rest.shape[1]] = rest
    total[:, rest.shape[1] :] = 0
    assert stitcher.size is not None
    near = firsts[:, 0] + stitcher.size[0] > first
    return Planes(first, stitcher.finish(out, (firsts - (first, 0, 0))[near]))
