"""Einstein summation: the equation is read, then carried out with transposes, products and one contraction a pair."""

from __future__ import annotations

import string
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from graphc.core.autocast import AUTOCAST, DEVICE_LOWER, LOWER, brought
from graphc.core.dims import Size, product
from graphc.core.errors import ArgumentError, ShapeError
from graphc.functions.joining import tensors_argument
from graphc.functions.promotion import promote
from graphc.primitives import views
from graphc.primitives.contraction import matmul
from graphc.primitives.elementwise import multiply
from graphc.primitives.reductions import reduce_sum

DOTS = "..."
Label = str | int


class Term(NamedTuple):
    """A tensor and the label of each of its dimensions; a label is a letter, or a negative number under an ellipsis."""

    tensor: Any
    labels: tuple[Label, ...]

    def sizes_of(self, labels: list[Label]) -> list[Size]:
        """The sizes of the dimensions with these labels."""
        return [self.tensor.shape[self.labels.index(label)] for label in labels]


# --- reading ---------------------------------------------------------------------------------------------------------


def _subscripts(text: str, where: str) -> list[str]:
    """The letters of one operand, an ellipsis as one item."""
    found: list[str] = []
    at = 0
    while at < len(text):
        if text.startswith(DOTS, at):
            if DOTS in found:
                raise ShapeError(f"einsum(): found '.' for {where} for which an ellipsis was already found")
            found.append(DOTS)
            at += 3
            continue
        if text[at] == ".":
            raise ShapeError(f"einsum(): found '.' for {where} that is not part of any ellipsis")
        if text[at] not in string.ascii_letters:
            raise ShapeError(
                f"einsum(): invalid subscript given at index {at} in the equation string, subscripts must be in "
                "[a-zA-Z]"
            )
        found.append(text[at])
        at += 1
    return found


def _read(equation: str, count: int) -> tuple[list[list[str]], list[str] | None]:
    """The subscripts of the operands and of the output (None where it is implied)."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    operands = left.split(",")
    if len(operands) != count:
        few = "fewer" if len(operands) > count else "more"
        raise ShapeError(f"einsum(): {few} operands were provided than specified in the equation")
    return [_subscripts(text, f"operand {i}") for i, text in enumerate(operands)], (
        _subscripts(right, "the output") if arrow else None
    )


def _letters(sublist: Iterable[Any]) -> str:
    """The letters that stand for the numbers of a sublist."""
    found = ""
    for item in sublist:
        if item is Ellipsis:
            found += DOTS
        elif isinstance(item, int) and 0 <= item < 52:
            found += (string.ascii_uppercase + string.ascii_lowercase)[item]
        else:
            raise ArgumentError(f"einsum(): subscripts of a sublist must be in [0, 52), got {item}")
    return found


def _from_sublists(args: Sequence[Any]) -> tuple[str, tuple[Any, ...]]:
    """`einsum(x, [0, 1], y, [1, 2], [0, 2])` as an equation and operands."""
    pairs = len(args) // 2
    equation = ",".join(_letters(args[2 * i + 1]) for i in range(pairs))
    if len(args) % 2:
        equation += "->" + _letters(args[-1])
    return equation, tuple(args[: 2 * pairs : 2])


def _label(subscripts: list[list[str]], operands: Sequence[Any]) -> list[Term]:
    """Each operand with one label a dimension; those under an ellipsis are counted from the right."""
    terms = []
    for i, (items, x) in enumerate(zip(subscripts, operands, strict=True)):
        ndim = len(x.shape)
        hidden = ndim - len(items) + (1 if DOTS in items else 0)
        if hidden < 0 or (hidden and DOTS not in items):
            missing = "and no ellipsis was given" if DOTS not in items else "even with an empty ellipsis"
            raise ShapeError(
                f"einsum(): the number of subscripts in the equation ({len(items)}) does not match the number of "
                f"dimensions ({ndim}) for operand {i} {missing}"
            )
        labels: list[Label] = []
        for item in items:
            labels += list(range(-hidden, 0)) if item == DOTS else [item]
        terms.append(_without_repeats(Term(x, tuple(labels)), i))
    return terms


def _without_repeats(term: Term, which: int) -> Term:
    """The diagonal of dimensions that bear one label."""
    x, labels = term
    for label in dict.fromkeys(labels):
        while labels.count(label) > 1:
            a = labels.index(label)
            b = labels.index(label, a + 1)
            gap = x.shape[a] - x.shape[b]
            if isinstance(gap, int) and gap:
                raise ShapeError(
                    f"einsum(): subscript {label} is repeated for operand {which} but the sizes don't match, "
                    f"{x.shape[b]} != {x.shape[a]}"
                )
            x = views.diagonal(x, offset=0, axis1=a, axis2=b)
            labels = (*labels[:a], *labels[a + 1 : b], *labels[b + 1 :], label)
    return Term(x, labels)


def _output(given: list[str] | None, subscripts: list[list[str]], terms: list[Term]) -> tuple[Label, ...]:
    """The labels of the result: as given, or those under the ellipses, then the letters that occur once, sorted."""
    hidden = sorted({label for term in terms for label in term.labels if isinstance(label, int)})
    letters = [item for items in subscripts for item in items if item != DOTS]
    if given is None:
        return (*hidden, *sorted(letter for letter in set(letters) if letters.count(letter) == 1))
    out: list[Label] = []
    for item in given:
        if item != DOTS and given.count(item) > 1:
            raise ShapeError(f"einsum(): output subscript {item} appears more than once in the output")
        if item != DOTS and item not in letters:
            raise ShapeError(f"einsum(): output subscript {item} does not appear in the equation for any input operand")
        out += hidden if item == DOTS else [item]
    return tuple(out)


# --- carrying out ----------------------------------------------------------------------------------------------------


def _sizes(terms: list[Term]) -> dict[Label, Size]:
    """The size of each label; a size of 1 gives way to any other."""
    sizes: dict[Label, Size] = {}
    for i, (x, labels) in enumerate(terms):
        for label, size in zip(labels, x.shape, strict=True):
            known = sizes.get(label, 1)
            gap = size - known
            if known != 1 and size != 1 and isinstance(gap, int) and gap:
                raise ShapeError(
                    f"einsum(): subscript {label} has size {size} for operand {i} which does not broadcast with "
                    f"previously seen size {known}"
                )
            sizes[label] = size if known == 1 else known
    return sizes


def _summed(term: Term, keep: set[Label]) -> Term:
    """The term with the labels that nobody else needs summed away."""
    x, labels = term
    axes = tuple(i for i, label in enumerate(labels) if label not in keep)
    return Term(reduce_sum(x, axes=axes), tuple(la for la in labels if la in keep)) if axes else term


def _stripped(term: Term, sizes: dict[Label, Size]) -> Term:
    """The term without dimensions of size 1 that another operand has larger."""
    x, labels = term
    kept = [i for i, label in enumerate(labels) if not (x.shape[i] == 1 and sizes[label] != 1)]
    if len(kept) == len(labels):
        return term
    return Term(views.reshape(x, shape=tuple([x.shape[i] for i in kept])), tuple([labels[i] for i in kept]))


def _arranged(term: Term, *groups: list[Label]) -> Any:
    """The term's tensor with its labels in the order of the groups, each group but the first as one dimension."""
    x, labels = term
    order = tuple(labels.index(label) for group in groups for label in group)
    if order != tuple(range(len(order))):
        x = views.permute(x, axes=order)
    shape = tuple(x.shape[: len(groups[0])])
    at = len(groups[0])
    for group in groups[1:]:
        shape = (*shape, product(tuple(x.shape[at : at + len(group)])))
        at += len(group)
    return x if shape == tuple(x.shape) else views.reshape(x, shape=shape)


