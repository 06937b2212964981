"""Module's protocol: what it owns, how it is called, saved, copied, compiled, and what a recorder is told of it."""

from __future__ import annotations

import copy
import pickle
from collections import OrderedDict

import pytest
from nn_cases import Net

import graphc as gc
from graphc import nn
from graphc.core.context import EPOCH, STATE, recording
from graphc.nn.modules.module import Module


@pytest.fixture
def net():
    return Net()


def moved(code):
    """Whether code moves the epoch."""
    before = EPOCH.value
    code()
    return EPOCH.value != before


# --- what a module owns -----------------------------------------------------------------------------------------------


def test_names(net):
    assert [n for n, _ in net.named_parameters()] == ["scale", "first.weight", "first.bias", "second.weight"]
    assert [n for n, _ in net.named_parameters(recurse=False)] == ["scale"]
    assert [n for n, _ in net.named_buffers()] == ["count", "scratch"]
    assert [n for n, _ in net.named_modules()] == ["", "first", "second"]
    assert [n for n, _ in net.named_children()] == ["first", "second"]
    assert list(net.children()) == [net.first, net.second]
    assert list(net.state_dict()) == ["scale", "count", "first.weight", "first.bias", "second.weight"]


def test_shared_members_appear_once(net):
    net.third = net.first
    net.again = net.scale
    assert [n for n, _ in net.named_parameters()] == ["scale", "first.weight", "first.bias", "second.weight"]
    assert len(list(net.named_parameters(remove_duplicate=False))) == 7
    assert [n for n, _ in net.named_modules()] == ["", "first", "second"]


def test_lookup_by_dotted_name(net):
    outer = nn.Sequential(net)
    assert outer.get_submodule("0.first") is net.first
    assert outer.get_submodule("") is outer
    assert outer.get_parameter("0.first.bias") is net.first.bias
    assert outer.get_buffer("0.count") is net.count
    outer.set_submodule("0.first", nn.Identity())
    assert isinstance(net.first, nn.Identity)
    with pytest.raises(AttributeError, match="has no attribute `x`"):
        outer.set_submodule("0.x", nn.Identity(), strict=True)
    with pytest.raises(ValueError, match="without a target name"):
        outer.set_submodule("", nn.Identity())


def test_assignment_moves_members_between_groups(net):
    net.first = None
    assert "first" in net._modules and net.first is None
    net.scale = None
    assert [n for n, _ in net.named_parameters()] == ["second.weight"]
    net.count = gc.ones(1)
    assert net.get_buffer("count").item() == 1.0
    del net.count, net.second
    assert not list(net.named_children()) and [n for n, _ in net.named_buffers()] == ["scratch"]
    net.power = nn.Linear(1, 1)
    assert "power" in net._modules and "power" not in net.__dict__
    net.held = nn.Buffer(gc.zeros(2), persistent=False)
    assert "held" in net._buffers and "held" in net._non_persistent_buffers_set
    assert {"power", "held"} <= set(dir(net))


def test_registration_errors(net):
    with pytest.raises(TypeError, match=r"cannot assign 'torch.FloatTensor' as parameter 'scale'"):
        net.scale = gc.ones(2)
    with pytest.raises(TypeError, match=r"cannot assign 'int' as child module 'first'"):
        net.first = 3
    with pytest.raises(TypeError, match="as buffer 'count'"):
        net.count = 3
    with pytest.raises(KeyError, match="buffer name can"):
        net.register_buffer("a.b", None)
    with pytest.raises(KeyError, match="already exists"):
        net.register_buffer("forward", None)
    with pytest.raises(TypeError, match="is not a Module subclass"):
        net.add_module("x", 3)
    with pytest.raises(AttributeError, match="'Net' object has no attribute 'absent'"):
        _ = net.absent
    with pytest.raises(AttributeError):
        del net.absent


