"""Test-time augmentation: mean and spread of predictions for several views of a subject."""
# ruff: noqa: PT028 -- test_time_augmentation is no test

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from ...data import Image, LabelMap, ScalarImage, Subject, SubjectsBatch
from ...geometry import Space
from ...progress import progress as shown
from ...random import Streams, fresh_seeds
from ...shapes import Volume, check_count
from ...signature import checked
from .original_space import WHOLE, seen, undone
from .outputs import as_image, as_labels, check_outside
from .whole import Options, Prepared, _as_transform, only

__all__ = ["AveragedPrediction", "test_time_augmentation"]

#: Views, at most: each has a seed.
_MOST = 1_000_000
#: Deviation of probabilities from a sum of 1 that the rounding of half precision explains.
_ROUNDING = 0.02
#: Weight that known voxels must have in an interpolation for its result to be known: an image ends
#: half a voxel beyond its outermost centres, where they have half. Ties, rounded, are inside.
_HALF = 0.5 - 1e-3


@dataclass(frozen=True)
class AveragedPrediction:
    """Mean and spread of the predictions for several views, on the original grid.

    Voxels of a view that lie outside the image are not counted: each voxel has the mean and the
    spread of the views that show it. Where none does, they have a value of their own, which is
    never mixed with those of neighbours.

    Args:
        mean: Mean over the views, (N, I, J, K), in the dtype of the predictions.
        variance: Variance of each channel over the views, (N, I, J, K): the mean of squared
            deviations, so that one view has a variance of 0. float32, or float64 of float64.
        mask: 1 where every view shows the voxel, else 0: (1, I, J, K), uint8. The variance and
            the entropy elsewhere are those of fewer views.
        entropy_or_none: Entropy of the mean probabilities in nats, (1, I, J, K), as :attr:`entropy`
            returns it; None where predictions are no probabilities.
        predictions: Prediction of each view, on the original grid; empty unless asked for.
    """

    mean: Image
    variance: Image
    mask: Image
    entropy_or_none: Image | None = None
    predictions: tuple[Image, ...] = ()

    @property
    def entropy(self) -> Image:
        """Entropy of the mean probabilities in nats, (1, I, J, K); of one channel, the binary one.

        Raises:
            ValueError: Predictions are no probabilities.
        """
        if self.entropy_or_none is None:
            raise ValueError(
                "predictions must be probabilities to have an entropy: from 0 to 1, and channels "
                "that sum to 1. Add nn.Softmax(1) or nn.Sigmoid() to the model, or use variance"
            )
        return self.entropy_or_none

    @property
    def std(self) -> Image:
        """Standard deviation over the views: the square root of :attr:`variance`."""
        return ScalarImage(self.variance.data.sqrt(), affine=self.variance.affine)

    @property
    def labels(self) -> Image:
        """Number of the largest mean of several channels; 1 where that of one is above 0.5."""
        return as_labels(self.mean, "argmax" if len(self.mean.data) > 1 else 0.5)


