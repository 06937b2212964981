"""Pruning: parameters with a mask of zeros and ones.

Masks are chosen at once, eagerly; the pruned tensor is computed where it is read.
"""

from __future__ import annotations

import numbers
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

from graphc.core.context import eagerly
from graphc.core.errors import ArgumentError, DimensionError
from graphc.functions.creation import ones_like, zeros_like
from graphc.functions.norms import norm
from graphc.functions.random import rand, rand_like
from graphc.functions.sorting import kthvalue, topk
from graphc.grad_mode import no_grad
from graphc.nn.utils.computed import compute, stop_computing, take_back
from graphc.nn.utils.convert_parameters import parameters_to_vector


class BasePruningMethod(ABC):
    """The hook that marks a pruned module, and the way its mask is computed."""

    PRUNING_TYPE: ClassVar[str]
    _tensor_name: Any = None

    def __call__(self, module: Any, inputs: Any) -> None:  # noqa: B027
        """Nothing is left to do before a call."""

    @abstractmethod
    def compute_mask(self, t: Any, default_mask: Any) -> Any:
        """The mask for importance scores t, on top of `default_mask`."""

    def apply_mask(self, module: Any) -> Any:
        """The pruned tensor. AssertionError before `apply`."""
        if self._tensor_name is None:
            raise AssertionError(f"Module {module} has to be pruned")
        original = getattr(module, self._tensor_name + "_orig")
        return getattr(module, self._tensor_name + "_mask").to(dtype=original.dtype) * original

    @classmethod
    def apply(cls, module: Any, name: str, *args: Any, importance_scores: Any = None, **kwargs: Any) -> Any:
        """Prunes a tensor, on top of what it was pruned by before; returns the method, or all in a PruningContainer."""
        before = [(key, hook) for key, hook in module._forward_pre_hooks.items() if _prunes(hook, name)]
        method: Any = cls(*args, **kwargs)
        method._tensor_name = name
        for key, hook in before:
            del module._forward_pre_hooks[key]
            container = hook if isinstance(hook, PruningContainer) else PruningContainer(hook)
            container.add_pruning_method(method)
            method = container
        tensor = getattr(module, name)
        if importance_scores is not None and tuple(importance_scores.shape) != tuple(tensor.shape):
            raise AssertionError(
                f"importance_scores should have the same shape as parameter {name} of {module}, got "
                f"{importance_scores.shape} vs {tensor.shape}"
            )
        scores = (tensor if importance_scores is None else importance_scores).detach()
        with no_grad(), eagerly():
            default = getattr(module, name + "_mask").clone() if before else ones_like(tensor)
            mask = method.compute_mask(scores, default_mask=default)
        if before:
            stop_computing(module, name)
        else:
            delattr(module, name)
            module.register_parameter(name + "_orig", tensor)
        module.register_buffer(name + "_mask", mask)
        compute(module, name, method.apply_mask)
        module.register_forward_pre_hook(method)
        return method

    def prune(self, t: Any, default_mask: Any = None, importance_scores: Any = None) -> Any:
        """t with its pruned elements set to zero."""
        if importance_scores is not None and tuple(importance_scores.shape) != tuple(t.shape):
            raise AssertionError(
                f"importance_scores should have the same shape as tensor t, got {importance_scores.shape} vs {t.shape}"
            )
        mask = ones_like(t) if default_mask is None else default_mask
        return t * self.compute_mask(t if importance_scores is None else importance_scores, default_mask=mask)

    def remove(self, module: Any) -> None:
        """Makes the pruned tensor a parameter again. AssertionError before `apply`."""
        weight, name = self.apply_mask(module).detach(), self._tensor_name
        original = module._parameters[name + "_orig"]
        stop_computing(module, name)
        delattr(module, name + "_orig")
        delattr(module, name + "_mask")
        original.data = weight
        setattr(module, name, original)


def _prunes(hook: Any, name: str) -> bool:
    return isinstance(hook, BasePruningMethod) and hook._tensor_name == name


