"""Histogram standardisation: learn landmarks from many images, and match others to them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...data import Image, LabelMap, ScalarImage, Subject
from ...functional import normalization as F
from ...functional.statistics import percentile
from ...shapes import Volume
from ..parameters.masks import Masking, check_masking, mask_of
from .base import Images, Normalization, NormalizationParams, describe_samples

PathLike = str | Path
#: Landmarks by image name, or paths of files with them.
Landmarks = PathLike | Mapping[str, PathLike | Sequence[float] | np.ndarray | Tensor]
#: Average values, after standardisation, of percentiles 1 and 99 of the training images.
STANDARD_RANGE = (0.0, 100.0)


class _Learn:
    """Descriptor of ``train``: ``learn`` on the class, ``torch.nn.Module.train`` on an instance."""

    def __get__(self, instance: Any, owner: Any) -> Any:
        return owner.learn if instance is None else partial(torch.nn.Module.train, instance)


class HistogramStandardization(Normalization):
    """Map percentiles of an image to landmarks that were learnt from many, linearly in between.

    See Nyul et al. 2000, doi:10.1109/42.836373, and :meth:`learn`.

    Args:
        landmarks: For each image name 13 landmarks, or the path of a file that holds them (.npy or
            .txt); or the path of a file (.pt, .pth) to which such a dict was saved by torch.
        masking_method: Voxels whose percentiles are taken; see :class:`RescaleIntensity`.
        kwargs: See :class:`Transform`.

    Scalar images without landmarks are left alone, where TorchIO 1.x raises. Percentiles 1, 10, 20
    ... 90, 99 are matched, whatever the cutoff in training; those closer than 1e-5 count as one.
    On a GPU, where asking would make the host wait, a sample with an empty mask is no error but
    left as it is.

    Raises:
        ValueError: Landmarks are not 13 ascending numbers, or a file is of another kind.
        KeyError: Landmarks are for an image that the subject does not have, or ``masking_method``
            stands for nothing.
        RuntimeError: The mask is empty.

    >>> subject = Subject(t1=ScalarImage(torch.rand(1, 8, 8, 8)))
    >>> landmarks = HistogramStandardization.train([subject.t1], progress=False)
    >>> HistogramStandardization({"t1": landmarks})(subject).t1.shape
    (1, 8, 8, 8)
    """

    def __init__(self, landmarks: Landmarks, masking_method: Masking = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        # as numbers, so that a record is complete without the files
        self.landmarks = _read_all(landmarks)
        self.masking_method = check_masking(masking_method)

    def select(
        self, kinds: tuple[tuple[str, str], ...], others: Sequence[str] | None = None
    ) -> tuple[str, ...]:
        available = {name for name, _ in kinds} | set(others or ())
        missing = sorted(set(self.landmarks) - available)
        if missing and others is not None:
            raise KeyError(
                f"landmarks must name images of the subject, {missing} are none of "
                f"{sorted(available)}"
            )
        return tuple(name for name in super().select(kinds, others) if name in self.landmarks)

    def voxels(self, images: Images, name: str, params: NormalizationParams) -> Volume:
        x = images[name].data
        mask = mask_of(self.masking_method, images, name)
        if mask is not None and x.device.type == "cpu":
            empty = ~mask.flatten(1).any(1)
            if empty.any():
                raise RuntimeError(
                    f"masking_method leaves no voxel of {describe_samples(images, name, empty)}"
                )
        return F.match_landmarks(x, self.landmarks[name], mask)

    train: Any = _Learn()

    @staticmethod
    def learn(
        images_paths: Iterable[PathLike | Image | Subject],
        cutoff: Sequence[float] | None = None,
        mask_path: PathLike | Image | Sequence[PathLike | Image] | None = None,
        masking_function: Callable[[Tensor], Tensor] | None = None,
        output_path: PathLike | None = None,
        *,
        progress: bool = True,
        name: str | None = None,
    ) -> np.ndarray:
        """Learn landmarks: percentiles of images, averaged once each image is scaled to [0, 100].

        Also called ``HistogramStandardization.train``, as in TorchIO 1.x. Images are read one at a
        time, and not kept.

        Args:
            images_paths: Paths, images, or subjects.
            cutoff: Quantiles that are scaled to 0 and 100, by default (0.01, 0.99).
            mask_path: Image, or path of one, whose voxels above 0 are learnt from; or one for each
                image.
            masking_function: From voxels (C, I, J, K) to a mask of those to learn from.
            output_path: File to save the landmarks to, .npy or .txt.
            progress: Show a progress bar.
            name: Name of the image of subjects to learn from.

        Returns:
            For percentiles c1, 10, 20, 25, 30, 40, 50, 60, 70, 75, 80, 90, c2: (13) float64. An
            image that is the same at both cutoffs has no scale: it is left out, with a warning.

        Raises:
            ValueError: There are no images, or none with a scale; cutoffs are not below 0.1 and
                above 0.9; a mask is empty, of another shape, or given twice; a suffix is unknown;
                or subjects come without ``name``.
            TypeError: ``images_paths`` is itself a path or image.

        >>> ramp = ScalarImage(torch.arange(101.).view(1, 1, 1, 101))
        >>> HistogramStandardization.train([ramp], cutoff=(0, 1), progress=False).round(6)
        array([  0.,  10.,  20.,  25.,  30.,  40.,  50.,  60.,  70.,  75.,  80., 90., 100.])
        """
        if isinstance(images_paths, (str, Path, Image, Subject)):
            raise TypeError(
                f"images_paths must be a sequence, got one {type(images_paths).__name__}"
            )
        sources = list(images_paths)
        percentiles = _check_cutoff(cutoff)
        path = _check_output(output_path)
        masks = _check_masks(mask_path, masking_function, len(sources))
        _check_sources(sources, name)
        from rich.console import Console
        from rich.progress import track

        found = []
        for n in track(
            range(len(sources)),
            "Learning landmarks",
            console=Console(stderr=True),
            disable=not progress,
        ):
            source = sources[n]
            image = source[str(name)] if isinstance(source, Subject) else source
            data = ScalarImage(image).data  # another object, so that no voxels are kept
            mask = _mask(data, masks[n], masking_function, n)
            values = percentile(data[None], percentiles, mask)[0]
            if values.isnan().any():
                raise ValueError(f"{_name(image, n)} has an empty mask or a voxel that is NaN")
            found.append(values.cpu().numpy())
        landmarks = average_landmarks(
            np.stack(found), [_name(source, n) for n, source in enumerate(sources)]
        )
        if path is not None:
            _save(landmarks, path)
        return landmarks


def average_landmarks(found: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Return landmarks: the mean of percentiles [N, 13] with the ends mapped to 0 and 100."""
    low, width = found[:, :1], found[:, -1:] - found[:, :1]
    flat = width[:, 0] == 0
    left_out = [name for name, each in zip(names, flat, strict=True) if each]
    if flat.all():
        raise ValueError("images_paths must hold an image that differs between its cutoffs")
    if left_out:
        warnings.warn(
            f"left out, as they are the same at both cutoffs: {', '.join(left_out)}",
            RuntimeWarning,
            stacklevel=3,
        )
    start, end = STANDARD_RANGE
    share = (found - low)[~flat] / width[~flat]
    return start + (end - start) * share.mean(0)


