"""Deep Q-learning on a cart with a pole, its physics written here.

    graphc run examples/dqn.py --steps 300 [--compile]

Shows a replay memory, an epsilon-greedy policy, a target network that follows softly, `gather`, SmoothL1Loss and clipping by
value. What is random is NumPy's.
"""

import argparse
import copy
import math
from collections import deque, namedtuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn, optim

Transition = namedtuple("Transition", ("state", "action", "next_state", "reward", "done"))


class CartPole:
    """A pole on a cart, pushed left or right; a reward of one for each step that it stands (Barto, Sutton, Anderson 1983)."""

    gravity, cart, pole, length, force, interval = 9.8, 1.0, 0.1, 0.5, 10.0, 0.02

    def __init__(self, rng):
        self.rng = rng

    def reset(self):
        self.state, self.age = self.rng.uniform(-0.05, 0.05, 4), 0
        return self.state

    def step(self, action):
        x, v, angle, turn = self.state
        push = self.force if action == 1 else -self.force
        total, sine, cosine = self.cart + self.pole, math.sin(angle), math.cos(angle)
        part = (push + self.pole * self.length * turn**2 * sine) / total
        bend = (self.gravity * sine - cosine * part) / (self.length * (4 / 3 - self.pole * cosine**2 / total))
        speed = part - self.pole * self.length * bend * cosine / total
        h = self.interval
        self.state = np.array([x + h * v, v + h * speed, angle + h * turn, turn + h * bend])
        self.age += 1
        fallen = abs(self.state[0]) > 2.4 or abs(self.state[2]) > math.radians(12)
        return self.state, 1.0, bool(fallen), self.age >= 200


class ReplayMemory:
    def __init__(self, capacity, rng):
        self.memory, self.rng = deque(maxlen=capacity), rng

    def push(self, *args):
        self.memory.append(Transition(*args))

    def sample(self, count):
        return [self.memory[i] for i in self.rng.choice(len(self.memory), count, replace=False)]

    def __len__(self):
        return len(self.memory)


class DQN(nn.Module):
    def __init__(self, observations=4, actions=2, width=32):
        super().__init__()
        self.layer1 = nn.Linear(observations, width)
        self.layer2 = nn.Linear(width, width)
        self.layer3 = nn.Linear(width, actions)

    def forward(self, x):
        return self.layer3(F.relu(self.layer2(F.relu(self.layer1(x)))))


def build():
    return DQN()


def floats(values):
    return torch.tensor(np.array(values), dtype=torch.get_default_dtype())


class Agent:
    batch, gamma, tau = 32, 0.95, 0.02

    def __init__(self, policy, prepare, rng):
        self.policy, self.target = policy, copy.deepcopy(policy)
        self.optimizer = optim.AdamW(policy.parameters(), lr=2e-3, amsgrad=True)
        self.memory, self.rng = ReplayMemory(2000, rng), rng
        self.learn = prepare(self.step) if prepare else self.step

    def select_action(self, state, epsilon):
        if self.rng.random() < epsilon:
            return int(self.rng.integers(2))
        with torch.no_grad():
            return self.policy(floats([state])).max(1).indices.item()

    def step(self, state, action, next_state, reward, done):
        value = self.policy(state).gather(1, action)
        with torch.no_grad():
            next_value = self.target(next_state).max(1).values * ~done
        expected = reward + self.gamma * next_value
        loss = nn.SmoothL1Loss()(value, expected.unsqueeze(1))
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_value_(self.policy.parameters(), 1.0)
        self.optimizer.step()
        return loss

    def optimize_model(self):
        batch = Transition(*zip(*self.memory.sample(self.batch), strict=True))
        action = torch.tensor(batch.action).unsqueeze(1)
        done = torch.tensor(batch.done, dtype=torch.bool)
        return self.learn(floats(batch.state), action, floats(batch.next_state), floats(batch.reward), done).item()

    def follow(self):
        """The target network moves a little towards the policy's."""
        target, policy = self.target.state_dict(), self.policy.state_dict()
        for key in policy:
            target[key] = policy[key] * self.tau + target[key] * (1 - self.tau)
        self.target.load_state_dict(target)


def train(model, steps, prepare=None, ages=None):
    """Trains in place and returns the loss of each learning step; `prepare` may be torch.compile, `ages` collects episodes'."""
    rng = np.random.default_rng(0)
    world, agent = CartPole(rng), Agent(model, prepare, rng)
    losses, state = [], world.reset()
    while len(losses) < steps:
        action = agent.select_action(state, epsilon=max(0.05, 0.9 - len(losses) / 200))
        next_state, reward, fallen, late = world.step(action)
        agent.memory.push(state, action, next_state, reward, fallen)
        state = next_state
        if fallen or late:
            if ages is not None:
                ages.append(world.age)
            state = world.reset()
        if len(agent.memory) >= 2 * agent.batch:
            losses.append(agent.optimize_model())
            agent.follow()
    return losses


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--compile", action="store_true", help="compile the learning step")
    args = parser.parse_args()
    torch.manual_seed(0)
    model, ages = build(), []
    losses = train(model, args.steps, torch.compile if args.compile else None, ages)
    for i in range(0, len(losses), max(1, len(losses) // 10)):
        print(f"step {i:4d}  loss {losses[i]:.5f}")
    print("episodes lasted", *ages)


if __name__ == "__main__":
    main()
