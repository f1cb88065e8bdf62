"""Dataset that prepares each subject once: in memory, or in a folder that outlives the process."""

from __future__ import annotations

import copy
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from .. import random
from ..data import Subject, SubjectsDataset, io
from ..data.dataset import separate
from ..data.image import Image
from ..data.io.voxels import blosc2
from ..data.point_set import PointSet
from ..transforms import Compose, RandomTransform, Transform
from . import entries
from .stamps import Stamps, digest_of, mentioned_files

_PACKAGE = __name__.partition(".")[0]


class CachedDataset(SubjectsDataset):
    """Dataset that keeps subjects as they are after the fixed part of its transform.

    The transform is divided before its first step that draws at random, or that cannot be written
    by :meth:`Transform.to_dict`, as a function of the user, of which it is not known what it does.
    With a folder, it is also divided before the first transform whose class is not of this library,
    since its code may change from one run to the next.
    What comes before, :attr:`prepared`, is applied once to a subject, and the result is kept; what
    remains, :attr:`transform`, is applied whenever the subject is asked for. Random numbers are
    the same as without a cache. So are voxels, unless a spatial transform before the division and
    one after it would have shared one interpolation.

    A subject is prepared again when an input of it has changed: a file by its path, size or time
    of change, voxels given in memory, with a folder also metadata, the transform, or the version of
    this library.

    In memory, each process keeps subjects of its own; workers that are forked share those that
    were kept before. A folder may be shared by any number of processes and threads, also of
    several datasets: files appear whole or not at all, and the last of several equal ones stays.
    Entries of files that changed are replaced; those of other values and transforms, which are no
    longer used, stay until the folder is removed.

    Args:
        dataset: The dataset. Its subjects are read whether or not it has ``load_getitem``.
        folder: Folder for a file ``.b2nd`` of each image and a JSON file of each subject, which is
            created; by default subjects are kept in memory. Images are :class:`ScalarImage`,
            :class:`LabelMap` or maps of weights; other values are points, boxes, numbers, strings,
            paths, arrays, tensors, None, and lists, tuples and dicts of these. Pickles are neither
            written nor read.

    Raises:
        TypeError: ``dataset`` is no SubjectsDataset with the reading of that class; or, when a
            subject is kept in a folder, it has a value of another type, or an image with a reader.
        ImportError: There is a folder, and Blosc2 is not installed.

    >>> subjects = [Subject(t1=ScalarImage(torch.rand(1, 6, 6, 6)), age=4) for _ in range(3)]
    >>> dataset = SubjectsDataset(subjects, Compose([ZNormalization(), CropOrPad(4), RandomFlip()]))
    >>> cached = CachedDataset(dataset)
    >>> cached.prepared
    Compose([ZNormalization(), CropOrPad(target_shape=4)])
    >>> cached.transform
    Compose([RandomFlip(axes=(0,))])
    >>> cached[0].t1.shape
    (1, 4, 4, 4)
    """

    def __init__(
        self, dataset: SubjectsDataset, folder: str | os.PathLike[str] | None = None
    ) -> None:
        if not isinstance(dataset, SubjectsDataset):
            raise TypeError(f"dataset must be a SubjectsDataset, got {type(dataset).__name__}")
        for name in ("__getitem__", "shared"):
            if getattr(type(dataset), name) is not getattr(SubjectsDataset, name):
                raise TypeError(
                    f"dataset must read its subjects as a SubjectsDataset does, "
                    f"{type(dataset).__name__} has a {name} of its own"
                )
        #: Folder of the entries, or None.
        self.folder: Path | None = None if folder is None else io.expanded(folder).absolute()
        if self.folder is not None:
            blosc2()
            self.folder.mkdir(parents=True, exist_ok=True)
        self._kept_subjects: dict[int, tuple[str, Subject]] = {}
        self._stamps = Stamps()
        super().__init__(dataset.dry_iter(), dataset.transform)

    def set_transform(self, transform: Callable[[Subject], object] | None) -> None:
        """Replace the whole transform, which is divided anew; ``None`` removes it."""
        super().set_transform(transform)
        fixed, remaining = _divided(transform, self.folder is not None)
        self.transform = remaining
        #: Transform whose results are kept; None if subjects are kept as they are read.
        self.prepared: Transform | None = fixed
        described = None if fixed is None else fixed.to_dict()
        self._pipeline = json.dumps([_version(), described, mentioned_files(described)])
        self._kept_subjects = {}

    def _read(self, index: int) -> Subject:
        number = range(len(self._subjects))[index]
        base = self._subjects[number]
        stamps, values = self._inputs(base)
        stamp = digest_of(json.dumps([self._pipeline, stamps, values]))
        if self.folder is None:
            known, subject = self._kept_subjects.get(number, (None, base))
            if known != stamp:
                subject = self._prepare(base)
                self._kept_subjects[number] = stamp, subject
            return _apart(subject)
        entry = self._entry(base, stamps, values)
        allow = _classes(self.prepared)
        found = entries.load(entry, stamp, base, allow)
        if found is None:
            found = self._prepare(base)
            try:
                entries.save(found, entry, stamp, allow)
            except TypeError as error:
                raise TypeError(f"subject {number}: {error}") from error
        return found

    def _prepare(self, base: Subject) -> Subject:
        """Return a subject after the fixed part of the transform; it draws no numbers."""
        subject = copy.copy(base)
        subject.load()
        if self.prepared is not None:
            if not self.prepared.keeps_input:
                subject = separate(subject, list(base.values()))
            with random.use_seed(0):
                subject = self.prepared(subject)
        subject.load()
        return subject

    def _apply(self, subject: Subject) -> Any:
        """Return a subject after the remaining transform, with the numbers that it would draw."""
        if self.prepared is not None or self.transform is not None:
            streams = random.streams_for(1)
            used = 0 if self.prepared is None else self.prepared.plan().positions
            with random.use_seed(int(streams.seeds[0])) as inner:
                inner.used = streams.used + used
                result = subject if self.transform is None else self.transform(subject)
            streams.used = inner.used
            return result
        return subject

    def _sources(self, index: int) -> Sequence[Any]:
        """Return values whose voxels are kept, and not to be written to."""
        number = range(len(self._subjects))[index]
        _, kept = self._kept_subjects.get(number, (None, None))
        return [*super()._sources(index), *(() if kept is None else kept.values())]

    def _inputs(self, base: Subject) -> tuple[dict[str, list[Any]], list[Any]]:
        """Return what tells a change of the input of a subject: stamps of images, and values."""
        images = base.get_images_dict(intensity_only=False)
        stamps = {name: self._stamps.of(image) for name, image in images.items()}
        if self.folder is None:
            return stamps, []  # metadata may be of any type, and are looked at by nobody else
        for name, image in images.items():
            if not image.loaded and image.reader is not None:
                raise TypeError(
                    f"image {name!r} must have no reader to be kept in a folder, since the code of "
                    f"a function may change: got {image.reader!r}"
                )
        others = {name: value for name, value in base.items() if name not in images}
        values = [entries.encoded_value(value, name) for name, value in others.items()]
        metadata = [entries.encoded(images[name].metadata, name) for name in images]
        history = [record.to_dict() for record in base.history]
        return stamps, [list(base), values, metadata, history]

    def _entry(self, base: Subject, stamps: dict[str, list[Any]], values: list[Any]) -> Path:
        """Return the file of a subject, by the pipeline, the paths of images, and all values."""
        assert self.folder is not None
        names: list[Any] = [values]
        for name, image in base.get_images_dict(intensity_only=False).items():
            paths = image.path if isinstance(image.path, list) else [image.path]
            places = [None if path is None else os.path.abspath(path) for path in paths]
            *known, last = stamps[name]
            names.append([name, known, last if image.loaded else places])
        digest = digest_of(json.dumps([self._pipeline, names]))
        return self.folder / digest[:2] / f"{digest}.json"

    def __getstate__(self) -> dict[str, Any]:
        # another process prepares its own, which is faster than sending all of them
        return {**self.__dict__, "_kept_subjects": {}}

    def __repr__(self) -> str:
        text = super().__repr__().removesuffix(")")
        prepared = "" if self.prepared is None else f", prepared={self.prepared!r}"
        return f"{text}{prepared}, {'in memory' if self.folder is None else f'in {self.folder}'})"


