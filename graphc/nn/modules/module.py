"""`Module`: calls with hooks, modes, conversions, state_dict and repr on top of what `tree.py` keeps."""

from __future__ import annotations

import copy
import weakref
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeVar

from graphc.build import compile as compiled
from graphc.core.arrays import device_of
from graphc.core.context import STATE, eagerly
from graphc.core.tape import TensorBase
from graphc.core.tensor_types import FLOAT, DType, as_dtype
from graphc.functions.creation import empty_like
from graphc.grad_mode import no_grad
from graphc.nn.modules.hooks import (
    GLOBAL,
    GLOBAL_ALWAYS,
    GLOBAL_ANY,
    GLOBAL_WITH_KWARGS,
    BackwardHooks,
    RemovableHandle,
    add_hook,
    register_module_backward_hook,
    register_module_forward_hook,
    register_module_forward_pre_hook,
    register_module_full_backward_hook,
    register_module_full_backward_pre_hook,
)
from graphc.nn.modules.loading import IncompatibleKeys, load_own, load_tree
from graphc.nn.modules.tree import ModuleTree

# Per recorder, the modules whose state it watches: a guard of an outer module covers everything below it.
_WATCHED: weakref.WeakKeyDictionary[Any, set[Any]] = weakref.WeakKeyDictionary()


def indent(text: str, spaces: int) -> str:
    """All lines but the first, moved to the right."""
    return text.replace("\n", "\n" + " " * spaces)