def _spread(term: Term, labels: tuple[Label, ...]) -> Any:
    """The term's tensor with one dimension for each of `labels`, of size 1 where it lacks one."""
    x = _arranged(term, [label for label in labels if label in term.labels])
    own = iter(x.shape)
    shape = tuple([next(own) if label in term.labels else 1 for label in labels])
    return x if shape == tuple(x.shape) else views.reshape(x, shape=shape)


def _pair(a: Term, b: Term, keep: set[Label]) -> Term:
    """The product of two terms, summed over the labels that only they have."""
    shared = [label for label in a.labels if label in b.labels]
    batch = [label for label in shared if label in keep]
    inner = [label for label in shared if label not in keep]
    left = [label for label in a.labels if label not in shared]
    right = [label for label in b.labels if label not in shared]
    labels = (*batch, *left, *right)
    if not inner:
        return Term(multiply(*promote(_spread(a, labels), _spread(b, labels))), labels)
    x, y = _arranged(a, batch, left, inner), _arranged(b, batch, right, inner)
    if AUTOCAST.used:
        x, y = brought(LOWER, x, y)
    out = matmul(x, y, transpose_a=False, transpose_b=True)
    outer = (*a.sizes_of(batch), *a.sizes_of(left), *b.sizes_of(right))
    return Term(out if tuple(out.shape) == outer else views.reshape(out, shape=outer), labels)


def einsum(*args: Any) -> Any:
    """The sum of products that an equation such as `"bij,bjk->bik"` names, for any number of operands.

    Takes repeated subscripts (diagonals), `...` (broadcast dimensions), an implied output, and the sublist form
    `einsum(x, [0, 1], y, [1, 2], [0, 2])`. Raises ShapeError for an equation that does not fit the operands.
    """
    if len(args) < 2:
        raise ArgumentError(
            "einsum(): must specify the equation string and at least one operand, or at least one operand and its "
            "subscripts list"
        )
    if isinstance(args[0], str):
        equation = args[0]
        given = args[1] if len(args) == 2 and isinstance(args[1], Sequence) else args[1:]
    else:
        equation, given = _from_sublists(args)
    operands = tensors_argument(tuple(given), "einsum", "operands")
    if AUTOCAST.used:
        operands = brought(DEVICE_LOWER, *operands)
    subscripts, right = _read(equation, len(operands))
    terms = _label(subscripts, operands)
    out = _output(right, subscripts, terms)
    sizes = _sizes(terms)
    terms = [_stripped(term, sizes) for term in terms]
    done = terms[0]
    for i, term in enumerate(terms[1:], 1):
        later = set(out).union(*(t.labels for t in terms[i + 1 :]))
        done, term = _summed(done, later | set(term.labels)), _summed(term, later | set(done.labels))
        done = _pair(done, term, later)
    done = _summed(done, set(out))
    x = _spread(done, out)
    shape = tuple([sizes[label] for label in out])
    return x if tuple(x.shape) == shape else views.expand(x, shape=shape)