def _check_cutoff(cutoff: Sequence[float] | None) -> tuple[float, ...]:
    """Return the percentiles to learn."""
    low, high = (0.01, 0.99) if cutoff is None else F.check_range(cutoff, "cutoff", None, 0, 1)
    if not (low < 0.1 and high > 0.9):
        raise ValueError(f"cutoff must be below 0.1 and above 0.9, got {cutoff!r}")
    return (100 * low, *F.LANDMARKS, 100 * high)


def _check_output(output_path: PathLike | None) -> Path | None:
    if output_path is None:
        return None
    path = Path(output_path).expanduser()
    if path.suffix not in (".npy", ".txt"):
        raise ValueError(f"output_path must end in .npy or .txt, got {str(output_path)!r}")
    return path


def _check_sources(sources: Sequence[Any], name: str | None) -> None:
    if not sources:
        raise ValueError("images_paths must hold at least one image, got none")
    for n, source in enumerate(sources):
        if isinstance(source, Subject):
            if name is None:
                raise ValueError(f"name must say which image of subjects to learn from: {source}")
            source = source[name]
        if not isinstance(source, (str, Path, Image)):
            raise TypeError(
                "images_paths must hold paths, images or subjects, number "
                f"{n} is {type(source).__name__}"
            )


def _check_masks(mask_path: Any, masking_function: Any, count: int) -> list[Any]:
    """Return the mask of each image, or None."""
    if mask_path is not None and masking_function is not None:
        raise ValueError("mask_path and masking_function must not be given both")
    if mask_path is None or isinstance(mask_path, (str, Path, Image)):
        return [mask_path] * count
    masks = list(mask_path)
    if len(masks) != count:
        raise ValueError(f"mask_path must hold one mask per image, {count}, got {len(masks)}")
    return masks


