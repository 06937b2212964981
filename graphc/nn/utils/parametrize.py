"""Parameters that are functions of other parameters: `register_parametrization` and what belongs to it."""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from graphc.core.context import EPOCH, STATE, eagerly
from graphc.core.errors import ArgumentError
from graphc.core.tape import TensorBase
from graphc.grad_mode import no_grad
from graphc.nn.modules.container import ModuleDict, ModuleList
from graphc.nn.parameter import Parameter


class _Cache(threading.local):
    """What `cached()` keeps: how many blocks are open, and the tensors computed in them."""

    depth = 0

    def __init__(self) -> None:
        self.tensors: dict[tuple[int, str], Any] = {}


_cache = _Cache()


@contextmanager
def cached() -> Iterator[None]:
    """Within, each parametrized tensor is computed once."""
    _cache.depth += 1
    try:
        yield
    finally:
        _cache.depth -= 1
        if not _cache.depth:
            _cache.tensors.clear()


def _register(module: Any, name: str, tensor: Any) -> None:
    if isinstance(tensor, Parameter):
        module.register_parameter(name, tensor)
    else:
        module.register_buffer(name, tensor)


def _check_like(found: Any, before: Any, what: str) -> None:
    if not isinstance(found, TensorBase):
        raise ArgumentError(f"A parametrization must return a tensor. Got {type(found).__name__}.")
    for field in ("dtype", "shape"):
        if getattr(found, field) != getattr(before, field):
            raise ArgumentError(
                f"Registering a parametrization may not change the {field} of the tensor, unless `unsafe` flag is enabled.\n"
                f"unparametrized {field}: {getattr(before, field)}\nparametrized {field}: {getattr(found, field)}"
            )


class ParametrizationList(ModuleList):
    """The parametrizations of one tensor, and the tensor (`original`) or tensors (`original0`, ...) they start from."""

    def __init__(self, modules: Sequence[Any], original: Any, unsafe: bool = False) -> None:
        if not modules:
            raise ArgumentError("ParametrizationList requires one or more modules.")
        super().__init__(modules)
        self.unsafe = unsafe
        with no_grad():
            new = original
            for module in reversed(list(self)):
                if hasattr(module, "right_inverse"):
                    with suppress(NotImplementedError):
                        new = module.right_inverse(new)
        if not isinstance(new, TensorBase | Sequence):
            raise ArgumentError(
                "'right_inverse' must return a Tensor or a Sequence of tensors (list, tuple...). Got "
                f"{type(new).__name__}"
            )
        self.is_tensor = isinstance(new, TensorBase)
        self.ntensors = 1 if self.is_tensor else len(new)  # type: ignore[arg-type]
        if self.is_tensor:
            if original.dtype != new.dtype:  # type: ignore[union-attr]
                raise ArgumentError(
                    "When `right_inverse` outputs one tensor, it may not change the dtype.\n"
                    f"original.dtype: {original.dtype}\nright_inverse(original).dtype: {new.dtype}"  # type: ignore[union-attr]
                )
            if new is not original:
                original.data = new.detach()  # type: ignore[union-attr]
            _register(self, "original", original)
        else:
            self._keep_parts(new, original)
        if not unsafe:
            _check_like(self(), original, "parametrized")

    def _keep_parts(self, parts: Any, original: Any) -> None:
        for i, part in enumerate(parts):
            if not isinstance(part, TensorBase):
                raise ArgumentError(
                    "'right_inverse' must return a Tensor or a Sequence of tensors (list, tuple...). Got element "
                    f"{i} of the sequence with type {type(part).__name__}."
                )
            part = part.detach()  # type: ignore[attr-defined]
            _register(
                self,
                f"original{i}",
                Parameter(part, original.requires_grad) if isinstance(original, Parameter) else part,
            )

    def right_inverse(self, value: Any) -> None:
        """Stores what the parametrizations make `value` of. RuntimeError where one has no right_inverse."""
        with no_grad():
            for module in reversed(list(self)):
                if not hasattr(module, "right_inverse"):
                    raise RuntimeError(f"parametrization {type(module).__name__} does not implement right_inverse.")
                value = module.right_inverse(value)
            names = ["original"] if self.is_tensor else [f"original{i}" for i in range(self.ntensors)]
            values = [value] if self.is_tensor else list(value)
            if len(values) != len(names):
                raise ArgumentError(
                    f"'right_inverse' must return a sequence of tensors of length {self.ntensors}. Got a sequence of length "
                    f"{len(values)}."
                )
            for name, tensor in zip(names, values, strict=True):
                own = getattr(self, name)
                if own.dtype != tensor.dtype:
                    raise ArgumentError(
                        f"The tensor returned by `right_inverse` has dtype {tensor.dtype} while `{name}` has dtype {own.dtype}"
                    )
                if tuple(own.shape) == tuple(tensor.shape):
                    own.copy_(tensor)
                else:
                    own.data = tensor.detach()

    def forward(self) -> Any:
        """The tensor."""
        names = ["original"] if self.is_tensor else [f"original{i}" for i in range(self.ntensors)]
        found = self[0](*(getattr(self, name) for name in names))
        for i in range(1, len(self)):
            found = self[i](found)
        return found


# --- the class of a module with parametrizations ----------------------------------------------------------------------


