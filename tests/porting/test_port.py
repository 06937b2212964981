"""`graphc port`: every name a script uses, its status, exit codes; and the page of all names, which is kept current."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

import pytest
from test_layers import ROOT

from graphc import cli
from graphc.core.torch_names import all_names, is_known
from graphc.porting import coverage
from graphc.porting.report import DIFFERENCES, DIFFERS, MISSES, RENAMED, WORKS, entries_of, status_of
from graphc.porting.resolving import MISSING, keywords_of, resolve
from graphc.porting.script import uses_in

SCRIPT = """\
import argparse, numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import optim
from torch.utils.data import DataLoader, Dataset as Data
from torchvision import datasets, transforms as T
import torchaudio

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(784, 10, bias=True)
        self.values = 3

    def forward(self, x):
        x = torch.flatten(x, 1)
        return F.log_softmax(self.fc(x), dim=1)

    def lgamma(self):
        return self.values

torch.manual_seed(1)
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
torch.backends.cudnn.benchmark = True
data = datasets.MNIST("data", transform=T.Compose([T.ToTensor(), T.Normalize((0.1,), (0.3,))]))
loader = DataLoader(data, batch_size=4, shuffle=True)
net = Net().to(device)
opt = optim.SGD(net.parameters(), lr=0.1, nonsense=3)
act = torch.relu
for x, y in loader:
    opt.zero_grad()
    loss = F.nll_loss(net(x.view(-1, 784)), y)
    loss.backward()
    opt.step()
    spectrum = torch.fft.rfft(x)
    z = torch.ones(3)
    z.to_sparse()
    (z + 1).index()
    print(np.fft.fft(x), "a".join(["b"]), {}.values(), Net().lgamma(), argparse.foo.svd(), act(z), net.name)