def _mask(data: Tensor, source: Any, function: Any, number: int) -> Tensor | None:
    """Return the mask of the voxels to learn from, [1, 1 or C, I, J, K] bool; None for all."""
    if source is not None:
        mask = LabelMap(source).data > 0
    elif function is not None:
        mask = torch.as_tensor(function(data.clone())).bool()
    else:
        return None
    if mask.shape[1:] != data.shape[1:] or mask.shape[0] not in (1, data.shape[0]):
        raise ValueError(
            f"the mask of image {number} must have shape (1 or {data.shape[0]}, "
            f"{', '.join(map(str, data.shape[1:]))}), got {tuple(mask.shape)}"
        )
    return mask[None].to(data.device)


def _name(source: Any, number: int) -> str:
    path = getattr(source, "path", None) if isinstance(source, Image) else source
    named = isinstance(path, (str, Path))
    return f"image {number} ({path})" if named else f"image {number}"


def _save(landmarks: np.ndarray, path: Path) -> None:
    if path.suffix == ".npy":
        np.save(path, landmarks)
    else:  # the first word is a name, as in files of TorchIO 1.x
        path.write_text(f"image {' '.join(map(str, landmarks.tolist()))}")


def _read(value: Any) -> np.ndarray:
    """Return landmarks from numbers or from the path of a file."""
    if isinstance(value, (str, Path)):
        path = Path(value).expanduser()
        if path.suffix == ".npy":
            value = np.load(path)
        elif path.suffix == ".txt":
            words = path.read_text().split()
            value = words[1:] if len(words) == len(F.LANDMARKS) + 3 else words
        else:
            raise ValueError(f"landmarks must be in a file .npy or .txt, got {str(path)!r}")
    return F.check_landmarks(value)


def _read_all(landmarks: Any) -> dict[str, np.ndarray]:
    if isinstance(landmarks, (str, Path)):
        path = Path(landmarks).expanduser()
        if path.suffix not in (".pt", ".pth"):
            raise ValueError(f"landmarks must be a dict or a file .pt or .pth, got {str(path)!r}")
        # torch refuses arrays and paths by default, but both are harmless
        allowed: list[Any] = [
            np.empty(0).__reduce__()[0], np.ndarray, np.dtype, type(np.dtype(np.float64)),
            type(np.dtype(np.float32)), type(Path()),
        ]  # fmt: skip
        with torch.serialization.safe_globals(allowed):
            landmarks = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(landmarks, Mapping):
        raise TypeError(
            "landmarks must be a dict of landmarks by image name, or the path of a file with one, "
            f"got {type(landmarks).__name__}"
        )
    return {name: _read(value) for name, value in landmarks.items()}


#: Older name.
train_histogram = HistogramStandardization.learn

__all__ = ["HistogramStandardization", "Landmarks", "train_histogram"]
