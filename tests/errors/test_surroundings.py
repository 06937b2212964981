"""What a function reads around itself may change between calls of the compiled one: by binding, in place, in classes."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any, ClassVar

import numpy as np

import graphc as gc
from graphc import nn


class Holder:
    act: Any
    model: Any


def often(compiled, eager, *args):
    """Three calls, of which the last goes the short way; what the last gave."""
    for _ in range(3):
        a, b = compiled(*args), eager(*args)
        assert a.dtype is b.dtype and a.tolist() == b.tolist()
    return a.tolist()


def test_what_lies_in_a_module_s_containers_and_arrays():
    class Scaled(nn.Module):
        shifts: ClassVar[dict[str, float]] = {"a": 0.0}
        base = 0.0

        def __init__(self):
            super().__init__()
            self.cfg, self.pair = {"s": 1.0, "more": [0.0]}, ([1.0], 2)
            self.array, self.tensors = np.zeros(2, np.float32), [gc.zeros(2)]

        def forward(self, x):
            y = x * self.cfg["s"] + sum(self.cfg["more"]) + gc.tensor(self.array) + self.tensors[0]
            return y * self.pair[0][0] + self.shifts["a"] + self.base

    net, x = Scaled(), gc.ones(2)
    whole, inside = gc.compile(net), nn.Sequential(net)
    for compiled, eager in ((whole, net), (gc.compile(lambda x: inside(x) * 2), lambda x: inside(x) * 2)):
        often(compiled, eager, x)
        net.cfg["s"] += 1.0
        often(compiled, eager, x)
        net.cfg["more"].append(3.0)
        often(compiled, eager, x)
        net.pair[0][0] += 1.0
        often(compiled, eager, x)
        net.array[0] += 5.0
        often(compiled, eager, x)
        net.tensors[0] = gc.full((2,), 7.0)
        often(compiled, eager, x)
        Scaled.shifts["a"] += 1.0
        often(compiled, eager, x)
        Scaled.base += 1.0
        often(compiled, eager, x)
        count = len(compiled.recompiles)
        net.cfg["s"] = float(str(net.cfg["s"]))
        often(compiled, eager, x)
        assert len(compiled.recompiles) == count > 7


def test_attributes_of_a_module_that_is_not_called_itself():
    class Coder(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale, self.cfg = 2.0, [1.0]

        def encode(self, x):
            return x * self.scale + self.cfg[0]

    coder, holder, x = Coder(), Holder(), gc.ones(2)
    holder.model = coder
    for fn in (lambda x: coder.encode(x), lambda x: x * coder.scale, coder.encode, lambda x: holder.model.encode(x)):
        compiled = gc.compile(fn)
        often(compiled, fn, x)
        coder.scale += 1.0
        often(compiled, fn, x)
        coder.cfg[0] += 1.0
        often(compiled, fn, x)
    holder.model = Coder()
    assert often(compiled, fn, x) == [3.0, 3.0]


def test_a_zero_of_a_module_changes_its_sign():
    class Scaled(nn.Module):
        z = 0.0

        def forward(self, x):
            return x * self.z

    net = Scaled()
    net.z = 0.0
    compiled, x = gc.compile(net), gc.ones(1)
    for z in (0.0, -0.0, 0.0):
        net.z = z
        assert [str(compiled(x).item()) for _ in range(3)] == [str(z)] * 3
    assert len(compiled.recompiles) == 2


def test_attributes_of_classes_and_attributes_set_later():
    class Base:
        scale = 1.0

    class Config(Base):
        debug = False
        names: ClassVar[list[str]] = ["a"]

    class Slots:
        __slots__ = ("k",)

    class Call:
        def __call__(self, x):
            return x * self.k

    config, slots, module, call = Config(), Slots(), ModuleType("settings"), Call()
    slots.k = module.k = call.k = 1.0

    def fn(x):
        y = x * Config.scale * config.scale + (1 if config.debug else 0) + len(Config.names)
        return y * slots.k * module.k + getattr(config, "extra", 0.0) + hasattr(Config, "more")

    compiled, called, x = gc.compile(fn), gc.compile(call), gc.ones(2)
    often(compiled, fn, x), often(called, call, x)
    for change in (
        lambda: setattr(Base, "scale", 2.0),
        lambda: setattr(Config, "scale", 3.0),
        lambda: setattr(config, "scale", 4.0),
        lambda: setattr(config, "debug", True),
        lambda: Config.names.append("b"),
        lambda: setattr(slots, "k", 5.0),
        lambda: setattr(module, "k", 6.0),
        lambda: setattr(config, "extra", 7.0),
        lambda: setattr(Config, "more", None),
        lambda: delattr(config, "scale"),
    ):
        count = len(compiled.recompiles)
        change()
        often(compiled, fn, x)
        assert len(compiled.recompiles) == count + 1
    call.k = 8.0
    assert often(called, call, x) == [8.0, 8.0]


def test_a_property_or_method_is_not_called_to_compare():
    asked = []

    class Counted:
        @property
        def k(self):
            asked.append(1)
            return 2.0

        def __getattr__(self, name):
            asked.append(name)
            return 3.0

    counted = Counted()
    compiled, x = gc.compile(lambda x: x * counted.k * counted.other), gc.ones(2)
    assert [compiled(x).tolist() for _ in range(3)] == [[6.0, 6.0]] * 3
    assert asked == [1, "other"]


def test_functions_and_classes_rebound():
    act, holder, table = gc.relu, Holder(), {"f": gc.relu, "k": 1.0}
    holder.act = gc.relu
    kinds = [type("Kind", (), {"k": k}) for k in (1.0, 5.0)]
    Kind, helper = kinds[0], gc.abs

    def fn(x):
        return act(x) + holder.act(x) + table["f"](x) * table["k"] + Kind.k + sum(helper(v) for v in [x])

    compiled, x = gc.compile(fn), gc.full((2,), 0.5)
    often(compiled, fn, x)
    act = gc.tanh
    often(compiled, fn, x)
    holder.act = gc.tanh
    often(compiled, fn, x)
    table["f"] = gc.tanh
    often(compiled, fn, x)
    table["k"] = 2.0
    often(compiled, fn, x)
    Kind = kinds[1]
    often(compiled, fn, x)
    helper = gc.exp
    often(compiled, fn, x)
    assert len(compiled.recompiles) == 7


def test_a_function_made_again_by_the_same_line_is_the_same():
    def make(k):
        return lambda x: x * k

    act = make(2.0)
    compiled, x = gc.compile(lambda x: act(x)), gc.ones(2)
    for k in (2.0, 2.0, 3.0, 3.0, 2.0):
        act = make(k)
        assert compiled(x).tolist() == [k, k]
    assert len(compiled.recompiles) == 2


def test_decorated_functions_are_looked_into():
    offset = 1.0

    @gc.no_grad()
    def fn(x):
        return x + offset

    compiled, x = gc.compile(fn), gc.ones(2)
    often(compiled, fn, x)
    offset = 2.0
    assert often(compiled, fn, x) == [3.0, 3.0]


def test_values_in_containers_count_by_type_and_bits():
    options, ways = {"s": 1, "z": 0.0}, {"double", "shift"}
    numbers, order = (np.float32("nan"), [float("nan")]), {"a": 2.0, "b": 3.0}

    def fn(x):
        y = gc.ones(2, dtype=gc.int64) * options["s"] * len(ways)
        for k in order.values():
            x = (x + k) * k
        return x * y if numbers else y

    compiled, x = gc.compile(fn), gc.ones(2)
    often(compiled, fn, x)
    assert len(compiled.recompiles) == 1  # a NaN is itself
    for change in (
        lambda: options.update(s=1.0),
        lambda: options.update(s=True),
        lambda: options.update(z=-0.0),
        lambda: ways.add("more"),
        lambda: order.update(a=order.pop("a")),
    ):
        count = len(compiled.recompiles)
        change()
        often(compiled, fn, x)
        assert len(compiled.recompiles) == count + 1


def test_a_profile_replays_what_was_built():
    module = ModuleType("of_the_user")
    module.relu, module.holder = gc.relu, Holder()
    module.holder.act = gc.relu
    exec("def f(x): return relu(x) * holder.act(x)", vars(module))
    compiled, x = gc.compile(module.f), gc.ones(2)
    compiled(x)
    sys.modules["of_the_user"] = module
    try:
        with gc.no_recompile(), gc.profiler.profile():
            assert module.relu is not module.holder.act
            compiled(x)
    finally:
        del sys.modules["of_the_user"]


def test_what_a_loop_keeps_in_a_module_and_no_forward_reads_makes_no_build():
    class Part(nn.Module):
        def __init__(self):
            super().__init__()
            self.seen, self.scale = [], {"k": [1.0]}

        def forward(self, x):
            return x * self.scale["k"][0]

    class Logged(nn.Module):
        totals: ClassVar[dict[str, int]] = {"n": 0}

        def __init__(self):
            super().__init__()
            self.part, self.losses, self.shifts = Part(), [], [[0.0], [1.0]]

        def moved(self, x):
            return x + sum(s for (s,) in [*self.shifts, [self.part.scale["k"][0]]])

        def note(self, y):
            self.losses.append(y.sum().item())

        def forward(self, x):
            return self.moved(self.part(x))

    net, x = Logged(), gc.ones(2)
    compiled = gc.compile(net)
    for _ in range(5):
        y = compiled(x)
        net.note(y)
        net.part.seen.append(len(net.losses))
        net.totals["n"] += 1
    assert len(compiled._run.recompiles) == 1 and len(net.losses) == 5
    for change in (lambda: net.shifts[1].__setitem__(0, 2.0), lambda: net.part.scale["k"].__setitem__(0, 3.0)):
        change()
        assert often(compiled, net, x) == net(x).tolist()
    assert len(compiled._run.recompiles) == 3
