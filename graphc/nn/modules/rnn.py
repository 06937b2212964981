"""RNN, LSTM, GRU, and their cells."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.core.context import STATE
from graphc.core.errors import ArgumentError, ArgumentTypeError, ShapeError
from graphc.functions.creation import zeros
from graphc.functions.promotion import cast_to
from graphc.functions.shaping import squeeze, unsqueeze
from graphc.nn import init
from graphc.nn.losses import differ, shapes_differ
from graphc.nn.modules.linear import new_parameter
from graphc.nn.modules.module import Module
from graphc.nn.recurrent import CELLS, Weights, cell_step, recurrent_layers
from graphc.nn.utils.rnn import PackedSequence, layout_of, packed, padded, reordered


def _check_sizes(input_size: Any, hidden_size: Any, num_layers: int, proj_size: int) -> None:
    for name, size in (("input_size", input_size), ("hidden_size", hidden_size)):
        if not isinstance(size, int):
            raise ArgumentTypeError(f"{name} should be of type int, got: {type(size).__name__}")
        if size <= 0:
            raise ArgumentError(f"{name} must be greater than zero")
    if num_layers <= 0:
        raise ArgumentError("num_layers must be greater than zero")
    if proj_size < 0:
        raise ArgumentError("proj_size should be a positive integer or zero to disable projections")
    if proj_size >= hidden_size:
        raise ArgumentError("proj_size has to be smaller than hidden_size")


def _check_dropout(dropout: Any, num_layers: int) -> None:
    if isinstance(dropout, bool) or not isinstance(dropout, int | float | np.number) or not 0 <= dropout <= 1:
        raise ArgumentError(
            "dropout should be a number in range [0, 1] representing the probability of an element being zeroed"
        )
    if dropout > 0 and num_layers == 1:
        warnings.warn(
            "dropout option adds dropout after all but last recurrent layer, so non-zero dropout expects num_layers "
            f"greater than 1, but got dropout={dropout} and num_layers={num_layers}",
            stacklevel=4,
        )


class RNNBase(Module):
    """What RNN, LSTM and GRU share; mode: RNN_TANH, RNN_RELU, LSTM or GRU.

    Layer k has weight_ih_l{k}: f32[G, in], weight_hh_l{k}: f32[G, out], bias_ih_l{k} and bias_hh_l{k}: f32[G] and, with
    `proj_size`, weight_hr_l{k}: f32[out, H], and with `bidirectional` the same again with the suffix _reverse; G is H
    times the number of gates. ValueError or TypeError for sizes or options outside their range.
    """

    def __init__(
        self, mode: str, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True, batch_first: bool = False,
        dropout: float = 0.0, bidirectional: bool = False, proj_size: int = 0, device: Any = None, dtype: Any = None,
    ):  # fmt: skip
        super().__init__()
        _check_dropout(dropout, num_layers)
        for name, value in (("bias", bias), ("batch_first", batch_first)):
            if not isinstance(value, bool):
                raise ArgumentTypeError(f"{name} should be of type bool, got: {type(value).__name__}")
        _check_sizes(input_size, hidden_size, num_layers, proj_size)
        if mode not in CELLS:
            raise ArgumentError(f"Unrecognized RNN mode: {mode}")
        self.mode = mode
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = float(dropout)
        self.bidirectional = bidirectional
        self.proj_size = proj_size
        for layer in range(num_layers):
            for suffix in self._suffixes(layer):
                for name, shape in self._shapes(layer).items():
                    self.register_parameter(name + suffix, new_parameter(*shape, dtype=dtype, device=device))
        self.reset_parameters()

    # -- weights -------------------------------------------------------------------------------------------------------

    def _suffixes(self, layer: int) -> list[str]:
        return [f"_l{layer}", f"_l{layer}_reverse"][: 1 + self.bidirectional]

    def _shapes(self, layer: int) -> dict[str, tuple[int, ...]]:
        """The parameters of one direction of a layer, in PyTorch's order."""
        gates = CELLS[self.mode].gates * self.hidden_size
        below = self._out_size * (1 + self.bidirectional) if layer else self.input_size
        shapes: dict[str, tuple[int, ...]] = {"weight_ih": (gates, below), "weight_hh": (gates, self._out_size)}
        if self.bias:
            shapes |= {"bias_ih": (gates,), "bias_hh": (gates,)}
        if self.proj_size:
            shapes["weight_hr"] = (self.proj_size, self.hidden_size)
        return shapes

    @property
    def _out_size(self) -> int:
        return self.proj_size or self.hidden_size

    @property
    def all_weights(self) -> list[list[Any]]:
        """Per layer and direction the parameters, in the order they were made."""
        return [
            [getattr(self, name + suffix) for name in self._shapes(layer)]
            for layer in range(self.num_layers)
            for suffix in self._suffixes(layer)
        ]

    def _weights(self) -> list[list[Weights]]:
        def of(suffix: str) -> Weights:
            names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
            return Weights(*(getattr(self, name + suffix, None) for name in names))

        return [[of(suffix) for suffix in self._suffixes(layer)] for layer in range(self.num_layers)]

    def flatten_parameters(self) -> None:
        """Does nothing: the weights need not lie in one piece of memory."""

    def reset_parameters(self) -> None:
        """Fills all parameters uniformly in +-1 / sqrt(hidden_size)."""
        bound = 1 / math.sqrt(self.hidden_size)
        for weight in self.parameters():
            init.uniform_(weight, -bound, bound)

    # -- calls ---------------------------------------------------------------------------------------------------------

    def _state_sizes(self) -> tuple[int, ...]:
        """The last sizes of the state tensors."""
        return (self._out_size, self.hidden_size)[: CELLS[self.mode].states]

    def _check_input(self, x: Any, ndim: int) -> None:
        weight = self.weight_ih_l0
        if x.dtype is not weight.dtype and STATE.autocast is None:
            raise ArgumentError(
                f"RNN input dtype ({x.dtype}) does not match weight dtype ({weight.dtype}). Convert input: "
                f"input.to({weight.dtype}), or convert model: model.to({x.dtype})"
            )
        if len(x.shape) != ndim:
            raise ShapeError(f"input must have {ndim} dimensions, got {x.ndim}")
        if differ(x.shape[-1], self.input_size):
            raise ShapeError(
                f"input.size(-1) must be equal to input_size. Expected {self.input_size}, got {x.shape[-1]}"
            )

    def _states(self, hx: Any, x: Any, batch: Any, ndim: int) -> list[Any]:
        """The initial states f32[layers * directions, N, *]: those given, after checks, or zeros."""
        layers = self.num_layers * (1 + self.bidirectional)
        sizes = self._state_sizes()
        if hx is None:
            return [zeros(layers, batch, size, dtype=x.dtype) for size in sizes]
        given = list(hx) if len(sizes) > 1 else [hx]
        ndims = [len(h.shape) for h in given]
        if any(n != ndim for n in ndims):
            kind = "batched 3-D" if ndim == 3 else "unbatched 2-D"
            what = "hx should" if len(sizes) == 1 else "hx and cx should"
            raise ShapeError(f"For {kind} input, {what} also be {ndim}-D but got {ndims} dimensions")
        if ndim == 2:
            given = [unsqueeze(h, 1) for h in given]
        for i, (h, size) in enumerate(zip(given, sizes, strict=True)):
            if shapes_differ(h.shape, (layers, batch, size)):
                name = "hidden" if len(sizes) == 1 else f"hidden[{i}]"
                raise ShapeError(f"Expected {name} size {(layers, batch, size)}, got {list(h.shape)}")
        return given

    def _run(self, x: Any, states: Sequence[Any], valid: Any, batch_first: bool) -> tuple[Any, tuple[Any, ...]]:
        length = x.shape[1 if batch_first else 0]
        if isinstance(length, int) and not length:
            raise ShapeError("Expected sequence length to be larger than 0 in RNN")
        out, last = recurrent_layers(
            self.mode, x, states, self._weights(), valid, batch_first=batch_first,
            dropout_p=self.dropout if self.training else 0.0,
        )  # fmt: skip
        if self.mode == "GRU":  # PyTorch's mixes the state with what autocast has computed
            out, last = cast_to(out, states[0].dtype), tuple(cast_to(s, states[0].dtype) for s in last)
        return out, last

    def _forward_packed(self, sequence: PackedSequence, hx: Any) -> tuple[Any, Any]:
        """The batch is padded, and the state of a sequence that has ended stays."""
        self._check_input(sequence.data, 2)
        layout = layout_of(sequence)
        order, back = sequence.sorted_indices, sequence.unsorted_indices
        if hx is not None and order is not None:
            hx = tuple(reordered(h, 1, order) for h in hx) if isinstance(hx, tuple) else reordered(hx, 1, order)
        states = self._states(hx, sequence.data, layout.width, 3)
        _, valid = layout.rows()
        out, last = self._run(padded(sequence.data, layout), states, unsqueeze(valid, -1), False)
        result = PackedSequence(packed(out, layout), *sequence[1:])
        return result, self._as_state([reordered(s, 1, back) for s in last])

    def _as_state(self, states: Sequence[Any]) -> Any:
        return tuple(states) if CELLS[self.mode].states > 1 else states[0]

    def forward(self, input: Any, hx: Any = None) -> tuple[Any, Any]:
        """input: f32[T, N, in] (`batch_first`: f32[N, T, in]), f32[T, in] or a PackedSequence; hx: f32[layers, N, out]
        (LSTM: a pair, the second f32[layers, N, H]), zeros if None, where `layers` counts both directions.

        Gives the top layer's output at all steps, f32[T, N, directions * out], and the last state of every layer.
        ValueError or RuntimeError for an input or a state of another shape or dtype.
        """
        if isinstance(input, PackedSequence):
            return self._forward_packed(input, hx)
        ndim = len(input.shape)
        if ndim not in (2, 3):
            raise ArgumentError(f"{self._get_name()}: Expected input to be 2D or 3D, got {ndim}D instead")
        batch_first = self.batch_first and ndim == 3
        x = input if ndim == 3 else unsqueeze(input, 1)
        self._check_input(x, 3)
        states = self._states(hx, x, x.shape[0 if batch_first else 1], ndim)
        out, last = self._run(x, states, None, batch_first)
        if ndim == 2:
            out, last = squeeze(out, 1), tuple(squeeze(s, 1) for s in last)
        return out, self._as_state(last)

    def extra_repr(self) -> str:
        """The sizes and what differs from the defaults."""
        text = f"{self.input_size}, {self.hidden_size}"
        defaults = {
            "proj_size": 0,
            "num_layers": 1,
            "bias": True,
            "batch_first": False,
            "dropout": 0,
            "bidirectional": False,
        }
        for name, usual in defaults.items():
            value = getattr(self, name)
            if value != usual:
                text += f", {name}={value}"
        return text


