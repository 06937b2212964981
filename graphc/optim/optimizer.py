"""The base of all optimizers: parameter groups, state, and the one place where an update is applied.

An optimizer defines its update once, as a function: `update(group, p, grad, state) -> (new p, new state)`. `step()`
writes the results in place (eager, or recorded as updates in a compiled step), `minimize(loss)` hands them to a graph
as one train op. State tensors keep their identity for life, so that eager code, compiled steps and sessions share them.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, TypeVar

import numpy as np

from graphc.build import compile
from graphc.builds import may_build
from graphc.core.arrays import DeviceArray, memory_of
from graphc.core.config import config
from graphc.core.context import EPOCH, SLOTS, STATE, eagerly, guard, playing, set_grad
from graphc.core.errors import ArgumentError, ArgumentTypeError, GraphError
from graphc.core.one_call import A_CALL, LEDGER, WORTH
from graphc.core.tape import TensorBase
from graphc.core.tensor_types import DType, defaults, float32, float64
from graphc.functions.placing import on
from graphc.functions.promotion import cast_to
from graphc.graphs import Graph, UpdateGroup, gradients
from graphc.nests import flatten, unflatten
from graphc.optim.groups import ParamGroup, StateMap
from graphc.optim.hooks import (
    Hooked,
    new_hooks,
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)
from graphc.primitives.elementwise import where

F = TypeVar("F", bound=Callable[..., Any])


class _Required:
    """Stands for an option without default."""

    def __repr__(self) -> str:
        return "<required parameter>"


required = _Required()

#: What a step costs to compile more for each parameter, as a share of `WORTH`; compiled steps kept.
_A_PARAMETER, _MOST_STEPS = 0.2, 8


def one_call(update: F) -> F:
    """Marks an `update` that depends on its arguments, `live` numbers and guarded options alone: eager steps may compile it."""
    update.one_call = True  # type: ignore[attr-defined]
    return update


def wide(x: Any) -> Any:
    """x, 16-bit floats as float32: updates are computed no narrower than that and rounded once when written."""
    return cast_to(x, float32) if x.dtype.category == 2 and x.dtype.itemsize == 2 else x


def zeros(shape: Any, dtype: DType) -> Any:
    """A concrete tensor of zeros."""
    return SLOTS.new_tensor(np.zeros(shape, dtype.np))


def untouched(state: Mapping[str, Any], key: str) -> bool:
    """Whether a parameter's state has `key` and its first step is yet to come."""
    return key in state and "step" in state and not state["step"].item()


def step_dtype() -> DType:
    """The dtype of step counts: float64 where that is the default, else float32."""
    return float64 if defaults.float_dtype is float64 else float32


