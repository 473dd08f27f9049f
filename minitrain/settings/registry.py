"""Named things that a configuration can choose: optimizers, schedules, callbacks, metrics, trackers, tasks, models.

A thing of your own is one file and one line. The line is a decorator where the class is defined::

    @register_optimizer("mine")
    class Mine(Optimizer): ...

or, for a package that others install, an entry point in its ``pyproject.toml``, which needs no import of minitrain::

    [project.entry-points."minitrain.optimizers"]
    mine = "my_package.mine:Mine"

A configuration can name what is registered and nothing else. Entry points are looked up when somebody asks for a name
that is not registered, or for all names; their code runs only when their own name is asked for.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

from ..errors import ConfigError, did_you_mean

OWN = "one of your own needs --plugin FILE"
"""How an unknown name may become known; for messages."""

T = TypeVar("T")
Made = TypeVar("Made")


class Registry(Mapping[str, T]):
    """Things of one kind by name, in alphabetical order.

    Args:
        what: what they are, for messages: ``"optimizer"``.
        setting: the setting that chooses one, for messages; ``None`` for ``optimizer.name``.
        group: entry points of this group are found too; ``None`` for none.
    """

    def __init__(self, what: str, group: str | None = None, *, setting: str | None = None) -> None:
        self.what, self.group, self.setting = what, group, setting or f"{what}.name"
        self._registered: dict[str, T] = {}
        self._installed: dict[str, EntryPoint] | None = None

    def register(self, name: str) -> Callable[[Made], Made]:
        """A decorator that registers a class or function under a name, and returns it unchanged.

        Raises:
            ConfigError: if the name is empty or not text, or something else has it.
        """
        if not isinstance(name, str) or not name or name != name.strip():
            raise ConfigError(f"the name of a registered {self.what} must be text, got {name!r:.60}")

        def add(thing: Any) -> Any:
            other = self._registered.get(name)
            if other is not None and _place(other) != _place(thing):  # a module may be imported again
                raise ConfigError(
                    f"{self.what} {name!r} is registered already, by {_place(other)}; give {_place(thing)} another name"
                )
            self._registered[name] = thing
            return thing

        return add

    def look_up(self, name: str) -> T:
        """The thing with this name.

        Raises:
            ConfigError: if there is none (the message suggests the nearest name), or if its package does not load.
        """
        found = self._find(name)
        if found is None:
            hint, known = did_you_mean(name, self), ", ".join(self) or "none"
            raise ConfigError(f"{self.setting}={name!r:.200} is unknown; {hint}known: {known}; {OWN}")
        return found

    def __getitem__(self, name: str) -> T:
        found = self._find(name)
        if found is None:
            raise KeyError(name)
        return found

    def __contains__(self, name: object) -> bool:
        return name in self._registered or name in self._entry_points()

    def __iter__(self) -> Iterator[str]:
        return iter(sorted({*self._registered, *self._entry_points()}))

    def __len__(self) -> int:
        return len({*self._registered, *self._entry_points()})

    def __repr__(self) -> str:
        return f"Registry({self.what!r}: {', '.join(self)})"

    def _find(self, name: str) -> T | None:
        if name not in self._registered and name in (installed := self._entry_points()):
            entry = installed[name]
            try:
                self._registered[name] = entry.load()
            except Exception as error:
                raise ConfigError(
                    f"{self.what} {name!r}: the package that offers it as {entry.value} does not load: "
                    f"{type(error).__name__}: {error}"
                ) from error
        return self._registered.get(name)

    def _entry_points(self) -> dict[str, EntryPoint]:
        """The entry points of the group by name; what is registered under the same name comes first."""
        if self._installed is None:
            found = entry_points(group=self.group) if self.group else ()
            self._installed = {entry.name: entry for entry in found}
        return self._installed


class Sections(Mapping[str, Made]):
    """A value for each registered name, made when it is asked for: names may be registered at any time.

    Args:
        registry: the names.
        make: makes what belongs to a name.
    """

    def __init__(self, registry: Registry[Any], make: Callable[[str], Made]) -> None:
        self._registry, self._make = registry, functools.cache(make)

    def __getitem__(self, name: str) -> Made:
        if name not in self._registry:
            raise KeyError(name)
        return self._make(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._registry)

    def __len__(self) -> int:
        return len(self._registry)


def _place(thing: Any) -> str:
    """Where something is defined."""
    return f"{getattr(thing, '__module__', '')}.{getattr(thing, '__qualname__', repr(thing))}"