def _no_projection(kwargs: dict[str, Any]) -> None:
    if "proj_size" in kwargs:
        raise ArgumentError("proj_size argument is only supported for LSTM, not RNN or GRU")


class RNN(RNNBase):
    """h' = tanh(x w_ih.T + b_ih + h w_hh.T + b_hh), or with relu (Elman 1990).

    `RNN(input_size, hidden_size, num_layers=1, nonlinearity="tanh", bias=True, batch_first=False, dropout=0.0,
    bidirectional=False)`. ValueError for another nonlinearity.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        _no_projection(kwargs)
        if len(args) > 3:
            nonlinearity, args = args[3], (*args[:3], *args[4:])
        else:
            nonlinearity = kwargs.pop("nonlinearity", "tanh")
        if nonlinearity not in ("tanh", "relu"):
            raise ArgumentError(f"Unknown nonlinearity '{nonlinearity}'. Select from 'tanh' or 'relu'.")
        super().__init__(f"RNN_{nonlinearity.upper()}", *args, **kwargs)
        self.nonlinearity = nonlinearity


class LSTM(RNNBase):
    """Long short-term memory (Hochreiter and Schmidhuber 1997), with forget gates and optional projection.

    i, f, g, o = sigmoid, sigmoid, tanh, sigmoid of x w_ih.T + b_ih + h w_hh.T + b_hh; c' = f c + i g; h' = o tanh(c').
    """

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__("LSTM", *args, **kwargs)


class GRU(RNNBase):
    """Gated recurrent units (Cho et al. 2014).

    r, z = sigmoids of x w_ih.T + b_ih + h w_hh.T + b_hh; n = tanh(x w_in.T + b_in + r (h w_hn.T + b_hn));
    h' = (1 - z) n + z h.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        _no_projection(kwargs)
        super().__init__("GRU", *args, **kwargs)


class RNNCellBase(Module):
    """One step of a recurrence; weight_ih: f32[G, in], weight_hh: f32[G, H], bias_ih and bias_hh: f32[G] or None."""

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool, num_chunks: int, device: Any = None, dtype: Any = None
    ):
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.bias = bias
        gates = num_chunks * hidden_size
        self.weight_ih = new_parameter(gates, input_size, dtype=dtype, device=device)
        self.weight_hh = new_parameter(gates, hidden_size, dtype=dtype, device=device)
        for name in ("bias_ih", "bias_hh"):
            self.register_parameter(name, new_parameter(gates, dtype=dtype, device=device) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Fills all parameters uniformly in +-1 / sqrt(hidden_size)."""
        bound = 1 / math.sqrt(self.hidden_size) if self.hidden_size > 0 else 0
        for weight in self.parameters():
            init.uniform_(weight, -bound, bound)

    def extra_repr(self) -> str:
        """The sizes and what differs from the defaults."""
        text = f"{self.input_size}, {self.hidden_size}"
        if self.bias is not True:
            text += f", bias={self.bias}"
        nonlinearity = getattr(self, "nonlinearity", "tanh")
        return text + (f", nonlinearity={nonlinearity}" if nonlinearity != "tanh" else "")

    def _step(self, mode: str, input: Any, hx: Any) -> tuple[Any, ...]:
        """The next state; hx: the state tensors, or None for zeros. Checks as PyTorch does."""
        name = self._get_name()
        ndim = len(input.shape)
        if ndim not in (1, 2):
            raise ArgumentError(f"{name}: Expected input to be 1D or 2D, got {ndim}D instead")
        x = input if ndim == 2 else unsqueeze(input, 0)
        if differ(x.shape[1], self.input_size):
            raise ShapeError(f"input has inconsistent input_size: got {x.shape[1]} expected {self.input_size}")
        cell = CELLS[mode]
        if hx is None:
            hx = (zeros(x.shape[0], self.hidden_size, dtype=x.dtype),) * cell.states
        else:
            hx = tuple(self._checked_state(h, i, x, ndim) for i, h in enumerate(hx))
        w = Weights(self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)
        after = cell_step(mode, hx, x, w)
        if cell.states > 1 or mode == "GRU":  # as above
            after = tuple(cast_to(s, h.dtype) for s, h in zip(after, hx, strict=True))
        return after if ndim == 2 else tuple(squeeze(s, 0) for s in after)

    def _checked_state(self, h: Any, i: int, x: Any, ndim: int) -> Any:
        if len(h.shape) not in (1, 2):
            raise ArgumentError(f"{self._get_name()}: Expected hidden to be 1D or 2D, got {h.ndim}D instead")
        h = h if len(h.shape) == 2 else unsqueeze(h, 0)
        if differ(h.shape[1], self.hidden_size):
            raise ShapeError(f"hidden{i} has inconsistent hidden_size: got {h.shape[1]}, expected {self.hidden_size}")
        if differ(h.shape[0], x.shape[0]):
            raise ShapeError(f"Input batch size {x.shape[0]} doesn't match hidden{i} batch size {h.shape[0]}")
        return h


class RNNCell(RNNCellBase):
    """One step of an RNN with tanh or relu."""

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, nonlinearity: str = "tanh", device: Any = None,
        dtype: Any = None,
    ):  # fmt: skip
        super().__init__(input_size, hidden_size, bias, 1, device, dtype)
        self.nonlinearity = nonlinearity

    def forward(self, input: Any, hx: Any = None) -> Any:
        """input: f32[N, in], hx: f32[N, H] (or both without N; zeros if None) give f32[N, H]."""
        if self.nonlinearity not in ("tanh", "relu"):
            raise RuntimeError(f"Unknown nonlinearity: {self.nonlinearity}")
        return self._step(f"RNN_{self.nonlinearity.upper()}", input, None if hx is None else (hx,))[0]


class LSTMCell(RNNCellBase):
    """One step of an LSTM."""

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None):
        super().__init__(input_size, hidden_size, bias, 4, device, dtype)

    def forward(self, input: Any, hx: Any = None) -> tuple[Any, Any]:
        """input: f32[N, in], hx: a pair of f32[N, H] (or all without N; zeros if None) give h and c, f32[N, H]."""
        h, c = self._step("LSTM", input, hx)
        return h, c


class GRUCell(RNNCellBase):
    """One step of a GRU."""

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None):
        super().__init__(input_size, hidden_size, bias, 3, device, dtype)

    def forward(self, input: Any, hx: Any = None) -> Any:
        """input: f32[N, in], hx: f32[N, H] (or both without N; zeros if None) give f32[N, H]."""
        return self._step("GRU", input, None if hx is None else (hx,))[0]


__all__ = ["GRU", "GRUCell", "LSTM", "LSTMCell", "RNN", "RNNBase", "RNNCell", "RNNCellBase"]
