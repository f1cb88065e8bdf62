"""Descriptions of what a plan does to a batch, without doing it where shapes suffice."""

from __future__ import annotations

import torch

from ... import random
from ...data import ImagesBatch, SubjectsBatch
from ...functional.dispatch.backend import rehearsing
from .executor import Executor
from .plan import Plan
from .steps import SUBJECT


def explain(plan: Plan, batch: SubjectsBatch) -> str:
    """Describe the stages of a plan, and the passes over the voxels of a batch that each takes.

    Nothing is computed where shapes and dtypes suffice. Where a transform looks at voxels, the plan
    is executed and the result discarded. The states of random generators are restored.
    """
    state = torch.get_rng_state()
    looks = any(step.role == SUBJECT for step in plan.steps)
    try:
        if looks:
            return _notes(plan, dict(batch.images), batch)
        with rehearsing(batch.device):
            return _notes(plan, {n: i.to("meta") for n, i in batch.images.items()}, batch)
    except (NotImplementedError, RuntimeError):  # as torch raises where meta tensors are looked at
        torch.set_rng_state(state)
        return _notes(plan, dict(batch.images), batch)
    finally:
        torch.set_rng_state(state)


def _notes(plan: Plan, images: dict[str, ImagesBatch], like: SubjectsBatch) -> str:
    batch, streams = like.replace(images), like.streams
    if streams is not None:
        batch.streams = random.Streams(streams.seeds, streams.used.copy())
    notes: list[str] = []
    Executor(plan, batch, notes=notes).finish()
    return "\n".join(notes)


__all__ = ["explain"]
