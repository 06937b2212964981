"""Reading a state_dict into modules: everything is checked first, then everything is written."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from graphc.core.context import eagerly
from graphc.core.tape import TensorBase
from graphc.grad_mode import no_grad
from graphc.nn.modules.tree import ModuleTree, type_name
from graphc.nn.parameter import Buffer, Parameter


class IncompatibleKeys(NamedTuple):
    """What `load_state_dict` returns: names the modules have and the dict has not, and the other way round."""

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return f"_IncompatibleKeys(missing_keys={self.missing_keys}, unexpected_keys={self.unexpected_keys})"


class StateView(OrderedDict[str, Any]):
    """The entries of a state_dict below one prefix, and the writes that loading it will do once all is checked."""

    def __init__(self, entries: Mapping[str, Any], writes: list[Callable[[], None]]):
        super().__init__(entries)
        self.writes = writes

    def below(self, prefix: str) -> StateView:
        """The entries whose names start with `prefix`."""
        return StateView({k: v for k, v in self.items() if k.startswith(prefix)}, self.writes)


def load_own(
    module: Any, state: Mapping[str, Any], prefix: str, meta: Mapping[str, Any], strict: bool,
    missing: list[str], unexpected: list[str], errors: list[str],
) -> None:  # fmt: skip
    """Plans (in a `StateView`) or does (in a plain dict) the writes for the module's own parameters and buffers."""
    for hook in module._load_state_dict_pre_hooks.values():
        hook(state, prefix, meta, strict, missing, unexpected, errors)
    owned = {
        **module._parameters,
        **{n: b for n, b in module._buffers.items() if n not in module._non_persistent_buffers_set},
    }
    owned = {name: tensor for name, tensor in owned.items() if tensor is not None}
    writes = state.writes if isinstance(state, StateView) else []
    for name, target in owned.items():
        key = prefix + name
        if key not in state:
            if strict:
                missing.append(key)
        elif fits(key, state[key], target, errors):
            writes.append(_writer(module, name, target, state[key], bool(meta.get("assign_to_params_buffers"))))
    _load_extra(module, state, prefix, strict, missing, unexpected, writes)
    if strict:
        for key in state:
            head, _, rest = key[len(prefix) :].partition(".")
            known = head in module._modules if rest else head in owned
            if key.startswith(prefix) and not known and key != prefix + "_extra_state":
                unexpected.append(key)
    if not isinstance(state, StateView):
        for write in writes:
            write()


def _load_extra(
    module: Any, state: Mapping[str, Any], prefix: str, strict: bool,
    missing: list[str], unexpected: list[str], writes: list[Callable[[], None]],
) -> None:  # fmt: skip
    key = prefix + "_extra_state"
    wanted = type(module).set_extra_state is not ModuleTree.set_extra_state
    if wanted and key in state:
        value = state[key]
        writes.append(lambda: module.set_extra_state(value))
    elif strict and wanted:
        missing.append(key)
    elif strict and key in state:
        unexpected.append(key)


def fits(key: str, value: Any, target: Any, errors: list[str]) -> bool:
    """Whether `value` can be written to `target`; if not, an explanation is added to `errors`."""
    if not isinstance(value, TensorBase):
        errors.append(
            f'While copying the parameter named "{key}", expected torch.Tensor or Tensor-like object from checkpoint but '
            f"received {type_name(value) if value is None else type(value)}"
        )
        return False
    if tuple(value.shape) == tuple(target.shape) or (len(target.shape) == 0 and tuple(value.shape) == (1,)):
        return True
    errors.append(
        f"size mismatch for {key}: copying a param with shape {value.shape} from checkpoint, "
        f"the shape in current model is {target.shape}."
    )
    return False


def _writer(module: Any, name: str, target: Any, value: Any, assign: bool) -> Callable[[], None]:
    def write() -> None:
        with no_grad(), eagerly():
            if not assign:
                target.copy_(value[0] if len(target.shape) == 0 and len(value.shape) == 1 else value)
                return
            new = value
            if isinstance(target, Parameter) and not isinstance(new, Parameter):
                new = Parameter(new, requires_grad=target.requires_grad)
            elif isinstance(target, Parameter):
                new.requires_grad_(target.requires_grad)
            elif isinstance(target, Buffer) and not isinstance(new, Buffer):
                new = Buffer(new, persistent=target.persistent)
            setattr(module, name, new)

    return write


def load_tree(module: Any, state: Mapping[str, Any], strict: bool, assign: bool) -> IncompatibleKeys:
    """`Module.load_state_dict`. Raises RuntimeError listing everything that does not fit; nothing is changed then."""
    if not isinstance(state, Mapping):
        raise TypeError(f"Expected state_dict to be dict-like, got {type(state)}.")
    missing: list[str] = []
    unexpected: list[str] = []
    errors: list[str] = []
    metadata = getattr(state, "_metadata", None)
    writes: list[Callable[[], None]] = []
    after: list[tuple[Any, IncompatibleKeys]] = []

    def visit(target: Any, part: StateView, prefix: str) -> None:
        meta = dict(metadata.get(prefix[:-1], {})) if metadata is not None else {}
        if assign:
            meta["assign_to_params_buffers"] = True
        target._load_from_state_dict(part, prefix, meta, True, missing, unexpected, errors)
        for name, child in target._modules.items():
            if child is not None:
                below = f"{prefix}{name}."
                visit(child, part.below(below), below)
        if target._load_state_dict_post_hooks:
            after.append((target, IncompatibleKeys(missing, unexpected)))

    visit(module, StateView(state, writes), "")
    _run_post_hooks(after)
    if strict:
        for what, keys_ in (("Unexpected", unexpected), ("Missing", missing)):
            if keys_:
                errors.insert(0, f"{what} key(s) in state_dict: " + ", ".join(f'"{k}"' for k in keys_) + ". ")
    if errors:
        raise RuntimeError(f"Error(s) in loading state_dict for {module._get_name()}:\n\t" + "\n\t".join(errors))
    for write in writes:
        write()
    return IncompatibleKeys(missing, unexpected)


def _run_post_hooks(after: list[tuple[Any, IncompatibleKeys]]) -> None:
    """Calls the hooks that may edit the lists of missing and unexpected keys before they are judged."""
    for target, keys in after:
        for hook in target._load_state_dict_post_hooks.values():
            if hook(target, keys) is not None:
                raise RuntimeError(
                    "Hooks registered with ``register_load_state_dict_post_hook`` are not expected to return new values, "
                    "if incompatible_keys need to be modified, it should be done inplace."
                )


__all__ = ["IncompatibleKeys", "StateView", "load_own", "load_tree"]
