"""The registry of families of steps, each with its weight."""

from __future__ import annotations

from collections.abc import Callable

from tests.fuzz.draft import Draft

Family = Callable[[Draft], None]
FAMILIES: list[tuple[float, Family]] = []


def family(weight: float) -> Callable[[Family], Family]:
    """Registers a family with its weight."""

    def register(fn: Family) -> Family:
        FAMILIES.append((weight, fn))
        return fn

    return register
