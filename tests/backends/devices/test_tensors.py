"""Tensors on a device: eager code, its gradients and writes are those of tensors on the host."""

from __future__ import annotations

import copy
import io
import logging
import pickle

import numpy as np
import pytest
from tolerances import assert_close

import graphc as gc
from graphc import nn
from graphc.core.arrays import DeviceArray

pytestmark = pytest.mark.opencl

DEVICE = "opencl:0"
RNG = np.random.default_rng(0)
X = RNG.normal(size=(4, 5)).astype(np.float32)


def there(array):
    return gc.from_numpy(array.copy()).to(DEVICE)


def equal(f, *arrays, grads=True):
    """f of tensors on the device equals f of tensors on the host, gradients too."""
    results = []
    for device in ("cpu", DEVICE):
        tensors = [gc.from_numpy(a.copy()).to(device).requires_grad_(grads and a.dtype.kind == "f") for a in arrays]
        out = f(*tensors)
        outs = list(out) if isinstance(out, tuple | list) else [out]
        assert all(o.device == gc.device(device) for o in outs)
        found = [o.detach().cpu().numpy() for o in outs]
        if grads and outs[0].requires_grad:
            (outs[0] * outs[0]).sum().backward()
            assert all(t.grad is None or t.grad.device == gc.device(device) for t in tensors)
            found += [t.grad.cpu().numpy() for t in tensors if t.grad is not None]
        results.append(found)
    assert len(results[0]) == len(results[1])
    for a, b in zip(*results, strict=True):
        assert_close(b, a)


@pytest.mark.parametrize(
    "f",
    [
        lambda x: x + 1, lambda x: 2 - x, lambda x: x.sum(), lambda x: x.sum(0), lambda x: x.mean(1, keepdim=True),
        lambda x: x.exp().log1p(), lambda x: x.t() @ x, lambda x: x[1:, ::2], lambda x: x[:, -1], lambda x: x.flip(1),
        lambda x: x.t().reshape(2, 10), lambda x: x.expand(3, 4, 5).sum(0), lambda x: x.permute(1, 0).contiguous(),
        lambda x: gc.cat([x, x * 2]), lambda x: gc.stack([x, x]).flatten(1), lambda x: x.sort(1), lambda x: x.max(1)[0],
        lambda x: gc.softmax(x, 1), lambda x: nn.functional.gelu(x), lambda x: nn.functional.layer_norm(x, (5,)),
        lambda x: x.cumsum(0), lambda x: gc.where(x > 0, x, x * 0.5), lambda x: x.double().sum(), lambda x: x.diagonal(),
        lambda x: x.tril(), lambda x: gc.einsum("ij,kj->ik", x, x), lambda x: x.unfold(1, 2, 1), lambda x: x.chunk(2, 1),
        lambda x: x[gc.tensor([0, 2, 2])], lambda x: x[x > 0], lambda x: x.std(0), lambda x: gc.linalg.norm(x),
    ],
)  # fmt: skip
def test_functions(f):
    equal(f, X)


