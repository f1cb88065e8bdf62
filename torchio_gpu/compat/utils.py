"""Functions of ``torchio.utils`` that scripts call."""

from __future__ import annotations

import gzip
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from ..data import (
    AFFINE,
    DATA,
    HISTORY,
    LABEL,
    PATH,
    TYPE,
    Image,
    ImagesBatch,
    LabelMap,
    ScalarImage,
    Subject,
    SubjectsBatch,
)
from ..data.dataset import collate
from ..data.mapping import stem_of
from ..progress import progress
from ..shapes import Triple, check_triple

T = TypeVar("T")


def to_tuple(value: T | Iterable[T], length: int = 1) -> tuple[T, ...]:
    """Return an iterable as a tuple, and any other value ``length`` times.

    >>> to_tuple(1, length=3), to_tuple([1, 2], length=3)
    ((1, 1, 1), (1, 2))
    """
    if isinstance(value, Iterable) and not isinstance(value, (str, bytes)):
        return tuple(value)
    return length * (value,)  # type: ignore[return-value]


def get_stem(path: str | Path | Sequence[str | Path]) -> str | list[str]:
    """Return the name of a file without folder and suffixes; of several files, a list.

    >>> get_stem("/data/t1.nii.gz")
    't1'
    """
    if isinstance(path, (str, Path)):
        return stem_of(path)
    return [str(get_stem(each)) for each in path]


def get_first_item(data_loader: Iterable[T]) -> T:
    """Return the first batch of a loader."""
    return next(iter(data_loader))


def get_batch_images_and_size(batch: SubjectsBatch | Mapping[str, Any]) -> tuple[list[str], int]:
    """Return the names of the images of a batch, and the number of samples.

    Raises:
        ValueError: The batch has no images.
    """
    if isinstance(batch, SubjectsBatch):
        return list(batch.images), batch.batch_size
    names = [n for n, v in batch.items() if isinstance(v, (Mapping, ImagesBatch)) and DATA in v]
    if not names:
        raise ValueError(f"batch must hold images, got {list(batch)}")
    return names, len(batch[names[0]][DATA])


def get_subjects_from_batch(batch: SubjectsBatch | Mapping[str, Any]) -> list[Subject]:
    """Return the subjects of a batch: a :class:`SubjectsBatch`, or a dict as TorchIO 1 makes it."""
    if isinstance(batch, SubjectsBatch):
        return batch.unbatch()
    names, size = get_batch_images_and_size(batch)
    subjects = []
    for sample in range(size):
        values = {n: v[sample] for n, v in batch.items() if n not in names and n != HISTORY}
        for name in names:
            columns = {key: column[sample] for key, column in batch[name].items()}
            data, affine = columns.pop(DATA), columns.pop(AFFINE)
            label = columns.pop(TYPE) == LABEL
            more = {key: value for key, value in columns.items() if key not in (PATH, "stem")}
            values[name] = (LabelMap if label else ScalarImage)(tensor=data, affine=affine, **more)
        subject = Subject(values)
        subject.history = list(batch[HISTORY][sample]) if HISTORY in batch else []
        subjects.append(subject)
    return subjects


def history_collate(batch: Sequence[Subject], collate_transforms: bool = True) -> SubjectsBatch:
    """Return a batch of subjects, whose history is ``batch["history"]``.

    Args:
        batch: The subjects.
        collate_transforms: Keep the history.
    """
    collated: SubjectsBatch = collate(list(batch))
    if not collate_transforms:
        collated.histories = None
    return collated


def add_images_from_batch(
    subjects: Sequence[Subject],
    tensor: Tensor,
    class_: type[Image] | None = None,
    name: str = "prediction",
) -> None:
    """Add an image to each subject, such as a prediction, on the grid of its first image.

    Args:
        subjects: The subjects.
        tensor: Voxels, (B, C, I, J, K).
        class_: Class of the images; by default, :class:`ScalarImage`.
        name: Name of the images.

    Raises:
        ValueError: There are not as many samples as subjects.
    """
    if len(subjects) != len(tensor):
        raise ValueError(f"tensor must have {len(subjects)} samples, got {len(tensor)}")
    for subject, data in zip(subjects, tensor, strict=True):
        affine = subject.get_first_image().affine
        subject.add_image((class_ or ScalarImage)(tensor=data, affine=affine), name)


