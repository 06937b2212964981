"""Recurrent layers as functions: the input's share of all time steps is one contraction, the rest is a `scan`.

The body of the scan holds only what depends on the step before, so a program's size does not depend on the sequence's
length. Gates are laid out as in PyTorch: LSTM i, f, g, o (Hochreiter and Schmidhuber 1997, with forget gates); GRU r, z, n
(Cho et al. 2014, with the reset gate behind the product).
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from graphc.bodies import BodyTrace
from graphc.control import scan, scan_op
from graphc.core.autocast import LOWER, casts
from graphc.core.context import STATE, recording, set_grad
from graphc.core.one_call import one_call
from graphc.core.tensor_types import TensorType
from graphc.functions.activations import relu
from graphc.functions.dropout import dropout
from graphc.functions.joining import cat, pad, stack
from graphc.functions.shaping import transpose
from graphc.functions.splitting import chunk, slice_axis
from graphc.ir.program import Program, Table
from graphc.nn.linear import linear
from graphc.primitives.contraction import matmul
from graphc.primitives.elementwise import add, multiply, sigmoid, subtract, tanh, where

#: step(state, constants, x) -> the next state; what comes out at a step is the first of its tensors
Step = Callable[[Sequence[Any], Sequence[Any], Any], tuple[Any, ...]]


class Weights(NamedTuple):
    """One direction of one layer: w_ih [G, in], w_hh [G, out], biases [G] or None, w_hr [out, H] or None."""

    w_ih: Any
    w_hh: Any
    b_ih: Any = None
    b_hh: Any = None
    w_hr: Any = None


# --- cells ------------------------------------------------------------------------------------------------------------


def _recurrent_part(h: Any, w_hh: Any) -> Any:
    return matmul(h, w_hh, transpose_a=False, transpose_b=True)


def tanh_step(state: Sequence[Any], constants: Sequence[Any], x: Any) -> tuple[Any, ...]:
    """h' = tanh(x + h w_hh.T); x: f32[N, H], the input's share with both biases."""
    return (tanh(add(x, _recurrent_part(state[0], constants[0]))),)


def relu_step(state: Sequence[Any], constants: Sequence[Any], x: Any) -> tuple[Any, ...]:
    """h' = relu(x + h w_hh.T)."""
    return (relu(add(x, _recurrent_part(state[0], constants[0]))),)


def lstm_step(state: Sequence[Any], constants: Sequence[Any], x: Any) -> tuple[Any, ...]:
    """c' = f c + i g, h' = o tanh(c'), projected by a second constant if there is one; x: f32[N, 4 H]."""
    h, c = state
    i, f, g, o = chunk(add(x, _recurrent_part(h, constants[0])), 4, -1)
    c = add(multiply(sigmoid(f), c), multiply(sigmoid(i), tanh(g)))
    h = multiply(sigmoid(o), tanh(c))
    return (h if len(constants) == 1 else _recurrent_part(h, constants[1])), c


def gru_step(state: Sequence[Any], constants: Sequence[Any], x: Any) -> tuple[Any, ...]:
    """n = tanh(x_n + r (h w_hn.T + b_hn)), h' = n + z (h - n); x: f32[N, 3 H], with the biases of r and z."""
    (h,) = state
    x_r, x_z, x_n = chunk(x, 3, -1)
    own_r, own_z, own_n = chunk(_recurrent_part(h, constants[0]), 3, -1)
    r, z = sigmoid(add(x_r, own_r)), sigmoid(add(x_z, own_z))
    if len(constants) > 1:
        own_n = add(own_n, constants[1])
    n = tanh(add(x_n, multiply(r, own_n)))
    return (add(n, multiply(z, subtract(h, n))),)


class Cell(NamedTuple):
    """A kind of recurrence: its step, how many gates and how many state tensors it has."""

    step: Step
    gates: int
    states: int


CELLS = {
    "RNN_TANH": Cell(tanh_step, 1, 1),
    "RNN_RELU": Cell(relu_step, 1, 1),
    "LSTM": Cell(lstm_step, 4, 2),
    "GRU": Cell(gru_step, 3, 1),
}


def input_share(mode: str, x: Any, w: Weights) -> Any:
    """x w_ih.T with every bias that the state does not change; x: f32[*, in] gives f32[*, G]."""
    if w.b_ih is None:
        return linear(x, w.w_ih)
    other = w.b_hh
    if mode == "GRU":
        size = w.w_hh.shape[1]
        other = pad(slice_axis(other, 0, 0, 2 * size), (0, size))
    return linear(x, w.w_ih, w.b_ih + other)


def constants_of(mode: str, w: Weights) -> tuple[Any, ...]:
    """What every step reads besides its input and the state."""
    found = [w.w_hh]
    if mode == "GRU" and w.b_hh is not None:
        size = w.w_hh.shape[1]
        found.append(slice_axis(w.b_hh, 0, 2 * size, 3 * size))
    if w.w_hr is not None:
        found.append(w.w_hr)
    return tuple(found)