class Module(ModuleTree):
    """Base of all layers and models, with PyTorch's protocol. Subclasses define `forward`.

    Parameters, buffers and modules assigned as attributes are registered under the attribute's name.
    """

    _version = 1
    dump_patches = False
    T_destination = TypeVar("T_destination", bound=dict[str, Any])
    _compiled_call: Any = None
    _compiled_type: ClassVar[Callable[[Any, Callable[..., Any]], Any]]

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What a call computes; every subclass defines it."""
        raise NotImplementedError(f'Module [{type(self).__name__}] is missing the required "forward" function')

    # -- calls ---------------------------------------------------------------------------------------------------------

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        recorder = STATE.recorder
        if recorder is None:
            if self._compiled_call is not None:
                return self._compiled_call(*args, **kwargs)
            if self._forward_hooks or self._forward_pre_hooks or self._backward_hooks or self._backward_pre_hooks:
                return self._call_with_hooks(args, kwargs)
            if GLOBAL_ANY:
                return self._call_with_hooks(args, kwargs)
            return self.forward(*args, **kwargs)
        recorder.enter_module(self)
        try:
            self._watch(recorder)
            return self._call_with_hooks(args, kwargs)
        finally:
            recorder.leave_module()

    def _watch(self, recorder: Any) -> None:
        """Has the recorder guard everything here and below that recorded code depends on, once."""
        watched = _WATCHED.get(recorder)
        if watched is None:
            watched = _WATCHED[recorder] = set()
        if self not in watched:
            watched.update(self.modules())
            recorder.guard(self, "_guard_state", self._guard_state())

    def _call_with_hooks(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        done: set[int] = set()
        result = None
        try:
            args, kwargs = self._run_pre_hooks(args, kwargs)
            backward = None
            hooks, pre_hooks = (
                [*everywhere.values(), *own.values()]
                for everywhere, own in ((GLOBAL[3], self._backward_hooks), (GLOBAL[2], self._backward_pre_hooks))
            )
            if hooks or pre_hooks:
                backward = BackwardHooks(self, hooks, pre_hooks)
                args = backward.enter(args)
            result = self.forward(*args, **kwargs)
            for key, hook in [*GLOBAL[1].items(), *self._forward_hooks.items()]:
                done.add(key)
                result = self._run_forward_hook(key, hook, args, kwargs, result)
            return result if backward is None else backward.leave(result)
        except Exception:
            for key, hook in [*GLOBAL[1].items(), *self._forward_hooks.items()]:
                if key not in done and (key in self._forward_hooks_always_called or key in GLOBAL_ALWAYS):
                    result = self._run_forward_hook(key, hook, args, kwargs, result)
            raise

    def _run_pre_hooks(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        for key, hook in [*GLOBAL[0].items(), *self._forward_pre_hooks.items()]:
            if key in self._forward_pre_hooks_with_kwargs:
                changed = hook(self, args, kwargs)
                if changed is None:
                    continue
                if not (isinstance(changed, tuple) and len(changed) == 2):
                    raise RuntimeError(
                        f"forward pre-hook must return None or a tuple of (new_args, new_kwargs), but got {changed}."
                    )
                args, kwargs = changed
            else:
                changed = hook(self, args)
                if changed is not None:
                    args = changed if isinstance(changed, tuple) else (changed,)
        return args, kwargs

    def _run_forward_hook(self, key: int, hook: Any, args: Any, kwargs: Any, result: Any) -> Any:
        with_kwargs = key in self._forward_hooks_with_kwargs or key in GLOBAL_WITH_KWARGS
        changed = hook(self, args, kwargs, result) if with_kwargs else hook(self, args, result)
        return result if changed is None else changed

    def register_forward_pre_hook(
        self, hook: Any, *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Calls `hook(module, args)` (or `(module, args, kwargs)`) before each forward; what it returns replaces the args."""
        flags = [self._forward_pre_hooks_with_kwargs] if with_kwargs else None
        return add_hook(self._forward_pre_hooks, hook, prepend, flags)

    def register_forward_hook(
        self, hook: Any, *, prepend: bool = False, with_kwargs: bool = False, always_call: bool = False
    ) -> RemovableHandle:
        """Calls `hook(module, args, output)` after each forward; what it returns, if anything, replaces the output."""
        flags = [self._forward_hooks_with_kwargs] if with_kwargs else []
        if always_call:
            flags.append(self._forward_hooks_always_called)
        return add_hook(self._forward_hooks, hook, prepend, flags)

    def register_full_backward_hook(self, hook: Any, prepend: bool = False) -> RemovableHandle:
        """Calls `hook(module, grad_input, grad_output)` once the input gradients are known; it may return new ones."""
        return add_hook(self._backward_hooks, hook, prepend)

    def register_full_backward_pre_hook(self, hook: Any, prepend: bool = False) -> RemovableHandle:
        """Calls `hook(module, grad_output)` before the module's backward; it may return new output gradients."""
        return add_hook(self._backward_pre_hooks, hook, prepend)

    def register_backward_hook(self, hook: Any) -> RemovableHandle:
        """The older name of `register_full_backward_hook`, with its meaning: `grad_input` is of the module's inputs (PyTorch's
        older hooks get those of the last op inside).
        """
        return add_hook(self._backward_hooks, hook)

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compiles this module's calls in place, with the arguments of `graphc.compile`."""
        self._compiled_call = compiled(self.__call__, *args, **kwargs)

    def __compiled__(self, run: Callable[..., Any]) -> Any:
        """The Module that stands for this one after compilation; `run` is the compiled call."""
        return type(self)._compiled_type(self, run)

    # -- modes ---------------------------------------------------------------------------------------------------------

    def train(self, mode: bool = True) -> Any:
        """Sets training mode here and below; returns self. ValueError if `mode` is no bool."""
        if not isinstance(mode, bool):
            raise ValueError("training mode is expected to be boolean")
        self.training = mode
        for module in self.children():
            module.train(mode)
        return self

    def eval(self) -> Any:
        """Sets evaluation mode here and below; returns self."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Any:
        """Makes all parameters want gradients, or not; returns self."""
        for param in self.parameters():
            param.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clears the gradients of all parameters: to None, or to zeros."""
        for param in self.parameters():
            if set_to_none:
                param.grad = None
            elif param.grad is not None:
                if param.grad.grad_fn is not None:
                    param.grad = param.grad.detach()
                with no_grad():
                    param.grad.zero_()

    def apply(self, fn: Callable[[Any], None]) -> Any:
        """Calls `fn` on every module below, then on this one; returns self."""
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    # -- conversions ---------------------------------------------------------------------------------------------------

    def _apply(self, fn: Callable[[Any], Any], recurse: bool = True) -> Any:
        """Replaces the data of every parameter and buffer (and gradient) by `fn` of it, keeping the objects."""
        if recurse:
            for module in self.children():
                module._apply(fn)
        with no_grad(), eagerly():
            for param in self._parameters.values():
                if param is None:
                    continue
                grad = param.grad
                param.data = fn(param.data)
                if grad is not None:
                    grad.data = fn(grad.data)
            for name, buffer in self._buffers.items():
                if buffer is not None:
                    self._bind("_buffers", name, fn(buffer))
        return self

    def to(self, *args: Any, **kwargs: Any) -> Any:
        """Moves and casts parameters and buffers, the floating ones only as to dtype: `to(dtype)`, `to(device, dtype)`,
        `to(tensor)`; returns self. TypeError for a dtype that is not floating.
        """
        dtype, device = kwargs.get("dtype"), kwargs.get("device")
        for arg in args:
            if isinstance(arg, TensorBase):
                dtype, device = arg.dtype, device_of(arg._data)
            elif isinstance(arg, DType):
                dtype = arg
            elif not isinstance(arg, bool):
                device = arg
        if dtype is not None and as_dtype(dtype).category != FLOAT:
            raise TypeError(
                f"nn.Module.to only accepts floating point or complex dtypes, but got desired dtype={dtype}"
            )

        def convert(t: Any) -> Any:
            return t.to(device=device, dtype=dtype if t.is_floating_point() else None)

        return self._apply(convert)

    def type(self, dst_type: Any) -> Any:
        """Casts all parameters and buffers; returns self."""
        return self._apply(lambda t: t.type(dst_type))

    def float(self) -> Any:
        """Casts the floating parameters and buffers to float32; returns self."""
        return self._apply(lambda t: t.float() if t.is_floating_point() else t)

    def double(self) -> Any:
        """Casts the floating parameters and buffers to float64; returns self."""
        return self._apply(lambda t: t.double() if t.is_floating_point() else t)

    def half(self) -> Any:
        """Casts the floating parameters and buffers to float16; returns self."""
        return self._apply(lambda t: t.half() if t.is_floating_point() else t)

    def bfloat16(self) -> Any:
        """Casts the floating parameters and buffers to bfloat16; returns self."""
        return self._apply(lambda t: t.bfloat16() if t.is_floating_point() else t)

    def cpu(self) -> Any:
        """Moves parameters and buffers to the CPU; returns self."""
        return self._apply(lambda t: t.cpu())

    def cuda(self, device: Any = None) -> Any:
        """Moves parameters and buffers to a CUDA device; DeviceError where there is none."""
        return self._apply(lambda t: t.cuda(device))

    def to_empty(self, *, device: Any = None, recurse: bool = True) -> Any:
        """Gives parameters and buffers new memory without content; returns self."""
        return self._apply(lambda t: empty_like(t, device=device), recurse)

    def share_memory(self) -> Any:
        """Returns self: tensors are not moved into shared memory."""
        return self

    # -- state_dict ----------------------------------------------------------------------------------------------------

    def state_dict(self, *args: Any, destination: Any = None, prefix: str = "", keep_vars: bool = False) -> Any:
        """An OrderedDict of dotted names to parameters and persistent buffers, detached unless `keep_vars`."""
        given: list[Any] = [*args, *(destination, prefix, keep_vars)[len(args) :]]
        destination, prefix, keep_vars = given
        if destination is None:
            destination = OrderedDict()
            destination._metadata = OrderedDict()
        if hasattr(destination, "_metadata"):
            destination._metadata[prefix[:-1]] = {"version": self._version}
        for hook in self._state_dict_pre_hooks.values():
            hook(self, prefix, keep_vars)
        self._save_to_state_dict(destination, prefix, keep_vars)
        for name, module in self._modules.items():
            if module is not None:
                module.state_dict(destination=destination, prefix=f"{prefix}{name}.", keep_vars=keep_vars)
        for hook in self._state_dict_hooks.values():
            hook(self, destination, prefix, destination._metadata[prefix[:-1]])
        return destination

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        """Puts this module's own entries into `destination`."""
        with eagerly():
            for name, param in self._parameters.items():
                if param is not None:
                    destination[prefix + name] = param if keep_vars else param.detach()
            for name, buffer in self._buffers.items():
                if buffer is not None and name not in self._non_persistent_buffers_set:
                    destination[prefix + name] = buffer if keep_vars else buffer.detach()
        if type(self).get_extra_state is not ModuleTree.get_extra_state:
            destination[prefix + "_extra_state"] = self.get_extra_state()

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> IncompatibleKeys:
        """Copies the entries of `state_dict` into parameters and buffers (`assign`: takes their tensors instead).

        Raises RuntimeError listing missing and unexpected names (`strict`) and sizes that differ; nothing is changed then.
        """
        return load_tree(self, state_dict, strict, assign)

    def _load_from_state_dict(
        self, state_dict: Any, prefix: str, local_metadata: Any, strict: bool,
        missing_keys: list[str], unexpected_keys: list[str], error_msgs: list[str],
    ) -> None:  # fmt: skip
        """Reads this module's own entries; subclasses may rename entries first."""
        load_own(self, state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs)

    def register_state_dict_pre_hook(self, hook: Any) -> RemovableHandle:
        """Calls `hook(module, prefix, keep_vars)` before `state_dict` collects this module's entries."""
        return add_hook(self._state_dict_pre_hooks, hook)

    def register_state_dict_post_hook(self, hook: Any) -> RemovableHandle:
        """Calls `hook(module, state_dict, prefix, local_metadata)` after `state_dict` collected this module's entries."""
        return add_hook(self._state_dict_hooks, hook)

    def register_load_state_dict_pre_hook(self, hook: Any) -> RemovableHandle:
        """Calls `hook(module, state_dict, prefix, meta, strict, missing, unexpected, errors)` before loading this module."""
        return add_hook(self._load_state_dict_pre_hooks, lambda *args: hook(self, *args))

    def register_load_state_dict_post_hook(self, hook: Any) -> RemovableHandle:
        """Calls `hook(module, incompatible_keys)` after the entries were compared; it may edit the two lists."""
        return add_hook(self._load_state_dict_post_hooks, hook)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_compiled_call"}

    # -- copies --------------------------------------------------------------------------------------------------------

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        """A copy with tensors of its own, made at once, also while a graph is recorded."""
        reduced: Any = self.__reduce_ex__(4)
        make, args, state = reduced[:3]
        with eagerly():
            made = memo[id(self)] = make(*copy.deepcopy(args, memo))
            state = copy.deepcopy(state, memo)
        if hasattr(made, "__setstate__"):
            made.__setstate__(state)
            return made
        attributes, slots = state if isinstance(state, tuple) else (state, None)
        made.__dict__.update(attributes or {})
        for name, value in (slots or {}).items():
            object.__setattr__(made, name, value)
        return made

    # -- repr ----------------------------------------------------------------------------------------------------------

    def extra_repr(self) -> str:
        """What a layer shows between its brackets."""
        return ""

    def __repr__(self) -> str:
        extra = self.extra_repr()
        extra_lines = extra.split("\n") if extra else []
        children = [f"({name}): {indent(repr(module), 2)}" for name, module in self._modules.items()]
        lines = extra_lines + children
        if not lines:
            return f"{self._get_name()}()"
        if len(extra_lines) == 1 and not children:
            return f"{self._get_name()}({extra_lines[0]})"
        return f"{self._get_name()}(\n  " + "\n  ".join(lines) + "\n)"


__all__ = [
    "Module", "register_module_backward_hook", "register_module_forward_hook", "register_module_forward_pre_hook",
    "register_module_full_backward_hook", "register_module_full_backward_pre_hook",
]  # fmt: skip