def test_parameters_want_floats_and_tensors():
    with pytest.raises(TypeError, match="data must be a Tensor, not list"):
        nn.Parameter([1.0])
    with pytest.raises(RuntimeError, match="floating point"):
        nn.Parameter(gc.tensor([1, 2]))
    assert not nn.Parameter(gc.tensor([1, 2]), requires_grad=False).requires_grad
    assert not nn.Buffer(gc.ones(2)).requires_grad
    with pytest.raises(TypeError, match="Buffer: data must be a Tensor"):
        nn.Buffer(3.0)


def test_a_parameter_shares_the_memory_of_its_data():
    data = gc.zeros(2)
    p = nn.Parameter(data)
    data[0] = 5.0
    assert p.tolist() == [5.0, 0.0] and p.is_leaf and p.requires_grad
    assert repr(p).startswith("Parameter containing:\ntensor(")
    assert isinstance(copy.deepcopy(p), nn.Parameter)
    again = pickle.loads(pickle.dumps(p))
    assert isinstance(again, nn.Parameter) and again.requires_grad and again.tolist() == p.tolist()


# --- modes, conversions -----------------------------------------------------------------------------------------------


def test_modes_and_flags(net):
    assert net.training and net.eval() is net and not net.first.training
    assert net.train().second.training
    net.requires_grad_(False)
    assert not any(p.requires_grad for p in net.parameters())
    net.requires_grad_()
    net(gc.ones(1, 3)).sum().backward()
    assert net.scale.grad is not None
    net.zero_grad(set_to_none=False)
    assert net.scale.grad.tolist() == [0.0, 0.0]
    net.zero_grad()
    assert net.scale.grad is None
    seen = []
    assert net.apply(lambda m: seen.append(type(m).__name__)) is net
    assert seen == ["Linear", "Linear", "Net"]


def test_conversions_keep_the_parameter_objects(net):
    weight = net.first.weight
    net.register_buffer("steps", gc.tensor(3))
    assert net.double() is net and net.first.weight is weight and weight.dtype is gc.float64
    assert net.count.dtype is gc.float64 and net.steps.dtype is gc.int64
    net(gc.ones(1, 3, dtype=gc.float64)).sum().backward()
    assert weight.grad.dtype is gc.float64
    net.float()
    assert weight.dtype is gc.float32 and weight.grad.dtype is gc.float32
    for convert, dtype in ((net.half, gc.float16), (net.bfloat16, gc.bfloat16)):
        convert()
        assert weight.dtype is dtype
    assert net.to(gc.ones(1)).first.weight.dtype is gc.float32
    assert net.to("cpu", gc.float64).cpu().scale.dtype is gc.float64
    assert net.to(dtype=gc.float32).scale.dtype is gc.float32
    with pytest.raises(RuntimeError, match=r"no \w+ device 9 here"):
        net.cuda(9)
    with pytest.raises(TypeError, match="only accepts floating point"):
        net.to(gc.int32)
    assert net.type(gc.float64).scale.dtype is gc.float64
    assert net.to_empty(device="cpu") is net and net.share_memory() is net


# --- calls and hooks --------------------------------------------------------------------------------------------------


def test_forward_hooks(net):
    log = []
    handles = [
        net.register_forward_pre_hook(lambda m, args: (args[0] + 1,)),
        net.register_forward_pre_hook(lambda m, a, k: (a, {}), with_kwargs=True),
        net.register_forward_hook(lambda m, args, out: out * 0),
        net.register_forward_hook(lambda m, args, out: log.append("first"), prepend=True),
        net.register_forward_hook(lambda m, a, k, out: log.append(sorted(k)), with_kwargs=True),
    ]
    assert net(gc.ones(2, 3), x=None).abs().sum().item() == 0.0
    assert log == ["first", []]
    for handle in handles:
        handle.remove()
        handle.remove()
    log.clear()
    with net.register_forward_hook(lambda m, a, o: log.append(1)):
        net(gc.ones(2, 3))
    net(gc.ones(2, 3))
    assert log == [1]
    with (
        net.register_forward_pre_hook(lambda m, a, k: 3, with_kwargs=True),
        pytest.raises(RuntimeError, match="new_kwargs"),
    ):
        net(gc.ones(2, 3))


