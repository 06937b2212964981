"""What `torch.onnx.export` is asked for: names, sizes, files, modes; and what it refuses."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from collections import namedtuple
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnxruntime")

import onnx
import onnxruntime
from tolerances import assert_close

import graphc as gc
from graphc import nn
from graphc.onnx import OnnxExporterError, TrainingMode

pytestmark = pytest.mark.onnx

X = gc.ones(2, 3)


def model() -> Any:
    gc.manual_seed(0)
    return nn.Sequential(nn.Linear(20, 30), nn.BatchNorm1d(30), nn.ReLU(), nn.Linear(30, 2)).eval()


def shapes(values: Any) -> dict[str, list[Any]]:
    return {v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in values}


# --- files ----------------------------------------------------------------------------------------------------------


def test_a_file_with_its_weights_beside_it(tmp_path: Any) -> None:
    net, x = model(), gc.randn(4, 20)
    path = tmp_path / "net.onnx"
    assert gc.onnx.export(net, x, path, dynamo=False, input_names=["x"], dynamic_axes={"x": {0: "n"}}) is None
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net.onnx", "net.onnx.data"]
    onnx.checker.check_model(str(path), full_check=True)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"x": x.numpy()})
    assert_close(found, net(x).detach().numpy(), n=64)


def test_one_file_or_bytes(tmp_path: Any) -> None:
    net, x = model(), gc.randn(4, 20)
    path, buffer = tmp_path / "net.onnx", io.BytesIO()
    for file in (str(path), buffer):
        gc.onnx.export(net, (x,), file, external_data=False)
    assert [p.name for p in tmp_path.iterdir()] == ["net.onnx"]
    assert onnx.load_model_from_string(buffer.getvalue()) == onnx.load(str(path))
    program = gc.onnx.export(net, (x,))
    with pytest.raises(OnnxExporterError, match=r"ONNXProgram\.save: weights beside the model need a path"):
        program.save(io.BytesIO(), external_data=True)


def test_weights_left_out_or_kept_as_inputs(tmp_path: Any) -> None:
    net, x = model(), gc.randn(4, 20)
    program = gc.onnx.export(net, (x,), tmp_path / "bare.onnx", export_params=False)
    bare = onnx.load(str(tmp_path / "bare.onnx"))
    assert not bare.graph.initializer
    assert {v.name for v in bare.graph.input} >= {"input", *dict(net.named_parameters())}
    program.save(tmp_path / "both.onnx", keep_initializers_as_inputs=True)
    both = onnx.load(str(tmp_path / "both.onnx"))
    assert {v.name for v in both.graph.initializer} == {v.name for v in both.graph.input} - {"input"}
    assert [v.name for v in program.model_proto.graph.input] == ["input"]
    assert_close(program(x)[0], net(x).detach(), n=64)


def test_weights_of_more_than_a_message_holds_get_a_file(tmp_path: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("graphc.onnx.model.LARGEST", 1000)
    net, x = model(), gc.randn(4, 20)
    program = gc.onnx.export(net, (x,))
    program.save(tmp_path / "large.onnx")
    assert (tmp_path / "large.onnx.data").stat().st_size >= 20 * 30 * 4
    assert_close(program(x)[0], net(x).detach(), n=64)


# --- names and sizes ------------------------------------------------------------------------------------------------


class Two(nn.Module):
    def forward(self, first: Any, pair: Any, scale: float = 1.0, *, bias: Any = None) -> Any:
        a, b = pair
        total = first * scale + a - b["b"]
        return total if bias is None else (total + bias, {"first": first.sum(0)})


def test_inputs_are_named_as_the_function_names_them() -> None:
    x = gc.ones(2, 3)
    pair = (x, {"b": x})
    program = gc.onnx.export(Two().eval(), (x, pair, 2.0), kwargs={"bias": x})
    graph = program.model_proto.graph
    assert shapes(graph.input) == {"first": [2, 3], "pair_0": [2, 3], "pair_1_b": [2, 3], "bias": [2, 3]}
    assert list(shapes(graph.output)) == ["output_0", "output_1"]
    assert "(first, pair_0, pair_1_b, bias) -> (output_0, output_1)" in repr(program)
    got = program(x, pair, 2.0, bias=x)
    for a, b in zip(got, (x * 3, gc.full((3,), 2.0)), strict=True):
        assert_close(a, b)


def test_names_and_axes_given() -> None:
    x = gc.ones(2, 3)
    names = ["p", "q", "r", "s"]
    program = gc.onnx.export(
        Two().eval(), (x, (x, {"b": x}), {"bias": x}), input_names=names, output_names=["total"],
        dynamic_axes={**{name: {0: "rows"} for name in names}, "total": [0]},
    )  # fmt: skip
    graph = program.model_proto.graph
    assert shapes(graph.input) == {name: ["rows", 3] for name in names}
    assert shapes(graph.output) == {"total": ["rows", 3], "output_1": [3]}
    program = gc.onnx.export(gc.relu, (x,), input_names=["x"], dynamic_axes={"x": {0: "batch size", 1: "3"}})
    assert shapes(program.model_proto.graph.output) == {"output": ["batch size", "3"]}
    assert program(gc.ones(4, 5))[0].shape == (4, 5)


Pair = namedtuple("Pair", "left right")


def test_dynamic_shapes_in_every_form() -> None:
    class Named:
        __name__ = "columns"

    def add(first: Any, pair: Any) -> Any:
        return first + pair.left + pair.right

    x = gc.ones(2, 3)
    arguments = (x, Pair(x, x))
    for given in (
        {"first": {0: "rows", 1: Named()}, "pair": ({0: "rows", -1: Named()}, ("rows", Named()))},
        (("rows", Named()), [{0: "rows", 1: Named()}, {0: "rows", 1: Named()}]),
    ):
        graph = gc.onnx.export(add, arguments, dynamic_shapes=given).model_proto.graph
        assert set(map(tuple, shapes([*graph.input, *graph.output]).values())) == {("rows", "columns")}
    graph = gc.onnx.export(gc.relu, (x,), dynamic_shapes=({0: object(), 1: None},)).model_proto.graph
    assert shapes(graph.output) == {"output": ["input_dim_0", 3]}
    graph = gc.onnx.export(gc.relu, (x,), input_names=["x"], dynamic_axes={"x": [1]}).model_proto.graph
    assert shapes(graph.output) == {"output": [2, "x_dynamic_axes_1"]}


def test_names_of_results_are_taken_by_no_node() -> None:
    program = gc.onnx.export(
        lambda x: (x + 1 + x, x * 2, x), (X,), input_names=["mul"], output_names=["add", "add_1", "relu"]
    )
    assert list(shapes(program.model_proto.graph.output)) == ["add", "add_1", "relu"]
    onnx.checker.check_model(program.model_proto, full_check=True)
    for got, want in zip(program(X), (X + 1 + X, X * 2, X), strict=True):
        assert_close(got, want)


def test_an_input_nobody_reads_is_still_an_input() -> None:
    program = gc.onnx.export(lambda x, y: x + 1, (gc.ones(2), gc.ones(3)))
    assert list(shapes(program.model_proto.graph.input)) == ["x", "y"]
    assert_close(program(gc.ones(2), gc.ones(3))[0], gc.full((2,), 2.0))


# --- modes, doors ---------------------------------------------------------------------------------------------------


def test_what_is_printed_is_left_out(capsys: Any) -> None:
    program = gc.onnx.export(lambda x: gc.print(x * 2) + 1, (X,))
    assert_close(program(X)[0], gc.full((2, 3), 3.0))
    assert capsys.readouterr().out == ""


def test_modes() -> None:
    net, x = model().train(), gc.randn(16, 20)
    net[3].eval()
    before = [m.training for m in net.modules()]

    def exported(mode: Any) -> Any:
        buffer = io.BytesIO()
        gc.onnx.export(net, (x,), buffer, dynamo=False, training=mode)
        assert [m.training for m in net.modules()] == before
        session = onnxruntime.InferenceSession(buffer.getvalue(), providers=["CPUExecutionProvider"])
        return session.run(None, {"input": x.numpy()})[0]

    state = {k: v.clone() for k, v in net.state_dict().items()}
    trained = net(x).detach()
    net.load_state_dict(state)
    assert_close(exported(TrainingMode.TRAINING), trained, n=64)
    assert_close(exported(TrainingMode.PRESERVE), trained, n=64)
    for key, value in net.state_dict().items():
        assert_close(value, state[key])  # an export changes nothing
    assert_close(exported(TrainingMode.EVAL), net.eval()(x).detach(), n=64)


def test_what_is_compiled_already_and_functions() -> None:
    net, x = model(), gc.randn(4, 20)
    want = net(x).detach()
    for given in (gc.compile(net), gc.jit.script(net), gc.compile(lambda v: net(v)), gc.jit.trace(net, x)):
        assert_close(gc.onnx.export(given, (x,), verify=True)(x)[0], want, n=64)


def test_a_module_with_an_attribute_called_fn_is_exported_whole() -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fn, self.last = nn.ReLU(), nn.Linear(3, 2)

        def forward(self, x: Any) -> Any:
            return self.last(self.fn(x))

    program = gc.onnx.export(Named().eval(), (X,), verify=True)
    assert list(program.model.graph.initializers)[:2] == ["last.weight", "last.bias"]
    assert program(X)[0].shape == (2, 2)


def test_a_module_can_ask_whether_it_is_exported() -> None:
    asked = []

    def fn(x: Any) -> Any:
        asked.append(gc.onnx.is_in_onnx_export())
        return x + 1

    gc.onnx.export(fn, (gc.ones(2),))
    assert asked == [True] and not gc.onnx.is_in_onnx_export()


def test_verify_compares_with_the_function() -> None:
    calls = []

    def fickle(x: Any) -> Any:
        calls.append(x)
        return x * len(calls)

    with pytest.raises(OnnxExporterError, match="onnxruntime gives another result 0 than the function"):
        gc.onnx.export(fickle, (gc.ones(2),), verify=True)


def test_nodes_tell_their_lines_and_weights_are_not_copied_into_nodes() -> None:
    program = gc.onnx.export(model(), (gc.randn(4, 20),), opset_version=18)
    assert program.model.graph.opset_imports[""] == 18
    assert all(
        re.search(r"test_options\.py:\d+, Sequential", n.metadata_props["graphc.origin"]) for n in program.model.graph
    )


# --- refusals -------------------------------------------------------------------------------------------------------


def _loop_that_prints(x: Any) -> Any:
    return gc.scan(lambda total, row: (gc.print(total) + row, row), gc.zeros(3), x)


REFUSED = {
    "show at ": lambda: gc.onnx.export(_loop_that_prints, (X,)),
    "graphc writes the opsets 18 to ": lambda: gc.onnx.export(gc.relu, (X,), opset_version=11),
    "takes no custom_translation_table": lambda: gc.onnx.export(gc.relu, (X,), custom_translation_table={1: 2}),
    "input_names has 2 names for 1 tensors": lambda: gc.onnx.export(gc.relu, (X,), input_names=["a", "b"]),
    "output_names has 2 names for 1 results": lambda: gc.onnx.export(gc.relu, (X,), output_names=["a", "b"]),
    "dynamic_axes names 'z', which is neither": lambda: gc.onnx.export(gc.relu, (X,), dynamic_axes={"z": [0]}),
    "dynamic_shapes names 'z'; the arguments are ": lambda: gc.onnx.export(gc.relu, (X,), dynamic_shapes={"z": None}),
    "dynamic_shapes has 2 entries for 1 arguments": lambda: gc.onnx.export(gc.relu, (X,), dynamic_shapes=(None, None)),
    "dynamic_shapes has 1 entries for the 2 of xs": lambda: gc.onnx.export(
        lambda xs: xs[0], ([X, X],), dynamic_shapes=([None],)
    ),
    "dynamic_shapes has 'ab' for input: need a dict or tuple or list": lambda: gc.onnx.export(
        gc.relu, (X,), dynamic_shapes=("ab",)
    ),
    "dynamic_shapes has 0 for the arguments: need a dict": lambda: gc.onnx.export(gc.relu, (X,), dynamic_shapes=0),
    "dynamic_shapes has {0: {0: 'n'}} for xs: need a tuple or list": lambda: gc.onnx.export(
        lambda xs: xs[0], ([X],), dynamic_shapes=({0: {0: "n"}},)
    ),
    "dynamic_shapes names 'b', which d has not": lambda: gc.onnx.export(
        lambda d: d["a"] * 2, ({"a": X}, {}), dynamic_shapes=({"b": {0: "n"}},)
    ),
    "dynamic_shapes has {0: 'n'} for k, which is no tensor": lambda: gc.onnx.export(
        lambda x, k: x * k, (X, 3), dynamic_shapes=(None, {0: "n"})
    ),
    "an input or another result has the name 'y', too": lambda: gc.onnx.export(
        lambda x: (x, x + 1), (X,), output_names=["y", "y"]
    ),
    "an input or another result has the name 'x', too": lambda: gc.onnx.export(
        gc.relu, (X,), input_names=["x"], output_names=["x"]
    ),
    "input has 2 dimensions, none is 2": lambda: gc.onnx.export(gc.relu, (X,), dynamic_shapes=({2: "n"},)),
    "the size 'n' is 2 at axis 0 of input and 3 at axis 1": lambda: gc.onnx.export(
        gc.relu, (X,), dynamic_shapes=({0: "n", 1: "n"},)
    ),
    "the function returns no tensor": lambda: gc.onnx.export(lambda x: 3, (X,)),
    "nothing to export: fill graph.outputs": lambda: gc.onnx.export(gc.Graph()),
    "the input 'input' is float32[n, 3], not float64[2, 3]": lambda: gc.onnx.export(
        gc.relu, (X,), dynamic_shapes=({0: "n"},)
    )(X.double()),
    "the input 'input' is float32[2, 3], not float32[2, 4]": lambda: gc.onnx.export(gc.relu, (X,))(gc.ones(2, 4)),
    "the input 'input' is float32[2, 3], not float32[2]": lambda: gc.onnx.export(gc.relu, (X,))(gc.ones(2)),
    "1 tensors for the 2 inputs x, y": lambda: gc.onnx.export(lambda x, y: x + y, (X, X))(X),
}


@pytest.mark.parametrize("begin", REFUSED)
def test_what_is_refused(begin: str) -> None:
    with pytest.raises(OnnxExporterError, match=re.escape(begin)):
        REFUSED[begin]()


def test_a_size_that_the_function_fixes_cannot_be_unknown() -> None:
    with pytest.raises(
        OnnxExporterError, match=r"'rows' cannot be unknown: the function takes it to be 2 \(at .*_options\.py"
    ):
        gc.onnx.export(lambda x: x + gc.ones(2, 3), (X,), dynamic_shapes=({0: "rows"},))


def test_decisions_on_data_are_refused_with_their_line() -> None:
    with pytest.raises(gc.errors.SymbolicError, match=r"_options\.py:\d+"):
        gc.onnx.export(lambda x: x if x.sum() > 0 else -x, (X,))


def test_without_the_extra_the_error_says_what_to_install() -> None:
    code = "import sys; sys.modules['onnx_ir'] = sys.modules['onnx'] = None\n"
    code += "import graphc as gc\ngc.onnx.export(gc.relu, (gc.ones(2),))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1 and 'hint: pip install "graphc[onnx]"' in done.stderr


def test_sessions_of_ones_own() -> None:
    program, made = gc.onnx.export(gc.relu, (X,)), []

    def make(data: Any) -> Any:
        made.append(len(data))
        return onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])

    program.initialize_inference_session(make)
    np.testing.assert_array_equal(program(-X)[0].numpy(), np.zeros((2, 3), np.float32))
    assert len(made) == 1
    program.release()
    program.optimize()
    assert_close(program(X)[0], X)
