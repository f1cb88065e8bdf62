"""Adding up patches as they come, to a whole volume or row by row."""

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
from .dispatch.kernels import DTYPES, MOST
from .dispatch.launch import to_device
from .eager import patches as _reference
from .eager.patches import Places

__all__ = [
    "OVERLAPS",
    "Rows",
    "Stitcher",
    "check_overlap",
    "stream",
    "table",
    "why_no_kernel",
]

#: What to do where patches overlap.
OVERLAPS = ("crop", "average", "hann", "gaussian")
#: When more patches than these begin in a cell half their size, as on a grid whose neighbours share
#: more than half, a voxel is the sum of more terms than float32 adds up well.
_MANY = 8
#: What kernels know.
_DTYPES = {*DTYPES, torch.float64}


class Stitcher:
    """Adds up patches of one size as they come, for :func:`aggregate_patches` and aggregators.

    Args:
        volume: Voxels of the volume that patches were cut from.
        shape: Voxels of the volume that predictions are put together to.
        mode, overlap: As for :func:`aggregate_patches`; in voxels of ``volume``.
        device: Where to add; by default, where the first patches are.
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
        self.kernel: bool  # or the reference
        #: Of the voxels of a patch, [i, j, k]; for the kernel, three of each axis. There are none
        #: for 'crop', and for the kernel where all are 1.
        self.weights: list[Tensor] = []
        self.first: list[np.ndarray] = []  # [N, 3] in voxels of the output
        self._waiting: list[tuple[Tensor, Places]] = []  # what has a gradient
        self._cells: Counter[tuple[int, ...]] = Counter()  # patches that begin in each cell

    def add(self, patches: Volume, first: np.ndarray, size: Triple) -> None:
        """Add predictions.

        Args:
            patches: (N, C, i, j, k).
            first: First voxels of what they are predictions of, [N, 3].
            size: Its voxels.
        """
        where = self.place(patches, first, size)
        if self.size is None:
            self.begin(patches)
        self.first.append(where.first)
        self.widen(where.first)
        if self._waiting or (patches.requires_grad and torch.is_grad_enabled()):
            self._waiting.append((patches, where))
        else:
            self.put(self.total, patches.detach(), where)

    def put(self, volume: Tensor, patches: Volume, where: Places) -> None:
        """Add patches to a volume, in place."""
        if self.kernel:
            patches, crop = patches.to(volume.device), self.mode == "crop"
            load().scatter_patches_(volume[None], [patches], table(where), self.weights, crop)
        else:
            weights = self.cube if self.cube is None or volume.is_complex() else self.cube.real
            _reference.scatter(volume, patches, where, weights)

    @property
    def cube(self) -> Tensor | None:
        """Weights as the reference has them."""
        return self.weights[0] if self.weights else None

    def widen(self, first: np.ndarray) -> None:
        """Go on in float64 where so many patches overlap that rounding in float32 would show.

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
        """The volume, (C, I, J, K); it is that to which patches were added, and ends that."""
        total = self.total
        if self._waiting:
            batches, where = zip(*self._waiting, strict=True)
            if self.kernel:
                patches, crop = [batch.to(total.device) for batch in batches], self.mode == "crop"
                rows = table(Places.joined(where))
                given = patches, rows, self.weights, total[None].shape, crop, total[None]
                (total,) = load().scatter_patches(*given)
            else:
                total = _reference.Scatter.apply(total, where, self.cube, *batches)  # type: ignore[no-untyped-call]
        self._waiting = []
        self.total = self.finish(total, np.concatenate(self.first))
        return self.total

    def finish(self, total: Tensor, first: np.ndarray) -> Tensor:
        """Divide by the sum of the weights of patches with these first voxels."""
        if self.mode != "crop":
            size = spatial_shape(total)
            sums = _reference.weight_sums(first, self.profiles, size)
            if sums is None:
                weight = self._weight(first, size, total)
                total = total / weight if total.requires_grad else total.div_(weight)
            elif self.kernel and not total.requires_grad:
                load().divide_by_product_(total, *to_device(total.device, *sums))
            else:
                total = _reference.divide(total, to_device(total.device, *sums))
        return total.to(self.dtype)

    def _weight(self, first: np.ndarray, size: Triple, like: Tensor) -> Tensor:
        """The sum of weights of any patches, [1, I, J, K]; 1 where there is none."""
        assert self.size is not None
        total = zeros((1, *size), like.real.dtype, like.device)
        one = torch.ones((1, 1, 1, 1, 1), device=like.device)
        where = _reference.places(first, self.size, size)
        self.put(total, one.expand(len(where), 1, *self.size), where)
        return total.masked_fill_(total == 0, 1)

    def begin(self, patches: Volume, rows: int | None = None) -> None:
        """Take the size and type of predictions from the first ones, and make room for their sum.

        Args:
            patches: The first predictions.
            rows: How many rows along I to make room for; all by default.
        """
        shape = (patches.shape[1], rows or self.shape[0], *self.shape[1:])
        dtype = self._kept(patches.dtype)
        half = dtype.is_floating_point and dtype.itemsize < 4 and self.mode != "crop"
        work = torch.float32 if half else dtype
        device = self.device or patches.device
        self.kernel = use_kernel(device, lambda: why_no_kernel(patches.dtype, shape))
        self.size, self.dtype = spatial_shape(patches), dtype
        self.profiles = [_reference.profile(self.mode, n) for n in self.size]
        alike = self.mode == "crop" or (self.kernel and self.mode == "average")
        with torch.inference_mode(False):  # which may end before all patches are there
            if not alike:
                weights = to_device(device, *self.profiles)
                weights = weights if self.kernel else [_reference.cube(weights)]
                self.weights = [each.to(work) for each in weights]
            self.total = zeros(shape, work, device)

    def _kept(self, dtype: torch.dtype) -> torch.dtype:
        """The type of the output for patches of a type."""
        keeps = self.mode == "crop" or dtype.is_floating_point or dtype.is_complex
        return dtype if keeps else torch.float32

    def _check(self, patches: Volume) -> None:
        """Raise unless predictions are like the first ones."""
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
        """Where in the output predictions go.

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
        # What happens to a patch happens to the volume, whose shape may be rounded.
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
        return _reference.places(corner, spatial_shape(patches), self.shape, low, high)


def _scaled(voxel: np.ndarray, scale: np.ndarray) -> np.ndarray:
    return np.floor(voxel * scale + 0.5).astype(np.int64)


def check_overlap(overlap: Triple, size: Triple, name: str = "patch_overlap") -> Triple:
    """Return an overlap that is smaller than the patch, else raise."""
    fits = len(overlap) == 3 and all(0 <= o < n for o, n in zip(overlap, size, strict=True))
    if not fits:
        raise ValueError(
            f"{name} must be >= 0 and smaller than the patch of {size} voxels, got {overlap}"
        )
    return overlap


def why_no_kernel(dtype: torch.dtype, shape: Sequence[int]) -> str | None:
    """Why kernels cannot cut or add patches; None if they can.

    Args:
        dtype: Of the volumes or of the patches.
        shape: Of the volumes, ([B], C, I, J, K).
    """
    if dtype not in _DTYPES:
        return f"voxels must be floats or integers, got {dtype}"
    if np.prod(shape[:-3]) > MOST or shape[-3] > MOST:
        return f"there must be at most {MOST} volumes and planes, got {list(shape)}"
    return None


def table(where: Places, sample: np.ndarray | int = 0) -> Tensor:
    """Places as kernels know them, int64 [N, 10].

    Args:
        where: The places.
        sample: Of which volume, [N] or one for all.
    """
    volumes = np.broadcast_to(sample, len(where))[:, None]
    return torch.from_numpy(np.concatenate([volumes, where.first, where.low, where.high], 1))


class Rows(NamedTuple):
    """Some rows of a volume along I, and which is the first."""

    first: int
    data: Tensor  # [C, rows, J, K]


def stream(
    stitcher: Stitcher, batches: Iterable[tuple[Volume, np.ndarray, Triple]]
) -> Iterator[Rows]:
    """Rows as soon as no further patch can hold them.

    Args:
        stitcher: One that nothing was added to.
        batches: Predictions, first voxels [N, 3] and size of the patches, which come in order
            along I.

    Raises:
        ValueError: A patch begins in a row that was handed out.
    """
    done = 0  # rows handed out: the volume of the stitcher begins there
    firsts = np.empty((0, 3), dtype=np.int64)
    for patches, first, size in batches:
        where = stitcher.place(patches, first, size)
        if stitcher.size is None:
            stitcher.begin(patches, rows=patches.shape[2])
        stitcher.widen(where.first)
        starts = where.low[:, 0]
        # those that begin in one row, one after another
        ends = [*(np.flatnonzero(np.diff(starts)) + 1).tolist(), len(starts)]
        for n, end in zip([0, *ends], ends, strict=False):
            start = int(starts[n])
            if start < done:
                raise ValueError(
                    "patches must come in order along I, as from a GridSampler: one begins in row "
                    f"{start}, and rows before {done} were handed out"
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


def _until(stitcher: Stitcher, first: int, last: int, firsts: np.ndarray) -> Iterator[Rows]:
    """Finished rows, no more at a time than a patch has."""
    step = len(stitcher.total[0])
    for n in range(first, last, step):
        yield _take(stitcher, n, min(n + step, last), firsts)


def _take(stitcher: Stitcher, first: int, last: int, firsts: np.ndarray) -> Rows:
    """Take finished rows out of the volume of a stitcher, which moves on."""
    total, rows = stitcher.total, last - first
    out, rest = total[:, :rows].clone(), total[:, rows:].clone()
    total[:, : rest.shape[1]] = rest
    total[:, rest.shape[1] :] = 0
    assert stitcher.size is not None
    near = firsts[:, 0] + stitcher.size[0] > first
    return Rows(first, stitcher.finish(out, (firsts - (first, 0, 0))[near]))
