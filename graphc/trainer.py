"""`Trainer`: fit, evaluate and predict in the manner of Keras, in eager code or by a graph, with equal results.

It has no mathematics of its own: model, loss, optimizer and metrics are the user's, and stay what they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from operator import length_hint
from typing import Any

import numpy as np

from graphc.backends import backend_names
from graphc.callbacks import ProgressBar, as_callback
from graphc.core.arrays import memory_of
from graphc.core.config import config
from graphc.core.context import EPOCH, eagerly, set_grad
from graphc.core.errors import ArgumentError, ArgumentTypeError, BackendError
from graphc.core.tape import TensorBase
from graphc.core.tensor_types import FLOAT
from graphc.functions.creation import as_tensor
from graphc.functions.joining import cat
from graphc.functions.placing import on
from graphc.functions.promotion import cast_to
from graphc.graphs import Graph
from graphc.optim.lbfgs import LBFGS
from graphc.session import Session
from graphc.surroundings import Surroundings
from graphc.utils.data.dataloader import DataLoader
from graphc.utils.data.dataset import Dataset, IterableDataset, TensorDataset


class History:
    """What a fit has measured: `epoch`, the numbers of the epochs, and `history`, name -> one number an epoch."""

    def __init__(self) -> None:
        self.epoch: list[int] = []
        self.history: dict[str, list[float]] = {}

    def add(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Takes the numbers of one more epoch."""
        self.epoch.append(epoch)
        for name, value in logs.items():
            self.history.setdefault(name, []).append(value)

    def __repr__(self) -> str:
        return f"History({len(self.epoch)} epochs of {', '.join(self.history) or 'nothing'})"


class _Eager:
    """Runs every line as it is read."""

    def __init__(self, trainer: Trainer):
        self._trainer = trainer

    def train(self, batch: list[Any]) -> list[float]:
        """One step; loss and metrics of before it."""
        trainer, measured = self._trainer, []

        def closure() -> Any:
            trainer.optimizer.zero_grad()
            loss, *rest = trainer.measure(batch)
            measured.append([loss.detach(), *rest])
            loss.backward()
            return loss

        if isinstance(trainer.optimizer, LBFGS):
            trainer.optimizer.step(closure)
        else:
            closure()
            trainer.optimizer.step()
        return [float(x) for x in measured[0]]

    def test(self, batch: list[Any]) -> list[float]:
        """Loss and metrics."""
        with set_grad(False):
            return [float(x) for x in self._trainer.measure(batch)]

    def predict(self, batch: list[Any]) -> Any:
        """What the model makes of the batch."""
        with set_grad(False):
            return self._trainer.model(*batch)


class _Recorded:
    """A graph with its session, for batches of one kind; it holds as long as what it was recorded from."""

    def __init__(self, trainer: Trainer, kind: str, batch: Sequence[Any]):
        self.graph = Graph(kind)
        with self.graph.as_default():
            self.inputs = [
                self.graph.placeholder((None, *x.shape[1:]), x.dtype, name=f"batch_{i}") for i, x in enumerate(batch)
            ]
            with set_grad(kind == "train"):
                self.fetches: Any = trainer.model(*self.inputs) if kind == "predict" else trainer.measure(self.inputs)
            if kind == "train":
                self.fetches = [*self.fetches, trainer.optimizer.minimize(self.fetches[0])]
        self.session = Session(self.graph, backend=trainer.backend)
        self._surroundings = Surroundings(trainer.model)
        guards = self.graph.guards.values()
        self._surroundings.settle(modules=[guard.owner for guard in guards if guard.name == "_guard_state"])
        self._epoch = EPOCH.value

    def holds(self) -> bool:
        """Whether model, optimizer and modes are as they were recorded; guards are asked anew only after something was set."""
        if not self._surroundings.hold():
            return False
        if self._epoch == EPOCH.value:
            return True
        self._epoch = EPOCH.value
        return all(guard.holds() for guard in self.graph.guards.values())

    def run(self, batch: Sequence[Any]) -> Any:
        """What the graph gives for the batch."""
        return self.session.run(self.fetches, dict(zip(self.inputs, batch, strict=True)))