def _divided(
    transform: Callable[[Subject], object] | None, on_disk: bool
) -> tuple[Transform | None, Callable[[Subject], object] | None]:
    """Return the fixed first part of a transform, and the remaining part.

    Args:
        transform: The transform.
        on_disk: Results outlive the process.
    """
    if not isinstance(transform, Transform):
        return None, transform
    steps = list(_steps(transform))
    count = next((n for n, step in enumerate(steps) if not _is_fixed(step, on_disk)), len(steps))
    if count == 0:
        return None, transform
    fuse = getattr(transform, "fuse", True)
    if count == len(steps):
        return transform, None
    return Compose(steps[:count], fuse=fuse), Compose(steps[count:], fuse=fuse)


def _steps(transform: Transform) -> Iterator[Transform]:
    """Yield the steps of a composition, and of compositions in it that only join their steps."""
    if type(transform) is Compose and set(transform.arguments()) <= {"transforms", "fuse"}:
        for step in transform:
            yield from _steps(step)
    else:
        yield transform


def _apart(subject: Subject) -> Subject:
    """Return a copy of a subject that shares only voxels, coordinates, and what has no copies."""
    result = copy.copy(subject)
    for name, value in result.items():
        if isinstance(value, (Image, PointSet)):
            value.metadata = {key: _copied(each) for key, each in value.metadata.items()}
        else:
            result[name] = _copied(value)
    return result


def _copied(value: Any) -> Any:
    try:
        return copy.deepcopy(value)
    except (TypeError, RuntimeError):  # as of open files, and of results of autograd
        return value


def _is_fixed(step: Transform, on_disk: bool) -> bool:
    """Return True if a step does the same each time, and can be written.

    The code of a class that is not of this library may be another when the result is read.
    """
    try:
        step.to_dict()
    except TypeError:
        return False
    plan = step.plan()
    fixed = (
        each.params is not None
        or (each.transform.draws == 0 and not isinstance(each.transform, RandomTransform))
        for each in plan.steps
    )
    classes = {type(step), *(type(each.transform) for each in plan.steps)}
    known = not on_disk or all(cls.__module__.partition(".")[0] == _PACKAGE for cls in classes)
    return known and not plan.pipeline.decisions and all(fixed)


def _classes(transform: Transform | None) -> list[type[Transform]]:
    """Return the classes of the transforms in a composition."""
    if transform is None:
        return []
    return list({type(step.transform) for step in transform.plan().steps})


def _version() -> str:
    # not imported from the package, which is above all its parts
    return str(vars(sys.modules[_PACKAGE])["__version__"])


__all__ = ["CachedDataset"]
