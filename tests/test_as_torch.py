"""`import graphc.as_torch`: every spelling of `import torch...` gives graphc's module of the same path."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
from test_layers import ROOT


def run(code: str, cwd: object) -> subprocess.CompletedProcess[str]:
    """A fresh interpreter that runs the code with graphc on its path."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(command, cwd=str(cwd), env=environment, capture_output=True, text=True, timeout=120)


def check(code: str, cwd: object) -> str:
    """Its output; fails if it does."""
    done = run("import graphc.as_torch\n" + code, cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout


SPELLINGS = """
import sys
import torch
import torch.nn
import torch.nn as nn
import torch.nn.functional as F
import torch.nn.init as init
import torch.optim as optim
import torch.optim.lr_scheduler
import torch.utils.data as data
import torch.utils.data.dataset
import torch.autograd
import torch.cuda
import torch.version
import torch.backends.cudnn as cudnn
from torch import Tensor, backends, cuda, float32, manual_seed, nn as nn2, no_grad, optim as optim2, tensor
from torch.autograd import Function, grad
from torch.nn import CrossEntropyLoss, Linear, Module, Parameter, functional
from torch.nn.modules.linear import Linear as Linear2
from torch.nn.parameter import Parameter as Parameter2
from torch.nn.utils import clip_grad_norm_
from torch.optim import SGD, Adam
from torch.optim.lr_scheduler import StepLR
from torch.optim.optimizer import Optimizer
from torch.utils.data import DataLoader, Dataset, TensorDataset
from torch.utils.data.sampler import Sampler
import graphc
import graphc.nn.functional
import graphc.optim.lr_scheduler
import graphc.utils.data.dataset

assert torch is graphc
assert torch.nn is nn is nn2 is graphc.nn
assert F is functional is nn.functional is graphc.nn.functional
assert Linear is Linear2 is graphc.nn.Linear and Parameter is Parameter2 is graphc.nn.Parameter
assert optim is optim2 is graphc.optim and torch.optim.lr_scheduler is graphc.optim.lr_scheduler
assert StepLR is graphc.optim.lr_scheduler.StepLR and issubclass(Adam, Optimizer)
assert torch.utils.data is data is graphc.utils.data and DataLoader is graphc.utils.data.DataLoader
assert torch.backends.cudnn is cudnn is graphc.backends.cudnn and backends is graphc.backends
assert cuda is torch.cuda is graphc.cuda
assert Tensor is graphc.Tensor and tensor is graphc.tensor and float32 is graphc.float32
for name, module in list(sys.modules.items()):
    if name.partition(".")[0] == "torch":
        ours = sys.modules["graphc" + name[len("torch"):]]
        assert module is ours, name
        assert module.__spec__ is None or module.__spec__.name.startswith("graphc"), name
twice = __import__("importlib").import_module("torch.nn")
assert twice is graphc.nn
print("same")
"""


def test_every_spelling_gives_graphc_s_own_module(tmp_path):
    assert check(SPELLINGS, tmp_path) == "same\n"


VISION = """
import sys
import torchvision
import torchvision.transforms as T, torchvision.utils as vutils
import torchvision.transforms.functional as TF
from torchvision import datasets, io, models, transforms
from torchvision.datasets import MNIST, ImageFolder
from torchvision.transforms.transforms import RandomHorizontalFlip
from torchvision.transforms import Compose, InterpolationMode, ToTensor
from torchvision.utils import make_grid, save_image
import graphc.vision as vision

assert torchvision is vision and T is transforms is vision.transforms and TF is vision.transforms.functional
assert MNIST is datasets.MNIST and vutils.make_grid is make_grid and RandomHorizontalFlip is T.RandomHorizontalFlip
assert TF.InterpolationMode is InterpolationMode
assert tuple(map(int, torchvision.__version__.partition("+")[0].split("."))) >= (0, 20)
for name, module in list(sys.modules.items()):
    if name.partition(".")[0] == "torchvision":
        assert module is sys.modules["graphc.vision" + name[len("torchvision"):]], name
for line in ("import torchvision.ops", "from torchvision.transforms import AugMix", "from torchvision import ops",
             "models.resnet18(weights=None)", "import torchvision.no"):
    try:
        exec(line)
    except (ImportError, AttributeError) as error:
        print(error)
"""


def test_torchvision_is_answered_too_and_what_is_missing_is_named(tmp_path):
    assert check(VISION, tmp_path).splitlines() == [
        "No module named 'torchvision.ops': graphc answers for torchvision here, and it does not have 'graphc.vision.ops'; "
        "it has nothing for detection",
        "cannot import name 'AugMix' from 'graphc.vision.transforms': graphc does not have torchvision.transforms.AugMix",
        "cannot import name 'ops' from 'graphc.vision': graphc does not have torchvision.ops; it has nothing for detection",
        "module 'graphc.vision.models' has no attribute 'resnet18': graphc does not have torchvision.models.resnet18; "
        "it has no ready models: nn has their layers, and gc.load reads weights",
        "No module named 'torchvision.no': graphc answers for torchvision here, and it does not have 'graphc.vision.no'",
    ]


def test_a_real_torchvision_that_is_loaded_is_not_shadowed(tmp_path):
    (tmp_path / "torchvision.py").write_text("__version__ = '0.0'\n")
    code = "import torchvision\ntry:\n    import graphc.as_torch\nexcept ImportError as error:\n    print(error)\n"
    done = run(code + "assert torchvision.__version__ == '0.0'", tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.match(r"torchvision is already imported here \(.*torchvision\.py\), so graphc cannot answer", done.stdout)


def test_what_scripts_ask_about_devices_is_answered(tmp_path, monkeypatch):
    monkeypatch.setenv("GRAPHC_DEVICE", "cpu")  # OpenCL would answer for CUDA
    out = check(
        """
import torch
torch.backends.cudnn.benchmark = True
torch.backends.cudnn.deterministic = True
torch.backends.cuda.matmul.allow_tf32 = True
print(torch.cuda.is_available(), torch.cuda.device_count(), torch.backends.mps.is_available(), torch.version.cuda)
print(torch.device("cuda" if torch.cuda.is_available() else "cpu"), torch.__version__, torch.version.__version__)
torch.cuda.manual_seed_all(0)
try:
    torch.cuda.current_device()
except AssertionError as error:
    print(error)
""",
        tmp_path,
    )
    lines = out.splitlines()
    assert lines[0] == "False 0 False None"
    assert re.fullmatch(r"cpu (2\.13\.0\+graphc\S+) \1", lines[1])
    assert "cuda.current_device: graphc has no CUDA device" in lines[2]


@pytest.mark.parametrize("name", ["torch.distributed.rpc", "torch.nn.quantized", "torch.fx", "torch.optim.nothing"])
def test_a_module_graphc_has_not_is_named(name, tmp_path):
    out = check(
        f"""
try:
    import {name}
except ModuleNotFoundError as error:
    print(error.name, error, sep="|")
""",
        tmp_path,
    )
    theirs, ours = name, "graphc" + name.removeprefix("torch")
    said = f"{theirs}|No module named '{theirs}': graphc answers for torch here, and it does not have '{ours}'"
    assert out.strip() == said or out.startswith(said + "; ")


@pytest.mark.parametrize("line", ["from torch import nothing", "from torch.nn import Nothing"])
def test_a_name_graphc_has_not_is_an_import_error(line, tmp_path):
    done = run(f"import graphc.as_torch\n{line}", tmp_path)
    assert re.search(r"ImportError: cannot import name 'nothing' from 'graphc", done.stderr, re.IGNORECASE)


def test_an_error_inside_a_module_of_ours_is_not_hidden(tmp_path):
    out = check(
        """
import sys
import graphc
sys.modules["graphc.viz.subjects"] = None
try:
    import torch.viz
except ModuleNotFoundError as error:
    print(error)
""",
        tmp_path,
    )
    assert "graphc.viz.subjects" in out
    assert "answers for torch" not in out


REAL = "__version__ = '0.0'\n"


def test_a_real_torch_that_is_loaded_is_not_shadowed(tmp_path):
    (tmp_path / "torch.py").write_text(REAL)
    done = run(
        """
import sys
import torch
finders = list(sys.meta_path)
try:
    import graphc.as_torch
except ImportError as error:
    print(error)
assert sys.modules["torch"] is torch and torch.__version__ == "0.0"
assert sys.meta_path == finders
""",
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert re.match(r"torch is already imported here \(.*torch\.py\), so graphc cannot answer for it", done.stdout)
    assert "hint: import graphc.as_torch before anything imports torch" in done.stdout


def test_an_installed_torch_is_never_asked(tmp_path):
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise AssertionError('loaded')")
    (tmp_path / "torch" / "fx.py").write_text("raise AssertionError('loaded')")
    out = check(
        """
import torch, graphc
assert torch is graphc
try:
    import torch.fx
except ModuleNotFoundError:
    print("refused")
""",
        tmp_path,
    )
    assert out == "refused\n"


def test_other_imports_and_a_second_installation_are_left_alone(tmp_path):
    (tmp_path / "torchlike.py").write_text("x = 3")
    out = check(
        """
import sys, torchlike
from graphc.as_torch import Answerer, install
install()
assert sum(isinstance(f, Answerer) for f in sys.meta_path) == 1
print(torchlike.x)
""",
        tmp_path,
    )
    assert out == "3\n"