T.RandomPerspective()
torch.never_was(x)
x.data.normal_()
"""


def found_in(source: str) -> dict[str, tuple[str, tuple[int, ...]]]:
    """name -> (status, lines)."""
    return {e.name: (e.status, e.lines) for e in entries_of(uses_in(textwrap.dedent(source), "script.py"))}


def test_the_names_of_a_script_have_their_status():
    found = found_in(SCRIPT)
    missing = {name for name, (status, _) in found.items() if status == MISSES}
    assert missing == {
        "torch.fft.rfft", "torchaudio", "torch.optim.SGD(nonsense=)", "torch.Tensor.to_sparse", "torch.Tensor.index",
        "torchvision.transforms.RandomPerspective", "torch.never_was",
    }  # fmt: skip
    assert found["torch.manual_seed"] == (DIFFERS, (23,))
    works = {
        "torch": (2,), "torch.nn": (3,), "torch.nn.functional": (4,), "torch.utils.data.DataLoader": (6, 27),
        "torch.utils.data.Dataset": (6,), "torch.nn.Module": (10,), "torch.nn.Linear": (13,), "torch.flatten": (17,),
        "torch.nn.functional.log_softmax": (18,), "torch.cuda.is_available": (24,), "torch.backends.cudnn.benchmark": (25,),
        "torchvision.datasets.MNIST": (26,), "torch.nn.Module.parameters": (29,), "torch.Tensor.view": (33,),
        "torch.Tensor.backward": (34,), "torch.optim.Optimizer.step": (35,), "torch.Tensor.normal_": (43,),
        "torch.Tensor.data": (43,), "torch.relu": (30, 40), "torchvision.transforms.Normalize": (26,),
    }  # fmt: skip
    for name, lines in works.items():
        assert found[name] == (WORKS, lines), name
    assert not {n for n in found if n.endswith((".svd", ".lgamma", ".join", ".values", ".name", "np"))}


@pytest.mark.parametrize(
    ("source", "name", "status"),
    [
        ("import torch as t\nt.nn.functional.relu(1)", "torch.nn.functional.relu", WORKS),
        ("from torch.nn import *\nLinear(1, 2, nonsense=1)", "torch.nn.Linear(nonsense=)", MISSES),
        ("import torch\nF = torch.nn.functional\nF.cross_entropy(1, 2, label_smoothing=0.1)",
         "torch.nn.functional.cross_entropy", WORKS),
        ("import graphc as torch\ntorch.nn.Linear(1, 2)", "torch.nn.Linear", WORKS),
        ("from graphc import nn\nnn.Linear", "torch.nn.Linear", WORKS),
        ("import graphc as gc\ngc.Session", "torch.Session", WORKS),
        ("def f():\n    from torch.nn.utils import clip_grad_norm_\n    clip_grad_norm_([], 1.0)",
         "torch.nn.utils.clip_grad_norm_", WORKS),
        ("import torch\nx = torch.rand(3)\ny = x * 2\ny[0].values()", "torch.Tensor.values", MISSES),
        ("import torch\ntorch.rand(3).values()", "torch.Tensor.values", MISSES),
        ("import torch\nfoo(x).lu_solve_of()", "torch", WORKS),
        ("import torch\nx = torch.tensor(1.0, requires_grad=True, nonsense=2)", "torch.tensor(nonsense=)", MISSES),
        ("import torchvision.models as m\nm.resnet18()", "torchvision.models.resnet18", MISSES),
        ("import torch\ntorch.Tensor.add(x, y)", "torch.Tensor.add", WORKS),
        ("import torch\nmodel.training", "torch.nn.Module.training", WORKS),
        ("import torch.sparse", "torch.sparse", MISSES),
        ("import torch._dynamo", "torch._dynamo", MISSES),
        ("import torch\ntorch._inductor.config.x = 3", "torch._inductor", MISSES),
        ("import torch.nn as nn\nnn.Linear.__name__", "torch.nn.Linear", WORKS),
        ("import torch\nprint(torch.__version__)", "torch.__version__", WORKS),
    ],
)  # fmt: skip
def test_one_name(source, name, status):
    assert found_in(source)[name][0] == status


@pytest.mark.parametrize(
    "source",
    [
        "import numpy as np\nx.view(3)\nx.to_sparse()",
        "from .torch import nn\nnn.Linear()",
        "import os\nos.path.join('a')",
    ],
)
def test_a_script_without_pytorch_uses_none_of_its_names(source):
    assert found_in(source) == {}


def test_a_name_assigned_twice_is_no_alias():
    found = found_in("import torch\nf = torch.relu\nf = open\nf.nonsense(mode=3)\n")
    assert set(found) == {"torch", "torch.relu"}


def test_notes_say_what_to_do():
    assert status_of("torch.sparse_coo_tensor")[1] == "its tensors are dense: use masks, gather and scatter"
    assert status_of("torch.never_was") == (MISSES, "PyTorch 2.13 does not have it either")
    assert status_of("torch.logsoftmax")[1].startswith("PyTorch 2.13 does not have it either; the nearest it has: ")
    assert status_of("torchvision.transforms.Scale")[1] == "torchvision 0.28 does not have it either; it became Resize"
    assert status_of("torch._dynamo") == (MISSES, "it is private to PyTorch")
    assert status_of("torch.symeig")[1] == "it became torch.linalg.eigh"
    assert all(status_of(name)[0] == MISSES for name in RENAMED)
    assert "answers for torch and torchvision only" in status_of("torchaudio")[1]
    (entry,) = [e for e in entries_of(uses_in("from torch.nn import Linear as L\nL(1, no=2)", "x")) if "no=" in e.name]
    assert entry.note == "graphc's torch.nn.Linear takes bias, device, dtype, in_features, out_features"


def test_nothing_of_the_script_runs(tmp_path, capsys):
    (tmp_path / "x.py").write_text(f"import torch\nopen({str(tmp_path / 'ran')!r}, 'w')\ntorch.zeros(2)\n")
    assert cli.main(["port", str(tmp_path / "x.py")]) == 0
    assert not (tmp_path / "ran").exists()


def test_exit_codes_and_the_text(tmp_path, capsys):
    good, bad, broken = (tmp_path / n for n in ("good.py", "bad.py", "broken.py"))
    good.write_text("import torch\ntorch.manual_seed(0)\ntorch.zeros(2)\n")
    bad.write_text("import torch\ntorch.fft.fft(1)\n" * 6)
    broken.write_text("x = (\n")
    assert cli.main(["port", str(good)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{good}: 3 names of PyTorch: 2 work, 1 differ, 0 missing"
    assert lines[1].startswith("  differs  torch.manual_seed  line 2  a seed gives graphc's own numbers")
    assert lines[2:] == ["  works    torch              line 1", "  works    torch.zeros        line 3"]
    assert cli.main(["port", str(good), str(bad)]) == 1
    assert "  missing  torch.fft.fft  line 2, 4, 6, 8 and 2 more  it has no complex numbers" in capsys.readouterr().out
    assert cli.main(["port", str(broken)]) == 2
    assert f"graphc port: {broken}: '(' was never closed" in capsys.readouterr().err
    assert cli.main(["port", str(tmp_path / "none.py")]) == 2
    assert "No such file" in capsys.readouterr().err
    for wrong in (["port"], ["port", "--coverage", str(good)]):
        with pytest.raises(SystemExit):
            cli.main(wrong)
        assert "port: give scripts, or --coverage" in capsys.readouterr().err


def test_json_for_programs(tmp_path, capsys):
    (tmp_path / "x.py").write_text("import torch\ntorch.zeros(2).to_sparse()\n")
    assert cli.main(["port", "--json", str(tmp_path / "x.py")]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["file"] == str(tmp_path / "x.py") and told["counts"] == {"missing": 1, "differs": 0, "works": 2}
    assert told["names"][0]["name"] == "torch.Tensor.to_sparse" and told["names"][0]["lines"] == [2]
    assert [set(entry) for entry in told["names"]] == [{"name", "lines", "status", "note"}] * 3


def test_the_examples_need_nothing_that_is_missing():
    for path in sorted((ROOT / "examples").glob("*.py")):
        entries = entries_of(uses_in(path.read_text(), str(path)))
        assert not [e for e in entries if e.status == MISSES], path


def test_differences_are_of_names_that_are_there():
    for name in DIFFERENCES:
        assert is_known(name) and resolve(name) is not MISSING, name


def test_keywords_come_from_signatures():
    assert keywords_of("torch.nn.Linear") == {"in_features", "out_features", "bias", "device", "dtype"}
    assert keywords_of("torch.save") is None  # it takes any
    assert keywords_of("torch.float32") is None
    assert keywords_of("torch.no_such") is None


def test_the_coverage_page_is_current():
    written = (ROOT / "docs/coverage.md").read_text()
    assert written == coverage.page(), "run `graphc port --coverage > docs/coverage.md`"


def test_the_page_tells_each_name_once_where_it_belongs():
    for space in ("torch.nn.init", "torch.fft", "torch.optim"):
        have, lack = coverage.split(space)
        assert sorted(have + lack) == sorted(all_names()[space])
        assert all(resolve(f"{space}.{name}") is not MISSING for name in have)
    assert coverage.split("torch.fft")[0] == []


def test_the_file_of_names_is_pytorch_s(tmp_path):
    """A few names from each end of what scripts use; the file itself is made by tools/torch_names.py."""
    for name in ("torch.zeros", "torch.Tensor.view", "torch.nn.Linear", "torch.nn.functional.relu", "torch.optim.AdamW",
                 "torch.optim.lr_scheduler.OneCycleLR", "torch.utils.data.DataLoader", "torch.distributions.Normal",
                 "torch.cuda.is_available", "torch.FloatTensor", "torch.fft.rfft", "torch.linalg.svd",
                 "torchvision.transforms.ToTensor", "torchvision.datasets.CelebA"):  # fmt: skip
        assert is_known(name), name
    assert not is_known("torch.zeroes") and not is_known("torch.nn.np")
    assert Path(ROOT / "graphc/core/torch_names.txt").read_text().startswith("torch.Tensor: ")
