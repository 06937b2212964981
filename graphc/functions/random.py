"""Placeholder until the random functions land."""

METHODS: tuple[str, ...] = ()
INPLACE: tuple[str, ...] = ()
FILLS: tuple[str, ...] = ()
__all__: list[str] = []