def test_always_called_hooks_run_after_errors(net):
    log = []
    net.register_forward_hook(lambda m, a, out: log.append(out), always_call=True)
    with pytest.raises(RuntimeError):
        net(gc.ones(2, 7))
    assert log == [None]


def test_backward_hooks_see_and_replace_gradients():
    layer = nn.Linear(2, 1, bias=False)
    with gc.no_grad():
        layer.weight.fill_(2.0)
    seen = []
    layer.register_full_backward_hook(lambda m, gi, go: seen.append((gi[0].tolist(), go[0].tolist())))
    layer.register_full_backward_hook(lambda m, gi, go: (gi[0] * 10,))
    layer.register_full_backward_pre_hook(lambda m, go: (go[0] * 3,))
    x = gc.ones(1, 2, requires_grad=True)
    layer(x).sum().backward()
    assert seen == [([[6.0, 6.0]], [[3.0]])]
    assert x.grad.tolist() == [[60.0, 60.0]] and layer.weight.grad.tolist() == [[3.0, 3.0]]
    layer.register_full_backward_hook(lambda m, gi, go: (gi[0], gi[0]))
    with pytest.raises(RuntimeError, match="invalid number of grad_input, got 2, but expected 1"):
        layer(x).sum().backward()


def test_backward_hooks_without_input_gradients_and_without_tape():
    layer = nn.Linear(2, 1)
    seen = []
    layer.register_full_backward_hook(lambda m, gi, go: seen.append(gi))
    layer(gc.ones(1, 2)).sum().backward()
    with gc.no_grad():
        layer(gc.ones(1, 2))
    assert seen == [(None,)]


def test_a_module_without_forward_says_so():
    with pytest.raises(NotImplementedError, match=r'Module \[Module\] is missing the required "forward" function'):
        nn.Module()(1)


# --- state ------------------------------------------------------------------------------------------------------------


def test_state_dict_round_trip(net):
    other = Net()
    assert repr(other.load_state_dict(net.state_dict())) == "<All keys matched successfully>"
    x = gc.ones(2, 3)
    assert (net(x) - other(x)).abs().max().item() == 0.0
    assert other.first.weight is not net.first.weight
    net.load_state_dict({"scale": gc.full((2,), 3.0)}, strict=False)
    assert net.scale.tolist() == [3.0, 3.0]


def test_loading_by_assignment_takes_the_tensors(net):
    state = {k: v.clone() for k, v in net.state_dict().items()}
    net.load_state_dict(state, assign=True)
    assert isinstance(net.scale, nn.Parameter) and net.scale.requires_grad
    state["scale"][0] = 9.0
    assert net.scale[0].item() == 9.0 and net.count is state["count"]


def test_a_state_that_does_not_fit_changes_nothing(net):
    before = {k: v.clone() for k, v in net.state_dict().items()}
    bad = OrderedDict((k, gc.ones_like(v)) for k, v in before.items())
    bad["first.weight"] = gc.ones(2, 2)
    del bad["second.weight"]
    bad["extra"] = gc.ones(1)
    with pytest.raises(RuntimeError) as caught:
        net.load_state_dict(bad)
    assert str(caught.value) == (
        "Error(s) in loading state_dict for Net:\n\t"
        'Missing key(s) in state_dict: "second.weight". \n\t'
        'Unexpected key(s) in state_dict: "extra". \n\t'
        "size mismatch for first.weight: copying a param with shape graphc.Size([2, 2]) from checkpoint, the shape in current "
        "model is graphc.Size([4, 3])."
    )
    assert all((v == before[k]).all().item() for k, v in net.state_dict().items())
    with pytest.raises(RuntimeError, match=r"expected torch\.Tensor or Tensor-like object"):
        net.load_state_dict({"scale": 3}, strict=False)
    with pytest.raises(TypeError, match="dict-like"):
        net.load_state_dict([])


