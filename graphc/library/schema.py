"""Schemas of operators: what an op takes and gives as one line of text, `(Tensor x, SymInt n=2) -> Tensor`."""

from __future__ import annotations

import collections.abc
import inspect
import re
import types
import typing
from collections.abc import Callable, Iterable
from typing import Any

from graphc.core.devices import Device
from graphc.core.errors import ArgumentError
from graphc.core.tensor_types import DType
from graphc.tensors import Tensor

_WORDS: dict[Any, str] = {
    Tensor: "Tensor", int: "SymInt", float: "float", bool: "bool", str: "str", DType: "ScalarType", Device: "Device",
}  # fmt: skip
_NUMBERS = frozenset((int, float, bool))
_NONE = type(None)
#: words that may stand in lists, and those whose lists may be left out
_IN_LISTS = ("Tensor", "Tensor?", "SymInt", "float", "bool", "Scalar")
_OPTIONAL_LISTS = ("SymInt", "float", "bool")
_RETURNED = ("Tensor", "Tensor[]", "SymInt", "float", "bool", "Scalar")


class Schema(typing.NamedTuple):
    """A schema taken apart: the arguments that are one tensor and those that are written to, and the words for the results."""

    text: str
    tensors: tuple[str, ...]
    mutated: tuple[str, ...]
    returns: tuple[str, ...]
    is_tuple: bool


def infer_schema(
    prototype_function: Callable[..., Any], /, *, mutates_args: str | Iterable[str], op_name: str | None = None
) -> str:
    """The schema of a function from its type hints; `mutates_args` names the arguments it writes to ("unknown": all).

    ArgumentError where a type hint is missing or has no place in a schema.
    """
    here = inspect.signature(prototype_function)

    def refuse(what: str) -> typing.NoReturn:
        raise ArgumentError(f"infer_schema(func): {what} Got func with signature {here})")

    try:
        signature = inspect.signature(prototype_function, eval_str=True)
    except NameError as error:
        refuse(f"Unsupported type annotation. It is not a type. ({error}).")
    mutated = mutates_args if isinstance(mutates_args, str) else tuple(mutates_args)
    parts: list[str] = []
    for number, parameter in enumerate(signature.parameters.values()):
        if parameter.kind is parameter.KEYWORD_ONLY and "*" not in parts:
            parts.append("*")
        parts.append(_argument(parameter, number, mutated, refuse))
    unknown = set() if mutated == "unknown" else set(mutated) - set(signature.parameters)
    if unknown:
        refuse(
            f"{unknown} in mutates_args were not found in the custom op's signature. mutates_args should contain the names of "
            "all args that the custom op mutates, or just the string 'unknown' if you don't know."
        )
    return f"{op_name or ''}({', '.join(parts)}) -> {_returned(signature.return_annotation, refuse)}"


def _argument(parameter: inspect.Parameter, number: int, mutated: Any, refuse: Callable[[str], typing.NoReturn]) -> str:
    name, hint = parameter.name, parameter.annotation
    if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
        refuse("We do not support positional-only args, varargs, or varkwargs.")
    if hint is parameter.empty:
        refuse(f"Parameter {name} must have a type annotation.")
    word = _word(hint)
    if word is None:
        instead = ""
        if typing.get_origin(hint) is tuple:
            instead = " We do not support Tuple inputs in schema. As a workaround, please try to use List instead."
        refuse(f"Parameter {name} has unsupported type {hint}.{instead}")
    if isinstance(mutated, str) and mutated != "unknown":
        raise ArgumentError(
            "mutates_args must either be a sequence of the names of the arguments that are mutated or the string 'unknown'. "
        )
    tensors = word.startswith("Tensor")
    if mutated != "unknown" and name in mutated and not tensors:
        refuse(f"Parameter {name} is in mutable_args but only Tensors or collections of Tensors can be mutated")
    if tensors and (mutated == "unknown" or name in mutated):
        word = f"Tensor(a{number}!){word.removeprefix('Tensor')}"
    return f"{word} {name}" + ("" if parameter.default is parameter.empty else f"={_default(parameter, refuse)}")


def _default(parameter: inspect.Parameter, refuse: Callable[[str], typing.NoReturn]) -> str:
    value = parameter.default
    if value is None or isinstance(value, int | float | bool):
        return str(value)
    if isinstance(value, str | Device):
        return f'"{value}"'
    if isinstance(value, DType):
        return repr(value).partition(".")[2]
    refuse(f"Parameter {parameter.name} has an unsupported default value type {type(value)}.")


def _word(hint: Any) -> str | None:
    """The word of a schema for a type hint; None where there is none."""
    if hint in _WORDS:
        return _WORDS[hint]
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        rest = frozenset(inner) - {_NONE}
        word = "Scalar" if rest == _NUMBERS else _word(next(iter(rest))) if len(rest) == 1 else None
        if word is None or _NONE not in inner:
            return word
        may = not word.endswith("[]") or word[:-2] in _OPTIONAL_LISTS
        return f"{word}?" if may and not word.endswith("?") else None
    if origin in (list, collections.abc.Sequence) and len(inner) == 1:
        word = _word(inner[0])
        return f"{word}[]" if word in _IN_LISTS else None
    return None


def _returned(hint: Any, refuse: Callable[[str], typing.NoReturn]) -> str:
    if hint is None:
        return "()"
    if hint is inspect.Parameter.empty:
        refuse("No return type annotation was provided. Please add one.")
    is_tuple = typing.get_origin(hint) is tuple
    words = [_word(part) for part in typing.get_args(hint)] if is_tuple else [_word(hint)]
    if any(word not in _RETURNED for word in words):
        refuse(f"Return has unsupported type {hint}.")
    text = ", ".join(map(str, words))
    if not is_tuple:
        return text
    return f"(({text}))" if len(words) == 1 else f"({text})"


def parse_schema(text: str) -> Schema:
    """A schema taken apart; ArgumentError for what is none."""
    match = re.fullmatch(r"\s*\w*\((?P<args>.*)\)\s*->\s*(?P<out>.+?)\s*", text)
    if match is None:
        raise ArgumentError(f"not a schema: {text!r}; one looks like '(Tensor x, int y) -> (Tensor, Tensor)'")
    out = match["out"]
    is_tuple = out.startswith("(")
    names = re.findall(r"\([a-z0-9]+!(?: -> [a-z0-9|*]+)?\)\??(?:\[\])?\??\s+(\w+)", match["args"])
    tensors = re.findall(r"(?:^|,)\s*(?:\*,\s*)?Tensor(?:\([^)]*\))?\s+(\w+)", match["args"])
    words = [word.strip() for word in out.strip("()").split(",") if word.strip()]
    return Schema(text.strip(), tuple(tensors), tuple(names), tuple(words), is_tuple)


__all__ = ["Schema", "infer_schema", "parse_schema"]