class PruningContainer(BasePruningMethod):
    """Several methods that pruned one tensor, the last on top of those before."""

    def __init__(self, *args: Any) -> None:
        self._pruning_methods: tuple[Any, ...] = ()
        if len(args) == 1:
            self._tensor_name = args[0]._tensor_name
        for method in args:
            self.add_pruning_method(method)

    def add_pruning_method(self, method: Any) -> None:
        """Adds a method of the same tensor. TypeError for anything else, ArgumentError for another tensor's."""
        if not isinstance(method, BasePruningMethod) and method is not None:
            raise TypeError(f"{type(method)} is not a BasePruningMethod subclass")
        if method is not None and self._tensor_name != method._tensor_name:
            raise ArgumentError(
                f"Can only add pruning methods acting on the parameter named '{self._tensor_name}' to PruningContainer "
                f"{self}. Found '{method._tensor_name}'"
            )
        self._pruning_methods += (method,)

    def __len__(self) -> int:
        return len(self._pruning_methods)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._pruning_methods)

    def __getitem__(self, index: Any) -> Any:
        return self._pruning_methods[index]

    def compute_mask(self, t: Any, default_mask: Any) -> Any:
        """The last method's mask for what the others left."""
        method, mask = self._pruning_methods[-1], default_mask.to(dtype=t.dtype)
        if method.PRUNING_TYPE == "unstructured":
            left: Any = default_mask == 1
        elif method.PRUNING_TYPE == "structured":
            dim = method.dim + t.dim() if method.dim < 0 else method.dim
            kept = default_mask.sum(dim=[d for d in range(t.dim()) if d != dim]) != 0
            left = tuple(kept if d == dim else slice(None) for d in range(t.dim()))
        elif method.PRUNING_TYPE == "global":
            left = (slice(None),) * t.dim()
        else:
            raise ArgumentError(f"Unrecognized PRUNING_TYPE {method.PRUNING_TYPE}")
        mask[left] = method.compute_mask(t[left], default_mask=default_mask[left]).to(dtype=mask.dtype)
        return mask


# --- amounts ----------------------------------------------------------------------------------------------------------


def _check_amount(amount: Any) -> None:
    if not isinstance(amount, numbers.Real):
        raise TypeError(f"Invalid type for amount: {amount}. Must be int or float.")
    whole = isinstance(amount, numbers.Integral)
    if (whole and amount < 0) or (not whole and not 0.0 <= float(amount) <= 1.0):
        raise ArgumentError(f"amount={amount} should either be a float in the range [0, 1] or a non-negative integer")


def _count(amount: Any, size: int) -> int:
    """How many of `size` units to prune. ArgumentError for more than there are."""
    count = int(amount) if isinstance(amount, numbers.Integral) else round(amount * size)
    if count > size:
        raise ArgumentError(f"amount={count} should be smaller than the number of parameters to prune={size}")
    return count


def _check_channels(t: Any, dim: int) -> None:
    if len(t.shape) <= 1:
        raise ArgumentError(
            "Structured pruning can only be applied to multidimensional tensors. Found tensor of shape "
            f"{t.shape} with {len(t.shape)} dims"
        )
    if dim >= t.dim():
        raise DimensionError(f"Invalid index {dim} for tensor of size {t.shape}")


def _channel_mask(t: Any, dim: int, kept: Any, default_mask: Any) -> Any:
    mask = zeros_like(t)
    mask[tuple(kept if d == dim % t.dim() else slice(None) for d in range(t.dim()))] = 1
    return mask * default_mask.to(dtype=mask.dtype)


# --- methods ----------------------------------------------------------------------------------------------------------


class Identity(BasePruningMethod):
    """Prunes nothing."""

    PRUNING_TYPE = "unstructured"

    def compute_mask(self, t: Any, default_mask: Any) -> Any:
        """The mask there is."""
        return default_mask


class _Unstructured(BasePruningMethod):
    """Prunes the elements with the smallest (or, `_largest`, greatest) scores."""

    PRUNING_TYPE = "unstructured"
    _largest = False

    def __init__(self, amount: Any) -> None:
        _check_amount(amount)
        self.amount = amount

    def _scores(self, t: Any) -> Any:
        raise NotImplementedError

    def compute_mask(self, t: Any, default_mask: Any) -> Any:
        """The mask without `amount` elements."""
        count = _count(self.amount, t.numel())
        mask = default_mask.clone()
        if count:
            mask.view(-1)[topk(self._scores(t).view(-1), count, largest=self._largest).indices] = 0
        return mask


class RandomUnstructured(_Unstructured):
    """Prunes `amount` (a share or a count) elements at random."""

    _largest = True

    def _scores(self, t: Any) -> Any:
        return rand_like(t)


class L1Unstructured(_Unstructured):
    """Prunes the `amount` (a share or a count) elements of the smallest absolute value."""

    def _scores(self, t: Any) -> Any:
        return t.abs()


class RandomStructured(BasePruningMethod):
    """Prunes `amount` (a share or a count) slices along `dim` at random."""

    PRUNING_TYPE = "structured"

    def __init__(self, amount: Any, dim: int = -1) -> None:
        _check_amount(amount)
        self.amount = amount
        self.dim = dim

    def compute_mask(self, t: Any, default_mask: Any) -> Any:
        """The mask without `amount` slices."""
        _check_channels(t, self.dim)
        size = t.shape[self.dim]
        count = _count(self.amount, size)
        if not count:
            return default_mask
        chances = rand(size)
        return _channel_mask(t, self.dim, chances > kthvalue(chances, count).values, default_mask)