def test_state_hooks_and_extra_state():
    class Counted(nn.Linear):
        calls = 0

        def get_extra_state(self):
            return {"calls": self.calls}

        def set_extra_state(self, state):
            self.calls = state["calls"]

    layer = Counted(1, 1)
    layer.calls = 4
    log = []
    layer.register_state_dict_pre_hook(lambda m, prefix, keep: log.append("before"))
    layer.register_state_dict_post_hook(lambda m, state, prefix, meta: log.append(sorted(state)))
    state = layer.state_dict()
    assert log == ["before", ["_extra_state", "bias", "weight"]]
    other = Counted(1, 1)
    other.register_load_state_dict_pre_hook(lambda m, state, *rest: log.append(type(m).__name__))
    other.register_load_state_dict_post_hook(lambda m, keys: keys.missing_keys.clear())
    other.load_state_dict({k: v for k, v in state.items() if k != "bias"})
    assert other.calls == 4 and log[-1] == "Counted"
    other.register_load_state_dict_post_hook(lambda m, keys: 1)
    with pytest.raises(RuntimeError, match="not expected to return"):
        other.load_state_dict(state)
    with pytest.raises(RuntimeError, match="override it"):
        nn.Linear(1, 1).get_extra_state()


def test_own_renaming_while_loading(net):
    class Renamed(nn.Linear):
        def _load_from_state_dict(self, state_dict, prefix, *rest):
            if prefix + "w" in state_dict:
                state_dict[prefix + "weight"] = state_dict.pop(prefix + "w")
            super()._load_from_state_dict(state_dict, prefix, *rest)

    model = nn.Sequential(Renamed(1, 1))
    given = {"0.w": gc.full((1, 1), 7.0), "0.bias": gc.zeros(1)}
    model.load_state_dict(given)
    assert model[0].weight.item() == 7.0 and "0.w" in given


def test_copies_and_pickles_are_independent(net):
    for again in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert (again(gc.ones(1, 3)) - net(gc.ones(1, 3))).abs().max().item() == 0.0
        with gc.no_grad():
            again.scale.add_(1)
        assert net.scale.tolist() == [1.0, 1.0]
        assert isinstance(again.first.weight, nn.Parameter)


def test_batch_norm_loads_states_from_before_it_counted():
    layer = nn.BatchNorm1d(2)
    state = {k: v for k, v in layer.state_dict().items() if k != "num_batches_tracked"}
    assert layer.load_state_dict(state).missing_keys == []


# --- containers -------------------------------------------------------------------------------------------------------


def test_sequential():
    model = nn.Sequential(OrderedDict(a=nn.Linear(2, 3), b=nn.ReLU()))
    assert model[0] is model.a and model[-1] is model.b and len(model[:1]) == 1 and "a" in model[:1]._modules
    model.append(nn.Tanh()).insert(0, nn.Identity()).extend([nn.Identity()])
    assert [type(m).__name__ for m in model] == ["Identity", "Linear", "ReLU", "Tanh", "Identity"]
    assert isinstance(model.pop(-1), nn.Identity) and len(model) == 4
    del model[0]
    model[0] = nn.Linear(2, 5)
    assert model(gc.ones(1, 2)).shape == (1, 5)
    assert len(model + nn.Sequential(nn.ReLU())) == 4 and len(model * 2) == 6
    model += nn.Sequential(nn.ReLU())
    model *= 2
    assert len(model) == 8
    for bad, error in (
        (lambda: model + 3, ValueError),
        (lambda: model * 0, ValueError),
        (lambda: model * 1.5, TypeError),
    ):
        with pytest.raises(error):
            bad()
    with pytest.raises(IndexError, match="out of range"):
        model[9]
    with pytest.raises(TypeError, match="module should be of type"):
        model.insert(0, 3)


