"""Dataset of subjects."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from torch.utils.data import Dataset, default_collate

from ..plot import table_of
from ..signature import checked
from .batch import SubjectsBatch
from .facts import brief
from .image import Image
from .point_set import PointSet
from .subject import Subject

#: Subjects that a notebook shows of a dataset, at most.
_SHOWN = 5


class SubjectsDataset(Dataset[Any]):
    """Subjects that are read, and transformed, one at a time when asked for.

    The subjects given are never changed: voxels are read into a copy, so memory does not grow
    with the number of samples seen, and voxels that are in memory are copied for whoever asks, but
    for the transforms of this library, which do not write to what they are given.

    Args:
        subjects: The subjects.
        transform: Applied to each subject after it is read; any callable.
        load_getitem: Read the voxels of a subject before it is transformed or returned. With False
            they are read when they are needed; a :class:`Queue` or :class:`DeviceQueue` then reads
            the boxes of its patches alone.

    Raises:
        ValueError: There are no subjects.
        TypeError: One of them is not a :class:`Subject`, or the transform cannot be called.

    >>> from torch.utils.data import DataLoader
    >>> subject = Subject(t1=ScalarImage(torch.rand(1, 4, 4, 4)))
    >>> dataset = SubjectsDataset([subject, subject])
    >>> next(iter(DataLoader(dataset, batch_size=2))).t1.data.shape
    torch.Size([2, 1, 4, 4, 4])
    """

    @checked
    def __init__(
        self,
        subjects: Iterable[Subject],
        transform: Callable[[Subject], object] | None = None,
        load_getitem: bool = True,
    ) -> None:
        self._subjects = list(subjects)
        if not self._subjects:
            raise ValueError("subjects must hold at least one Subject, got none")
        for n, subject in enumerate(self._subjects):
            if not isinstance(subject, Subject):
                raise TypeError(
                    f"subjects must be Subject instances, number {n} is {type(subject).__name__}"
                )
        self.set_transform(transform)
        self.load_getitem = load_getitem

    def __len__(self) -> int:
        return len(self._subjects)

    def __getitem__(self, index: int) -> Any:
        return self._unshared(self.shared(index), index)  # the caller may write to it

    @classmethod
    def from_batch(cls, batch: SubjectsBatch) -> SubjectsDataset:
        """Create a dataset of the subjects of a batch."""
        if not isinstance(batch, SubjectsBatch):
            raise TypeError(
                f"batch must be a SubjectsBatch, got {type(batch).__name__}: for a dict, take "
                "SubjectsDataset(utils.get_subjects_from_batch(batch))"
            )
        return cls(batch.unbatch())

    def shared(self, index: int) -> Any:
        """Return a sample that may share voxels with the dataset: they must not be written to."""
        if isinstance(index, (slice, tuple, list)):
            raise TypeError(
                f"index must be an integer, got {index!r}: for several samples, take "
                "torch.utils.data.Subset, or the subjects of dry_iter()"
            )
        subject = self._read(int(index))
        if self.transform is not None and not getattr(self.transform, "keeps_input", False):
            subject = self._unshared(subject, index)
        return self._apply(subject)

    def _read(self, index: int) -> Subject:
        """Return a copy of a subject, which may share voxels with the dataset."""
        subject = copy.copy(self._subjects[index])
        if self.load_getitem:
            subject.load()
        return subject

    def _apply(self, subject: Subject) -> Any:
        """Return a subject after the transform."""
        return subject if self.transform is None else self.transform(subject)

    def _sources(self, index: int) -> Sequence[Any]:
        """Return the values of a subject that the dataset keeps."""
        return list(self._subjects[index].values())

    def _unshared(self, sample: Any, index: int) -> Any:
        """Return a sample with copies of those voxels and points that the dataset keeps."""
        if not isinstance(sample, Subject):
            return sample
        return separate(sample, self._sources(int(index)))

    def set_transform(self, transform: Callable[[Subject], object] | None) -> None:
        """Replace the transform; ``None`` removes it."""
        if transform is not None and not callable(transform):
            raise TypeError(f"transform must be callable or None, got {transform!r}")
        self.transform = transform

    def dry_iter(self) -> Sequence[Subject]:
        """Return the subjects, neither read nor transformed."""
        return list(self._subjects)

    def _repr_html_(self) -> str:
        """Return HTML with a table of the first subjects, for notebooks; no voxels are read."""
        first = self._subjects[:_SHOWN]
        names = list(dict.fromkeys(name for subject in first for name in subject))
        rows = [
            [str(n), *(_brief(subject[name]) if name in subject else "" for name in names)]
            for n, subject in enumerate(first)
        ]
        if len(self) > _SHOWN:
            rows.append(["…", f"and {len(self) - _SHOWN} more"])
        return table_of(rows, ("", *names), repr(self))

    def __repr__(self) -> str:
        names = self._subjects[0].get_images_names()
        transform = "" if self.transform is None else f", transform={self.transform!r}"
        return f"{type(self).__name__}({len(self)} subjects with {', '.join(names)}{transform})"


def _brief(value: object) -> str:
    """Return a value of a subject in a few words; for an image, from its header."""
    if not isinstance(value, Image):
        return brief(value)
    name, *facts = value._facts()
    if len(facts) == 1:  # of a header that cannot be read
        return f"{name}: {facts[0]}"
    shape, spacing, codes, *_ = facts
    return f"{name} {shape}, {spacing} mm, {codes}"


def collate(samples: Sequence[Any]) -> Any:
    """Batch samples: subjects as a :class:`SubjectsBatch`, all else as torch does."""
    if all(isinstance(sample, Subject) for sample in samples):
        return _collate_subjects(samples)
    return default_collate(list(samples))


def _collate_subjects(subjects: Sequence[Subject], **_: Any) -> SubjectsBatch:
    batch = SubjectsBatch.from_subjects(subjects)
    for images in batch.get_images_dict().values():
        if images.device.type == "cpu":  # cheap where voxels were just copied; a pass on a GPU
            images.fill_value("minimum")
    return batch


def _register_collate() -> None:
    """Register subjects in torch's default collate function, which a plain DataLoader uses."""
    from torch.utils.data._utils.collate import default_collate_fn_map

    default_collate_fn_map[Subject] = _collate_subjects


_register_collate()


def separate(sample: Subject, kept: Sequence[Any]) -> Subject:
    """Replace voxels and points of a sample that share memory with values by copies.

    Args:
        sample: The sample, which is changed.
        kept: The values.
    """
    places = {_storage(v) for v in kept if _has_data(v)}
    for name, value in sample.items():
        if _has_data(value) and _storage(value) in places:
            sample[name] = value._with(value.data.clone())
    return sample


def _has_data(value: object) -> bool:
    """Return True for points, boxes, and images whose voxels are in memory."""
    return isinstance(value, PointSet) or (isinstance(value, Image) and value.loaded)


def _storage(value: Image | PointSet) -> int:
    """Return the address of the memory of the voxels of an image, or of coordinates."""
    return value.data.untyped_storage().data_ptr()
