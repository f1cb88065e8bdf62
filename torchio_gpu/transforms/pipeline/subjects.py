"""Steps that take one subject at a time: transforms and functions of the user."""

from __future__ import annotations

import copy
import warnings
from dataclasses import replace
from typing import Any

import numpy as np

from ...data import Subject, SubjectsBatch
from ..parameters.params import Params
from .record import Record
from .steps import Step


def transform_subjects(step: Step, batch: SubjectsBatch, active: np.ndarray | None) -> Any:
    """Return a batch whose active samples were transformed, each as a subject.

    Args:
        step: A step of the role 'subject'.
        batch: The samples, whose maps and points are not pending.
        active: Samples to transform, [B]; None for all.

    Raises:
        TypeError: The transform does not return a Subject.
        ValueError: The samples no longer have the same images, of the same shapes.
    """
    others = tuple(batch.metadata) if step.params is None else None
    selecting = [*step.within, *([step.transform] if step.transform.hides_images else [])]
    allowed = [set(each.select(batch.kinds, others)) for each in selecting]
    hidden = {
        name
        for name in batch.images
        if name in step.untouched or not all(name in names for names in allowed)
    }
    if len(hidden) == len(batch.images):
        return batch
    if step.params is not None and not step.transform.deterministic:
        warnings.warn(
            f"{step.transform.name} may draw numbers of its own: repeating it may give another "
            "result",
            RuntimeWarning,
            stacklevel=2,
        )
    subjects = batch.unbatch()
    for n, subject in enumerate(subjects):
        if active is None or active[n]:
            subjects[n] = _transformed(step, subject, hidden)
    try:
        new = SubjectsBatch.from_subjects(subjects, view=True)
    except ValueError as error:
        raise ValueError(f"{step.transform.name} changed samples of a batch: {error}") from error
    new._class = batch._class
    return new


def _transformed(step: Step, subject: Subject, hidden: set[str]) -> Subject:
    """Return a transformed subject.

    Args:
        step: The step.
        subject: The subject, which stays as it is.
        hidden: Names of images that the transform does not get, and that stay as they are.
    """
    transform: Any = step.transform
    given = copy.copy(subject)
    for name, image in given.get_images_dict(intensity_only=False).items():
        if name in hidden:
            del given[name]
        else:
            given[name] = image._with(image.data.clone())  # the transform may write to it
    result = transform.apply_transform(given)
    if not isinstance(result, Subject):
        raise TypeError(f"{transform.name} must return a Subject, got {type(result).__name__}")
    new, before = copy.copy(result), subject.history
    same = len(result.history) >= len(before) and all(map(_is, result.history, before))
    nested = result.history[len(before) :] if same else result.history
    untouched = tuple(sorted(hidden))
    if nested and not transform.deterministic:
        own = [replace(record, untouched=(*record.untouched, *untouched)) for record in nested]
    else:
        own = [Record(transform, Params(), (), untouched)]
    new.history = [*before, *own]
    new.streams = subject.streams if result.streams is None else result.streams
    kept = {name: value for name, value in subject.items() if name in hidden}
    added = {name: value for name, value in new.items() if name not in subject}
    order = {name: kept.get(name, new.get(name)) for name in subject if name in kept or name in new}
    new.__dict__["_items"] = {**order, **added}
    return new


def _is(one: object, other: object) -> bool:
    return one is other


__all__ = ["transform_subjects"]
