"""Recipes: all that results of a job depend on, except for the inputs."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from functools import cached_property
from typing import Any

from ..version import __version__

#: Form of the files of a run; another one cannot go on with it.
_FORM = 1


class Described(ABC):
    """Base of jobs, which are described by values that JSON can hold."""

    @abstractmethod
    def values(self) -> dict[str, Any]:
        """Return the values that results depend on."""

    @cached_property
    def description(self) -> dict[str, Any]:
        """Values, form, version, and the hash of these."""
        found = {**self.values(), "form": _FORM, "version": __version__}
        text = json.dumps(found, sort_keys=True, separators=(",", ":"))
        return {**found, "hash": hashlib.blake2b(text.encode(), digest_size=8).hexdigest()}

    @property
    def recipe(self) -> str:
        """Hash of the description."""
        found: str = self.description["hash"]
        return found


__all__ = ["Described"]
