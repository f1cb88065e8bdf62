"""Transforms as dictionary transforms of MONAI, which its Compose seeds, traces and inverts.

Without :func:`adapt`, a transform may be called in MONAI's Compose too. What it moves, MONAI then
cannot undo: its inverses raise.
"""

from __future__ import annotations

import copy
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from ..data import LabelMap, meta_tensor
from ..patches.inference.original_space import moving_entries
from ..random import Streams, streams_for
from ..signature import checked
from ..transforms import Lambda, Transform
from ..transforms.convert import to_batch
from ..transforms.history import compose_history
from ..transforms.pipeline.maps import may_move
from ..transforms.pipeline.record import Record
from ..transforms.pipeline.steps import SUBJECT
from ..transforms.spatial.affine import Resampling

try:
    from monai.data import get_track_meta
    from monai.transforms import InvertibleTransform, MapTransform, Randomizable
    from monai.transforms.lazy.functional import apply_pending_transforms
    from monai.utils import convert_to_tensor
except ImportError as error:
    raise ImportError("torchio_gpu.adapters.monai needs MONAI: pip install monai") from error

#: Modes of MONAI, with the interpolation that each names.
_MODES: dict[object, str] = {
    **dict.fromkeys(("bilinear", "trilinear", "linear", 1), "linear"),
    **dict.fromkeys(("nearest", "nearest-exact", 0), "nearest"),
    **dict.fromkeys(("bspline", 3), "bspline"),
}
_SEEDS = np.iinfo(np.int64)


@checked
def adapt(
    transform: Transform,
    keys: Hashable | Sequence[Hashable],
    mode: str | int | Sequence[str | int] | None = None,
    allow_missing_keys: bool = False,
) -> DictTransform:
    """Return a transform as a dictionary transform of MONAI.

    It belongs into ``monai.transforms.Compose``: ``set_random_state`` and MONAI's DataLoader seed
    it, operations that lazy transforms left pending are carried out before it, and ``inverse``,
    ``Invertd`` and ``BatchInverseTransform`` undo what it moved, and then what MONAI did before.
    Intensities are not undone, and a Lambda is taken to change these alone. It takes single samples
    and collated batches; a batch is decollated before it is undone.

    Args:
        transform: The transform, such as a :class:`Compose`, which shares passes over the voxels.
        keys: Keys of the images, as of all dictionary transforms; they move together.
        mode: Interpolation of each key, or of all: 'bilinear', 'nearest' or 'bspline', or the order
            of a spline, 1, 0 or 3. Keys with 'nearest' are label maps, which intensity transforms
            leave alone; the others share one mode, used in place of the transform's own. By default
            label maps are the transform's ``label_keys``; see :class:`Transform`.
        allow_missing_keys: Leave out keys that a sample lacks, rather than raise a KeyError.

    A random one draws a seed for each sample from its random state, if that was set, and else from
    torch's generator.

    Raises:
        TypeError: ``transform`` is none of this library.
        ValueError: A mode is unknown, there are not as many as keys, or images have several.

    >>> from monai.transforms import Compose as MonaiCompose
    >>> augment = adapt(RandomAffine(), keys=("t1", "seg"), mode=("bilinear", "nearest"))
    >>> chain = MonaiCompose([augment]).set_random_state(0)
    >>> moved = chain({"t1": torch.rand(1, 8, 8, 8), "seg": torch.ones(1, 8, 8, 8)})
    >>> chain.inverse(moved)["seg"].unique().tolist()
    [0.0, 1.0]
    """
    if not isinstance(transform, Transform):
        raise TypeError(f"transform must be a transform of torchio_gpu, got {transform!r}")
    cls = RandomDictTransform if _draws(transform) else DictTransform
    return cls(transform, keys, mode, allow_missing_keys)


