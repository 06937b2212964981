"""Looking into programs: values printed as they run, breakpoints, and a replay of a run node by node."""

from __future__ import annotations

from graphc.debugging.replay import Replay, Step, debug
from graphc.debugging.showing import breakpoint_here as breakpoint  # noqa: A004  gc.breakpoint
from graphc.debugging.showing import print_value as print  # noqa: A004  gc.print

__all__ = ["Replay", "Step", "breakpoint", "debug", "print"]