def test_module_list_and_dict():
    layers = nn.ModuleList(nn.Linear(1, 1) for _ in range(3))
    layers.insert(1, nn.ReLU())
    layers[0] = nn.Tanh()
    layers += [nn.Identity()]
    del layers[2:4]
    assert [type(m).__name__ for m in layers] == ["Tanh", "ReLU", "Identity"] and len(layers[1:]) == 2
    assert len(layers + nn.ModuleList([nn.ReLU()])) == 4
    named = nn.ModuleDict([("a", nn.ReLU())])
    named["b"] = nn.Linear(1, 1)
    named.update({"c": nn.Tanh()})
    assert list(named) == list(named.keys()) == ["a", "b", "c"] and "b" in named and len(named) == 3
    assert isinstance(named.pop("a"), nn.ReLU) and [k for k, _ in named.items()] == ["b", "c"]
    named.clear()
    assert list(named.values()) == []


def test_parameter_containers():
    listed = nn.ParameterList([gc.ones(2), nn.Parameter(gc.zeros(1))])
    listed.append(gc.zeros(3))
    listed[0] = nn.Parameter(gc.full((2,), 4.0))
    assert [n for n, _ in listed.named_parameters()] == ["0", "1", "2"] and len(listed[1:]) == 2
    assert all(isinstance(p, nn.Parameter) for p in listed)
    for bad in (lambda: listed.extend(gc.ones(2)), lambda: listed.extend(3)):
        with pytest.raises(TypeError, match="iterable"):
            bad()
    named = nn.ParameterDict({"a": gc.ones(1)})
    named["b"] = gc.zeros(1)
    assert named.setdefault("c", 5) == 5 and named.get("x", 1) == 1 and list(named) == ["a", "b", "c"]
    assert named.pop("c") == 5 and [n for n, _ in named.named_parameters()] == ["a", "b"]
    assert named.popitem()[0] == "b" and list((named | nn.ParameterDict({"z": gc.ones(1)})).keys()) == ["a", "z"]
    assert list(reversed(named)) == ["a"] and list(named.fromkeys(["q"]).items()) == [("q", None)]
    for container in (listed, named):
        with pytest.raises(RuntimeError, match="should not be called"):
            container(1)
    with pytest.raises(TypeError, match="not a string"):
        named[3] = 1


# --- what recorders are told ------------------------------------------------------------------------------------------


def test_changes_move_the_epoch_and_only_changes_do(net):
    assert moved(lambda: setattr(net, "power", 2)) and not moved(lambda: setattr(net, "power", 2))
    assert moved(net.eval) and not moved(net.eval)
    assert moved(lambda: setattr(net, "scale", nn.Parameter(gc.ones(2))))
    assert moved(lambda: setattr(net, "first", nn.Linear(3, 4)))
    assert moved(lambda: setattr(net, "count", gc.ones(1)))
    assert moved(lambda: net.register_buffer("new", None))
    assert moved(lambda: delattr(net, "new"))
    assert moved(net.double)
    handles = []
    assert moved(lambda: handles.append(net.register_forward_hook(print)))
    assert moved(handles[0].remove)
    model = nn.Sequential(nn.ReLU(), nn.ReLU())
    assert moved(lambda: model.append(nn.ReLU())) and moved(lambda: model.pop(0))


def test_the_guarded_state_tells_what_a_call_depends_on(net):
    outer = nn.Sequential(net, nn.ModuleList([nn.ReLU()]))

    def differs(code):
        before = outer._guard_state()
        assert before == outer._guard_state()
        code()
        return before != outer._guard_state()

    assert differs(net.eval)
    assert differs(lambda: setattr(net, "power", 1.0))
    assert differs(lambda: setattr(net, "scale", nn.Parameter(gc.ones(2))))
    assert differs(lambda: outer[1].append(nn.ReLU()))
    assert differs(lambda: net.first.register_forward_hook(print))
    assert differs(lambda: setattr(net, "choice", lambda x: x))
    assert differs(lambda: setattr(net, "choice", lambda x: x))
    with gc.no_grad():
        assert not differs(lambda: net.scale.add_(1))


class Listener:
    """A recorder that only notes what modules say."""

    def __init__(self):
        self.log = []

    def enter_module(self, module):
        self.log.append(type(module).__name__)

    def leave_module(self):
        self.log.append("end")

    def guard(self, owner, name, value):
        assert getattr(owner, name)() == value
        self.log.append(("guard", type(owner).__name__))


