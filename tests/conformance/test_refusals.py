"""Every op's error samples: the declared class and text through every door, before any work, with the operands' types and,
for symbolic operands, the user's line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conformance.cases import OPS, sampled, tensors_of, types_of

import graphc as gc
from graphc.core.errors import OperandError
from graphc.core.op import ErrorSample, Op
from graphc.core.tensor_types import type_of_array

CASES = sampled(which="errors")
HERE = Path(__file__).name

#: Ops that take whatever they are given, and ops that only rules, passes and recordings of bodies make.
REFUSE_NOTHING = {
    "cast",
    "copy",
    "logical_not",
    "nonzero",
    "size",
    "stop_gradient",
    "straight_through",
    "while_loop_grad",
}


def test_every_op_tells_what_it_refuses() -> None:
    assert {op.name for op in OPS if not list(op.errors())} == REFUSE_NOTHING


@pytest.mark.parametrize(("op", "sample"), CASES)
def test_declared_errors_are_what_pytorch_code_catches(op: Op, sample: ErrorSample) -> None:
    assert issubclass(sample.error, OperandError)
    assert issubclass(sample.error, RuntimeError | IndexError | TypeError | ValueError)
    assert sample.match
    with pytest.raises(sample.error, match=sample.match) as raised:
        op.infer(*types_of(sample.inputs), **sample.attrs)
    assert raised.type is sample.error


def check_message(op: Op, sample: ErrorSample, error: BaseException, symbolic: bool) -> None:
    """The message opens with the op, and has a line for each operand: its type and, if symbolic, where it was made."""
    text = str(error)
    assert type(error) is sample.error
    assert text.startswith(f"{op.name}: "), text
    for operand in types_of(sample.inputs):
        place = rf"  made at .*{HERE}:\d+" if symbolic else ""
        assert re.search(rf"^  \w+ *: {re.escape(str(operand))}{place}$", text, re.MULTILINE), text


@pytest.mark.parametrize(("op", "sample"), CASES)
def test_refused_in_eager_mode(op: Op, sample: ErrorSample) -> None:
    tensors = tensors_of(sample.inputs, ())
    for door in (op, op.call):
        with pytest.raises(sample.error, match=sample.match) as raised:
            door(*tensors, **sample.attrs)
        check_message(op, sample, raised.value, symbolic=False)


@pytest.mark.parametrize(("op", "sample"), CASES)
def test_refused_in_a_trace(op: Op, sample: ErrorSample) -> None:
    tensors = tensors_of(sample.inputs, ())
    before = [x.numpy().tobytes() for x in tensors]
    wrong = gc.compile(lambda *xs: (*(x.add_(x) for x in xs if x.dtype is not gc.bool), op(*xs, **sample.attrs)))
    with pytest.raises(sample.error, match=sample.match) as raised:
        wrong(*tensors)
    check_message(op, sample, raised.value, symbolic=bool(tensors))
    assert [x.numpy().tobytes() for x in tensors] == before, "a trace that failed has written"


@pytest.mark.parametrize(("op", "sample"), CASES)
def test_refused_in_a_graph_before_a_node_is_made(op: Op, sample: ErrorSample) -> None:
    graph = gc.Graph()
    with graph.as_default():
        xs = [gc.placeholder(x.shape, dtype=type_of_array(np.asarray(x)).dtype) for x in sample.inputs]
        before = len(graph.nodes)
        with pytest.raises(sample.error, match=sample.match) as raised:
            op(*xs, **sample.attrs)
        assert len(graph.nodes) == before
    check_message(op, sample, raised.value, symbolic=True)
    if not xs:
        return
    innermost: Any = [frame for frame in raised.traceback if frame.path.name == HERE][-1]
    assert "op(*xs" in str(innermost.statement)
