"""Named values, accessible as items and as attributes."""

from __future__ import annotations

import copy
from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from typing import Any, TypeVar

Self = TypeVar("Self", bound="NamedValues")


class NamedValues:
    """Base of a mutable mapping whose values are attributes too.

    Its methods are those of a dict. It is no subclass of ``collections.abc.Mapping``, since torch
    takes such apart where it converts or pins samples.
    """

    _items: dict[str, Any]

    def keys(self) -> KeysView[str]:
        """Return the names of all values."""
        return self._items.keys()

    def values(self) -> ValuesView[Any]:
        """Return all values."""
        return self._items.values()

    def items(self) -> ItemsView[str, Any]:
        """Return all names with their values."""
        return self._items.items()

    def get(self, name: str, default: Any = None) -> Any:
        """Return the value of a name, or the default."""
        return self._items.get(name, default)

    def pop(self, name: str, *default: Any) -> Any:
        """Remove a value and return it, or the default if there is none."""
        if not default and name not in self._items:
            raise self._absent(name)
        return self._items.pop(name, *default)

    def popitem(self) -> tuple[str, Any]:
        """Remove the last value and return it with its name."""
        return self._items.popitem()

    def setdefault(self, name: str, default: Any = None) -> Any:
        """Return the value of a name, which is set to the default if there is none."""
        if name not in self._items:
            self[name] = default
        return self._items[name]

    def update(
        self, values: Mapping[str, Any] | Iterable[tuple[str, Any]] = (), /, **more: Any
    ) -> None:
        """Set several values by name; none of them if one has a name that it must not have."""
        given = {**dict(values), **more}
        self._check(given)
        self._items.update(given)

    def clear(self) -> None:
        """Remove all values."""
        self._items.clear()

    def copy(self: Self) -> Self:
        """Return a copy, as :func:`copy.copy` does."""
        return copy.copy(self)

    def _check(self, names: Iterable[Any]) -> None:
        """Raise unless values may have these names."""

    def _absent(self, name: Any) -> KeyError:
        return KeyError(f"subject has no {name!r}; it has {list(self._items)}")

    def __setitem__(self, name: str, value: Any) -> None:
        self._check((name,))
        self._items[name] = value

    def __delitem__(self, name: str) -> None:
        if name not in self._items:
            raise self._absent(name)
        del self._items[name]

    def __delattr__(self, name: str) -> None:
        if name in self._items:
            del self._items[name]
        else:
            object.__delattr__(self, name)

    def __contains__(self, name: object) -> bool:
        return name in self._items

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __getattr__(self, name: str) -> Any:
        # only called for names that are no attribute of the class or the instance
        items = self.__dict__.get("_items", {})
        if name in items:
            return items[name]
        raise AttributeError(f"subject has no attribute or value {name!r}; it has {list(items)}")


__all__ = ["NamedValues"]