def test_integers_and_bools():
    equal(
        lambda a, b: (a // b, a % b, a & b, a > b, (a > b).any(1)), np.arange(-6, 6).reshape(3, 4), np.full((3, 4), 5)
    )


def test_empty_and_zero_dimensional_tensors():
    equal(lambda x: (x + 1, x.sum(), x.reshape(0, 7)), np.empty((0, 3), np.float32))
    equal(lambda x: (x * x, x.reshape(1, 1)), np.array(3, np.float32))


def test_mistakes_name_the_operands():
    with pytest.raises(gc.errors.ShapeError, match=r"\[4, 5\]"):
        there(X) + there(X[:3, :3])
    with pytest.raises(IndexError):
        there(X)[gc.tensor([9])]
    assert there(X).sum().item() == pytest.approx(X.sum(), rel=1e-5)  # the device goes on


class TestMoving:
    def test_there_and_back(self):
        for array in (X, X.T, X[::-2, 1:3], np.arange(3), np.array(True), np.empty((0, 2))):
            tensor = gc.from_numpy(np.array(array))
            moved = tensor.to(DEVICE)
            assert moved.device == gc.device(DEVICE)
            assert moved.dtype is tensor.dtype
            np.testing.assert_array_equal(moved.cpu().numpy(), array)
            assert moved.to(DEVICE) is moved
            assert moved.to(moved) is moved
        assert there(X).to(gc.float64).to("cpu", gc.float16).dtype is gc.float16

    def test_gradients_go_back(self):
        x = gc.from_numpy(X.copy()).requires_grad_()
        (x.to(DEVICE) * there(X)).sum().backward()
        assert x.grad.device == gc.device("cpu")
        np.testing.assert_allclose(x.grad.numpy(), X)

    def test_gradients_of_numbers_are_where_the_numbers_are(self):
        here, far = gc.tensor(2.5, requires_grad=True), gc.tensor(1.5, device=DEVICE, requires_grad=True)
        for create in (False, True):
            y = (there(X) * here).sum() + far.floor() + far * far
            found = gc.autograd.grad(y, [here, far], create_graph=create)
            assert [g.device for g in found] == [here.device, far.device]
            assert [g.item() for g in found] == pytest.approx([X.sum(), 3.0], rel=1e-5)
        (again,) = gc.autograd.grad(found[1], [far])
        assert again.item() == 2.0 and again.device == far.device
        for unused in gc.autograd.grad(here * 2, [far, there(X).requires_grad_()], materialize_grads=True):
            assert unused.device == far.device and not unused.any()
        (hessian,) = gc.autograd.functional.jacobian(lambda x: (x.floor(),), far)
        assert hessian.device == far.device and hessian.item() == 0.0
        far.floor().backward(create_graph=True)
        assert far.grad.device == far.device

    def test_numbers_mix_and_tensors_do_not(self):
        scale = gc.tensor(2.0, requires_grad=True)
        (there(X) * scale).sum().backward()
        assert scale.grad.item() == pytest.approx(X.sum(), rel=1e-5)
        with pytest.raises(gc.errors.DeviceError, match="same device"):
            there(X) + gc.from_numpy(X.copy()).requires_grad_()

    def test_much_that_moves_by_itself_is_told(self, caplog):
        big = np.zeros((200, 200), np.float32)
        with caplog.at_level(logging.WARNING):
            assert (there(big) + gc.from_numpy(big)).device == gc.device(DEVICE)
        assert "160000 bytes are copied from cpu to opencl:0" in caplog.text
        assert "test_tensors.py" in caplog.text

    def test_no_such_device(self):
        with pytest.raises(RuntimeError, match="no OpenCL device 99"):
            gc.zeros(2, device="opencl:99")
        with pytest.raises(RuntimeError, match="no mps device"):
            gc.zeros(2).to("mps")

    def test_copies_and_files(self):
        x = there(X).requires_grad_()
        for made in (copy.deepcopy(x), pickle.loads(pickle.dumps(x)), x.clone()):
            assert made.device == x.device
            np.testing.assert_array_equal(made.detach().numpy(), X)
        file = io.BytesIO()
        gc.save({"x": x, "again": x.detach()}, file)
        file.seek(0)
        found = gc.load(file)
        np.testing.assert_array_equal(found["x"].detach().numpy(), X)
        found["x"].data[0] = 0
        assert not found["again"][0].any()  # one memory still

    def test_shown_like_pytorch(self):
        assert repr(gc.ones(2, device=DEVICE)) == "tensor([1., 1.], device='opencl:0')"


class TestMaking:
    def test_by_name(self):
        for make in (gc.zeros, gc.ones, gc.empty, gc.rand, gc.randn):
            assert make(2, 3, device=DEVICE).device == gc.device(DEVICE)
        x = there(X)
        for made in (
            gc.zeros_like(x),
            gc.randn_like(x),
            x.new_ones(2),
            x.new_tensor([1, 2]),
            gc.tensor([1.0], device=DEVICE),
        ):
            assert made.device == x.device
        assert gc.zeros_like(x, device="cpu").device == gc.device("cpu")

    def test_where_none_is_named(self):
        with gc.device(DEVICE):
            made = [gc.zeros(2), gc.arange(3), gc.tensor([1, 2]), gc.rand(2), nn.Linear(2, 2).weight, gc.eye(2)]
            assert gc.from_numpy(X).device == gc.device("cpu")
        assert {t.device for t in made} == {gc.device(DEVICE)}
        assert gc.zeros(2).device == gc.device("cpu")
        gc.set_default_device(DEVICE)
        try:
            assert gc.zeros(2).device == gc.get_default_device() == gc.device(DEVICE)
        finally:
            gc.set_default_device(None)

    def test_the_same_random_numbers(self):
        found = []
        for device in ("cpu", DEVICE):
            gc.manual_seed(5)
            with gc.device(device):
                found.append(
                    [
                        gc.rand(100),
                        gc.randn(7, 3),
                        gc.randint(0, 9, (50,)),
                        gc.randperm(20),
                        gc.bernoulli(gc.full((9,), 0.5)),
                    ]
                )
        for a, b in zip(*found, strict=True):
            assert_close(b.numpy(), a.numpy())


class TestWriting:
    @pytest.mark.parametrize(
        "write",
        [
            lambda x: x.add_(1), lambda x: x.zero_(), lambda x: x[1:].mul_(2), lambda x: x.t()[0].fill_(7),
            lambda x: x.__setitem__((slice(None), 2), 5.0), lambda x: x.__setitem__(x > 0, 0.0),
            lambda x: x[1:].copy_(x[:-1].clone()), lambda x: x[1:].copy_(x[:-1]), lambda x: x.copy_(gc.ones(4, 1)),
            lambda x: x.view(20)[3:9].neg_(), lambda x: x.flip(0), lambda x: x.index_add_(0, gc.tensor([0, 0]), gc.ones(2, 5)),
        ],
    )  # fmt: skip
    def test_is_seen_by_views(self, write):
        results = []
        for device in ("cpu", DEVICE):
            x = gc.from_numpy(X.copy()).to(device)
            views = [x.t(), x[2], x.view(2, 10)]
            write(x)
            results.append([v.cpu().numpy().copy() for v in (x, *views)])
        for a, b in zip(*results, strict=True):
            np.testing.assert_array_equal(b, a)

    def test_with_history(self):
        def f(x):
            y = x * 2
            y[1:].mul_(3)
            y[:, 0] = x[:, 1]
            return y

        equal(f, X)

    def test_between_devices(self):
        x, y = gc.zeros(4, 5), there(X)
        x.copy_(y)
        np.testing.assert_array_equal(x.numpy(), X)
        y.copy_(gc.ones(5))
        assert y.device == gc.device(DEVICE)
        assert y.sum().item() == 20

    def test_data_and_detach_share(self):
        x = there(X).requires_grad_()
        x.data[0] = 0
        x.detach()[1].zero_()
        np.testing.assert_array_equal(x.detach().numpy()[:2], np.zeros((2, 5), np.float32))
        assert isinstance(x._data, DeviceArray)


def test_training_by_hand_and_by_module():
    found = []
    for device in ("cpu", DEVICE):
        gc.manual_seed(1)
        model = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 3)).to(
            device
        )
        optimizer = gc.optim.Adam(model.parameters(), lr=0.05, eps=1e-4)
        losses = []
        for _ in range(4):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(
                model(gc.from_numpy(X).to(device)), gc.tensor([0, 1, 2, 1], device=device)
            )
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        assert all(p.device == gc.device(device) for p in model.parameters())
        found.append([np.array(losses), *(p.detach().cpu().numpy() for p in model.parameters())])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(b, a, rtol=2e-3, atol=2e-4)


