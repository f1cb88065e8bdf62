"""Predictions brought back to the grid that an image had before it was transformed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...data import Image, ImagesBatch, ScalarImage, Subject, SubjectsBatch
from ...geometry import Space, resized
from ...signature import checked, is_sequence
from ...transforms import Compose, Recorded, SpatialTransform, Transform, from_dict
from ...transforms.base import Context
from ...transforms.grid.base import GridParams, GridTransform
from ...transforms.pipeline.maps import Interpolation, SpatialTraits, may_move
from ...transforms.pipeline.record import Record
from ...transforms.pipeline.steps import SUBJECT
from .outputs import (
    Labels,
    as_image,
    as_labels,
    as_tensor,
    check_labels,
    check_names,
    check_outside,
    labels_of,
)

__all__ = ["to_original_space"]

#: Applied transform: of a history in memory, or read from a dict.
Entry = Record | Recorded
#: Share of a linearly interpolated mask above which all voxels that it was made of are in the mask.
WHOLE = 1 - 1e-3


@checked
def to_original_space(
    prediction: Any,
    history: Any,
    image: str | None = None,
    *,
    labels: Labels = None,
    outside: float = 0,
) -> Any:
    """Bring a prediction to the grid that an image had before its history.

    Only what moved the image, or gave it another grid, is undone, in one interpolation: no
    intensity transform, normalization or label transform is applied to a prediction, whether it
    could be undone or not. The affine is the one that the history holds, unchanged.

    Args:
        prediction: Prediction over the field of view of the transformed image: a tensor or array
            (N, I, J, K), an Image, or a dict of these. A tensor of another shape than the image
            must have a whole number of voxels for each of the image, or the reverse.
        history: Subject that was transformed, or its history: records, or their dicts
            (``[record.to_dict() for record in subject.history]``), for example from JSON. Or a
            SubjectsBatch, for predictions (B, N, I, J, K).
        image: Name of the image; needed where the history is that of images on several grids.
        labels: None returns what is given: scalar images and floating-point tensors are
            interpolated linearly, label maps and tensors of integers by the nearest neighbour.
            'argmax' interpolates channels linearly and then returns the number of the largest;
            there must be several, and no labels already. A number returns 1 where a channel is
            above it, else 0. Or a dict of these for some of the outputs of a dict.
        outside: Value of voxels that lie outside the field of view of the transformed image, such
            as those that were cropped. Where all channels have it, 'argmax' is 0.

    Returns:
        A ScalarImage or LabelMap, a dict of them, or an ImagesBatch. The dtype is kept, but bool
        becomes uint8, integers of a ScalarImage become float32, and ``labels`` makes uint8, or
        int16 for more than 256 channels.

    Raises:
        TypeError: An argument is of another type than described.
        ValueError: A step may have moved the image and cannot be undone, the prediction does not
            cover the image, its dtype cannot hold ``outside``, ``labels`` do not fit it, or the
            history is damaged or is of several grids.

    >>> subject = Subject(ct=ScalarImage(torch.rand(1, 9, 8, 7), spacing=(1, 1, 3)))
    >>> small = Compose([ToCanonical(), Resample(2), CropOrPad(4)])(subject)
    >>> found = to_original_space((small.ct.data > 0.5), small)
    >>> found, bool((found.affine == subject.ct.affine).all())
    (LabelMap(shape=(1, 9, 8, 7), ...), True)
    """
    check_labels(labels)
    check_outside(outside)
    many = isinstance(prediction, Mapping)
    if many and not prediction:
        raise ValueError(f"prediction must have at least one output, got {prediction!r}")
    check_names(labels, prediction if many else None)
    outputs = prediction if many else {None: prediction}
    results = {
        name: _brought_back(each, history, image, labels_of(name, labels), outside, name)
        for name, each in outputs.items()
    }
    return results if many else results[None]


def _brought_back(
    prediction: Any, history: Any, image: str | None, rule: Any, outside: float, output: Any
) -> Any:
    """Return the prediction for an output, on the grid of the image before its history."""
    prediction = as_tensor(prediction)
    if isinstance(history, SubjectsBatch):
        pairs = zip(_samples(prediction, history), history.unbatch(), strict=True)
        back = [_brought_back(p, s, image, rule, outside, output) for p, s in pairs]
        return ImagesBatch.from_images(back)
    entries = check_history(history)
    name = _name_of(entries, history, image)
    given = history.get(name) if isinstance(history, Subject) else None
    grid = grids_of(entries, name)[1] or (given.space if isinstance(given, Image) else None)
    placed = _placed(prediction, grid)
    whole = isinstance(placed, ScalarImage) and not placed.data.is_floating_point()
    check_outside(outside, torch.float32 if whole else placed.data.dtype)
    return as_labels(undone(placed, entries, name, grid, outside), rule, output)


def _samples(prediction: Any, batch: SubjectsBatch) -> Sequence[Any]:
    """Return the predictions for the samples of a batch."""
    if isinstance(prediction, ImagesBatch):
        prediction = prediction.unbatch()
    if not isinstance(prediction, (Tensor, list)) or len(prediction) != batch.batch_size:
        raise ValueError(
            f"prediction must be of the {batch.batch_size} samples of the batch, got "
            f"{tuple(prediction.shape) if isinstance(prediction, Tensor) else prediction!r}"
        )
    return list(prediction)


def check_history(history: Any) -> list[Entry]:
    """Return the entries of a history, in memory or as dicts; raise if they are something else."""
    records = history.history if isinstance(history, Subject) else history
    if not is_sequence(records):
        raise TypeError(
            "history must be a Subject, a SubjectsBatch, or a sequence of records or of their "
            f"dicts, got {type(history).__name__}"
        )
    entries: list[Entry] = []
    for each in records:
        entry = from_dict(each) if isinstance(each, Mapping) else each
        if not isinstance(entry, (Record, Recorded)):
            raise TypeError(f"history must hold records or their dicts, got {entry!r}")
        entries.append(entry)
    return entries


def undone(
    prediction: Image, entries: Sequence[Entry], name: str, grid: Space | None, outside: float = 0
) -> Image:
    """Return a prediction for an image, with what moved that image undone.

    Args:
        prediction: The prediction, over the field of view of the transformed image.
        entries: What was applied to the image, oldest first.
        name: Name of the image.
        grid: Grid of the transformed image; None for that of the prediction.
        outside: Value of what was not seen.
    """
    moving = reversed(moving_entries(entries, name))
    steps: list[Transform] = [_step(entry, "linear", outside).inverse() for entry in moving]
    if grid is not None and not _equal(grid, prediction.space):
        steps = [_onto(prediction.space, grid, name), *steps]
    return _run(prediction, steps, name)


def seen(grids: tuple[Space, Space], entries: Sequence[Entry], name: str, like: Image) -> Tensor:
    """Return where a transformed image shows nothing but the image before: bool, (1, I, J, K).

    A voxel counts only if all voxels of the prediction that it is interpolated from lie within the
    field of view of the image before, so that none of them is a prediction for fill.

    Args:
        grids: Grids of the image before and after.
        entries: What was applied to it.
        name: Its name.
        like: The prediction, for its grid and device.
    """
    before, after = grids
    ones = ScalarImage(
        torch.ones(1, *before.shape, device=like.data.device), affine=before.affine[0]
    )
    moving = moving_entries(entries, name)
    if not moving:
        return ones.data.bool()
    mask = _run(ones, [_step(entry, "nearest", 0) for entry in moving], name)
    if not _equal(mask.space, like.space):
        mask = _run(mask, [_onto(mask.space, like.space, name)], name)
        mask.set_data((mask.data > WHOLE).float())
    return undone(mask, entries, name, after).data > WHOLE


def _placed(prediction: Any, grid: Space | None) -> Image:
    """Return a prediction as an image, which covers the field of view of a grid."""
    if isinstance(prediction, Tensor):
        if grid is None:
            raise ValueError(
                "prediction must be an Image where no step of the history has a grid, got a tensor"
            )
        return as_image(prediction, grid)
    if not isinstance(prediction, Image):
        kind = type(prediction).__name__
        raise TypeError(
            f"prediction must be a tensor, an array, an Image or a dict of these, got {kind}"
        )
    if grid is not None and not resized(grid, prediction.spatial_shape).is_same(prediction.space):
        raise ValueError(
            f"prediction must cover the image that the history is of, of shape {grid.shape} and "
            f"affine {grid.affine[0].tolist()}, got shape {prediction.spatial_shape} and affine "
            f"{prediction.affine.tolist()}"
        )
    return prediction


def _name_of(entries: Sequence[Entry], history: Any, image: str | None) -> str:
    """Return the name of the image that a prediction is for."""
    known = _images_of(entries)
    if isinstance(history, Subject):
        known = history.get_images_names()
    if image is not None:
        if entries and image not in known:
            raise ValueError(
                f"image must be one of the images of the history, {known}, got {image!r}"
            )
        return image
    found = {name: grids_of(entries, name) for name in known}
    # what moved, and of which no grid is known, lay where another image did
    on_grids = [
        n for n, grids in found.items() if grids[1] or not moving_entries(entries, n)
    ] or known
    for name in on_grids:
        if not all(map(_same, found[name], found[on_grids[0]])):
            raise ValueError(f"image must name one of {known}, which have several grids, got None")
    return on_grids[0] if on_grids else ""


def _images_of(entries: Sequence[Entry]) -> list[str]:
    """Return the names that a history knows, without those that are surely of points.

    Points are noted to follow an image where grids change, even if they were left out, and may
    follow none. An image always follows one, or was left out.
    """
    points = {
        name
        for entry in entries
        for name, images in entry.follows.items()
        if None in images or name in entry.untouched
    }
    names = (n for e in entries for n in (*e.names, *e.follows, *e.untouched))
    return [name for name in dict.fromkeys(names) if name not in points]


def _same(one: Space | None, other: Space | None) -> bool:
    return one is other if one is None or other is None else one.is_same(other)


def grids_of(entries: Sequence[Entry], name: str) -> tuple[Space | None, Space | None]:
    """Return the grids of an image before and after its history; None if no step moved it."""
    grids: list[Space] = []
    for entry in moving_entries(entries, name):
        own = name
        while own not in entry.names and entry.follows.get(own):
            own = entry.follows[own][0] or ""
        if own not in entry.names:
            continue
        column = entry.names.index(own)
        if isinstance(entry.params, GridParams):
            before, after = entry.params, entry.params.swap()
            grids += [_space(each.before_shape, each.before, column) for each in (before, after)]
        elif entry.spaces:
            grids.append(entry.spaces[column])
    return (grids[0], grids[-1]) if grids else (None, None)


def _space(shape: np.ndarray, affine: np.ndarray, column: int) -> Space:
    i, j, k = shape[0, column].tolist()
    return Space((i, j, k), affine[:1, column])


def moving_entries(entries: Sequence[Entry], name: str) -> list[Entry]:
    """Return the entries that moved an image, or gave it another grid."""
    found = []
    for entry in entries:
        transform = entry.transform
        if name in entry.untouched or not may_move(transform):
            continue
        if transform.role == SUBJECT or not transform.is_invertible():
            raise ValueError(
                f"history holds {transform.name}, which may have moved {name!r} and cannot be "
                "undone: apply it to the subject beforehand, or within the model; or use a "
                "transform that can be undone, or a Lambda if it changes intensities alone"
            )
        found.append(entry)
    return found


class _Moved(SpatialTransform):
    """Recorded motion with another interpolation and fill."""

    def __init__(self, transform: Any, mode: str, outside: float) -> None:
        super().__init__()
        self.transform, self.mode, self.outside = transform, mode, outside

    @property
    def name(self) -> str:
        return self.transform.name  # type: ignore[no-any-return]

    @property
    def traits(self) -> SpatialTraits:  # type: ignore[override]
        return self.transform.traits  # type: ignore[no-any-return]

    def draw(self, context: Context, u: np.ndarray) -> Any:
        raise NotImplementedError(f"{self.name} was recorded with its parameters")

    def maps(self, params: Any, context: Context) -> Any:
        return self.transform.maps(params, context)

    def invert(self, params: Any) -> Any:
        return self.transform.invert(params)

    def interpolation(self) -> Interpolation:
        return Interpolation(self.mode, "nearest", self.outside, self.outside)


class _Regridded(GridTransform):
    """Recorded change of the grid with another interpolation and fill."""

    def __init__(self, transform: Any, mode: str, outside: float) -> None:
        super().__init__()
        self.transform, self.mode, self.outside = transform, mode, outside

    @property
    def name(self) -> str:
        return "prediction" if self.transform is None else self.transform.name

    @property
    def traits(self) -> SpatialTraits:  # type: ignore[override]
        if self.transform is None:
            return SpatialTraits(parallel=True, regrids=True)
        return self.transform.traits  # type: ignore[no-any-return]

    def interpolation(self) -> Interpolation:
        return Interpolation(self.mode, "nearest", self.outside, self.outside)


def _step(entry: Entry, mode: str, outside: float) -> Recorded:
    """Return an entry with a given interpolation and fill."""
    transform: Any = entry.transform
    cls = _Regridded if transform.traits.regrids else _Moved
    kept = entry.names, entry.untouched, entry.spaces
    return Recorded(cls(transform, mode, outside), entry.params, *kept, follows=entry.follows)


def _onto(before: Space, after: Space, name: str) -> Recorded:
    """Return the change from one grid to another over the same field of view."""
    change = _Regridded(None, "linear", 0)
    return Recorded(change, GridParams.of([before], [after]), (name,))


def _equal(one: Space, other: Space) -> bool:
    return one.shape == other.shape and np.array_equal(one.affine, other.affine)


def _run(image: Image, steps: Sequence[Transform], name: str) -> Image:
    """Apply steps to an image as if it were the one of a name."""
    if not steps:
        return image
    batch = SubjectsBatch({name: ImagesBatch.from_images([image], view=True)})
    result: Image = Compose(steps)(batch).images[name].unbatch()[0]
    return result
