"""Adapters to the libraries that people train with; each is imported when asked for."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from . import lightning as lightning
    from . import monai as monai
    from . import nnunet as nnunet
    from . import torchio as torchio

#: Modules of the package.
_MODULES = ("lightning", "monai", "nnunet", "torchio")


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module(f"{__name__}.{name}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
