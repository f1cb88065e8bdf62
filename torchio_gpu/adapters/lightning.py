"""Augmentation of batches on the device, in training with Lightning.

Lightning is not imported: the mixin works with its packages ``lightning`` and
``pytorch_lightning``.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import Any

from ..data import SubjectsBatch

#: Packages of Lightning.
_PACKAGES = ("lightning", "pytorch_lightning")


class AugmentOnDevice:
    """Mixin that augments batches once they are on the device, in training only.

    It comes before ``LightningModule``, or ``LightningDataModule``, among the bases. The class sets
    :attr:`augmentation` to a transform, or to any function of a batch, or defines a method of that
    name. It is not called in validation, the sanity check, tests and predictions.

    A :class:`.SubjectsBatch`, a tensor, or a dict of tensors stays what it is. Of nested lists,
    tuples and dicts that hold a SubjectsBatch, as several loaders give them, each SubjectsBatch is
    augmented; for anything else, such as (image, label), define the method. Samples of a
    :class:`.SubjectsLoader` bring their seeds along, so that they are augmented in the same way by
    any number of processes.

    Values that a module logs are weighted by the size of the batch, which Lightning cannot tell
    from a SubjectsBatch. Of several loaders it is the size of the first SubjectsBatch, as Lightning
    takes that of the first tensor. For another size, or with the mixin in a data module, give it:
    ``self.log(..., batch_size=len(batch))``.

    Raises:
        TypeError: Lightning's class comes first among the bases, whose hook would be used.

    >>> from lightning.pytorch import LightningModule
    >>> class Segmenter(AugmentOnDevice, LightningModule):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.augmentation = Compose([RandomAffine(), RandomNoise()])
    ...     def training_step(self, batch):
    ...         x, y = batch.t1.data, batch.seg.data  # augmented
    """

    #: Function of a batch; None to leave batches as they are.
    augmentation: Callable[[Any], Any] | None
    _batch_size: int | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for base in cls.__mro__[: cls.__mro__.index(AugmentOnDevice)]:
            if base.__module__.split(".")[0] in _PACKAGES:
                raise TypeError(
                    f"AugmentOnDevice must come before {base.__name__} among the bases of "
                    f"{cls.__name__}, whose own hook would be used else"
                )

    def transfer_batch_to_device(self, batch: Any, device: Any, dataloader_idx: int) -> Any:
        """Return the batch on the device; each SubjectsBatch from pinned memory without a wait."""
        wait = device.type != "cuda"  # Lightning knows no more of a SubjectsBatch than to(device)
        batch = _mapped(lambda each: each.to(device, non_blocking=not wait), batch)
        parent: Any = super()
        return parent.transfer_batch_to_device(batch, device, dataloader_idx)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Return the batch, augmented in training.

        Raises:
            AttributeError: The class has no :attr:`augmentation`.
        """
        parent: Any = super()
        batch = parent.on_after_batch_transfer(batch, dataloader_idx)
        found: list[SubjectsBatch] = []
        _mapped(found.append, batch)
        self._batch_size = len(found[0]) if found else None
        if not self._trains():
            return batch
        if not hasattr(self, "augmentation"):
            raise AttributeError(
                f"{type(self).__name__} must set self.augmentation to a transform, or define a "
                "method augmentation(self, batch), to augment on the device"
            )
        if self.augmentation is None:
            return batch
        return _mapped(self.augmentation, batch) if found else self.augmentation(batch)

    def _trains(self) -> bool:
        try:
            trainer: Any = self.trainer  # type: ignore[attr-defined]
        except RuntimeError:  # a module without a trainer, as when it is exported
            return False
        return trainer is not None and bool(trainer.training)

    def log(self, *args: Any, **kwargs: Any) -> None:
        """Log a value as Lightning does, with the size of the first SubjectsBatch by default."""
        if self._batch_size is not None and kwargs.get("batch_size") is None:
            kwargs["batch_size"] = self._batch_size
        parent: Any = super()
        parent.log(*args, **kwargs)


def _mapped(function: Callable[[SubjectsBatch], Any], batch: Any) -> Any:
    """Return a batch with the results of a function in place of each SubjectsBatch.

    Args:
        function: Called in order with each SubjectsBatch.
        batch: A SubjectsBatch, or lists, tuples and dicts that hold some at any depth.
    """
    if isinstance(batch, SubjectsBatch):
        return function(batch)
    if isinstance(batch, dict):
        mapped = copy(batch)  # of its own type, such as one with a default
        mapped.update({key: _mapped(function, value) for key, value in batch.items()})
        return mapped
    if isinstance(batch, (list, tuple)):
        values = [_mapped(function, value) for value in batch]
        return type(batch)(*values) if hasattr(batch, "_fields") else type(batch)(values)
    return batch


__all__ = ["AugmentOnDevice"]
