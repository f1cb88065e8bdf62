"""torchio_gpu: loading and augmentation of 3D medical images as batched tensors on the device.

Importing the package is quick: torch is imported when the first public name is used.
"""

import os as _os
import sys as _sys
import typing as _typing

from .version import __version__ as __version__

if _typing.TYPE_CHECKING:
    from . import adapters as adapters
    from . import cohort as cohort
    from . import compat as compat
    from . import configuration as configuration
    from . import data as data
    from . import datasets as datasets
    from . import inference as inference
    from . import io as io
    from . import loader as loader
    from . import patches as patches
    from . import plot as plot
    from . import sampler as sampler
    from . import utils as utils
    from .public import *  # noqa: F403
else:
    from . import names as _names

    __all__ = [*_names.NAMES, *_names.TRANSFORMS]

    def __getattr__(name: str) -> object:
        from importlib import import_module

        if name in _names.MODULES:
            return import_module(f"{__name__}.{name}")
        if name not in __all__:
            message = f"module {__name__!r} has no attribute {name!r}"
            raise AttributeError(message, name=name, obj=_sys.modules[__name__])
        public = import_module(f"{__name__}.public")
        # plain attributes from now on
        globals().update({key: value for key, value in vars(public).items() if key in __all__})
        return getattr(public, name)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__, *_names.MODULES})


def _use_one_thread() -> None:
    # the threads of torch's pool do not live on in a child, which would wait for them for ever
    if torch := _sys.modules.get("torch"):
        torch.set_num_threads(1)


if hasattr(_os, "register_at_fork"):  # which Windows lacks
    _os.register_at_fork(after_in_child=_use_one_thread)