class LnStructured(BasePruningMethod):
    """Prunes the `amount` (a share or a count) slices along `dim` of the smallest n-norm."""

    PRUNING_TYPE = "structured"

    def __init__(self, amount: Any, n: Any, dim: int = -1) -> None:
        _check_amount(amount)
        self.amount = amount
        self.n = n
        self.dim = dim

    def compute_mask(self, t: Any, default_mask: Any) -> Any:
        """The mask without `amount` slices."""
        _check_channels(t, self.dim)
        size = t.shape[self.dim]
        count = _count(self.amount, size)
        if not count:
            return default_mask
        sizes = norm(t, p=self.n, dim=[d for d in range(t.dim()) if d != self.dim % t.dim()])
        return _channel_mask(t, self.dim, topk(sizes, size - count, largest=True).indices, default_mask)


class CustomFromMask(BasePruningMethod):
    """Prunes by a mask that is given."""

    PRUNING_TYPE = "global"

    def __init__(self, mask: Any) -> None:
        self.mask = mask

    def compute_mask(self, t: Any, default_mask: Any) -> Any:
        """Both masks."""
        if tuple(default_mask.shape) != tuple(self.mask.shape):
            raise AssertionError(
                f"default_mask shape {default_mask.shape} must match self.mask shape {self.mask.shape}"
            )
        return default_mask * self.mask.to(dtype=default_mask.dtype)


# --- functions --------------------------------------------------------------------------------------------------------


def identity(module: Any, name: str) -> Any:
    """Marks a tensor as pruned without pruning it; returns the module."""
    Identity.apply(module, name)
    return module


def random_unstructured(module: Any, name: str, amount: Any) -> Any:
    """Prunes elements at random; returns the module."""
    RandomUnstructured.apply(module, name, amount=amount)
    return module


def l1_unstructured(module: Any, name: str, amount: Any, importance_scores: Any = None) -> Any:
    """Prunes the elements of the smallest absolute value (or score); returns the module."""
    L1Unstructured.apply(module, name, amount=amount, importance_scores=importance_scores)
    return module


def random_structured(module: Any, name: str, amount: Any, dim: int) -> Any:
    """Prunes slices along `dim` at random; returns the module."""
    RandomStructured.apply(module, name, amount=amount, dim=dim)
    return module


def ln_structured(module: Any, name: str, amount: Any, n: Any, dim: int, importance_scores: Any = None) -> Any:
    """Prunes the slices along `dim` of the smallest n-norm; returns the module."""
    LnStructured.apply(module, name, amount=amount, n=n, dim=dim, importance_scores=importance_scores)
    return module


def custom_from_mask(module: Any, name: str, mask: Any) -> Any:
    """Prunes by a mask; returns the module."""
    CustomFromMask.apply(module, name, mask=mask)
    return module


def global_unstructured(parameters: Any, pruning_method: Any, importance_scores: Any = None, **kwargs: Any) -> None:
    """Prunes the tensors of `parameters`, pairs (module, name), as if they were one vector.

    TypeError for parameters that are no iterable and for methods that prune slices.
    """
    if not isinstance(parameters, Iterable):
        raise TypeError("global_unstructured(): parameters is not an Iterable")
    pairs = list(parameters)
    scores = {} if importance_scores is None else importance_scores
    if not isinstance(scores, dict):
        raise TypeError("global_unstructured(): importance_scores must be of type dict")
    with no_grad(), eagerly():
        tensors = [getattr(module, name) for module, name in pairs]
        values = parameters_to_vector([scores.get(pair, tensor) for pair, tensor in zip(pairs, tensors, strict=True)])
        default = parameters_to_vector(
            [getattr(m, n + "_mask", ones_like(t)) for (m, n), t in zip(pairs, tensors, strict=True)]
        )
        container = PruningContainer()
        method = pruning_method(**kwargs)
        container._tensor_name = method._tensor_name = "temp"
        if method.PRUNING_TYPE != "unstructured":
            raise TypeError(
                'Only "unstructured" PRUNING_TYPE supported for the `pruning_method`. Found method '
                f"{pruning_method} of type {method.PRUNING_TYPE}"
            )
        container.add_pruning_method(method)
        mask = container.compute_mask(values, default)
        at = 0
        for (module, name), tensor in zip(pairs, tensors, strict=True):
            custom_from_mask(module, name, mask[at : at + tensor.numel()].view_as(tensor))
            at += tensor.numel()


def remove(module: Any, name: str) -> Any:
    """Makes pruning permanent: the pruned tensor is a parameter again; returns the module. ArgumentError if there is none."""
    if not take_back(module, lambda hook: _prunes(hook, name)):
        raise ArgumentError(f"Parameter '{name}' of module {module} has to be pruned before pruning can be removed")
    return module


def is_pruned(module: Any) -> bool:
    """Whether a tensor of the module or of one below is pruned."""
    return any(isinstance(h, BasePruningMethod) for m in module.modules() for h in m._forward_pre_hooks.values())


__all__ = [
    "BasePruningMethod", "CustomFromMask", "Identity", "L1Unstructured", "LnStructured", "PruningContainer",
    "RandomStructured", "RandomUnstructured", "custom_from_mask", "global_unstructured", "identity", "is_pruned",
    "l1_unstructured", "ln_structured", "random_structured", "random_unstructured", "remove",
]  # fmt: skip
