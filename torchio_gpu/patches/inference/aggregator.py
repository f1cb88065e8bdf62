"""Aggregation of predictions for patches to the prediction for the whole volume."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...functional.stitching import OVERLAPS, Planes, Stitcher, stream
from ...shapes import Triple, TripleLike, Volume, check_count, check_triple
from ...signature import checked
from ...spellings import older_spellings
from ..sampling.grid import GridSampler
from ..sampling.location import check_locations

#: Name of an output that was given without one.
_ONLY = ""


class Slab(NamedTuple):
    """Finished planes of an output.

    Args:
        first: Number of the first one along I.
        data: (C, planes, J, K), or the result of a reduction.
    """

    first: int
    data: Any


class PatchAggregator:
    """Aggregator of predictions for patches.

    Args:
        spatial_shape: (I, J, K) of the volume that patches are cut from.
        overlap_mode: How overlapping patches are combined. 'average' takes the mean; 'hann' and
            'gaussian' (a standard deviation of 1/8 of the patch, as in nnU-Net) a weighted mean
            whose weights decrease from the centre of a patch to its border; 'crop' keeps the
            centre of each patch only, and changes no value.
        patch_overlap: Overlap of the patches, which 'crop' needs; one number or three.
        output_shape: (I, J, K) of the output, where a network changes the resolution; or a dict of
            them by the name of the output.
        device: Device of the output; by default, that of the first patches.

    Weights are divided by their sum: the mean of constant patches is that constant everywhere. Half
    precision is summed in float32, and float32 in float64 where neighbours share more than half of
    their voxels along all axes. Where there is no patch, the output is 0.

    Without gradients patches are added to the output at once, which is all the memory needed if
    they form a full grid. Patches that have a gradient are kept until the output is requested, and
    gradients flow to them.

    Raises:
        ValueError: An argument is not as above.

    >>> subject = Subject(t1=ScalarImage(torch.rand(1, 12, 12, 12)))
    >>> sampler = GridSampler(subject, patch_size=8, patch_overlap=4)
    >>> aggregator = PatchAggregator(subject.spatial_shape, overlap_mode="hann")
    >>> for batch in SubjectsLoader(sampler, batch_size=4):
    ...     aggregator.add_batch(batch.t1.data, batch.patch_location)
    >>> bool(torch.allclose(aggregator.get_output(), subject.t1.data))
    True
    """

    @checked
    def __init__(
        self,
        spatial_shape: TripleLike,
        overlap_mode: str = "crop",
        patch_overlap: TripleLike = 0,
        output_shape: TripleLike | Mapping[str, TripleLike] | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        self.spatial_shape = check_triple(spatial_shape, "spatial_shape")
        if overlap_mode not in OVERLAPS:
            raise ValueError(
                f"overlap_mode must be one of {', '.join(OVERLAPS)}, got {overlap_mode!r}"
            )
        self.overlap_mode = overlap_mode
        self.patch_overlap = check_triple(patch_overlap, "patch_overlap", least=0)
        shapes = output_shape if isinstance(output_shape, Mapping) else {}
        self._shapes = {n: check_triple(s, "output_shape") for n, s in shapes.items()}
        self._shape = self.spatial_shape
        if output_shape is not None and not shapes:
            self._shape = check_triple(output_shape, "output_shape")
        self.output_shape = output_shape
        self.device = None if device is None else torch.device(device)
        self._stitchers: dict[str, Stitcher] = {}
        self._outputs: dict[str, Tensor] = {}

    @older_spellings(batch_tensor="batch")
    def add_batch(self, batch: Volume | Mapping[str, Volume], locations: Any) -> None:
        """Add predictions of some patches.

        Args:
            batch: (B, C, i, j, k), or (C, i, j, k) of a single patch; or a dict of these. All
                batches of an output must have one size of patches, number of channels and dtype.
            locations: Locations of the patches: a :class:`PatchLocation` for each, or a tensor
                (B, 6), or (6,) for a single one. Reading a tensor on a GPU waits for it.

        Raises:
            ValueError: Numbers or sizes of patches do not fit, a patch does not lie in the volume,
                the names of outputs change, or an output was requested before.
        """
        first, size = _corners(locations)
        outputs = dict(batch) if isinstance(batch, Mapping) else {_ONLY: batch}
        if self._outputs:
            raise ValueError(
                "batch must be added before the first call of get_output, got it after"
            )
        if not outputs or (self._stitchers and set(outputs) != set(self._stitchers)):
            raise ValueError(
                f"batch must hold the outputs {list(self._stitchers) or 'of a network'}, as the "
                f"ones before, got {list(outputs)}"
            )
        if not set(self._shapes) <= set(outputs):
            names = list(outputs)
            raise ValueError(f"output_shape must name outputs of {names}, got {self.output_shape}")
        # Check all before any is added, so that an error leaves the aggregator as it was.
        patches = {name: _patches(output, name) for name, output in outputs.items()}
        stitchers = self._stitchers or {name: self._stitcher(name) for name in patches}
        for name, each in patches.items():
            stitchers[name].place(each, first, size)
        self._stitchers = stitchers
        for name, each in patches.items():
            stitchers[name].add(each, first, size)

    def __repr__(self) -> str:
        names = ("spatial_shape", "overlap_mode", "patch_overlap")
        values = ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
        return f"{type(self).__name__}({values})"

    def get_output(self, key: str | None = None) -> Tensor:
        """Return the output, (C, I, J, K), in the dtype of the patches.

        Integers become float32 unless ``overlap_mode`` is 'crop'.

        Args:
            key: Name of the output, if there are several.

        Raises:
            ValueError: No batch was added.
            KeyError: There is no output of that name, or several and no name was given.
        """
        if not self._stitchers:
            raise ValueError("batch must be added before the first call of get_output, none was")
        names = list(self._stitchers)
        name = (names[0] if len(names) == 1 else None) if key is None else key
        if name not in self._stitchers:
            raise KeyError(f"key must be one of the outputs {names}, got {key!r}")
        if name not in self._outputs:
            self._outputs[name] = self._stitchers[name].result()
        return self._outputs[name]

    def get_output_tensor(self) -> Tensor:
        """Return :meth:`get_output`, under its name in TorchIO 1.x."""
        return self.get_output()

    def stream(
        self,
        pairs: Iterable[tuple[Volume, Any]],
        reduction: Callable[[Tensor], Any] | None = None,
    ) -> Iterator[Slab]:
        """Yield planes along I as soon as all of their patches were added.

        For outputs that do not fit into memory: at most the planes that are covered by patches
        with one position along I are held. The aggregator itself is not changed. Gradients are not
        kept.

        Args:
            pairs: Batches with their locations, as for :meth:`add_batch`, in the order of a
                :class:`GridSampler`: no patch may begin in a plane that was yielded already.
            reduction: Applied to each slab (C, planes, J, K), for example an argmax over channels.

        Yields:
            Consecutive slabs along I.

        Raises:
            ValueError: As for :meth:`add_batch`; or patches are not in ascending order along I.

        >>> sampler = GridSampler(Subject(t1=ScalarImage(torch.rand(2, 9, 8, 8))), patch_size=4)
        >>> patches = ((patch.t1.data, patch.patch_location) for patch in sampler)
        >>> labels = PatchAggregator((9, 8, 8)).stream(patches, lambda slab: slab.argmax(0))
        >>> [(slab.first, slab.data.shape[0]) for slab in labels]
        [(0, 4), (4, 1), (5, 4)]
        """
        if self._shapes:
            raise ValueError(f"output_shape must be one shape for stream, got {self.output_shape}")
        stitcher = self._stitcher(_ONLY)

        def batches() -> Iterator[tuple[Volume, np.ndarray, Triple]]:
            for batch, locations in pairs:
                yield _patches(batch, _ONLY), *_corners(locations)

        planes: Planes
        for planes in stream(stitcher, batches()):
            yield Slab(planes.first, planes.data if reduction is None else reduction(planes.data))

    def _stitcher(self, name: str) -> Stitcher:
        shape = self._shapes.get(name, self._shape)
        return Stitcher(
            self.spatial_shape, shape, self.overlap_mode, self.patch_overlap, self.device
        )


class GridAggregator(PatchAggregator):
    """A :class:`PatchAggregator` for the patches of a sampler, as in TorchIO 1.x.

    Args:
        sampler: Sampler whose subject and overlap give the shape and overlap.
        downsampling_factor: Number of voxels of the volume, along each axis, for one of the output
            of the network: a short form of ``output_shape``.
        overlap_mode, output_shape, device: See :class:`PatchAggregator`.

    >>> sampler = GridSampler(Subject(t1=ScalarImage(torch.rand(1, 12, 12, 12))), patch_size=4)
    >>> aggregator = GridAggregator(sampler)
    >>> for patch in sampler:
    ...     aggregator.add_batch(patch.t1.data, patch["location"])
    >>> bool((aggregator.get_output_tensor() == sampler.subject.t1.data).all())
    True
    """

    @checked
    def __init__(
        self,
        sampler: GridSampler,
        overlap_mode: str = "crop",
        downsampling_factor: int = 1,
        output_shape: TripleLike | Mapping[str, TripleLike] | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        if not isinstance(sampler, GridSampler) or sampler.subject is None:
            raise TypeError(f"sampler must be a GridSampler of a subject, got {sampler!r}")
        self.downsampling_factor = check_count(downsampling_factor, "downsampling_factor", 1)
        if downsampling_factor != 1:
            shape = sampler.subject.spatial_shape
            if output_shape is not None or any(n % downsampling_factor for n in shape):
                raise ValueError(
                    f"downsampling_factor must divide the shape of the volume, {shape}, and be "
                    f"given without output_shape, got {downsampling_factor} and {output_shape}"
                )
            output_shape = tuple(n // downsampling_factor for n in shape)  # type: ignore[assignment]
        super().__init__(
            sampler.subject.spatial_shape,
            overlap_mode,
            sampler.patch_overlap,
            output_shape,
            device,
        )


def _patches(output: Any, name: str) -> Volume:
    argument = f"batch[{name!r}]" if name else "batch"
    if not isinstance(output, Tensor):
        raise TypeError(f"{argument} must be a tensor, got {type(output).__name__}")
    output = output[None] if output.ndim == 4 else output
    if output.ndim != 5 or 0 in output.shape:
        raise ValueError(
            f"{argument} must have shape (B, C, I, J, K) with no empty axis, "
            f"got {tuple(output.shape)}"
        )
    return output


def _corners(locations: Any) -> tuple[np.ndarray, Triple]:
    """Return first voxels, [N, 3], and the common size of patches; raise if sizes differ."""
    known = check_locations(locations)
    sizes = {location.size for location in known}
    if len(sizes) != 1:
        raise ValueError(f"locations must be of one size, got {sorted(sizes) or 'none'}")
    return np.array([location.index for location in known]), next(iter(sizes))


__all__ = ["GridAggregator", "PatchAggregator", "Slab"]