@checked
def test_time_augmentation(
    model: Callable[[Volume], Any],
    subject: Any,
    transform: Any,
    n: int = 8,
    *,
    preprocessing: Any = None,
    image: str | Sequence[str] | None = None,
    batch_size: int = 4,
    outside: float = 0,
    keep_predictions: bool = False,
    progress: bool = False,
    **options: Any,
) -> Any:
    """Predict several views of a subject, and return the mean and the spread in its own space.

    Each view has a seed of its own, drawn from torch's generator, so that ``torch.manual_seed``
    makes the result reproducible, for any ``batch_size``. Of each prediction only the augmentation
    is undone, where it moved the image; intensities are not. The means are brought to the original
    grid at the end, as by :func:`predict`. One sum is kept, not ``n`` predictions.

    Args:
        model: As for :func:`predict`. For an entropy, it must return probabilities:
            ``nn.Sequential(network, nn.Softmax(1))``. Labels cannot be averaged.
        subject: Subject, Image, path of an image, tensor or array (C, I, J, K).
        transform: Augmentation: a transform, function of a subject, or sequence of these.
        n: Number of views.
        preprocessing: As for :func:`predict`; applied once, before the augmentation.
        image: As for :func:`predict`.
        batch_size: Views, or patches of them, per call of the model.
        outside: Mean where the preprocessing cut voxels away, or no view shows them, in the dtype
            of the output. The variance and the entropy are 0 there, and so is the mask.
        keep_predictions: Keep the prediction of each view on the original grid as well.
        progress: Show a progress bar of the views.
        options: Arguments of :func:`predict` from ``patch_size`` to ``autocast``.

    Returns:
        An :class:`AveragedPrediction`, or a dict of them for a model that returns a dict.

    Raises:
        TypeError: The subject is of another type, or the model returns something else.
        ValueError: An argument is not as described, the model returns labels, or a step may have
            moved the image and cannot be undone.

    >>> image = ScalarImage(torch.rand(1, 10, 12, 8))
    >>> model = torch.nn.Sequential(torch.nn.Conv3d(1, 2, 1), torch.nn.Softmax(1))
    >>> found = test_time_augmentation(model, image, RandomFlip((0, 1, 2)), n=4)
    >>> found.mean.shape, found.entropy.shape, bool(found.variance.data.max() < 1e-9)
    ((2, 10, 12, 8), (1, 10, 12, 8), True)
    """
    check_count(n, "n", 1)
    check_outside(outside)
    if n > _MOST:
        raise ValueError(f"n must be at most {_MOST}, got {n}")
    known = [each.name for each in fields(Options) if each.name not in ("batch_size", "progress")]
    if not set(options) <= set(known):
        raise TypeError(f"options must be among {known}, got {sorted(options)}")
    calls = Options(batch_size=batch_size, **options)
    if isinstance(subject, SubjectsBatch):
        raise TypeError("subject must be one Subject or Image, got a SubjectsBatch")
    augment = _as_transform(transform, "transform")
    prepared = Prepared.of(subject, preprocessing, image)
    with torch.no_grad(), shown("views", n, progress) as advance:
        where = calls.where(model, prepared.input().data)
        (one,) = prepared.batch.to(where).unbatch()
        one.clear_history()
        moments: dict[str | None, _Moments] = {}
        kept: dict[str | None, list[Image]] = {}
        for views in _views(one, augment, n, batch_size):
            outputs = calls.run(model, prepared.input(views))
            for name, output in outputs.items():
                for back, mask in _brought_back(output, views, prepared):
                    check_outside(outside, back.data.dtype)
                    moments.setdefault(name, _Moments()).add(back.data, mask)
                    if keep_predictions:
                        whole = _on_original(back.data, mask, prepared, outside)
                        kept.setdefault(name, []).append(whole)
            advance(len(views))
        results = {
            name: _result(each, prepared, outside, tuple(kept.get(name, ())))
            for name, each in moments.items()
        }
    return only(results)


def _views(one: Subject, augment: Any, n: int, batch_size: int) -> Iterator[SubjectsBatch]:
    """Yield batches of views, each with a seed of its own."""
    seeds = fresh_seeds(n)
    for first in range(0, n, batch_size):
        some = seeds[first : first + batch_size]
        batch = SubjectsBatch.from_subjects([copy.copy(one) for _ in some])
        batch.streams = Streams(some)
        yield augment(batch)


