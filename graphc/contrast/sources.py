"""The user's files and lines that a contrast speaks of, each with an id."""

from __future__ import annotations

import linecache
from collections.abc import Iterable

from graphc.core.errors import show_file
from graphc.ir.program import Origin
from graphc.planning.descriptions import Data

Place = tuple[str, int]


class Sources:
    """Collects places; `finish()` numbers them by file and line."""

    def __init__(self) -> None:
        #: file -> id, in the order in which files were met
        self.files: dict[str, str] = {}
        self._ids: dict[Place, str] = {}
        self.places: list[Place] = []

    def meet(self, origins: Iterable[Origin | None]) -> None:
        """Notes the lines that are to have ids."""
        self.places += [(x.file, x.line) for x in origins if x is not None and x.line]

    def finish(self) -> None:
        """Gives ids: lines by file and number."""
        for file, _ in self.places:
            self.files.setdefault(file, f"F{len(self.files) + 1}")
        order = list(self.files)
        self.places = sorted(set(self.places), key=lambda place: (order.index(place[0]), place[1]))
        self._ids = {place: f"L{n}" for n, place in enumerate(self.places, 1)}

    def line(self, origin: Origin | None) -> str | None:
        """The id of a line, None for one that is nobody's."""
        return None if origin is None else self._ids.get((origin.file, origin.line))

    def lines(self, origins: Iterable[Origin]) -> list[str]:
        """The ids of the lines, each once."""
        return [x for x in dict.fromkeys(map(self.line, origins)) if x is not None]

    def text(self, place: Place) -> str:
        """A line of a file as it is written."""
        return linecache.getline(*place).strip()

    def ids(self) -> dict[Place, str]:
        """The id of each place."""
        return self._ids

    def data(self) -> list[Data]:
        """The whole text of every file."""
        return [
            {"id": key, "file": show_file(file), "lines": [x.rstrip("\n") for x in linecache.getlines(file)]}
            for file, key in self.files.items()
        ]