def create_dummy_dataset(
    num_images: int,
    size_range: tuple[int, int],
    directory: str | Path | None = None,
    suffix: str = ".nii.gz",
    force: bool = False,
    verbose: bool = False,
) -> list[Subject]:
    """Write random images with label maps, and return them as subjects.

    Args:
        num_images: Number of subjects.
        size_range: Range (a, b) of voxels along each axis, b excluded.
        directory: Folder to write to; by default, that of temporary files. Subjects that it has
            from an earlier call are returned as they are.
        suffix: Format of the files.
        force: Write anew what the folder has already.
        verbose: Show a progress bar.

    Returns:
        Subjects with an image ``one_modality`` and a label map ``segmentation``, labels 0 to 2.
    """
    folder = Path(tempfile.gettempdir() if directory is None else directory).expanduser()
    images, labels = folder / "dummy_images", folder / "dummy_labels"
    if force:
        for each in images, labels:
            shutil.rmtree(each, ignore_errors=True)
    for each in images, labels:
        each.mkdir(exist_ok=True, parents=True)
    subjects = []
    with progress("images", num_images, verbose) as advance:
        for number in range(num_images):
            image, label = images / f"image_{number}{suffix}", labels / f"label_{number}{suffix}"
            if not (image.is_file() and label.is_file()):
                i, j, k = torch.randint(*size_range, (3,)).tolist()
                voxels = torch.rand(1, i, j, k)
                ScalarImage(tensor=(255 * voxels).to(torch.uint8)).save(image)
                LabelMap(tensor=(3 * voxels).to(torch.uint8)).save(label)
            subjects.append(Subject(one_modality=ScalarImage(image), segmentation=LabelMap(label)))
            advance(1)
    return subjects


def apply_transform_to_file(
    input_path: str | Path,
    transform: Any,
    output_path: str | Path,
    class_: str = "ScalarImage",
    verbose: bool = False,
) -> None:
    """Apply a transform to an image file and write the result.

    Args:
        input_path, output_path: The files.
        transform: A transform, or any function of a :class:`Subject`.
        class_: 'ScalarImage' or 'LabelMap'.
        verbose: Print what was applied.
    """
    classes = {"ScalarImage": ScalarImage, "LabelMap": LabelMap}
    if class_ not in classes:
        raise ValueError(f"class_ must be 'ScalarImage' or 'LabelMap', got {class_!r}")
    transformed = transform(Subject(image=classes[class_](input_path)))
    transformed.image.save(output_path)
    if verbose and transformed.history:
        print("Applied:", *transformed.history)


def compress(input_path: str | Path, output_path: str | Path | None = None) -> Path:
    """Compress a file by gzip, by default to the same name with the suffix .nii.gz."""
    source = Path(input_path)
    target = source.with_suffix(".nii.gz") if output_path is None else Path(output_path)
    with open(source, "rb") as file, gzip.open(target, "wb") as compressed:
        shutil.copyfileobj(file, compressed)
    return target


def parse_spatial_shape(shape: int | Sequence[int]) -> Triple:
    """Return a spatial shape as three integers > 0; one number stands for three."""
    return check_triple(shape, "shape")


def get_subclasses(target_class: type) -> list[type]:
    """Return all subclasses of a class, direct ones first."""
    direct: list[type] = target_class.__subclasses__()
    return direct + [leaf for cls in direct for leaf in get_subclasses(cls)]


__all__ = [
    "add_images_from_batch",
    "apply_transform_to_file",
    "compress",
    "create_dummy_dataset",
    "get_batch_images_and_size",
    "get_first_item",
    "get_stem",
    "get_subclasses",
    "get_subjects_from_batch",
    "history_collate",
    "parse_spatial_shape",
    "to_tuple",
]