def _property(name: str) -> property:
    def read(self: Any) -> Any:
        parametrization = self.parametrizations[name]
        if not _cache.depth or STATE.recorder is not None:
            return parametrization()
        key = (id(self), name)
        if key not in _cache.tensors:
            _cache.tensors[key] = parametrization()
        return _cache.tensors[key]

    return property(read, lambda self, value: self.parametrizations[name].right_inverse(value))


def _no_pickle(self: Any) -> Any:
    raise RuntimeError("Serialization of parametrized modules is only supported through state_dict().")


def _copied(self: Any, memo: dict[int, Any]) -> Any:
    with eagerly():
        plain: Any = type(self).__bases__[0]
        names = list(self.parametrizations)
        made = memo[id(self)] = plain.__new__(plain)
        made.__dict__.update(copy.deepcopy(dict(self.__dict__), memo))
    _parametrize_class(made)
    for name in names:
        setattr(type(made), name, _property(name))
    return made


def _parametrize_class(module: Any) -> None:
    plain = type(module)
    body = {
        "__getstate__": _no_pickle,
        "__deepcopy__": _copied,
        "__module__": plain.__module__,
        "__doc__": plain.__doc__,
    }
    object.__setattr__(module, "__class__", type(f"Parametrized{plain.__name__}", (plain,), body))
    EPOCH.bump()


def register_parametrization(module: Any, tensor_name: str, parametrization: Any, *, unsafe: bool = False) -> Any:
    """Makes `module.<tensor_name>` what `parametrization` makes of it; returns the module.

    `parametrization.right_inverse`, if there is one, gives the tensors to start from. ArgumentError for a name that is no
    parameter or buffer, and (unless `unsafe`) where dtype or shape would change.
    """
    parametrization.train(module.training)
    if is_parametrized(module, tensor_name):
        if not unsafe:
            before = getattr(module, tensor_name)
            _check_like(parametrization(before), before, "parametrized")
        module.parametrizations[tensor_name].append(parametrization)
        module.parametrizations[tensor_name].unsafe |= unsafe
    elif tensor_name in module._buffers or tensor_name in module._parameters:
        made = ParametrizationList([parametrization], getattr(module, tensor_name), unsafe=unsafe)
        delattr(module, tensor_name)
        if not is_parametrized(module):
            _parametrize_class(module)
            module.parametrizations = ModuleDict()
        setattr(type(module), tensor_name, _property(tensor_name))
        module.parametrizations[tensor_name] = made
    else:
        raise ArgumentError(
            f"Module '{module}' does not have a parameter, a buffer, or a parametrized element with name '{tensor_name}'"
        )
    return module


def is_parametrized(module: Any, tensor_name: str | None = None) -> bool:
    """Whether a tensor of the module, or that one, is parametrized."""
    found = getattr(module, "parametrizations", None)
    if not isinstance(found, ModuleDict):
        return False
    return len(found) > 0 if tensor_name is None else tensor_name in found


def remove_parametrizations(module: Any, tensor_name: str, leave_parametrized: bool = True) -> Any:
    """Makes the tensor a parameter or buffer again: its value, or (not `leave_parametrized`) what it started from.

    ArgumentError where it is not parametrized, or where it starts from several tensors.
    """
    if not is_parametrized(module, tensor_name):
        raise ArgumentError(f"Module {module} does not have a parametrization on {tensor_name}")
    own = module.parametrizations[tensor_name]
    if own.is_tensor:
        original = own.original
        if leave_parametrized:
            with no_grad():
                original.data = getattr(module, tensor_name).detach()
    elif leave_parametrized:
        tensor = getattr(module, tensor_name)
        original = Parameter(tensor.detach()) if tensor.requires_grad else tensor
    else:
        raise ArgumentError(
            "Cannot leave unparametrized (`leave_parametrized=False`) a tensor that is parametrized in terms of a sequence of "
            "tensors."
        )
    delattr(type(module), tensor_name)
    del module.parametrizations[tensor_name]
    _register(module, tensor_name, original)
    if not is_parametrized(module):
        del module.parametrizations
        object.__setattr__(module, "__class__", type(module).__bases__[0])
    EPOCH.bump()
    return module


def type_before_parametrizations(module: Any) -> type:
    """The module's class, that without parametrizations where it has some."""
    return type(module).__bases__[0] if is_parametrized(module) else type(module)


def transfer_parametrizations_and_params(from_module: Any, to_module: Any, tensor_name: str | None = None) -> Any:
    """Registers the parametrizations of one module on another, with the tensors they start from; returns the other."""
    if not is_parametrized(from_module):
        return to_module
    for name in list(from_module.parametrizations) if tensor_name is None else [tensor_name]:
        own = from_module.parametrizations[name]
        if not hasattr(to_module, name):
            setattr(to_module, name, Parameter(getattr(from_module, name).detach()))
        for parametrization in own:
            register_parametrization(to_module, name, parametrization, unsafe=own.unsafe)
        other = to_module.parametrizations[name]
        parts = ["original"] if own.is_tensor else [f"original{i}" for i in range(own.ntensors)]
        for part in parts:
            setattr(other, part, getattr(own, part))
    return to_module


__all__ = [
    "ParametrizationList", "cached", "is_parametrized", "register_parametrization", "remove_parametrizations",
    "transfer_parametrizations_and_params", "type_before_parametrizations",
]  # fmt: skip