class TestCompiled:
    def step(self, device, **options):
        gc.manual_seed(2)
        model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3)).to(device)
        optimizer = gc.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

        def step(x, y):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            return loss

        return model, gc.compile(step, **options)

    def losses(self, step, device, count=4):
        y = gc.tensor([0, 1, 2, 1], device=device)
        return [step(gc.from_numpy(X).to(device), y) for _ in range(count)]

    def test_runs_where_its_tensors_are(self):
        _, step = self.step("cpu")
        want = self.losses(step, "cpu")
        model, step = self.step(DEVICE)
        got = self.losses(step, DEVICE)
        assert {t.device for t in (*got, *model.parameters())} == {gc.device(DEVICE)}
        np.testing.assert_allclose([x.item() for x in got], [x.item() for x in want], rtol=1e-4)

    def test_a_step_waits_for_nothing(self, monkeypatch):
        _, step = self.step(DEVICE)
        x, y = there(X), gc.tensor([0, 1, 2, 1], device=DEVICE)
        step(x, y)
        driver = x._data.memory.driver
        waits = []
        for name in ("copy_out", "finish", "regain"):
            monkeypatch.setattr(driver, name, lambda *args, name=name: waits.append(name))
        step(x, y)
        # a class index may be bad, which is asked once
        assert waits == ["copy_out"]

    def test_moving_the_model_later(self):
        model, step = self.step("cpu")
        first = self.losses(step, "cpu", 2)
        model.to(DEVICE)
        second = self.losses(step, DEVICE, 2)
        model, step = self.step("cpu")
        want = self.losses(step, "cpu")
        np.testing.assert_allclose([x.item() for x in first + second], [x.item() for x in want], rtol=1e-4)

    def test_gradient_through_a_compiled_function(self):
        equal(gc.compile(lambda x: (x.exp() * x).sum(1)), X)

    def test_another_backend_was_asked_for(self, caplog):
        with caplog.at_level(logging.INFO):
            out = gc.compile(lambda x: x + 1, backend="llvm")(there(X))
        assert out.device == gc.device(DEVICE)
        np.testing.assert_array_equal(out.numpy(), X + 1)
        assert "from opencl:0 to the host and back: backend='llvm' was asked for" in caplog.text

    def test_sessions(self):
        weight = nn.Parameter(there(X))
        graph = gc.Graph()
        with graph.as_default():
            x = gc.placeholder((2, 4))
            loss = ((x @ weight) ** 2).sum()
            train = gc.optim.SGD([weight], lr=0.1).minimize(loss)
        feed = np.ones((2, 4), np.float32)
        session = gc.Session(graph)
        first = session.run([loss, train], {x: feed})[0]
        second = session.run(loss, {x: feed})
        assert type(first) is np.ndarray
        assert second < first
        assert weight.device == gc.device(DEVICE)

    def test_verify(self):
        equal(gc.compile(lambda x: gc.softmax(x, 1), verify=True), X, grads=False)

    def test_explain_shows_the_kernels(self):
        _, step = self.step(DEVICE)
        self.losses(step, DEVICE, 1)
        assert "opencl" in str(gc.explain(step)).lower()