class Optimizer(Hooked):
    """Base class of optimizers, as `torch.optim.Optimizer`.

    `params`: tensors, (name, tensor) pairs, or dicts with "params" and options. `defaults`: the options of groups that
    do not give their own. Raises ArgumentTypeError and ArgumentError (a TypeError and a ValueError) for anything else.
    A subclass defines `update`, and `new_state` if it keeps state; a subclass may also override `step` alone.
    """

    #: a bool tensor while a GradScaler calls `step`: true where a gradient is not finite and nothing may change
    found_inf: Any = None

    def __init__(self, params: Any, defaults: Mapping[str, Any]):
        super().__init__()
        self.defaults = dict(defaults)
        if isinstance(params, TensorBase):
            raise ArgumentTypeError(
                "params argument given to the optimizer should be an iterable of Tensors or dicts, "
                f"but got {type(params).__name__}"
            )
        self._state: Any = StateMap()
        self.param_groups: list[Any] = []
        #: every state tensor ever made, by parameter and name; the parameters whose state a recorded program holds
        self._made: dict[Any, dict[str, Any]] = {}
        self._recorded: set[Any] = set()
        #: the estimated work of steps in NumPy so far; compiled steps by the identities of the parameters they move
        self._spent = 0.0
        self._compiled: dict[tuple[int, ...], Any] = {}
        groups = list(params)
        if not groups:
            raise ArgumentError("optimizer got an empty parameter list")
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        for group in groups:
            self.add_param_group(dict(group) if isinstance(group, dict) else group)

    def __repr__(self) -> str:
        text = type(self).__name__ + " ("
        for i, group in enumerate(self.param_groups):
            text += f"\nParameter Group {i}\n"
            text += "".join(f"    {key}: {dict.get(group, key)}\n" for key in sorted(group) if key != "params")
        return text + ")"

    @property
    def state(self) -> Any:
        """Parameter -> its state tensors by name."""
        return self._state

    @state.setter
    def state(self, value: Mapping[Any, Any]) -> None:
        EPOCH.bump()
        self._state = StateMap(value)
        with eagerly(), set_grad(False):
            self._zero_made(keep={id(x) for held in value.values() for x in getattr(held, "values", tuple)()})
            self._keep_recorded()

    # -- groups -----------------------------------------------------------------------------------

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Adds a group, a dict with "params" and options; raises ArgumentTypeError or ArgumentError as `__init__`."""
        if not isinstance(param_group, dict):
            raise ArgumentTypeError(f"param_group must be a dict, but got {type(param_group)}")
        group = ParamGroup(param_group)
        _fill_params(group)
        for key, default in self.defaults.items():
            if default is required and key not in group:
                raise ArgumentError(f"parameter group didn't specify a value of required optimization parameter {key}")
            group.setdefault(key, default)
        params = group["params"]
        if len(set(map(id, params))) != len(params):
            warnings.warn(
                "optimizer contains a parameter group with duplicate parameters; "
                "in future, this will cause an error; see github.com/pytorch/pytorch/issues/40967 for more information",
                stacklevel=3,
            )
        taken = {id(p) for other in self.param_groups for p in other["params"]}
        if not taken.isdisjoint(map(id, params)):
            raise ArgumentError("some parameters appear in more than one parameter group")
        if self.param_groups and ("param_names" in group) != ("param_names" in self.param_groups[0]):
            with_names = "param_names" in self.param_groups[0]
            raise ArgumentError(
                "all optimizer param groups should be with/without names. "
                f"cannot add param group {'without' if with_names else 'with'} names to the optimizer"
            )
        self.param_groups.append(group)
        EPOCH.bump()

    def fact(self, name: str) -> Any:
        """What a recorded program depends on: which groups there are, which tensors hold the state."""
        if name == "which groups":
            return tuple(map(id, self.param_groups))
        assert name == "which state", name
        return tuple(id(x) for held in self.state.values() for x in held.values())

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clears the gradients of all parameters: to None, or to zeros in place."""
        for group in self.param_groups:
            for p in group["params"]:
                if set_to_none:
                    p.grad = None  # without looking at it: a recorded step would depend on whether there was one
                    continue
                grad = p.grad
                if grad is None:
                    continue
                if grad.grad_fn is not None:
                    grad.detach_()
                else:
                    grad.requires_grad_(False)
                grad.zero_()

    # -- updates ----------------------------------------------------------------------------------

    def update(self, group: ParamGroup, p: Any, grad: Any, state: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        """The new value of `p` and of each state tensor, from their values before; written in graphc ops, rebinds
        nothing.

        Numbers are read with `live(group, key)`, structure with `flag` and `is_on`.
        """
        raise NotImplementedError(
            f"{type(self).__name__} defines no update()\n"
            "  hint: define `update(self, group, p, grad, state) -> (new_p, new_state)`, or override step()"
        )

    def new_state(self, group: ParamGroup, p: Any) -> dict[str, tuple[Any, DType]]:
        """Shape and dtype of the state tensors `update` needs for `p`; they start as zeros.

        Names with a leading underscore are hidden: part neither of `state` nor of `state_dict()`.
        """
        return {}

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Updates every parameter that has a gradient; returns what `closure`, called first with gradients on, gave."""
        loss = None
        if closure is not None:
            with set_grad(True):
                loss = closure()
        recorder = STATE.recorder
        pairs = [(group, p) for group in self.param_groups for p in group["params"] if p.grad is not None]
        if recorder is not None:
            for _, p in pairs:
                recorder.grad_consumed(p)
        grads = [p.grad for _, p in pairs]
        with set_grad(False):
            if recorder is None and self._may_compile(pairs):
                self._compiled_step(pairs)(*grads, *([] if self.found_inf is None else [self.found_inf]))
            else:
                self._apply(pairs, grads, self.found_inf)
        return loss

    def _apply(self, pairs: Iterable[tuple[ParamGroup, Any]], grads: Iterable[Any], skip: Any = None) -> None:
        """Writes what `update` makes of parameters and their state, parameter by parameter; nothing new if `skip` is true."""
        guard(self, "which groups", self.fact("which groups"))
        for (group, p), grad in zip(pairs, grads, strict=True):
            for tensor, value in self.changes(group, p, grad):
                tensor.copy_(value if skip is None else where(skip, tensor, value))
        if STATE.recorder is not None:
            guard(self, "which state", self.fact("which state"))

    def _apply_for_now(self, pairs: Sequence[tuple[ParamGroup, Any]], given: Sequence[Any]) -> None:
        """`_apply` for a step that is recorded anew where other tensors hold the state: these need not be kept for it.

        `given`: the gradients, and whether the step is to be skipped, if it may be.
        """
        recorded = set(self._recorded)
        self._apply(pairs, given[: len(pairs)], *given[len(pairs) :])
        self._recorded = recorded

    def _may_compile(self, pairs: Sequence[tuple[ParamGroup, Any]]) -> bool:
        """Whether this step runs as one compiled call: once NumPy has done as much as compiling costs (`core/one_call.py`).

        Only for an `update` that says that it depends on its arguments alone, and parameters with memory of their own.
        """
        if not getattr(self.update, "one_call", False) or config.eager == "numpy" or not pairs or not may_build():
            return False
        if any(p._base is not None or not p._data.flags.c_contiguous for _, p in pairs):
            return False
        if (
            config.eager == "compiled"
            or any(type(p._data) is DeviceArray for _, p in pairs)
            or LEDGER.is_due(self._spent, WORTH * (1 + _A_PARAMETER * len(pairs)))
        ):
            return True
        self._spent = LEDGER.pay(self._spent, sum([2 * A_CALL + 4 * p._data.size for _, p in pairs]))
        return False

    def _compiled_step(self, pairs: Sequence[tuple[ParamGroup, Any]]) -> Callable[..., None]:
        """`_apply` as one compiled call over the gradients of these parameters, and over `skip` where it is given."""
        key = tuple([id(p) for _, p in pairs])
        found = self._compiled.get(key)
        if found is None:
            if len(self._compiled) >= _MOST_STEPS:
                self._compiled.pop(next(iter(self._compiled)))
            for group, p in pairs:
                self.state_for(group, p)
            held = tuple(pairs)
            backend = None if any(type(p._data) is DeviceArray for _, p in pairs) else "llvm"

            def step(*given: Any) -> None:
                self._apply_for_now(held, given)

            step.__name__ = f"{type(self).__name__}.step"
            found = self._compiled[key] = compile(step, backend=backend)
        return found

    def __getstate__(self) -> dict[str, Any]:
        """Everything but hooks, and the compiled steps, which belong to these very tensors."""
        return {**self.__dict__, "_compiled": {}, "_hooks": new_hooks()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Takes over what `__getstate__` gave; called after loading too, for subclasses that add options older files lack."""
        self.__dict__.update(state)

    def minimize(self, loss: Any, params: Iterable[Any] | None = None) -> UpdateGroup:
        """A train op that moves `params` (default: all of the optimizer's) against the gradient of `loss` when fetched.

        Rebinds nothing and leaves `.grad` alone. Raises GraphError outside a graph, or if `loss` depends on none
        of them.
        """
        if not isinstance(STATE.recorder, Graph):
            raise GraphError("a train op belongs to a graph: call minimize under `with graph.as_default():`")
        wanted = None if params is None else set(map(id, params))
        pairs = [
            (group, p)
            for group in self.param_groups
            for p in group["params"]
            if p.requires_grad and (wanted is None or id(p) in wanted)
        ]
        grads = gradients(loss, [p for _, p in pairs], allow_unused=True) if pairs else ()
        if all(grad is None for grad in grads):
            raise GraphError("minimize: the loss depends on none of the optimizer's parameters")
        self._opt_called = True
        found: list[tuple[Any, Any]] = []
        with set_grad(False):
            guard(self, "which groups", self.fact("which groups"))
            for (group, p), grad in zip(pairs, grads, strict=True):
                if grad is not None:
                    found += self.changes(group, p, grad)
            guard(self, "which state", self.fact("which state"))
        return UpdateGroup(found, loss)

    def changes(self, group: ParamGroup, p: Any, grad: Any) -> list[tuple[Any, Any]]:
        """`(tensor, its new value)` for the state of `p` and for `p` itself, which comes last; writes nothing."""
        held = self.state_for(group, p)
        with playing("update"):
            new_p, new_state = self.update(group, wide(p), wide(grad), {key: wide(held[key]) for key in held})
            pairs = [(held[key], value) for key, value in new_state.items()] + [(p, new_p)]
            return [(tensor, cast_to(value, tensor.dtype)) for tensor, value in pairs]

    def state_for(self, group: ParamGroup, p: Any) -> dict[str, Any]:
        """The state tensors of `p`; those that are missing are made, or taken back into use, as zeros."""
        wanted = self.new_state(group, p)
        if not wanted:
            return {}
        made, held = self._made.setdefault(p, {}), self.state[p]
        if STATE.recorder is not None:
            self._recorded.add(p)
        missing = [key for key in wanted if key not in (made if key.startswith("_") else held)]
        if missing:
            with eagerly(), set_grad(False):
                for key in missing:
                    tensor = self._tensor(p, key, *wanted[key])
                    tensor.zero_()
                    if not key.startswith("_"):
                        held[key] = tensor
                self.settle({**made, **held})
        if type(p._data) is DeviceArray:
            self._follow(p, (made[key] if key.startswith("_") else held[key] for key in wanted))
        return {key: made[key] if key.startswith("_") else held[key] for key in wanted}

    def _follow(self, p: Any, state: Iterable[Any]) -> None:
        """Sees to it that state is where its parameter is, which may have been moved."""
        for tensor in state:
            if memory_of(tensor._data) is not p._data.memory:
                tensor.data = on(tensor.detach(), p._data.memory)

    def settle(self, state: Mapping[str, Any]) -> None:
        """Called when state of one parameter was made or loaded, to bring hidden state in line with the rest of it."""

    def _tensor(self, p: Any, key: str, shape: Any, dtype: DType) -> Any:
        """The one tensor that is this piece of state for life, so that sessions and compiled steps go on seeing it."""
        made = self._made.setdefault(p, {})
        tensor = made.get(key)
        if tensor is None or tuple(tensor.shape) != tuple(shape) or tensor.dtype is not dtype:
            tensor = made[key] = on(zeros(shape, dtype), memory_of(p._data))
        return tensor

    # -- saving -----------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """State and options in PyTorch's format: parameters are numbered from 0 through all groups."""
        for hook in self._hooks["state_dict_pre"].values():
            hook(self)
        numbers: dict[int, int] = {}
        groups = []
        for group in self.param_groups:
            for p in dict.__getitem__(group, "params"):
                numbers.setdefault(id(p), len(numbers))
            packed = {key: value for key, value in group.items() if key != "params"}
            packed["params"] = [numbers[id(p)] for p in dict.__getitem__(group, "params")]
            groups.append(packed)
        state = {
            numbers[id(p)] if isinstance(p, TensorBase) else p: dict(held) for p, held in self.state.items() if held
        }
        return self._passed_on("state_dict_post", {"state": state, "param_groups": groups})

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Takes over what `state_dict()` gave, PyTorch's included; checked first, so a bad one changes nothing.

        State tensors are filled in place where shape and dtype agree. Raises ArgumentError where groups differ in size.
        """
        state_dict = self._passed_on("load_state_dict_pre", dict(state_dict))
        groups = [dict(g) for g in state_dict["param_groups"]]
        if len(groups) != len(self.param_groups):
            raise ArgumentError("loaded state dict has a different number of parameter groups")
        if any(len(g["params"]) != len(mine["params"]) for g, mine in zip(groups, self.param_groups, strict=True)):
            raise ArgumentError(
                "loaded state dict contains a parameter group that doesn't match the size of optimizer's group"
            )
        ids = chain.from_iterable(g["params"] for g in groups)
        params = chain.from_iterable(g["params"] for g in self.param_groups)
        by_id = dict(zip(ids, params, strict=True))
        group_of = {id(p): group for group in self.param_groups for p in group["params"]}
        with eagerly(), set_grad(False):
            loaded = {by_id.get(key, key): _cloned(held) for key, held in state_dict["state"].items()}
            self.state.clear()
            self._zero_made()
            for owner, held in loaded.items():
                self._load_one(owner, held, group_of.get(id(owner)))
            self._keep_recorded()
        for group, mine in zip(groups, self.param_groups, strict=True):
            kept = {"params": mine["params"], **({"param_names": mine["param_names"]} if "param_names" in mine else {})}
            mine.clear()
            mine.update({key: value for key, value in group.items() if key not in kept} | kept)
            for key, default in self.defaults.items():
                mine.setdefault(key, default)  # what files of older PyTorch do not know
        self.__setstate__({"param_groups": self.param_groups})
        for hook in self._hooks["load_state_dict_post"].values():
            hook(self)

    def _zero_made(self, keep: Collection[int] = ()) -> None:
        for tensor in chain.from_iterable(made.values() for made in self._made.values()):
            if id(tensor) not in keep:
                tensor.zero_()

    def _keep_recorded(self) -> None:
        """After a change of all state: what sessions and compiled steps hold and go on changing stays part of it."""
        for p, made in self._made.items():
            if p in self._recorded:
                held = self.state[p]
                held.update({k: made[k] for k in made if not k.startswith("_") and k not in held})
            self.settle(made)

    def _load_one(self, owner: Any, held: Any, group: Any) -> None:
        """Loads the state of one parameter; anything that is not a parameter's state is taken as it is.

        As in PyTorch, state of a float parameter gets its dtype, but for what `new_state` gives another one.
        """
        if not isinstance(owner, TensorBase) or not isinstance(held, Mapping):
            self.state[owner] = held
            return
        target, declared = self.state[owner], self.new_state(group, owner)
        for key, value in held.items():
            if key == "step" and isinstance(value, int | float):
                value = SLOTS.new_tensor(np.array(value, step_dtype().np))  # files of older PyTorch hold a number
            leaves: list[Any] = []
            structure = flatten(value, leaves)
            own = key == "step" or owner.dtype.category != 2
            dtypes = [x.dtype if own else declared[key][1] if key in declared else owner.dtype for x in leaves]
            if isinstance(value, TensorBase):
                target[key] = self._tensor(owner, key, value.shape, dtypes[0])
                target[key].copy_(value)
                continue
            memory = memory_of(owner._data)
            moved = [on(cast_to(x, dtype), memory) for x, dtype in zip(leaves, dtypes, strict=True)]
            target[key] = unflatten(structure, moved)


def _cloned(held: Any) -> Any:
    """State to load, cut loose from the tensors it may be about to overwrite."""
    leaves: list[Any] = []
    structure = flatten(dict(held) if isinstance(held, Mapping) else held, leaves)
    return unflatten(structure, [x.clone() for x in leaves])


def _fill_params(group: ParamGroup) -> None:
    """Makes `group["params"]` a checked list, and `group["param_names"]` where pairs were given."""
    params = group["params"]
    if isinstance(params, TensorBase):
        params = [params]
    elif isinstance(params, set | frozenset):
        raise ArgumentTypeError(
            "optimizer parameters need to be organized in ordered collections, but the ordering of tensors in sets "
            "will change between runs. Please use a list instead."
        )
    params = list(params)
    named = [isinstance(p, tuple) for p in params]
    if any(named):
        if not all(named):
            raise ArgumentError("all optimizer params should be with/without names. Some param names are missing")
        group["param_names"] = [name for name, _ in params]
        params = [p for _, p in params]
    _check_params(params)
    group["params"] = params


def _check_params(params: Iterable[Any]) -> None:
    for p in params:
        if not isinstance(p, TensorBase):
            raise ArgumentTypeError(f"optimizer can only optimize Tensors, but one of the params is {type(p).__name__}")
        leaf: Any = p
        if not leaf.is_leaf:
            raise ArgumentError("can't optimize a non-leaf Tensor")


__all__ = [
    "Optimizer", "register_optimizer_step_post_hook", "register_optimizer_step_pre_hook", "required", "step_dtype",
    "untouched", "wide", "zeros",
]  # fmt: skip
