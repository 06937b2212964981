"""`Trainer`: both engines give the same numbers as a loop written out; data of all kinds, callbacks, refusals."""

from __future__ import annotations

import csv

import numpy as np
import pytest

import graphc as gc
from graphc import nn, optim
from graphc.callbacks import Callback, Checkpoint, CSVLog, EarlyStopping, TensorBoardLog
from graphc.core.errors import ArgumentError, ArgumentTypeError, BackendError, GraphError
from graphc.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

ENGINES = ["eager", "graph"]
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(50, 4)).astype("float32"), RNG.integers(0, 3, size=50)


def accuracy(prediction, target):
    return (prediction.argmax(1) == target).float().mean()


def network():
    gc.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 16, bias=False), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 3))


def trainer(engine="eager", metrics=(accuracy,), make=optim.Adam, loss=None, **options):
    model = network()
    optimizer = make(model.parameters(), lr=0.05)
    return gc.Trainer(model, loss or nn.CrossEntropyLoss(), optimizer, metrics, engine, **options)


def weights(t):
    return {key: value.numpy() for key, value in t.model.state_dict().items()}


def same(a, b, rtol=2e-4):
    assert list(a) == list(b)
    for key in a:
        np.testing.assert_allclose(a[key], b[key], rtol=rtol, atol=1e-5, err_msg=key)


def test_the_eager_engine_is_the_loop_one_would_write():
    t = trainer()
    history = t.fit(X, Y, epochs=2, batch_size=20, shuffle=False)
    model = network()
    optimizer, losses = optim.Adam(model.parameters(), lr=0.05), []
    for _ in range(2):
        total = 0.0
        for i in (0, 20, 40):
            x, y = gc.tensor(X[i : i + 20]), gc.tensor(Y[i : i + 20])
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(x)
        losses.append(total / 50)
    np.testing.assert_allclose(history.history["loss"], losses, rtol=1e-6)
    same(weights(t), {key: value.numpy() for key, value in model.state_dict().items()}, rtol=1e-6)


@pytest.mark.parametrize("make", [optim.SGD, optim.Adam, optim.RMSprop])
def test_both_engines_give_the_same(make):
    results = []
    for engine in ENGINES:
        t = trainer(engine, make=make)
        gc.manual_seed(5)
        history = t.fit(X, Y, epochs=3, batch_size=16, validation_data=(X[:20], Y[:20]))
        results.append((history.history, weights(t), t.evaluate(X, Y), t.predict(X).detach().numpy()))
        assert history.epoch == [0, 1, 2] and repr(history).startswith("History(3 epochs of loss, accuracy, val_loss")
    (history, state, measured, predicted), other = results
    assert list(history) == ["loss", "accuracy", "val_loss", "val_accuracy"]
    same(history, other[0])
    same(state, other[1])
    same(measured, other[2])
    np.testing.assert_allclose(predicted, other[3], rtol=1e-3, atol=1e-5)
    assert history["loss"][-1] < history["loss"][0]


@pytest.mark.parametrize("engine", ENGINES)
def test_measures_are_means_over_samples_in_evaluation_mode(engine):
    t = trainer(engine)
    found = t.evaluate(X, Y, batch_size=32)  # 32 and 18 samples
    assert t.model.training
    t.model.eval()
    prediction = t.model(gc.tensor(X))
    assert list(found) == ["loss", "accuracy"]
    np.testing.assert_allclose(found["loss"], nn.functional.cross_entropy(prediction, gc.tensor(Y)).item(), rtol=1e-5)
    np.testing.assert_allclose(found["accuracy"], (prediction.detach().numpy().argmax(1) == Y).mean(), rtol=1e-6)
    np.testing.assert_allclose(t.predict(X, batch_size=7).numpy(), prediction.detach().numpy(), rtol=1e-4, atol=1e-5)
    t.evaluate(X, Y)
    assert not t.model.training


class Rows(Dataset):
    def __len__(self):
        return len(X)

    def __getitem__(self, i):
        return X[i], Y[i]


