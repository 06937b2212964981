"""What a `Trainer` calls while it fits: checkpoints, an early end, a log; and the base class for one's own."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from graphc.core.errors import ArgumentError
from graphc.core.lazy import lazy_import
from graphc.saving import save

tqdm = lazy_import("tqdm")


class Callback:
    """Base of callbacks; `trainer` is the Trainer that calls. `logs` maps names to this batch's or epoch's numbers.

    A plain function (trainer, epoch, logs) will do where only epochs are of interest.
    """

    trainer: Any = None

    def on_fit_begin(self) -> None:
        """Before the first epoch."""

    def on_epoch_begin(self, epoch: int) -> None:
        """Before each epoch."""

    def on_batch_end(self, batch: int, logs: Mapping[str, float]) -> None:
        """After each step."""

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        """After each epoch and its validation; epochs count from 0."""

    def on_fit_end(self) -> None:
        """After the last epoch."""


class EachEpoch(Callback):
    """A function (trainer, epoch, logs) as a callback."""

    def __init__(self, function: Any):
        self.function = function

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Calls the function."""
        self.function(self.trainer, epoch, logs)


class ProgressBar(Callback):
    """A bar for each epoch, with its numbers at the end: on a terminal (`show` None), always, or never."""

    def __init__(self, show: bool | None = None):
        self.show = show

    def on_epoch_begin(self, epoch: int) -> None:
        """Begins the bar."""
        self._bar = tqdm.tqdm(
            total=self.trainer.batches,
            desc=f"epoch {epoch + 1}/{self.trainer.epochs}",
            unit=" batches",
            disable=None if self.show is None else not self.show,
        )

    def on_batch_end(self, batch: int, logs: Mapping[str, float]) -> None:
        """Moves it on."""
        self._bar.update()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Puts the numbers behind it."""
        self._bar.set_postfix(logs)
        self._bar.close()


class _Watching(Callback):
    """A callback that looks for the best value of one quantity. Raises ArgumentError for an unknown `mode` or quantity."""

    def __init__(self, monitor: str, mode: str, min_delta: float = 0.0):
        if mode not in ("min", "max"):
            raise ArgumentError(f"mode {mode!r} is unknown: there are 'min' and 'max'")
        self.monitor, self.mode, self.min_delta = monitor, mode, min_delta

    def on_fit_begin(self) -> None:
        """Forgets what was the best."""
        self.best = math.inf if self.mode == "min" else -math.inf

    def _improved(self, logs: Mapping[str, float]) -> bool:
        """Whether this epoch is better than the best so far by more than `min_delta`; it is the best then."""
        if self.monitor not in logs:
            raise ArgumentError(f"{type(self).__name__} watches {self.monitor!r}, and there are {', '.join(logs)}")
        value = logs[self.monitor]
        ahead = self.best - value if self.mode == "min" else value - self.best
        if ahead > self.min_delta:
            self.best = value
            return True
        return False


class Checkpoint(_Watching):
    """Saves model, optimizer, epoch and logs to `path` after each epoch, or each best one so far (`save_best_only`).

    `{epoch}` and the names in the logs may stand in the path: `"net-{epoch}-{val_loss:.3f}.gc"`. `gc.load` gives back a
    dict with "model" and "optimizer" (their state dicts), "epoch" and "logs".
    """

    def __init__(self, path: Any, monitor: str = "val_loss", mode: str = "min", save_best_only: bool = False):
        super().__init__(monitor, mode)
        self.path, self.save_best_only = path, save_best_only

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Saves, if it is time."""
        if self.save_best_only and not self._improved(logs):
            return
        state = {"model": self.trainer.model.state_dict(), "optimizer": self.trainer.optimizer.state_dict()}
        save({**state, "epoch": epoch, "logs": dict(logs)}, str(self.path).format(epoch=epoch, **logs))


class EarlyStopping(_Watching):
    """Ends the fit when `monitor` has not improved by more than `min_delta` for more than `patience` epochs.

    `restore_best` gives the model the weights of its best epoch back. `stopped_epoch` is None where it had not to act.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0.0,
        patience: int = 0,
        mode: str = "min",
        restore_best: bool = False,
    ):
        super().__init__(monitor, mode, min_delta)
        self.patience, self.restore_best = patience, restore_best

    def on_fit_begin(self) -> None:
        """Starts anew."""
        super().on_fit_begin()
        self.waited = 0
        self.stopped_epoch: int | None = None
        self._weights: dict[str, Any] | None = None

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Counts epochs without improvement."""
        if self._improved(logs):
            self.waited = 0
            if self.restore_best:
                self._weights = {key: value.clone() for key, value in self.trainer.model.state_dict().items()}
            return
        self.waited += 1
        if self.waited > self.patience:
            self.stopped_epoch, self.trainer.stop = epoch, True

    def on_fit_end(self) -> None:
        """Gives the best weights back, if there are any."""
        if self._weights is not None:
            self.trainer.model.load_state_dict(self._weights)


class CSVLog(Callback):
    """Writes a line of numbers after each epoch, below one with their names; `append` goes on in a file that is there."""

    def __init__(self, path: Any, separator: str = ",", append: bool = False):
        self.path, self.separator, self.append = Path(path), separator, append

    def on_fit_begin(self) -> None:
        """Begins the file."""
        if not self.append:
            self.path.write_text("")

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Adds the line."""
        fresh = not self.path.exists() or self.path.stat().st_size == 0
        with self.path.open("a", newline="") as file:
            writer = csv.writer(file, delimiter=self.separator)
            if fresh:
                writer.writerow(["epoch", *logs])
            writer.writerow([epoch, *logs.values()])


class TensorBoardLog(Callback):
    """Gives `writer`, a SummaryWriter, each epoch's numbers under their names."""

    def __init__(self, writer: Any):
        self.writer = writer

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Writes them."""
        for name, value in logs.items():
            self.writer.add_scalar(name, value, epoch)

    def on_fit_end(self) -> None:
        """Sees to it that all is on disk."""
        self.writer.flush()


def as_callback(callback: Any) -> Callback:
    """A Callback as it is, a function as one; ArgumentError for anything else."""
    if isinstance(callback, Callback):
        return callback
    if not callable(callback):
        raise ArgumentError(f"a callback is a Callback or a function of (trainer, epoch, logs), not {callback!r}")
    return EachEpoch(callback)


__all__ = ["CSVLog", "Callback", "Checkpoint", "EarlyStopping", "ProgressBar", "TensorBoardLog"]
