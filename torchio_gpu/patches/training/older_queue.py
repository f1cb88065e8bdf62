"""Members of queues by the names of TorchIO 1."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

from ...data import Subject
from ..sampling.cutting import PatchSampler
from .epochs import unread


class OlderQueue:
    """Base of queues: members that have another name in TorchIO 1."""

    subjects: Any
    patch_sampler: Any
    patches_per_volume: int
    max_length: int

    @property
    def patches_per_epoch(self) -> int:
        """Number of patches of an epoch."""
        raise NotImplementedError

    @property
    def subjects_dataset(self) -> Any:
        """Dataset of the subjects."""
        return self.subjects

    @property
    def sampler(self) -> Any:
        """Sampler of the patches."""
        return self.patch_sampler

    @property
    def samples_per_volume(self) -> int:
        """Number of patches of each subject."""
        return self.patches_per_volume

    @property
    def iterations_per_epoch(self) -> int:
        """Number of patches of an epoch."""
        return self.patches_per_epoch

    @property
    def num_patches(self) -> int:
        """Number of patches in the queue now."""
        queue: Any = self
        return int(queue.statistics.length)

    def __getitem__(self, index: object) -> Any:
        raise TypeError(
            f"patches of a queue are taken by a loop over it or over its loader, got [{index!r}]"
        )

    @property
    def subjects_iterable(self) -> Iterator[Subject]:
        """Iterator over the subjects, in the order of the dataset, each read when it is needed."""
        return (self.subjects[n] for n in range(len(self.subjects)))

    def get_max_memory(self, subject: Subject | None = None) -> int:
        """Return the memory of a full queue in bytes: ``max_length`` patches of a subject.

        Args:
            subject: The subject; by default the first one.

        Raises:
            TypeError: The size of patches is not known, since the sampler is another callable.
        """
        if not isinstance(self.patch_sampler, PatchSampler):
            raise TypeError(
                "patch_sampler must be a sampler of this library for max_memory, got "
                f"{self.patch_sampler!r}"
            )
        subject = subject or unread(self.subjects, 0) or self.subjects[0]
        images = subject.get_images(intensity_only=False)
        voxel = sum(i.num_channels * i.dtype.itemsize for i in images)
        return self.max_length * prod(self.patch_sampler.patch_size) * int(voxel)

    def get_max_memory_pretty(self, subject: Subject | None = None) -> str:
        """Return :meth:`get_max_memory` with its unit, as text."""
        size, units = float(self.get_max_memory(subject)), ["B", "KiB", "MiB", "GiB"]
        while size >= 1024 and len(units) > 1:
            size /= 1024
            units.pop(0)
        return f"{size:.1f} {units[0]}"


__all__ = ["OlderQueue"]
