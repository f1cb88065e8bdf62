"""Predictions of patches put together to that of the whole volume."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...functional.stitching import OVERLAPS, Planes, Stitcher, stream
from ...shapes import Triple, Volume, check_triple
from ...signature import checked
from ..sampling.grid import GridSampler
from ..sampling.location import check_locations

#: The name of an output that came without one.
_ONLY = ""


class Slab(NamedTuple):
    """Finished planes of an output.

    Args:
        first: Their first row along I.
        data: (C, planes, J, K), or what a reduction made of it.
    """

    first: int
    data: Any


class PatchAggregator:
    """Puts predictions of patches together.

    Args:
        spatial_shape: (I, J, K) of the volume that patches are cut from.
        overlap_mode: What to do where patches overlap. 'average' takes the mean; 'hann' and
            'gaussian' (a standard deviation of 1/8 of the patch, as nnU-Net's) a mean to which
            voxels count the less the farther they are from the middle of their patch; 'crop' keeps
            the middle of each patch only, and changes no value.
        patch_overlap: The overlap of the patches, which 'crop' has to know; one number or three.
        output_shape: (I, J, K) of the output, where a network changes the resolution; or a dict
            with that of outputs by name.
        device: Where to put patches together; by default, where the first ones are.

    The mean is a true one: of patches that all hold one number, it is that number everywhere. Half
    precision is added up in float32, and float32 in float64 where neighbours share more than half
    of their voxels along all axes. Where there is no patch, the output is 0.

    Without gradients patches are added to the output at once, which is all the memory there is if
    they make up a full grid. Patches that have a gradient are kept until the output is asked for,
    and gradients flow to them.

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
        spatial_shape: Any,
        overlap_mode: str = "crop",
        patch_overlap: Any = 0,
        output_shape: Any = None,
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

    def add_batch(self, batch: Volume | Mapping[str, Volume], locations: Any) -> None:
        """Add predictions of some patches.

        Args:
            batch: (B, C, i, j, k), or (C, i, j, k) of a single patch; or a dict of these. All
                batches of an output must have one size of patches, number of channels and dtype.
            locations: Where the patches were cut from: a :class:`PatchLocation` for each, or a
                tensor (B, 6), or (6,) for a single one. On a GPU, a tensor waits for it.

        Raises:
            ValueError: Numbers or sizes of patches do not fit, a patch does not lie in the volume,
                the names of outputs change, or an output was asked for before.
        """
        first, size = _corners(locations)
        outputs = dict(batch) if isinstance(batch, Mapping) else {_ONLY: batch}
        if self._outputs:
            raise ValueError("batches must be added before an output is asked for")
        if not outputs or (self._stitchers and set(outputs) != set(self._stitchers)):
            raise ValueError(
                f"batch must hold the outputs {list(self._stitchers) or 'of a network'}, as the "
                f"ones before, got {list(outputs)}"
            )
        if not set(self._shapes) <= set(outputs):
            names = list(outputs)
            raise ValueError(f"output_shape must name outputs of {names}, got {self.output_shape}")
        # All are looked at before any is added.
        patches = {name: _patches(output, name) for name, output in outputs.items()}
        stitchers = self._stitchers or {name: self._stitcher(name) for name in patches}
        for name, each in patches.items():
            stitchers[name].place(each, first, size)
        self._stitchers = stitchers
        for name, each in patches.items():
            stitchers[name].add(each, first, size)

    def get_output(self, key: str | None = None) -> Tensor:
        """Return the output, (C, I, J, K), of the dtype of the patches; of integers, float32.

        Integers keep their dtype where ``overlap_mode`` is 'crop'.

        Args:
            key: Its name, if there are several.

        Raises:
            ValueError: There is none yet.
            KeyError: There is none of that name, or no name where there are several.
        """
        if not self._stitchers:
            raise ValueError("a batch must be added before an output can be asked for, none was")
        names = list(self._stitchers)
        name = (names[0] if len(names) == 1 else None) if key is None else key
        if name not in self._stitchers:
            raise KeyError(f"key must be one of the outputs {names}, got {key!r}")
        if name not in self._outputs:
            self._outputs[name] = self._stitchers[name].result()
        return self._outputs[name]

    def get_output_tensor(self) -> Tensor:
        """:meth:`get_output` by the name that it has in TorchIO 1.x."""
        return self.get_output()

    def stream(
        self,
        pairs: Iterable[tuple[Volume, Any]],
        reduction: Callable[[Tensor], Any] | None = None,
    ) -> Iterator[Slab]:
        """Put patches together as they come, and hand out planes along I as soon as they are done.

        For outputs that do not fit into memory: there is never more than what the patches of one
        row of the grid cover. The aggregator itself stays as it is. Gradients are not kept.

        Args:
            pairs: Batches with their locations, as for :meth:`add_batch`, in the order of a
                :class:`GridSampler`: no patch may begin in a row that was handed out.
            reduction: Applied to each slab (C, planes, J, K), for example an argmax over channels.

        Yields:
            Slabs, which follow each other along I.

        Raises:
            ValueError: As for :meth:`add_batch`; or patches do not come in order.

        >>> sampler = GridSampler(Subject(t1=ScalarImage(torch.rand(2, 9, 8, 8))), patch_size=4)
        >>> patches = ((patch.t1.data, patch.patch_location) for patch in sampler)
        >>> labels = PatchAggregator((9, 8, 8)).stream(patches, lambda slab: slab.argmax(0))
        >>> [(slab.first, slab.data.shape[0]) for slab in labels]
        [(0, 4), (4, 1), (5, 4)]
        """
        if self._shapes:
            raise ValueError(f"output_shape must be that of one output, got {self.output_shape}")
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
        sampler: The sampler, which knows shape and overlap.
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
        output_shape: Any = None,
        device: torch.device | str | None = None,
    ) -> None:
        if not isinstance(sampler, GridSampler) or sampler.subject is None:
            raise TypeError(f"sampler must be a GridSampler of a subject, got {sampler!r}")
        super().__init__(
            sampler.subject.spatial_shape,
            overlap_mode,
            sampler.patch_overlap,
            output_shape,
            device,
        )


def _patches(output: Any, name: str) -> Volume:
    what = f"batch[{name!r}]" if name else "batch"
    if not isinstance(output, Tensor):
        raise TypeError(f"{what} must be a tensor, got {type(output).__name__}")
    output = output[None] if output.ndim == 4 else output
    if output.ndim != 5 or 0 in output.shape:
        raise ValueError(
            f"{what} must have shape (B, C, I, J, K) with no empty axis, got {tuple(output.shape)}"
        )
    return output


def _corners(locations: Any) -> tuple[np.ndarray, Triple]:
    """First voxels, [N, 3], and the size that they all have."""
    known = check_locations(locations)
    sizes = {location.size for location in known}
    if len(sizes) != 1:
        raise ValueError(f"locations must be of one size, got {sorted(sizes) or 'none'}")
    return np.array([location.index for location in known]), next(iter(sizes))


__all__ = ["GridAggregator", "PatchAggregator", "Slab"]