class _Graph:
    """Records training, testing and predicting as graphs when they are first met, and runs these in sessions."""

    def __init__(self, trainer: Trainer):
        self._trainer = trainer
        self._recorded: dict[Any, _Recorded] = {}

    def _run(self, kind: str, batch: list[Any]) -> Any:
        key = (kind, *((x.dtype, tuple(x.shape[1:])) for x in batch))
        found = self._recorded.get(key)
        if found is None or not found.holds():
            if len(self._recorded) >= config.largest_cache:
                self._recorded.clear()
            found = self._recorded[key] = _Recorded(self._trainer, kind, batch)
        return found.run(batch)

    def train(self, batch: list[Any]) -> list[float]:
        """One step; loss and metrics of before it."""
        return [float(x) for x in self._run("train", batch)[:-1]]

    def test(self, batch: list[Any]) -> list[float]:
        """Loss and metrics."""
        return [float(x) for x in self._run("test", batch)]

    def predict(self, batch: list[Any]) -> Any:
        """What the model makes of the batch."""
        return on(as_tensor(self._run("predict", batch)), self._trainer.memory())


ENGINES: dict[str, Callable[[Trainer], Any]] = {"eager": _Eager, "graph": _Graph}


class Trainer:
    """Fits a model: `loss(prediction, target)` goes down by `optimizer`, `metrics` (prediction, target) are watched.

    `metrics`: functions, or a dict that names them. `engine`: "eager" runs each step as it is read, "graph" records it
    once and runs the graph on `backend` (as Session); the results are equal. Data are batches, tuples whose last part is
    the target and whose others are the model's arguments: from a DataLoader, any iterable of batches, or a Dataset; or
    arrays and Tensors, x and y. Arrays of floats get the dtype of the model's parameters. Raises ArgumentError for an
    unknown engine, for data of other kinds, and where there are no batches.
    """

    def __init__(
        self,
        model: Any,
        loss: Any,
        optimizer: Any,
        metrics: Any = (),
        engine: str = "eager",
        backend: str | None = None,
    ):
        if engine not in ENGINES:
            raise ArgumentError(f"unknown engine {engine!r}: there are {', '.join(ENGINES)}")
        if backend is not None and engine != "graph":
            raise ArgumentError(f"backend {backend!r} is for graphs: give engine='graph' too, not {engine!r}")
        if backend not in (None, "eager", *backend_names()):
            raise BackendError(f"unknown backend {backend!r}: there are {', '.join([*backend_names(), 'eager'])}")
        self.model, self.loss, self.optimizer = model, loss, optimizer
        self.metrics, self.backend = _named(metrics), backend
        self.stop, self.epochs = False, 0
        self.batches: int | None = None
        self._engine = ENGINES[engine](self)

    def fit(
        self,
        data: Any,
        y: Any = None,
        epochs: int = 1,
        batch_size: int = 32,
        shuffle: bool = True,
        validation_data: Any = None,
        callbacks: Iterable[Any] = (),
        progress: bool | None = None,
    ) -> History:
        """Trains for `epochs` passes over the data; returns the History of loss and metrics, means over samples.

        validation_data: a loader, or (x, y); measured after each epoch as "val_loss" and so on. `progress`: a bar on a
        terminal (None), always, or never. A callback that sets `trainer.stop` ends the fit after its epoch.
        """
        loader = self._loader(data, y, batch_size, shuffle)
        watching = [ProgressBar(progress), *map(as_callback, callbacks)]
        history, self.stop = History(), False
        self.epochs, self.batches = epochs, length_hint(loader, 0) or None
        for callback in watching:
            callback.trainer = self
            callback.on_fit_begin()
        for epoch in range(epochs):
            for callback in watching:
                callback.on_epoch_begin(epoch)
            self.model.train()
            logs = self._means(loader, self._engine.train, watching)
            if validation_data is not None:
                x, target = validation_data if isinstance(validation_data, tuple) else (validation_data, None)
                logs |= {f"val_{k}": v for k, v in self.evaluate(x, target, batch_size).items()}
            for callback in watching:
                callback.on_epoch_end(epoch, logs)
            history.add(epoch, logs)
            if self.stop:
                break
        for callback in watching:
            callback.on_fit_end()
        return history

    def evaluate(self, data: Any, y: Any = None, batch_size: int = 32) -> dict[str, float]:
        """Loss and metrics in evaluation mode, means over samples, by name."""
        with self._evaluating():
            return self._means(self._loader(data, y, batch_size, False), self._engine.test)

    def predict(self, x: Any, batch_size: int = 32) -> Any:
        """What the model makes of x, or of a loader's batches (their targets left out), in one Tensor."""
        data = TensorDataset(self._tensor(x)) if _is_array(x) else x
        loader = self._loader(data, None, batch_size, False)
        with self._evaluating():
            found = [self._engine.predict(self._inputs(batch)) for batch in loader]
        if not found:
            raise ArgumentError("there are no batches to predict from")
        if not isinstance(found[0], TensorBase):
            raise ArgumentTypeError(f"predict joins Tensors, and the model returned {type(found[0]).__name__}")
        return cat(found)

    # --- what the engines ask for -----------------------------------------------------------------------------------

    def measure(self, batch: Sequence[Any]) -> list[Any]:
        """Loss and metrics of a batch, in ops."""
        *inputs, target = batch
        prediction = self.model(*inputs)
        loss = self.loss(prediction, target)
        with set_grad(False):
            return [loss, *(metric(prediction, target) for metric in self.metrics.values())]

    def memory(self) -> Any:
        """Where the model is, and its batches go: where its first parameter is."""
        first = next(iter(self.model.parameters()), None)
        return None if first is None else memory_of(first._data)

    # --- data -------------------------------------------------------------------------------------------------------

    def _loader(self, data: Any, y: Any, batch_size: int, shuffle: bool) -> Iterable[Any]:
        """Something to take batches from, as often as wanted."""
        if _is_array(data):
            if y is None:
                raise ArgumentError("x is an array, and its targets y are missing")
            x, target = self._tensor(data), self._tensor(y)
            if x.shape[:1] != target.shape[:1]:
                raise ArgumentError(f"x has {x.shape[0]} samples, and y has {target.shape[0]}")
            return DataLoader(TensorDataset(x, target), batch_size, shuffle)
        if y is not None:
            raise ArgumentError("y goes with an array x; the batches of a loader hold their targets")
        if isinstance(data, IterableDataset):
            return DataLoader(data, batch_size)
        if isinstance(data, Dataset):
            return DataLoader(data, batch_size, shuffle)
        if not isinstance(data, Iterable):
            raise ArgumentError(f"data are arrays, a Dataset or an iterable of batches, not {type(data).__name__}")
        return data

    def _tensor(self, x: Any) -> Any:
        """x as a Tensor; of an array of floats, one of the model's dtype."""
        if isinstance(x, TensorBase):
            return x
        with eagerly():
            tensor = as_tensor(np.asarray(x))
            first = next((p for p in self.model.parameters() if p.dtype.category == FLOAT), None)
            return cast_to(tensor, first.dtype) if first is not None and tensor.dtype.category == FLOAT else tensor

    def _taken(self, parts: Sequence[Any]) -> list[Any]:
        memory = self.memory()
        return [on(self._tensor(x), memory) for x in parts]

    def _inputs(self, batch: Any) -> list[Any]:
        """The model's arguments in a batch to predict from."""
        if not isinstance(batch, list | tuple):
            return self._taken([batch])
        return self._taken(batch[:-1] if len(batch) > 1 else batch)

    def _means(
        self, batches: Iterable[Any], run: Callable[..., list[float]], watching: Sequence[Any] = ()
    ) -> dict[str, float]:
        """What `run` measures of each batch, as means over samples."""
        names, totals, samples = ("loss", *self.metrics), [0.0] * (1 + len(self.metrics)), 0
        for i, batch in enumerate(batches):
            if not isinstance(batch, list | tuple) or len(batch) < 2:
                raise ArgumentTypeError(f"a batch is a tuple of inputs and a target, got {type(batch).__name__}")
            taken = self._taken(batch)
            values, size = run(taken), int(taken[0].shape[0])
            totals = [total + value * size for total, value in zip(totals, values, strict=True)]
            samples += size
            for callback in watching:
                callback.on_batch_end(i, dict(zip(names, values, strict=True)))
        if not samples:
            raise ArgumentError("there are no batches to take samples from (an iterator that was used up has none)")
        return {name: total / samples for name, total in zip(names, totals, strict=True)}

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        """Within, the model is in evaluation mode."""
        was_training = self.model.training
        self.model.eval()
        try:
            yield
        finally:
            self.model.train(was_training)


def _is_array(x: Any) -> bool:
    return isinstance(x, TensorBase) or hasattr(x, "__array__")


def _named(metrics: Any) -> dict[str, Any]:
    """Metrics by name."""
    if isinstance(metrics, Mapping):
        return dict(metrics)
    found: dict[str, Any] = {}
    for metric in metrics:
        name = getattr(metric, "__name__", type(metric).__name__)
        if name in found or name == "loss":
            raise ArgumentError(f"{name!r} names two quantities: give metrics as a dict of names and functions")
        found[name] = metric
    return found


__all__ = ["ENGINES", "History", "Trainer"]
