"""Names that PyTorch has and graphc has not: one sentence each, in the error Python expects there."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys

import pytest
from test_layers import ROOT

import graphc as gc
from graphc.core.missing import INSTEAD, missing, nearest, sentence
from graphc.core.torch_names import all_names, is_known, tensor_names
from graphc.errors import MissingImportError, MissingNameError

SENTENCES = {
    ("graphc", "softmx"): "graphc does not have torch.softmx; the nearest it has: softmax",
    ("graphc", "sparse_coo_tensor"): "torch.sparse_coo_tensor; its tensors are dense: use masks, gather and scatter",
    ("graphc", "polar"): "torch.polar; it has no complex numbers: use cos and sin",
    ("graphc", "view_as_real"): "torch.view_as_real; it has no complex numbers: keep real and imaginary parts in",
    ("graphc", "imag"): "torch.imag; it has no complex numbers",
    ("graphc", "spmm"): "torch.spmm; its tensors are dense: use mm",
    ("graphc.library", "Library"): "torch.library.Library; an op of one's own is a library.custom_op",
    ("graphc", "view_as_complex"): "torch.view_as_complex; it has no complex numbers: keep real and imaginary parts in",
    ("graphc.nn", "Conv2D"): "torch.nn.Conv2D; the nearest it has: Conv2d",
    ("graphc.nn", "cross_entropy"): "torch.nn.cross_entropy; the nearest it has: nn.functional.cross_entropy",
    ("graphc.nn.functional", "exp"): "torch.nn.functional.exp; the nearest it has: torch.exp",
    ("graphc.optim", "SGDW"): "torch.optim.SGDW; the nearest it has: SGD",
    ("graphc.nn.init", "xavier_uniform_x"): "torch.nn.init.xavier_uniform_x; the nearest it has: xavier_uniform_",
    ("graphc.vision.models", "vgg16"): "torchvision.models.vgg16; it has no ready models: nn has their layers",
}


@pytest.mark.parametrize(("module", "name"), SENTENCES)
def test_a_name_that_there_is_not_is_answered_with_one_sentence(module, name):
    owner = importlib.import_module(module)
    with pytest.raises(MissingNameError) as caught:
        getattr(owner, name)
    assert str(caught.value).startswith(f"module {module!r} has no attribute {name!r}: ")
    assert SENTENCES[module, name] in str(caught.value) and "\n" not in str(caught.value)
    assert not hasattr(owner, name) and getattr(owner, name, 3) == 3


NAMESPACES = ("graphc", "graphc.nn", "graphc.nn.functional", "graphc.nn.init", "graphc.nn.utils", "graphc.optim",
              "graphc.optim.lr_scheduler", "graphc.utils", "graphc.utils.data", "graphc.autograd", "graphc.linalg",
              "graphc.vision", "graphc.vision.transforms", "graphc.vision.transforms.functional", "graphc.vision.utils",
              "graphc.vision.datasets", "graphc.vision.models", "graphc.vision.io")  # fmt: skip


@pytest.mark.parametrize("module", NAMESPACES)
def test_every_missing_public_name_is_named_by_its_namespace(module):
    owner = importlib.import_module(module)
    path = module.replace("graphc.vision", "torchvision").replace("graphc", "torch")
    names = all_names()[path]
    assert len(names) > 3
    for name in names:
        if not hasattr(owner, name):
            with pytest.raises(AttributeError, match=re.escape(f"graphc does not have {path}.{name}")):
                getattr(owner, name)


def test_what_a_tensor_has_not_is_named_by_it_and_by_its_class():
    x = gc.zeros(2)
    lacking = [name for name in tensor_names() if not hasattr(gc.Tensor, name)]
    for name in lacking:
        for owner in (x, gc.Tensor):
            with pytest.raises(
                MissingNameError, match=rf"'Tensor' object has no attribute '{name}': graphc does not have"
            ):
                getattr(owner, name)
    assert "to_sparse" in lacking
    x.to_sparse = 3  # users' own attributes still go
    assert x.to_sparse == 3
    with pytest.raises(AttributeError, match="no attribute 'never_heard_of'"):
        x.never_heard_of


def test_an_import_of_a_missing_name_is_an_import_error_with_the_sentence():
    with pytest.raises(
        MissingImportError, match=r"cannot import name 'sparse' from 'graphc': .*; its tensors are dense"
    ):
        exec("from graphc import sparse")
    with pytest.raises(
        MissingImportError, match=r"cannot import name 'HalfCauchyX'|torch\.nn\.quantizable|torch\.nn\.cpp"
    ):
        exec("from graphc.nn import cpp")
    with pytest.raises(ImportError, match=r"cannot import name 'nothing' from 'graphc\.nn'"):
        exec("from graphc.nn import nothing")
    names = {}
    exec("try:\n    from graphc import hub_of_none\nexcept ImportError:\n    found = 1", names)
    assert names["found"] == 1


def test_special_names_are_not_talked_about():
    assert missing("graphc", "__wrapped__") == "module 'graphc' has no attribute '__wrapped__'"


def test_nothing_near_says_nothing_more():
    assert nearest("torch.qwertyuiop") == ""
    assert sentence("torch.qwertyuiop") == "graphc does not have torch.qwertyuiop"


def test_what_is_left_out_is_known_to_pytorch_and_not_there():
    for path in INSTEAD:
        assert is_known(path), path
        root, _, rest = path.partition(".")
        owner = gc if root == "torch" else gc.vision
        assert not hasattr(owner, rest) or rest == "models"


def test_importing_graphc_does_not_read_the_names_of_other_namespaces(tmp_path):
    code = "import sys, graphc\nfrom graphc.core.torch_names import all_names\nprint(all_names.cache_info().currsize)\n"
    code += "print(*(n for n in ('graphc.core.missing', 'difflib') if n in sys.modules))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.stdout.split("\n") == ["0", "", ""], done.stderr
