"""The devices of a driver that are in use."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

from graphc.core.errors import DeviceError


class Opened:
    """Devices by their numbers, each opened when it is first asked for.

    driver: its name; opens: opens one; is_loaded: whether the driver has been asked for anything yet; anew: whether a device
    that has stopped is opened anew, or stays lost to this process. What would ask a driver that was loaded before this process
    was forked is refused: its threads are not here, and its locks may be held for good.
    """

    def __init__(self, driver: str, opens: Callable[[int], Any], is_loaded: Callable[[], bool], anew: bool):
        self.found: dict[int, Any] = {}
        self.forked = ""
        self._driver, self._opens, self._is_loaded, self._anew = driver, opens, is_loaded, anew
        self._lock = threading.Lock()
        os.register_at_fork(after_in_child=self.after_fork)

    def __getitem__(self, number: int) -> Any:
        found = self._usable(number)
        if found is None:
            if self.forked:
                raise DeviceError(self.forked)
            with self._lock:
                found = self._usable(number)
                if found is None:
                    found = self.found[number] = self._opens(number)
        return found

    def _usable(self, number: int) -> Any:
        found = self.found.get(number)
        return None if found is not None and found.lost and self._anew else found

    def after_fork(self) -> None:
        """In a child process: refuses what the driver cannot do there."""
        if self._is_loaded():
            self.forked = (
                f"{self._driver} was in use before this process was forked, and does not work in it\n"
                "  hint: start processes that use a device by multiprocessing.get_context('spawn')"
            )
            for found in self.found.values():
                found.lost = self.forked