# --- layers -----------------------------------------------------------------------------------------------------------


@casts(LOWER)
def cell_step(mode: str, state: Sequence[Any], x: Any, w: Weights) -> tuple[Any, ...]:
    """The state after one input; x: f32[N, in]."""
    return CELLS[mode].step(state, constants_of(mode, w), input_share(mode, x, w))


def _valid_only(step: Step, state: Sequence[Any], constants: Sequence[Any], xs: Sequence[Any]) -> tuple[Any, ...]:
    """One step; where a second sequence says that this one has ended, the state stays."""
    after = step(state, constants, xs[0])
    if len(xs) == 1:
        return after
    return tuple(where(xs[1], new, old) for new, old in zip(after, state, strict=True))


@functools.lru_cache(maxsize=256)
def _body(step: Step, n_state: int, n_const: int, types: tuple[TensorType, ...], thread: int) -> Program:
    """A step as a program over (state, constants, xs) -> (state, what comes out)."""
    trace = BodyTrace(Table(), None)
    symbols = [trace.add_input(t, False) for t in types]
    with recording(trace), set_grad(False):
        state, rest = symbols[:n_state], symbols[n_state:]
        after = _valid_only(step, state, rest[:n_const], rest[n_const:])
    return Program(trace.table, tuple(trace.inputs), tuple(t._data for t in (*after, after[0])))


def recurrence(
    step: Step, state: Sequence[Any], constants: Sequence[Any], xs: Sequence[Any], reverse: bool
) -> tuple[Any, tuple[Any, ...]]:
    """Steps along dimension 0 of xs; gives what came out [T, N, *] and the last state.

    In eager mode this is the scan op too, over a body that is traced once for its types: the tape has one entry, and
    nothing is made a tensor inside the loop.
    """
    if STATE.recorder is not None:

        def run(carry: Any, x: Any) -> Any:
            after = _valid_only(step, carry, constants, x)
            return after, after[0]

        carry, out = scan(run, tuple(state), tuple(xs), reverse=reverse)
        return out, carry
    types = [x.tensor_type for x in (*state, *constants)]
    types += [x.tensor_type.with_shape(x.shape[1:]) for x in xs]
    body = _body(step, len(state), len(constants), tuple(types), threading.get_ident())
    operands = (*state, *constants, *xs)
    found = scan_op(
        *operands, body=body, n_carry=len(state), n_const=len(constants), length=xs[0].shape[0], reverse=reverse,
        history=STATE.grad and any(x._edge is not None for x in operands),
    )  # fmt: skip
    return found[len(state)], found[: len(state)]


def _layer(
    mode: str, x: Any, state: Sequence[Any], w: Weights, valid: Any, reverse: bool, batch_first: bool
) -> tuple[Any, tuple[Any, ...]]:
    """One direction of one layer; x: f32[T, N, in] (`batch_first`: f32[N, T, in]), the result f32[T, N, out]."""
    share = input_share(mode, x, w)
    if batch_first:
        share = transpose(share, 0, 1)
    xs = (share,) if valid is None else (share, valid)
    return recurrence(CELLS[mode].step, state, constants_of(mode, w), xs, reverse)


@one_call(weight=30, cast=LOWER)
def recurrent_layers(
    mode: str, x: Any, states: Sequence[Any], weights: Sequence[Sequence[Weights]], valid: Any = None, *,
    batch_first: bool = False, dropout_p: float = 0.0,
) -> tuple[Any, tuple[Any, ...]]:  # fmt: skip
    """Layers over each other, each with one or two directions; x: f32[T, N, in] (`batch_first`: f32[N, T, in]).

    mode: a name in `CELLS`; states: per state tensor of the cell f32[layers * directions, N, *]; weights: per layer and
    direction; valid: bool[T, N, 1], false behind the end of a sequence; dropout_p: between the layers. Gives
    f32[T, N, directions * out] (`batch_first`: N first) and the last states.
    """
    last: list[tuple[Any, ...]] = []
    for at, directions in enumerate(weights):
        if at:
            x = dropout(x, dropout_p)
        outs: list[Any] = []
        for w in directions:
            state = [s[len(last)] for s in states]
            out, after = _layer(mode, x, state, w, valid, bool(outs), batch_first and not at)
            outs.append(out)
            last.append(after)
        x = outs[0] if len(outs) == 1 else cat(outs, -1)
    return transpose(x, 0, 1) if batch_first else x, tuple(stack(parts) for parts in zip(*last, strict=True))


__all__ = ["CELLS", "Cell", "Weights", "cell_step", "recurrence", "recurrent_layers"]
