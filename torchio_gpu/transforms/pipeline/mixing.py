"""Steps that mix the samples of a batch, the last ones of a pipeline."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar

import numpy as np

from ...data import ImagesBatch, SubjectsBatch
from ...functional.dispatch.launch import indices
from ...tracing import hook
from ..parameters.params import Params
from .context import Context
from .created import with_samples
from .steps import Step

#: Metadata of a mixed batch: number of each sample's partner, and the share of its own content.
PARTNER, WEIGHT = "mix_partner", "mix_weight"


@dataclass(frozen=True)
class MixParams(Params):
    """Partner of each sample, and the share of its own content.

    The numbers of partners are those of the batch; a seed names the partner in any batch.
    """

    neutral: ClassVar[dict[str, float]] = {"weight": 1.0}

    partner: Annotated[np.ndarray, "B", int]
    weight: Annotated[np.ndarray, "B"]
    partner_seed: Annotated[np.ndarray, "B", int]


def draw_partners(u: np.ndarray) -> np.ndarray:
    """Return another sample of the batch for each, [B], by uniform numbers [B].

    The only sample of a batch has itself.

    >>> draw_partners(np.array([0.1, 0.9, 0.2])).tolist()
    [1, 0, 0]
    """
    batch = len(u)
    return (np.arange(batch) + 1 + np.floor(u * (batch - 1)).astype(int)) % batch  # type: ignore[no-any-return]


def refuse_recorded(step: Step) -> None:
    """Raise a RuntimeError for a recorded step, whose partners are not known."""
    if step.params is not None:
        seeds = getattr(step.params, "partner_seed", np.empty(0)).tolist()
        raise RuntimeError(
            f"{step.transform.name} cannot be repeated from a history, which does not hold the "
            f"partner, of seed {seeds}"
        )


def check_shapes(context: Context, name: str) -> None:
    """Raise a ValueError unless all images have the shape of the first one."""
    for image, space in zip(context.names, context.spaces, strict=True):
        if space.shape != context.space.shape:
            raise ValueError(
                f"images must have one shape for {name}: {context.names[0]!r} has "
                f"{context.space.shape}, {image!r} has {space.shape}; exclude one"
            )


def with_partner_seeds(params: MixParams, seeds: np.ndarray) -> MixParams:
    """Return parameters that hold the seeds of partners, and weight 1 for their own partners."""
    alone = params.partner == np.arange(len(seeds))
    weight = np.where(alone, 1.0, params.weight)
    return replace(params, weight=weight, partner_seed=seeds[params.partner])


class _Selected(Mapping[str, ImagesBatch]):
    """Images of samples in any order, copied at each access."""

    def __init__(self, images: Mapping[str, ImagesBatch], samples: np.ndarray) -> None:
        self.images, self.samples = images, samples

    def __getitem__(self, name: str) -> ImagesBatch:
        images = self.images[name]
        data = images.data[indices(self.samples, images.device)]
        return ImagesBatch(data, images.affine[self.samples], images.kind)

    def __iter__(self) -> Iterator[str]:
        return iter(self.images)

    def __len__(self) -> int:
        return len(self.images)


def mix_samples(
    transform: Any,
    batch: SubjectsBatch,
    before: dict[str, ImagesBatch],
    names: Sequence[str],
    params: MixParams,
) -> None:
    """Mix samples of a batch with their partners, and note these in its metadata.

    Args:
        transform: The transform.
        batch: The samples, whose images are replaced.
        before: Images as they were before all steps that mix samples.
        names: Images to mix.
        params: Parameters; samples of weight 1 are left as they are.

    Raises:
        ValueError: A sample was mixed before.
    """
    changed = params.weight < 1
    known = batch.metadata.get(WEIGHT)
    weights = np.ones(len(changed)) if known is None else np.array(known, dtype=float)
    if (changed & (weights < 1)).any():
        raise ValueError(
            f"a sample must be mixed once, and {transform.name} mixes it again: put transforms "
            "that mix samples in a OneOf"
        )
    partners = batch.metadata.get(PARTNER)
    partners = np.arange(len(changed)) if partners is None else np.array(partners)
    batch.metadata = {
        **batch.metadata,
        PARTNER: np.where(changed, params.partner, partners).tolist(),
        WEIGHT: np.where(changed, params.weight, weights).tolist(),
    }
    samples = changed.nonzero()[0].tolist()
    if not samples:
        return
    own, others = _Selected(before, np.array(samples)), _Selected(before, params.partner[samples])
    for name in names:
        images = batch.images[name]
        new = hook(transform.mix, own, others, name, params.rows(samples))
        batch.images[name] = images.with_data(with_samples(images.data, samples, new))


__all__ = [
    "PARTNER",
    "WEIGHT",
    "MixParams",
    "check_shapes",
    "draw_partners",
    "mix_samples",
    "refuse_recorded",
    "with_partner_seeds",
]