class Stream(IterableDataset):
    def __iter__(self):
        return iter(zip(X, Y, strict=True))


@pytest.mark.parametrize("engine", ENGINES)
def test_data_of_every_kind_give_the_same(engine):
    pairs = TensorDataset(gc.tensor(X), gc.tensor(Y))
    batches = [(gc.tensor(X[i : i + 32]), gc.tensor(Y[i : i + 32])) for i in (0, 32)]
    wide = X.astype("float64")  # arrays of floats become what the model takes
    kinds = [
        (gc.tensor(X), gc.tensor(Y)),
        (wide, Y),
        (DataLoader(pairs, 32),),
        (pairs,),
        (Rows(),),
        (Stream(),),
        (batches,),
    ]
    results = []
    for data in kinds:
        t = trainer(engine)
        results.append((t.fit(*data, shuffle=False).history, t.evaluate(*data), t.predict(data[0]).numpy()))
    for other in results[1:]:
        same(results[0][0], other[0], rtol=1e-6)
        same(results[0][1], other[1], rtol=1e-6)
        np.testing.assert_allclose(other[2], results[0][2], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_model_of_two_inputs_and_batches_of_other_sizes(engine):
    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(gc.ones(()))

        def forward(self, a, b):
            return (a * self.scale + b).sum(1)

    model = Sum()
    t = gc.Trainer(model, nn.MSELoss(), optim.SGD(model.parameters(), lr=0.01), engine=engine)
    batches = [(gc.ones(n, width), gc.ones(n, width), gc.zeros(n)) for n, width in ((2, 3), (4, 3), (2, 5))]
    assert t.evaluate(batches)["loss"] == pytest.approx((36 * 6 + 100 * 2) / 8)
    t.fit(batches, epochs=2)
    assert model.scale.item() < 1
    assert t.predict([(*batch[:2], None) for batch in batches[:2]]).shape == (6,)


def test_a_graph_is_recorded_once_and_anew_where_it_must_be():
    t, eager = trainer("graph"), trainer("eager")
    for step in (t, eager):
        gc.manual_seed(3)
        schedule = optim.lr_scheduler.ExponentialLR(step.optimizer, 0.5)
        step.fit(X, Y, epochs=3, callbacks=[lambda trainer, epoch, logs, s=schedule: s.step()])
    recorded = list(t._engine._recorded.values())
    assert len(recorded) == 1
    assert len(recorded[0].session.recompiles) == 1
    for step in (t, eager):
        gc.manual_seed(3)
        step.optimizer.param_groups[0]["weight_decay"] = 0.1
        step.model[3].p = 0.5
        step.fit(X, Y)
    assert next(iter(t._engine._recorded.values())) is not recorded[0]
    same(weights(t), weights(eager))


@pytest.mark.parametrize("backend", ["numpy", "eager", "llvm"])
def test_graphs_on_other_backends(backend):
    t, other = trainer("graph", backend=backend), trainer()
    for step in (t, other):
        gc.manual_seed(4)
        step.fit(X, Y)
    same(weights(t), weights(other))


def test_lbfgs_needs_the_eager_engine():
    model = nn.Linear(4, 3)
    t = gc.Trainer(model, nn.CrossEntropyLoss(), optim.LBFGS(model.parameters()))
    before = t.evaluate(X, Y)["loss"]
    history = t.fit(X, Y, batch_size=50)
    assert history.history["loss"] == [pytest.approx(before)]
    assert t.evaluate(X, Y)["loss"] < before - 0.01
    with pytest.raises(GraphError, match="LBFGS calls its closure as often"):
        trainer("graph", make=optim.LBFGS).fit(X, Y)


def test_an_optimizer_of_ones_own():
    class Signs(optim.Optimizer):
        def __init__(self, params, lr):
            super().__init__(params, {"lr": lr})

        def step(self, closure=None):
            for group in self.param_groups:
                for p in group["params"]:
                    p.data.sub_(group["lr"] * p.grad.sign())

    history = trainer(make=Signs).fit(X, Y, epochs=2)
    assert len(history.history["loss"]) == 2
    with pytest.raises(NotImplementedError, match=r"Signs defines no update\(\)"):
        trainer("graph", make=Signs).fit(X, Y)


# --- callbacks --------------------------------------------------------------------------------------------------------


def test_callbacks_see_every_moment():
    seen = []

    class Watch(Callback):
        def on_fit_begin(self):
            seen.append(("begin", self.trainer is t))

        def on_epoch_begin(self, epoch):
            seen.append(epoch)

        def on_batch_end(self, batch, logs):
            seen.append((batch, *logs))

        def on_epoch_end(self, epoch, logs):
            seen.append((epoch, *logs))

        def on_fit_end(self):
            seen.append("end")

    t = trainer()
    t.fit(X, Y, callbacks=[Watch(), lambda trainer, epoch, logs: seen.append((trainer is t, epoch, *logs))])
    names = ("loss", "accuracy")
    assert seen == [("begin", True), 0, (0, *names), (1, *names), (0, *names), (True, 0, *names), "end"]


def test_checkpoints(tmp_path):
    t = trainer()
    every = Checkpoint(tmp_path / "net-{epoch}.gc")
    best = Checkpoint(tmp_path / "best.gc", monitor="loss", mode="max", save_best_only=True)
    history = t.fit(X, Y, epochs=3, callbacks=[every, best])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["best.gc", "net-0.gc", "net-1.gc", "net-2.gc"]
    last, first = gc.load(tmp_path / "net-2.gc"), gc.load(tmp_path / "best.gc")
    assert first["epoch"] == 0 and first["logs"]["loss"] == history.history["loss"][0]
    resumed = trainer()
    resumed.model.load_state_dict(last["model"])
    resumed.optimizer.load_state_dict(last["optimizer"])
    for step in (t, resumed):
        gc.manual_seed(9)
        step.fit(X, Y)
    same(weights(resumed), weights(t), rtol=0)


def test_early_stopping_gives_the_best_weights_back():
    t = trainer(make=optim.SGD)
    states = []

    def worsen(trainer, epoch, logs):
        states.append(weights(trainer)["0.weight"].copy())
        logs["quality"] = [1.0, 3.0, 2.0, 2.0, 9.0][epoch]

    stop = EarlyStopping("quality", patience=1, mode="max", restore_best=True)
    history = t.fit(X, Y, epochs=5, callbacks=[worsen, stop])
    assert stop.stopped_epoch == 3 and history.epoch == [0, 1, 2, 3]
    np.testing.assert_array_equal(weights(t)["0.weight"], states[1])
    assert EarlyStopping("loss", min_delta=100.0).mode == "min"
    history = t.fit(X, Y, epochs=5, callbacks=[EarlyStopping("loss", min_delta=100.0)])
    assert len(history.epoch) == 2  # infinity, then nothing that is better by so much


def test_a_log_in_a_table(tmp_path):
    path = tmp_path / "log.csv"
    history = trainer().fit(X, Y, epochs=2, callbacks=[CSVLog(path)])
    trainer().fit(X, Y, callbacks=[CSVLog(path, append=True)])
    with path.open() as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["epoch", "loss", "accuracy"]
    assert [row[0] for row in rows[1:]] == ["0", "1", "0"]
    assert [float(row[1]) for row in rows[1:3]] == history.history["loss"]
    trainer().fit(X, Y, callbacks=[CSVLog(path, separator="\t")])
    assert len(path.read_text().splitlines()) == 2


def test_a_log_for_tensorboard():
    class Writer:
        def __init__(self):
            self.seen = []

        def add_scalar(self, name, value, step):
            self.seen.append((name, value, step))

        def flush(self):
            self.seen.append("flushed")

    writer = Writer()
    history = trainer(metrics=()).fit(X, Y, epochs=2, callbacks=[TensorBoardLog(writer)])
    first, second = history.history["loss"]
    assert writer.seen == [("loss", first, 0), ("loss", second, 1), "flushed"]


def test_tensorboard_reads_the_log_of_a_training(tmp_path):
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    with gc.utils.tensorboard.SummaryWriter(log_dir=str(tmp_path)) as writer:
        history = trainer().fit(X, Y, epochs=3, validation_data=(X, Y), callbacks=[TensorBoardLog(writer)])
        trainer().fit(X, Y, callbacks=[TensorBoardLog(writer)])  # a second run goes on in the same file
    read = accumulators.EventAccumulator(str(tmp_path))
    read.Reload()
    assert sorted(read.Tags()["scalars"]) == sorted(history.history) == ["accuracy", "loss", "val_accuracy", "val_loss"]
    for name, values in history.history.items():
        events = read.Scalars(name)[:3]
        assert [e.step for e in events] == [0, 1, 2]
        np.testing.assert_array_equal([e.value for e in events], np.float32(values))
    assert [e.step for e in read.Scalars("loss")] == [0, 1, 2, 0]


def test_a_bar_where_one_is_asked_for(capsys):
    t = trainer()
    t.fit(X, Y)
    assert capsys.readouterr().err == ""
    t.fit(X, Y, epochs=2, progress=True)
    shown = capsys.readouterr().err
    assert "epoch 2/2" in shown and "2/2" in shown and "loss=" in shown


# --- refusals -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: trainer("fast"), ArgumentError, "unknown engine 'fast': there are eager, graph"),
        (
            lambda: trainer("eager", backend="llvm"),
            ArgumentError,
            "backend 'llvm' is for graphs: give engine='graph' too",
        ),
        (lambda: trainer("graph", backend="x"), BackendError, "unknown backend 'x': there are"),
        (lambda: trainer(metrics=[accuracy, accuracy]), ArgumentError, "'accuracy' names two quantities: give metrics"),
        (lambda: trainer().fit(X), ArgumentError, "x is an array, and its targets y are missing"),
        (lambda: trainer().fit(X, Y[:3]), ArgumentError, "x has 50 samples, and y has 3"),
        (lambda: trainer().fit([(X, Y)], Y), ArgumentError, "y goes with an array x"),
        (lambda: trainer().fit(3), ArgumentError, "data are arrays, a Dataset or an iterable of batches, not int"),
        (lambda: trainer().fit([]), ArgumentError, "there are no batches to take samples from"),
        (
            lambda: trainer().fit([gc.tensor(X)]),
            ArgumentTypeError,
            "a batch is a tuple of inputs and a target, got Tensor",
        ),
        (lambda: trainer().predict([]), ArgumentError, "there are no batches to predict from"),
        (lambda: trainer().fit(X, Y, callbacks=[3]), ArgumentError, r"a function of \(trainer, epoch, logs\), not 3"),
        (
            lambda: trainer().fit(X, Y, callbacks=[EarlyStopping()]),
            ArgumentError,
            "watches 'val_loss', and there are loss",
        ),
        (lambda: EarlyStopping(mode="least"), ArgumentError, "mode 'least' is unknown: there are 'min' and 'max'"),
    ],
)
def test_refusals(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_a_model_of_several_results_cannot_be_joined():
    model = nn.Linear(4, 3)
    model.register_forward_hook(lambda module, args, result: (result, result))
    t = gc.Trainer(model, nn.MSELoss(), optim.SGD(model.parameters()))
    with pytest.raises(ArgumentTypeError, match="predict joins Tensors, and the model returned tuple"):
        t.predict(X)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_container_of_the_model_changes_in_place(engine):
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.cfg = {"s": 1.0}

        def forward(self, x):
            return x * self.cfg["s"]

    model = Scaled()
    t = gc.Trainer(model, nn.MSELoss(), None, (), engine)
    for s in (1.0, 2.0, 3.0):
        model.cfg["s"] = s
        assert t.predict(X).tolist() == (X * np.float32(s)).tolist()
