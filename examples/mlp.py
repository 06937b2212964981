"""One model through three doors: eager, compiled, and a graph in a session.

    python examples/mlp.py

Each door starts from the same weights and sees the same batches, so the losses are the same, too.
"""

import graphc as gc
from graphc import nn, optim
from graphc.data import load_digits
from graphc.utils.data import DataLoader, TensorDataset

digits = load_digits()
train_set = TensorDataset(gc.from_numpy(digits.train_x), gc.from_numpy(digits.train_y))
test_x, test_y = gc.from_numpy(digits.test_x), gc.from_numpy(digits.test_y)
loss_fn = nn.CrossEntropyLoss()


def make():
    gc.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
    return model, optim.Adam(model.parameters(), lr=1e-2)


def train(step, epochs=5):
    """Calls step(x, y) with every batch of every epoch; gives the mean loss of the last epoch."""
    loader = DataLoader(train_set, batch_size=64, shuffle=True, generator=gc.Generator().manual_seed(0))
    for _ in range(epochs):
        losses = [float(step(x, y)) for x, y in loader]
    return sum(losses) / len(losses)


def accuracy(scores):
    return (scores.argmax(1) == test_y).float().mean().item()


# 1. Define-by-run: call it, and every line runs.
model, opt = make()


def step(x, y):
    opt.zero_grad()
    loss = loss_fn(model(x), y)
    loss.backward()
    opt.step()
    return loss


eager_loss = train(step)
with gc.no_grad():
    print(f"eager     loss {eager_loss:.6f}   test accuracy {accuracy(model(test_x)):.1%}")

# 2. Compiled: the same function, traced at its first call, then replayed. `opt` and `model` are read when it is traced.
model, opt = make()
fast_step = gc.compile(step)
compiled_loss = train(fast_step)
with gc.no_grad():
    builds = len(fast_step.recompiles)
    print(f"compiled  loss {compiled_loss:.6f}   test accuracy {accuracy(model(test_x)):.1%}   builds {builds}")

# 3. Define-and-run: the graph comes first; None is a batch of any size, so one build serves the last, smaller batch too.
model, opt = make()
graph = gc.Graph()
with graph.as_default():
    x = gc.placeholder((None, 64), name="x")
    y = gc.placeholder((None,), dtype=gc.int64, name="y")
    scores = model(x)
    loss = loss_fn(scores, y)
    train_op = opt.minimize(loss)

with gc.Session(graph) as session:
    session_loss = train(lambda xb, yb: session.run([loss, train_op], feed_dict={x: xb, y: yb})[0])
    builds = len(session.recompiles)
    found = gc.from_numpy(session.run(scores, feed_dict={x: test_x}))
    print(f"session   loss {session_loss:.6f}   test accuracy {accuracy(found):.1%}   builds {builds}")

assert abs(eager_loss - compiled_loss) < 1e-5
assert abs(eager_loss - session_loss) < 1e-5
