"""What a Module owns: parameters, buffers and children, by attribute and by dotted name."""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import numpy as np

from graphc.core.arrays import is_array
from graphc.core.context import EPOCH, STATE, eagerly
from graphc.core.errors import ShapeError, user_line
from graphc.core.tape import LEAF, TensorBase
from graphc.ir.program import attr_key
from graphc.nn.modules.hooks import GLOBAL
from graphc.nn.parameter import Buffer, Parameter
from graphc.surroundings import attributes_read
from graphc.tensors import Tensor

_PLAIN = (bool, int, float, str, type(None))


class Same:
    """Equal only to a wrapper of the very same object, which it keeps alive so that its identity is not reused."""

    __slots__ = ("thing",)

    def __init__(self, thing: Any):
        self.thing = thing

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and self.thing is other.thing

    def __hash__(self) -> int:
        return id(self.thing)


def type_name(x: Any) -> str:
    """The name messages give a value, as PyTorch does: `torch.FloatTensor`, `str`, `package.Class`."""
    if isinstance(x, Tensor):
        return str(x.type())
    cls = type(x)
    return cls.__qualname__ if cls.__module__ in ("builtins", "") else f"{cls.__module__}.{cls.__qualname__}"


def _stamp(value: Any) -> Any:
    """What of an attribute's value a recorded program may depend on."""
    if type(value) in _PLAIN:
        return attr_key(value)
    if type(value) is tuple:
        return tuple(map(_stamp, value))
    return Same(value)


def _unchanged(old: Any, new: Any) -> bool:
    return old is new or (type(old) in _PLAIN and type(new) in _PLAIN and bool(attr_key(old) == attr_key(new)))


def _changes_inside(value: Any) -> bool:
    """Whether an attribute's value can change without being set."""
    return isinstance(value, list | dict | set | np.ndarray) or (
        isinstance(value, tuple) and any(map(_changes_inside, value))
    )


def _is_data(name: str, value: Any) -> bool:
    """Whether what a class says under that name is a plain value or a container, as a setting is."""
    return not name.startswith("__") and isinstance(value, (*_PLAIN, tuple, list, dict, set, frozenset, np.ndarray))


def _made_at_once(init: Callable[..., None]) -> Callable[..., None]:
    """A constructor that leaves a recording context while it runs."""

    @functools.wraps(init)
    def made(self: Any, *args: Any, **kwargs: Any) -> None:
        if STATE.recorder is None:
            init(self, *args, **kwargs)
            return
        with eagerly():
            init(self, *args, **kwargs)

    return made


