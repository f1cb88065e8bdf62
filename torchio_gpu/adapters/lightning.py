"""Augmentation of batches on the device, in training with Lightning.

Lightning is not imported: the mixin works with its packages ``lightning`` and
``pytorch_lightning``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..data import SubjectsBatch

#: Packages of Lightning.
_PACKAGES = ("lightning", "pytorch_lightning")


class AugmentOnDevice:
    """Mixin that augments batches once they are on the device, in training only.

    It comes before ``LightningModule``, or ``LightningDataModule``, among the bases. The class sets
    :attr:`augmentation` to a transform, or to any function of a batch, or defines a method of that
    name. It is not called in validation, the sanity check, tests and predictions.

    A :class:`.SubjectsBatch`, a tensor, or a dict of tensors stays what it is. Of a list, tuple or
    dict that holds a SubjectsBatch, as several loaders give it, each SubjectsBatch is augmented;
    for anything else, such as (image, label), define the method. Samples of a
    :class:`.SubjectsLoader` bring their seeds along, so that they are augmented in the same way by
    any number of processes.

    Values that a module logs are weighted by the size of the batch, which Lightning cannot tell
    from a SubjectsBatch. With the mixin in a data module, give it: ``self.log(...,
    batch_size=len(batch))``.

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
        """Return the batch on the device; a SubjectsBatch from pinned memory without a wait."""
        if isinstance(batch, SubjectsBatch):  # of which Lightning knows no more than to(device)
            return batch.to(device, non_blocking=device.type == "cuda")
        parent: Any = super()
        return parent.transfer_batch_to_device(batch, device, dataloader_idx)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Return the batch, augmented in training.

        Raises:
            AttributeError: The class has no :attr:`augmentation`.
        """
        parent: Any = super()
        batch = parent.on_after_batch_transfer(batch, dataloader_idx)
        sizes = {len(each) for each in _batches(batch)}
        self._batch_size = sizes.pop() if len(sizes) == 1 else None
        if not self._trains():
            return batch
        if not hasattr(self, "augmentation"):
            raise AttributeError(
                f"{type(self).__name__} must set self.augmentation to a transform, or define a "
                "method augmentation(self, batch), to augment on the device"
            )
        return batch if self.augmentation is None else _augmented(self.augmentation, batch)

    def _trains(self) -> bool:
        try:
            trainer: Any = self.trainer  # type: ignore[attr-defined]
        except RuntimeError:  # a module without a trainer, as when it is exported
            return False
        return trainer is not None and bool(trainer.training)

    def log(self, *args: Any, **kwargs: Any) -> None:
        """Log a value as Lightning does, with the size of a SubjectsBatch by default."""
        if self._batch_size is not None and kwargs.get("batch_size") is None:
            kwargs["batch_size"] = self._batch_size
        parent: Any = super()
        parent.log(*args, **kwargs)


def _batches(batch: Any) -> list[SubjectsBatch]:
    """Return a batch of subjects, or those in a list, tuple or dict of several loaders."""
    if isinstance(batch, SubjectsBatch):
        return [batch]
    values = batch.values() if isinstance(batch, dict) else batch
    several = isinstance(batch, (dict, list, tuple))
    return [value for value in values if isinstance(value, SubjectsBatch)] if several else []


def _augmented(augment: Callable[[Any], Any], batch: Any) -> Any:
    """Return a batch augmented; of several batches in a list, tuple or dict, each one."""
    if isinstance(batch, SubjectsBatch) or not _batches(batch):
        return augment(batch)
    if isinstance(batch, dict):
        return dict(zip(batch, _augmented(augment, list(batch.values())), strict=True))
    done = [augment(value) if isinstance(value, SubjectsBatch) else value for value in batch]
    return type(batch)(*done) if hasattr(batch, "_fields") else type(batch)(done)


__all__ = ["AugmentOnDevice"]
