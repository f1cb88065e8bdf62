"""Queue of patches of volumes on the device: drawn, augmented and batched there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset

from ... import random
from ...data import Subject, SubjectsBatch, SubjectsDataset
from ...functional.dispatch.backend import use_kernel
from ...shapes import Triple, check_count
from ...transforms import Transform
from ...transforms.pipeline.joined import JoinedPatches
from ...transforms.pipeline.patchwise import Patchwise
from ...transforms.pipeline.steps import Steps
from ...transforms.pipeline.warp import PendingWarp
from ..sampling.cutting import check_space, located
from ..sampling.samplers import RandomSampler, UniformSampler
from ..sampling.unread import whole_needed
from ..sampling.weighted import WeightedSampler
from ..sampling.weights import draw
from .cache import SubjectCache
from .cached_subject import CachedSubject, merge, merge_images
from .epochs import EpochSampler, Indices
from .unread import check_no_whole, stays_unread, without_transform


class DeviceQueue:
    """Batches of augmented patches of volumes that are kept on the device.

    Subjects are read once and stay on the device in the dtype in which they are stored. For each
    patch, its location and its augmentation are drawn, and only its own voxels are computed: the
    crop is composed with the maps of the spatial transforms, in the same sampling. Bias fields and
    deformations are those of the whole volume, at the location of the patch.

    Where a transform needs the whole volume (those of k-space, blur, normalization, ...), it and
    all transforms before it are applied to the volume, as are those before the last run of spatial
    ones; see :meth:`explain`. This is done once for the ``patches_per_volume`` patches that are
    then cut out of it, each with its own parameters for the transforms that follow. Transforms
    that need the volume therefore belong at the front of a pipeline, or, if they are not random, in
    the ``transform`` of a :class:`SubjectsDataset`, whose results are cached.

    Args:
        subjects: A sequence of Subjects, or a dataset of them, such as a SubjectsDataset, whose
            transform is applied once. The images of a subject must lie in one space.
        patch_sampler: A UniformSampler, WeightedSampler or LabelSampler without padding. Weighted
            patches are centred where the transforms move the voxel drawn. Where these only flip
            volumes or change their grid, voxels are drawn around which a patch fits afterwards;
            where they move the content, any voxel is drawn, and patches are kept inside the volume.
        transform: The augmentation.
        batch_size: Patches of a batch, each of another subject.
        patches_per_volume: Patches of each subject and epoch.
        device: Device of the volumes; by default the GPU if there is one, else the CPU.
        memory: Bytes of volumes to keep on the device; by default half of the free memory of a GPU.
            Other volumes are kept in pinned host memory, and prefetched. On a CPU the two are one.
        num_workers: Threads that read and pin the subjects of the next batches. Without them, the
            host reads a subject when it is needed for the first time.
        shuffle_subjects: Take subjects in random order; by default, unless there is a
            ``subject_sampler``.
        subject_sampler: Indices of the subjects to take, in order. It divides subjects among ranks
            itself; without it, ranks of ``torch.distributed`` divide them, and one may have a
            subject more than another.
        drop_last: Drop the last subjects of an epoch if they do not fill a batch.
        seed: Seed of all randomness, together with the number of the epoch; by default drawn from
            torch's CPU generator at each epoch.

    Yields:
        :class:`SubjectsBatch` on the device, whose samples hold their location:
        ``batch.patch_location[n]``. The history of a patch is that of its volume.

    On a GPU, an image of a batch is gathered from all volumes in one launch and sampled in another,
    also where their shapes differ, as far as the part that a patch needs fits into all of them; on
    a CPU, volumes of each shape are sampled in a pass of their own. Volumes with images of other
    dtypes or names always are.

    Volumes need not fit into memory: a dataset with ``load_getitem=False`` leaves voxels in their
    files, as for :class:`Queue`, and only the box that a patch needs under its maps, bounded by the
    displacement, is read and copied to the device. With ``num_workers``, threads read the boxes of
    the next batch. Batches are those of loaded volumes. What is kept of a subject is its fill
    values, and weights summed along K to draw from, for which a map is read whole once; images of
    files that cannot be sliced are read whole, and kept. All transforms run for each patch then: an
    error names a step that needs whole volumes, which belongs into the preparation of the files.

    Copies to a GPU run on a stream of their own, from pinned memory, and streams wait for events:
    the host never waits for the GPU. Batches belong to the stream that is current where they are
    taken, which may be another one for each. Locations are drawn on the host; maps of weights or
    labels stay in its memory, too. The host waits once for each volume only where a transform that
    runs for each volume changes the map.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: A number is out of range, or volumes stay in their files and a step needs them
            whole; or, in an epoch, a patch is larger than its volume, or
            the images of a subject do not lie in one space.
        RuntimeError: A subject cannot be loaded; it is named.

    >>> subjects = [Subject(t1=ScalarImage(torch.rand(1, 32, 32, 32))) for _ in range(4)]
    >>> augment = Compose([RandomMotion(), RandomAffine(), RandomBiasField(), RandomNoise()])
    >>> queue = DeviceQueue(subjects, UniformSampler(16), augment, 2, 3, device="cpu")
    >>> [tuple(batch.t1.shape) for batch in queue] == [(2, 1, 16, 16, 16)] * 6
    True
    >>> print(queue.explain())
    for each volume:
    volume: RandomMotion  (ends: end of the pipeline)
    for each patch:
    spatial: RandomAffine  (ends: RandomBiasField is pointwise)
    pointwise: RandomBiasField -> RandomNoise  (ends: end of the pipeline)
    """

    def __init__(
        self,
        subjects: Sequence[Subject] | Dataset[Subject],
        patch_sampler: RandomSampler,
        transform: Transform | None = None,
        batch_size: int = 1,
        patches_per_volume: int = 1,
        *,
        device: torch.device | str | None = None,
        memory: int | None = None,
        num_workers: int = 0,
        shuffle_subjects: bool | None = None,
        subject_sampler: Indices | None = None,
        drop_last: bool = False,
        seed: int | None = None,
    ) -> None:
        if not isinstance(patch_sampler, (UniformSampler, WeightedSampler)):
            raise TypeError(
                "patch_sampler must be a UniformSampler, WeightedSampler or LabelSampler, got "
                f"{patch_sampler!r}"
            )
        if patch_sampler.padding_mode is not None:
            raise ValueError(
                "patch_sampler must be without padding: pad the volumes in the transform of a "
                f"SubjectsDataset, got padding_mode {patch_sampler.padding_mode!r}"
            )
        if transform is not None and not isinstance(transform, Transform):
            raise TypeError(f"transform must be a Transform or None, got {transform!r}")
        check_count(batch_size, "batch_size", 1)
        check_count(patches_per_volume, "patches_per_volume", 1)
        check_count(num_workers, "num_workers", 0)
        if memory is not None:
            check_count(memory, "memory", 0)
        self.patch_sampler, self.transform = patch_sampler, transform
        self.batch_size, self.patches_per_volume = batch_size, patches_per_volume
        self.num_workers, self.drop_last = num_workers, drop_last
        if not isinstance(subjects, Dataset):
            subjects = SubjectsDataset(subjects)
        self._pipeline = Patchwise(Steps() if transform is None else transform.plan().pipeline)
        self._unread = stays_unread(subjects)
        if self._unread:
            own = without_transform(subjects)[1]
            if own is not None:
                raise whole_needed(f"a DeviceQueue keeps what {own!r} of its dataset returns")
            check_no_whole(self._pipeline)
        if device is None:
            device = "cuda" if torch.cuda.is_available() else "cpu"
        self.device = torch.empty(0, device=device).device
        shuffle = subject_sampler is None if shuffle_subjects is None else shuffle_subjects
        self._epochs = EpochSampler(subjects, subject_sampler, shuffle, seed)
        self.cache = SubjectCache(
            subjects, self.device, memory, seed, self._map_names, self._unread
        )

    def __len__(self) -> int:
        """Return the number of batches of an epoch, of this rank."""
        whole, rest = divmod(len(self._epochs), self.batch_size)
        return (whole + (rest > 0 and not self.drop_last)) * self.patches_per_volume

    def set_epoch(self, epoch: int) -> None:
        """Set the number of the next epoch; each iteration increments it."""
        self._epochs.epoch = epoch

    def explain(self) -> str:
        """Return the stages that run for each volume, and those that run for each patch."""
        return str(self._pipeline)

    def __iter__(self) -> Iterator[SubjectsBatch]:
        epoch = self._epochs.next()
        pairs = list(zip(epoch.indices, epoch.seeds, strict=True))
        groups = [pairs[n : n + self.batch_size] for n in range(0, len(pairs), self.batch_size)]
        if self.drop_last and groups and len(groups[-1]) < self.batch_size:
            groups.pop()
        with self.cache.prefetching(self.num_workers) as take:
            planned = self._planned(groups, take)
            if not (self._unread and self.num_workers):
                yield from (one.finish() for one in planned)
                return
            with ThreadPoolExecutor(self.num_workers, "torchio_gpu.DeviceQueue") as executor:
                yield from self._read_ahead(planned, executor)

    def _read_ahead(
        self, planned: Iterator[_Batch], executor: ThreadPoolExecutor
    ) -> Iterator[SubjectsBatch]:
        """Yield batches, while threads read the boxes that the next one needs."""
        waiting: list[_Batch] = []
        try:
            for one in planned:
                one.prefetch(executor.submit)
                waiting.append(one)
                if len(waiting) > 1:
                    yield self._finished(waiting.pop(0))
            yield from map(self._finished, waiting)
        finally:
            executor.shutdown(wait=True, cancel_futures=True)

    def _finished(self, batch: _Batch) -> SubjectsBatch:
        self.cache.order(batch.subjects)
        return batch.finish()

    def _planned(self, groups: Sequence[Sequence[tuple[int, int]]], take: Any) -> Iterator[_Batch]:
        """Yield the plans of all batches of an epoch, given (index, seed) of their subjects."""
        for n, group in enumerate(groups):
            ahead = [index for later in groups[n + 1 :][:1] for index, _ in later]
            cached = take([index for index, _ in group], ahead)
            yield from self._patches(cached, np.array([seed for _, seed in group]))

    def _patches(self, cached: list[CachedSubject], seeds: np.ndarray) -> Iterator[_Batch]:
        """Yield plans of batches with one patch of each subject."""
        children = random.offspring(seeds, np.zeros_like(seeds), self.patches_per_volume)
        if self._pipeline.before.steps:
            self.cache.order(cached)
            cached = [
                self._whole(subject, seed) for subject, seed in zip(cached, seeds, strict=True)
            ]
        for n in range(self.patches_per_volume):
            self.cache.order(cached)  # the stream may be another one for each batch
            yield self._batch(cached, children[:, n])

    def _whole(self, subject: CachedSubject, seed: int) -> CachedSubject:
        """Return a subject after the stages that run for each volume."""
        batch = subject.batch.replace(dict(subject.batch.images))
        batch.streams = random.Streams(np.array([seed]))
        out, decisions = self._pipeline.whole(batch)
        check_space(out)
        whole = CachedSubject(out, decisions)
        whole.inherit(subject)
        return whole

    def _batch(self, cached: list[CachedSubject], seeds: np.ndarray) -> _Batch:
        """Plan one patch of each subject, computed together where they differ in shape alone."""
        kinds: dict[Any, dict[Any, list[int]]] = {}  # numbers of subjects, by kind and by shape
        for n, subject in enumerate(cached):
            images = subject.batch.images.items()
            kind = tuple((name, each.kind, each.dtype, each.shape[1]) for name, each in images)
            shape = tuple(each.shape[2:] for _, each in images)
            kinds.setdefault(kind, {}).setdefault(shape, []).append(n)
        parts = [self._sample(cached, seeds, list(groups.values())) for groups in kinds.values()]
        numbers = (sorted(chain.from_iterable(groups.values())) for groups in kinds.values())
        order = np.argsort(list(chain.from_iterable(numbers)))
        return _Batch(cached, parts, order)

    def _sample(
        self, cached: list[CachedSubject], seeds: np.ndarray, groups: list[list[int]]
    ) -> _Part:
        """Plan patches of subjects whose images have equal kinds and dtypes.

        Args:
            cached: All subjects of the batch.
            seeds: Their seeds, [B].
            groups: Numbers of the subjects to take, grouped by shape.
        """
        size, together = self.patch_sampler.patch_size, use_kernel(self.device)
        patches, corners = [], []
        for group in groups:
            some = [cached[n] for n in group]
            decisions = np.concatenate([subject.decisions for subject in some])
            patch = self._pipeline.patches(merge(some, seeds[group]), decisions, together)
            first = self._corners(some, seeds[group], patch.final_maps())
            patch.crop_to_patch(first, size)
            patches.append(patch)
            corners.append(first)
        numbers = np.argsort(np.argsort(np.concatenate(groups)))  # among those to take
        rows = np.split(numbers, np.cumsum([len(group) for group in groups])[:-1])
        # plain torch rounds coordinates in another way if the region that it reads is larger
        joined = JoinedPatches(patches, rows, merge_images if together else None)
        return _Part(joined, np.concatenate(corners)[np.argsort(numbers)], size)

    def _map_names(self, images: Mapping[str, Any]) -> list[str]:
        """Return the names of the images that locations are drawn from."""
        if not isinstance(self.patch_sampler, WeightedSampler):
            return []
        try:
            return [self.patch_sampler.map_name(images)]
        except (KeyError, ValueError):  # the transform may make it
            return []

    def _corners(
        self, cached: list[CachedSubject], seeds: np.ndarray, warps: Mapping[str, PendingWarp]
    ) -> np.ndarray:
        """Draw first voxels of the patches, [B, 3], in voxels of the transformed volumes."""
        sampler = self.patch_sampler
        shapes = {name: warp.space.shape for name, warp in warps.items()}
        if len(set(shapes.values())) > 1:
            raise ValueError(f"images must share a spatial shape to be cut, got {shapes}")
        first, last = sampler.room(next(iter(shapes.values())))
        if isinstance(sampler, UniformSampler):
            return sampler.corners_between(first, last, seeds)
        assert isinstance(sampler, WeightedSampler)
        name = sampler.map_name(cached[0].batch.images)
        warp, half = warps[name], np.array(sampler.patch_size) // 2
        boxes = warp.origin_of(first + half, last + half)
        if boxes is None:  # the content moves, differently for each patch: draw from all voxels
            ends = np.array([(0, 0, 0), warp.maps.source.shape]) - [[0], [1]]
            boxes = np.broadcast_to(ends, (len(seeds), 2, 3))
        weights = []
        for subject, box in zip(cached, boxes, strict=True):
            key = name, box.tobytes()
            if key not in subject.weights:
                subject.weights[key] = sampler.weights(subject.map(name), box)
            weights.append(subject.weights[key])
        voxels = draw(weights, [subject.on_host(name) for subject in cached], seeds)
        middle = np.rint(warp.maps.where(voxels.astype(np.float64)))
        return (middle.astype(np.int64) - half).clip(first, last)


class _Part(NamedTuple):
    """Plan of patches that are computed together.

    Args:
        joined: The patches.
        first: Their first voxels, [B, 3].
        size: Voxels of a patch.
    """

    joined: JoinedPatches
    first: np.ndarray
    size: Triple

    def finish(self) -> SubjectsBatch:
        """Compute the patches."""
        out = self.joined.finish()
        out.metadata = {**out.metadata, **located(self.first, self.size)}
        return out


class _Batch(NamedTuple):
    """Plan of a batch.

    Args:
        subjects: Its subjects.
        parts: Plans of patches that are computed together.
        order: For each sample, its number counted through all parts.
    """

    subjects: list[CachedSubject]
    parts: list[_Part]
    order: np.ndarray

    def prefetch(self, submit: Callable[..., Any]) -> None:
        """Start to read the boxes of unread images in threads."""
        for part in self.parts:
            for _, _, one in part.joined.passes or ():
                if (region := one.region()) is not None:
                    for source in one.sources:
                        source.images.prefetch(*region, submit)

    def finish(self) -> SubjectsBatch:
        """Compute the batch."""
        parts = [part.finish() for part in self.parts]
        if len(parts) == 1:
            return parts[0]
        samples = [sample for part in parts for sample in part.unbatch()]
        return SubjectsBatch.from_subjects([samples[n] for n in self.order])


__all__ = ["DeviceQueue"]