class ModuleTree:
    """The part of Module that keeps parameters, buffers and children in order and finds them by name."""

    _parameters: dict[str, Any]
    _buffers: dict[str, Any]
    _modules: dict[str, Any]
    _non_persistent_buffers_set: set[str]
    training: bool
    _HOOKS: ClassVar[tuple[str, ...]] = (
        "_backward_pre_hooks", "_backward_hooks", "_forward_hooks", "_forward_hooks_with_kwargs",
        "_forward_hooks_always_called", "_forward_pre_hooks", "_forward_pre_hooks_with_kwargs", "_state_dict_hooks",
        "_state_dict_pre_hooks", "_load_state_dict_pre_hooks", "_load_state_dict_post_hooks",
    )  # fmt: skip

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Lets constructors run at once, so that `Parameter(randn(3))` in one works while a graph is recorded too."""
        super().__init_subclass__(**kwargs)
        if "__init__" in cls.__dict__:
            cls.__init__ = _made_at_once(cls.__init__)  # type: ignore[method-assign]

    #: whether `__init__` passes its arguments on to the class behind Module in a row of bases
    call_super_init = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if self.call_super_init:
            super().__init__(*args, **kwargs)
        fields = self.__dict__
        fields["training"] = True
        fields["_parameters"] = {}
        fields["_buffers"] = {}
        fields["_non_persistent_buffers_set"] = set()
        for name in self._HOOKS:
            fields[name] = OrderedDict()
        fields["_modules"] = {}

    # -- attributes ----------------------------------------------------------------------------------------------------

    def __getattr__(self, name: str) -> Any:
        fields = self.__dict__
        for group in ("_parameters", "_buffers", "_modules"):
            found = fields.get(group)
            if found is not None and name in found:
                return found[name]
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    def __setattr__(self, name: str, value: Any) -> None:
        fields = self.__dict__
        if isinstance(value, Parameter):
            if "_parameters" not in fields:
                raise AttributeError("cannot assign parameters before Module.__init__() call")
            self._forget(name, "_buffers", "_modules")
            self.register_parameter(name, value)
        elif name in fields.get("_parameters", ()):
            if value is not None:
                self._refuse(value, "parameter", name, "torch.nn.Parameter")
            self.register_parameter(name, None)
        elif isinstance(value, ModuleTree):
            if "_modules" not in fields:
                raise AttributeError("cannot assign module before Module.__init__() call")
            self._forget(name, "_parameters", "_buffers")
            self._bind("_modules", name, value)
        elif name in fields.get("_modules", ()):
            if value is not None:
                self._refuse(value, "child module", name, "torch.nn.Module")
            self._bind("_modules", name, None)
        elif isinstance(value, Buffer) or name in fields.get("_buffers", ()):
            self._set_buffer(name, value)
        else:
            if name not in fields or not _unchanged(fields[name], value):
                EPOCH.bump()
            object.__setattr__(self, name, value)

    def _refuse(self, value: Any, what: str, name: str, wanted: str) -> None:
        raise TypeError(f"cannot assign '{type_name(value)}' as {what} '{name}' ({wanted} or None expected)")

    def _forget(self, name: str, *groups: str) -> None:
        """Removes `name` from the instance and from the groups, before it is bound anew."""
        self.__dict__.pop(name, None)
        for group in groups:
            self.__dict__[group].pop(name, None)
        self._non_persistent_buffers_set.discard(name)

    def _bind(self, group: str, name: str, value: Any) -> None:
        members = self.__dict__[group]
        if name not in members or members[name] is not value:
            EPOCH.bump()
        members[name] = value

    def _set_buffer(self, name: str, value: Any) -> None:
        buffers = self.__dict__.get("_buffers")
        if value is not None and not isinstance(value, TensorBase):
            raise TypeError(
                f"cannot assign '{type_name(value)}' as buffer '{name}' (torch.nn.Buffer, torch.Tensor or None expected)"
            )
        if buffers is None:
            raise AttributeError("cannot assign buffer before Module.__init__() call")
        if isinstance(value, Buffer) and name not in buffers:
            self._forget(name, "_parameters", "_modules")
            self.register_buffer(name, value, value.persistent)
        elif value is not None and not is_array(value._data) and STATE.recorder is not None:
            _write_recorded(type(self).__name__, name, buffers[name], value)
        else:
            self._bind("_buffers", name, value)

    def __delattr__(self, name: str) -> None:
        for group in ("_parameters", "_buffers", "_modules"):
            if name in self.__dict__.get(group, ()):
                del self.__dict__[group][name]
                self._non_persistent_buffers_set.discard(name)
                EPOCH.bump()
                return
        object.__delattr__(self, name)
        EPOCH.bump()

    def __dir__(self) -> list[str]:
        names = {*dir(type(self)), *self.__dict__, *self._parameters, *self._modules, *self._buffers}
        return sorted(name for name in names if not name[0].isdigit())

    # -- registration --------------------------------------------------------------------------------------------------

    def _check_name(self, name: Any, what: str, members: dict[str, Any]) -> None:
        if not isinstance(name, str):
            raise TypeError(f"{what} name should be a string. Got {type_name(name)}")
        if "." in name:
            raise KeyError(f'{what} name can\'t contain "."' + (f", got: {name}" if what == "module" else ""))
        if not name:
            raise KeyError(f'{what} name can\'t be empty string ""')
        if name not in members and hasattr(self, name):
            raise KeyError(f"attribute '{name}' already exists")

    def register_parameter(self, name: str, param: Any) -> None:
        """Adds a parameter (or None, which is left out of state_dict) under `name`.

        Raises AttributeError before `Module.__init__()`, TypeError or KeyError for a bad name or value, ValueError for a
        tensor that an operation made.
        """
        if "_parameters" not in self.__dict__:
            raise AttributeError("cannot assign parameter before Module.__init__() call")
        self._check_name(name, "parameter", self._parameters)
        if param is not None:
            if not isinstance(param, Parameter):
                raise TypeError(
                    f"cannot assign '{type_name(param)}' object to parameter '{name}' (torch.nn.Parameter or None required)"
                )
            if param._edge not in (None, LEAF):
                raise ValueError(
                    f"Cannot assign non-leaf Tensor to parameter '{name}'. Model parameters must be created explicitly. To "
                    f"express '{name}' as a function of another Tensor, compute the value in the forward() method."
                )
        self._bind("_parameters", name, param)

    def register_buffer(self, name: str, tensor: Any, persistent: bool = True) -> None:
        """Adds a tensor that is state but no parameter; a `persistent` one is saved in state_dict."""
        if "_buffers" not in self.__dict__:
            raise AttributeError("cannot assign buffer before Module.__init__() call")
        self._check_name(name, "buffer", self._buffers)
        if tensor is not None and not isinstance(tensor, TensorBase):
            raise TypeError(
                f"cannot assign '{type_name(tensor)}' object to buffer '{name}' (torch Tensor or None required)"
            )
        self._bind("_buffers", name, tensor)
        if persistent:
            self._non_persistent_buffers_set.discard(name)
        else:
            self._non_persistent_buffers_set.add(name)

    def add_module(self, name: str, module: Any) -> None:
        """Adds a child module (or None) under `name`."""
        if not isinstance(module, ModuleTree) and module is not None:
            raise TypeError(f"{type_name(module)} is not a Module subclass")
        self._check_name(name, "module", self._modules)
        self._bind("_modules", name, module)

    def register_module(self, name: str, module: Any) -> None:
        """Another name of `add_module`."""
        self.add_module(name, module)

    # -- by dotted name ------------------------------------------------------------------------------------------------

    def _get_name(self) -> str:
        return type(self).__name__

    def get_submodule(self, target: str) -> Any:
        """The descendant at a dotted path ("" is this module); AttributeError if there is none."""
        module: Any = self
        for item in target.split(".") if target else ():
            if not hasattr(module, item):
                raise AttributeError(f"{module._get_name()} has no attribute `{item}`")
            module = getattr(module, item)
            if not isinstance(module, ModuleTree):
                raise AttributeError(f"`{item}` is not an nn.Module")
        return module

    def set_submodule(self, target: str, module: Any, strict: bool = False) -> None:
        """Replaces or adds (not with `strict`) the descendant at a dotted path."""
        if not target:
            raise ValueError("Cannot set the submodule without a target name!")
        path, _, name = target.rpartition(".")
        parent = self.get_submodule(path)
        if strict and not hasattr(parent, name):
            raise AttributeError(f"{parent._get_name()} has no attribute `{name}`")
        if hasattr(parent, name) and not isinstance(getattr(parent, name), ModuleTree):
            raise AttributeError(f"`{name}` is not an nn.Module")
        if not isinstance(module, ModuleTree):
            raise ValueError(f"`module` is not an nn.Module, found {type(module)}")
        setattr(parent, name, module)

    def get_parameter(self, target: str) -> Parameter:
        """The parameter at a dotted path; AttributeError if there is none."""
        found = self._get_member(target)
        if not isinstance(found, Parameter):
            raise AttributeError(f"`{target.rpartition('.')[2]}` is not an nn.Parameter")
        return found

    def get_buffer(self, target: str) -> Tensor:
        """The buffer at a dotted path; AttributeError if there is none."""
        path, _, name = target.rpartition(".")
        found: Tensor = self._get_member(target)
        if name not in self.get_submodule(path)._buffers:
            raise AttributeError(f"`{name}` is not a buffer")
        return found

    def _get_member(self, target: str) -> Any:
        path, _, name = target.rpartition(".")
        module = self.get_submodule(path)
        if not hasattr(module, name):
            raise AttributeError(f"{module._get_name()} has no attribute `{name}`")
        return getattr(module, name)

    # -- iteration -----------------------------------------------------------------------------------------------------

    def named_modules(
        self, memo: set[Any] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Any]]:
        """This module and all below it with their dotted names, each once unless `remove_duplicate` is False."""
        seen: set[Any] = set() if memo is None else memo
        if self in seen:
            return
        if remove_duplicate:
            seen.add(self)
        yield prefix, self
        for name, module in self._modules.items():
            if module is not None:
                yield from module.named_modules(seen, f"{prefix}.{name}" if prefix else name, remove_duplicate)

    def modules(self, remove_duplicate: bool = True) -> Iterator[Any]:
        """This module and all below it."""
        for _, module in self.named_modules(remove_duplicate=remove_duplicate):
            yield module

    def named_children(self) -> Iterator[tuple[str, Any]]:
        """The direct children with their names, each once."""
        seen = set()
        for name, module in self._modules.items():
            if module is not None and module not in seen:
                seen.add(module)
                yield name, module

    def children(self) -> Iterator[Any]:
        """The direct children, each once."""
        for _, module in self.named_children():
            yield module

    def _named_members(
        self,
        get_members_fn: Callable[[Any], Any],
        prefix: str = "",
        recurse: bool = True,
        remove_duplicate: bool = True,
    ) -> Iterator[tuple[str, Any]]:
        seen = set()
        holders = self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate) if recurse else ((prefix, self),)
        for path, module in holders:
            for name, member in get_members_fn(module):
                if member is None or id(member) in seen:
                    continue
                if remove_duplicate:
                    seen.add(id(member))
                yield f"{path}.{name}" if path else name, member

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """The parameters with their dotted names, each once unless `remove_duplicate` is False."""
        yield from self._named_members(lambda m: m._parameters.items(), prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """The parameters of this module and, with `recurse`, of all below it, each once."""
        for _, param in self.named_parameters(recurse=recurse):
            yield param

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """The buffers with their dotted names, each once unless `remove_duplicate` is False."""
        yield from self._named_members(lambda m: m._buffers.items(), prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """The buffers of this module and, with `recurse`, of all below it, each once."""
        for _, buffer in self.named_buffers(recurse=recurse):
            yield buffer

    # -- state besides tensors -----------------------------------------------------------------------------------------

    def get_extra_state(self) -> Any:
        """What a subclass wants kept in state_dict besides tensors; to be overridden together with `set_extra_state`."""
        raise RuntimeError(
            "Reached a code path in Module.get_extra_state() that should never be called. Please override it and "
            "set_extra_state() together."
        )

    def set_extra_state(self, state: Any) -> None:
        """Takes back what `get_extra_state` gave."""
        raise RuntimeError(
            "Reached a code path in Module.set_extra_state() that should never be called. Please override it and "
            "get_extra_state() together."
        )

    # -- what builds depend on -----------------------------------------------------------------------------------------

    def _guard_state(self) -> tuple[Any, ...]:
        """Everything here and below that a recorded call depends on besides tensor contents; compared with `==`."""
        everywhere = [Same(hook) for hooks in GLOBAL for hook in hooks.values()]
        return (*everywhere, *(module._own_state() for module in self.modules()))

    def _own_state(self) -> tuple[Any, ...]:
        fields = self.__dict__
        members = [(n, Same(v)) for g in ("_parameters", "_buffers", "_modules") for n, v in fields[g].items()]
        hooks = [Same(hook) for g in self._HOOKS[:7] for hook in fields[g].values()]
        plain = [(n, _stamp(v)) for n, v in fields.items() if n not in self._UNWATCHED]
        return (Same(self), *members, *hooks, *plain)

    def _unreported(self, asked: frozenset[str]) -> Iterator[tuple[str, Any, str]]:
        """What here and below can change without an attribute being set: (name, owner, key or name of its attribute).

        It is what lies in containers and arrays, and what the user's classes say, as far as it is read: by forward, the methods
        it calls, or by the names `asked`.
        """
        modules = list(self.modules())
        kinds: Any = {type(module) for module in modules}
        below = frozenset(name for kind in kinds for name in attributes_read(kind, asked))
        for module in modules:
            shown, fields = type(module).__name__, module.__dict__
            for name, value in fields.items():
                if name in below and name not in module._UNWATCHED and _changes_inside(value):
                    yield f"{shown}.{name}", fields, name
            for kind in type(module).__mro__:
                if not f"{kind.__module__}.".startswith("graphc."):
                    for name, value in vars(kind).items():
                        if name in below and _is_data(name, value):
                            yield f"{shown}.{name}", type(module), name

    _UNWATCHED: ClassVar[frozenset[str]] = frozenset(
        {*_HOOKS, "_parameters", "_buffers", "_modules", "_non_persistent_buffers_set", "_compiled_call"}
    )


def _write_recorded(owner: str, name: str, old: Any, new: Any) -> None:
    """In a trace or graph a buffer keeps its tensor; assigning to it is an update of its elements."""
    if old is None or tuple(old.shape) != tuple(new.shape) or old.dtype is not new.dtype:
        held = "None" if old is None else str(old.tensor_type)
        raise ShapeError(
            f"buffer '{name}' of {owner} is {held} and cannot become {new.tensor_type} "
            f"while a graph is recorded (at {user_line()})",
            "a value of the buffer's own shape and dtype",
            "register the buffer with its final shape before the model is compiled",
        )
    old.copy_(new)


__all__ = ["ModuleTree", "Same", "type_name"]