def test_a_call_tells_the_recorder_once_what_it_depends_on():
    listener = Listener()
    model = nn.Sequential(nn.Identity(), nn.Identity())
    with recording(listener):
        model(1)
        nn.Identity()(1)
    assert listener.log == [
        "Sequential", ("guard", "Sequential"), "Identity", "end", "Identity", "end", "end",
        "Identity", ("guard", "Identity"), "end",
    ]  # fmt: skip


def test_scopes_end_when_forward_raises():
    listener = Listener()
    with recording(listener), pytest.raises(NotImplementedError):
        Module()(1)
    assert listener.log[-1] == "end" and STATE.recorder is None


def test_layers_can_be_built_inside_a_graph():
    graph = gc.Graph()
    with graph.as_default():
        x = gc.placeholder((None, 3), name="x")
        model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.PReLU(), nn.Linear(4, 2))
        table = nn.Embedding(4, 2, padding_idx=0)
        copied = copy.deepcopy(model)
        y = model(x)
        graph.outputs["y"] = y
        with pytest.raises(RuntimeError, match="symbolic tensor"):
            nn.Parameter(y)
    assert not model[0].weight.is_symbolic and not table.weight.is_symbolic and not copied[0].weight.is_symbolic
    assert any(p is model[0].weight for p in graph.parameters.values())
    with gc.Session(graph) as session:
        assert session.run("y", feed_dict={"x": [[1.0, 2.0, 3.0], [0.0, 1.0, 0.0]]}).shape == (2, 2)


def test_own_modules_can_be_built_inside_a_graph():
    class Scale(nn.Module):
        def __init__(self, n, *, shift=0.0):
            super().__init__()
            self.factor = nn.Parameter(gc.randn(n) * 2)
            self.register_buffer("shift", gc.full((n,), shift))

        def forward(self, x):
            return x * self.factor + self.shift

    graph = gc.Graph()
    with graph.as_default():
        x = gc.placeholder((None, 2), name="x")
        layer = Scale(2, shift=1.0)
        y = layer(x)
    assert not layer.factor.is_symbolic
    with gc.Session(graph) as session:
        got = session.run(y, {x: [[1.0, 1.0]]})
    assert got.tolist() == layer(gc.ones(1, 2)).tolist()


class Running(nn.Module):
    """Keeps a buffer by assignment, not in place."""

    def __init__(self):
        super().__init__()
        self.register_buffer("total", gc.zeros(2))

    def forward(self, x):
        self.total = self.total + x.sum(0).detach()
        return x * self.total


def test_assigning_to_a_buffer_in_a_trace_is_an_update_of_it():
    eager, traced = Running(), Running()
    run = gc.compile(traced)
    buffer = traced.total
    for k in range(3):
        x = gc.full((3, 2), float(k + 1))
        assert (eager(x) - run(x)).abs().max().item() == 0.0
    assert traced.total is buffer and traced.total.tolist() == eager.total.tolist()


def test_a_buffer_that_would_change_its_shape_in_a_trace_is_refused():
    class Growing(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("seen", gc.zeros(0, 2))

        def forward(self, x):
            self.seen = gc.cat([self.seen, x])
            return self.seen.sum()

    model = Growing()
    model(gc.ones(3, 2))
    with pytest.raises(RuntimeError, match=r"buffer 'seen' of Growing is f32\[3, 2\] and cannot become f32\[6, 2\]"):
        gc.compile(model)(gc.ones(3, 2))
    assert model.seen.shape == (3, 2)


def test_functional_call_puts_everything_back_after_an_error(net):
    weight, other = net.first.weight, gc.zeros(4, 3)
    with pytest.raises(AttributeError, match="Net has no attribute `third`"):
        nn.utils.stateless.functional_call(net, {"first.weight": other, "third.weight": other}, gc.ones(1, 3))
    assert net.first.weight is weight
    with pytest.raises(RuntimeError):
        nn.utils.stateless.functional_call(net, {"first.weight": other}, gc.ones(1, 5))
    assert net.first.weight is weight