def test_memory_is_counted_and_given_back():
    gc.opencl.empty_cache()
    before = gc.opencl.memory_allocated()
    x = gc.zeros(1000, 100, device=DEVICE)
    assert gc.opencl.memory_allocated() - before >= 400_000
    assert gc.opencl.max_memory_allocated() >= gc.opencl.memory_allocated()
    del x
    assert gc.opencl.memory_allocated() == before
    gc.opencl.synchronize()
    assert gc.opencl.is_available()
    assert gc.opencl.get_device_name() == gc.opencl.get_device_properties().name


def test_numbers_of_the_host_stay_there(monkeypatch):
    """A compiled step with dropout moves the generator on and waits for nothing."""
    model = nn.Sequential(nn.Linear(5, 8), nn.Dropout(0.5)).to(DEVICE)
    step = gc.compile(lambda x: model(x).sum())
    x = there(X)
    gc.manual_seed(0)
    first = step(x)
    driver, waits = x._data.memory.driver, []
    monkeypatch.setattr(driver, "copy_out", lambda *args: waits.append(args))
    second = step(x)
    assert not waits
    monkeypatch.undo()
    gc.manual_seed(0)
    assert [step(x).item(), step(x).item()] == [first.item(), second.item()]
    assert first.item() != second.item()


def test_a_custom_function():
    class Cube(gc.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x**3

        @staticmethod
        def backward(ctx, g):
            return 3 * ctx.saved_tensors[0] ** 2 * g

    equal(Cube.apply, X)


@pytest.mark.parametrize("updates", [False, True])
def test_an_argument_that_comes_from_a_device_later(updates):
    total = gc.zeros(4, 5)

    def f(x):
        if updates:
            total.add_(1)
        return x * 2

    run = gc.compile(f)
    host = gc.from_numpy(X)
    for _ in range(4):  # the short way into the build is there by now
        run(host)
    found = run(host.to(DEVICE))
    assert found.device == gc.device(DEVICE) and np.array_equal(found.cpu().numpy(), X * 2)
    assert np.array_equal(run(host).numpy(), X * 2)
    assert not updates or total.cpu().eq(6).all()


def test_large_tensors():
    """Their shadows are addresses only."""
    large = RNG.normal(size=(600, 600)).astype(np.float32)
    equal(lambda x: x.t().contiguous()[1:].add(1).reshape(-1)[::7], large)
    equal(lambda x: x.clone().t().mul_(2).clone()[:3], large)
    x, y = there(large), gc.from_numpy(large.copy())
    for z in (x, y):
        z.t()[:300].add_(1)
        z[::2] = z[1::2].flip(0)
    np.testing.assert_array_equal(x.cpu().numpy(), y.numpy())
    assert gc.from_numpy(np.asfortranarray(large)).to(DEVICE).stride() == (1, 600)
    assert copy.deepcopy(x.t()).stride() == x.t().stride()