class DictTransform(MapTransform, InvertibleTransform):  # type: ignore[misc]
    """Dictionary transform of MONAI that applies a transform of this library; see :func:`adapt`."""

    def __init__(
        self, transform: Transform, keys: Any, mode: Any = None, allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        modes = None if mode is None else _interpolations(mode, self.keys)
        self.transform = transform if modes is None else _interpolating(transform, modes)
        #: Keys of label maps; None if they are found as :class:`Transform` finds them.
        self.label_keys = transform.label_keys
        if modes is not None:
            self.label_keys = tuple(str(key) for key in self.keys if modes[key] == "nearest")

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a dict with transformed images; what the transform adds is among its keys."""
        given = apply_pending_transforms(dict(data), self.keys)
        keys = list(self.key_iterator(given))
        if not keys:
            return given
        taken = {key: _tracked(given[key]) for key in keys}
        known = self.label_keys
        labels = None if known is None else [key for key in known if key in taken]
        batch, restore = to_batch(taken, keys, labels)
        batch.streams = self._streams(batch.batch_size)
        done = self.transform(batch)
        result = restore(done)
        if self.tracing:
            records = [[r for r in each if may_move(r.transform)] for each in done.history]
            for key in keys:
                if meta_tensor.is_meta_tensor(result[key]):
                    self._trace(result[key], taken[key], records, done.images[key].kind)
        return {**given, **result}

    def _streams(self, batch: int) -> Streams | None:
        """Return the seeds of the samples; None for those of their loader, or fresh ones."""
        return None

    def _trace(self, x: Any, before: Any, histories: Sequence[list[Record]], kind: str) -> None:
        """Add the transform to the applied operations, after those of the tensor before.

        Args:
            x: MetaTensor of a sample, or of a batch, whose operations are a list for each sample.
            before: The same before it was transformed.
            histories: Records of each sample that may have moved voxels of any image.
            kind: Kind of the image.
        """
        mode = "nearest" if kind == LabelMap.kind else "bilinear"  # as Invertd changes it
        entries = [
            {
                **self.get_transform_info(),
                "orig_size": tuple(before.shape[-3:]),
                "lazy": False,
                "extra_info": {"mode": mode, "records": history},
            }
            for history in histories
        ]
        earlier = before.applied_operations
        if x.ndim == 4:
            x.applied_operations = [*earlier, *entries]
            return
        own = earlier or [[] for _ in entries]
        pairs = zip(own, entries, strict=True)
        x.applied_operations = [[*(e if isinstance(e, list) else []), new] for e, new in pairs]

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a dict with images as they were before the transform moved them.

        Raises:
            ValueError: A value is a batch, or no MetaTensor, which knows what was done to it.
            RuntimeError: The transform was not the last that was applied to it, or did what cannot
                be undone.
        """
        out = dict(data)
        for key in self.key_iterator(out):
            out[key] = self._undo(key, out[key])
        return out

    def _undo(self, key: Hashable, x: Any) -> Any:
        if not meta_tensor.is_meta_tensor(x) or x.ndim != 4:
            raise ValueError(
                f"{key!r} must be a MetaTensor (C, I, J, K) to be undone, got {type(x).__name__} "
                f"of shape {tuple(x.shape)}: undo samples one by one, after decollate_batch"
            )
        operations = list(x.applied_operations)
        last = operations.pop() if operations else {}
        self.check_transforms_match(last)
        info = last["extra_info"]
        try:
            records = moving_entries(info["records"], key)  # type: ignore[arg-type]
        except ValueError as error:
            raise RuntimeError(f"{key!r} cannot be undone: {error}") from error
        undoing = compose_history(records).inverse()  # type: ignore[arg-type]
        labels = (key,) if info["mode"] == "nearest" else ()
        batch, restore = to_batch({key: x}, None, labels)  # type: ignore[dict-item,arg-type]
        result = restore(undoing(batch))[key]
        result.applied_operations = operations
        return result

    def __repr__(self) -> str:
        return f"adapt({self.transform!r}, keys={self.keys!r})"


class RandomDictTransform(Randomizable, DictTransform):  # type: ignore[misc]
    """The same of a transform that draws numbers; see :func:`adapt`."""

    def randomize(self, data: int | None = None) -> None:
        """Draw the seeds of samples.

        Args:
            data: Number of samples; one by default.
        """
        drawn = self.R.randint(_SEEDS.min, _SEEDS.max, 1 if data is None else data, np.int64)
        self._seeds = np.asarray(drawn)

    def _streams(self, batch: int) -> Streams:
        if "R" not in vars(self):  # nobody set the random state
            return streams_for(batch)
        self.randomize(batch)
        return Streams(self._seeds)


def _draws(transform: Transform) -> bool:
    """Return True if a transform may give another result when it is applied again."""
    plan = transform.plan()
    return bool(plan.pipeline.decisions) or any(
        isinstance(step.transform, Lambda)  # its function may
        or step.transform.draws
        or (step.role == SUBJECT and not step.transform.deterministic)
        for step in plan.steps
    )


def _interpolations(mode: Any, keys: Sequence[Hashable]) -> dict[Hashable, str]:
    """Return the interpolation of each key."""
    several = isinstance(mode, Sequence) and not isinstance(mode, str)
    modes = list(mode) if several else [mode] * len(keys)
    modes = [getattr(each, "value", each) for each in modes]  # of MONAI's enumerations
    if len(modes) != len(keys):
        raise ValueError(
            f"mode must be one for all keys, or one for each of {len(keys)}, got {mode!r}"
        )
    for each in modes:
        if each not in _MODES:
            raise ValueError(f"mode must be one of {', '.join(map(repr, _MODES))}, got {each!r}")
    found = {key: _MODES[each] for key, each in zip(keys, modes, strict=True)}
    if len({each for each in found.values() if each != "nearest"}) > 1:
        raise ValueError(
            f"mode must be the same for all images that are no label maps, got {mode!r}: adapt "
            "a transform for each"
        )
    return found


def _interpolating(transform: Transform, modes: Mapping[Hashable, str]) -> Transform:
    """Return a copy that interpolates scalar images by the mode that is not 'nearest', if any."""
    mode = next((each for each in modes.values() if each != "nearest"), None)
    new = copy.deepcopy(transform)
    for each in new.modules():
        if isinstance(each, Resampling) and mode is not None:
            vars(each).update(vars(each.with_interpolation(mode)))
    return new


def _tracked(value: Any) -> Any:
    """Return tensors and arrays as MetaTensors, where MONAI tracks metadata."""
    plain = isinstance(value, (Tensor, np.ndarray)) and not meta_tensor.is_meta_tensor(value)
    return convert_to_tensor(value, track_meta=True) if plain and get_track_meta() else value


__all__ = ["DictTransform", "RandomDictTransform", "adapt"]