def _brought_back(
    output: Tensor, views: SubjectsBatch, prepared: Prepared
) -> Iterator[tuple[Image, Tensor]]:
    """Yield the prediction for each view on the preprocessed grid, and where the view is valid."""
    name, grid = prepared.names[0], views.images[prepared.names[0]].space
    if not (output.is_floating_point() or output.dtype == torch.bool):
        raise ValueError(
            f"model must return probabilities or other real numbers to be averaged, got "
            f"{output.dtype}"
        )
    output = output if output.is_floating_point() else output.float()
    for sample, (records, prediction) in enumerate(zip(views.history, output, strict=True)):
        space = Space(grid.shape, grid.affine[sample : sample + 1])
        placed = as_image(prediction, space)
        mask = seen((prepared.space(0), space), records, name, placed)
        yield undone(placed, records, name, space), mask


class _Moments:
    """Running mean and squared deviations of predictions, by the method of Welford (1962)."""

    def __init__(self) -> None:
        self.views = 0

    def add(self, prediction: Tensor, mask: Tensor) -> None:
        """Add a prediction (N, I, J, K) where a mask (1, I, J, K) is True."""
        wide = torch.promote_types(prediction.dtype, torch.float32)
        if self.views == 0:
            self.dtype = prediction.dtype
            self.mean = torch.zeros(prediction.shape, dtype=wide, device=prediction.device)
            self.squares = torch.zeros_like(self.mean)
            self.count = torch.zeros(mask.shape, dtype=wide, device=prediction.device)
        self.views += 1
        self.count += mask
        change = (prediction.to(wide) - self.mean).where(mask, self.mean.new_zeros(()))
        self.mean += change / self.count.clamp(min=1)
        rest = (prediction.to(wide) - self.mean).where(mask, self.mean.new_zeros(()))
        self.squares += change * rest

    def variance(self) -> Tensor:
        """Return the mean of squared deviations."""
        return self.squares / self.count.clamp(min=1)

    def entropy(self) -> Tensor | None:
        """Return the entropy of the mean, (1, I, J, K); None if it holds no probabilities."""
        known = self.count > 0
        p = self.mean
        total = p.sum(0, keepdim=True)
        wrong = (p.amin(0, keepdim=True) < -_ROUNDING) | (p.amax(0, keepdim=True) > 1 + _ROUNDING)
        if len(p) > 1:
            wrong |= (total - 1).abs() > _ROUNDING
        else:
            p = torch.cat([p, 1 - p])
        if bool((wrong & known).any()):
            return None
        entropy = -torch.xlogy(p.clamp(0, 1), p.clamp(0, 1)).sum(0, keepdim=True)
        return entropy.where(known, entropy.new_zeros(()))


def _result(
    moments: _Moments, prepared: Prepared, outside: float, predictions: tuple[Image, ...]
) -> AveragedPrediction:
    """Return mean and spread on the original grid."""
    known, entropy = moments.count > 0, moments.entropy()
    every = (moments.count == moments.views).float()
    mask = prepared.undo(ScalarImage(every, affine=prepared.space(0).affine[0]), 0, 0)
    return AveragedPrediction(
        _on_original(moments.mean.to(moments.dtype), known, prepared, outside),
        _on_original(moments.variance(), known, prepared),
        LabelMap((mask.data > WHOLE).to(torch.uint8), affine=mask.affine),
        None if entropy is None else _on_original(entropy, known, prepared),
        predictions,
    )


def _on_original(data: Tensor, known: Tensor, prepared: Prepared, outside: float = 0) -> Image:
    """Return values on the original grid, interpolated between known voxels alone.

    Args:
        data: Values on the preprocessed grid, (N, I, J, K).
        known: Where they are known, bool (1, I, J, K).
        prepared: The preprocessing.
        outside: Value of what is not known.
    """
    wide = data.to(torch.promote_types(data.dtype, torch.float32))
    both = torch.cat([wide.where(known, wide.new_zeros(())), known.to(wide.dtype)])
    back = prepared.undo(ScalarImage(both, affine=prepared.space(0).affine[0]), 0, 0)
    values, weight = back.data[:-1], back.data[-1:]
    mean = (values / weight).where(weight > _HALF, wide.new_full((), outside))
    return ScalarImage(mean.to(data.dtype), affine=back.affine)
