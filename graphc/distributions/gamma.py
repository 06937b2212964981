"""Gamma distributions, and the gradient of their samples."""

from __future__ import annotations

from typing import Any

from graphc.control import scan
from graphc.distributions import constraints
from graphc.distributions.distribution import ExponentialFamily
from graphc.distributions.utils import broadcast_all
from graphc.functions.creation import arange
from graphc.functions.gamma_functions import digamma
from graphc.functions.random_families import standard_gamma
from graphc.grad_mode import no_grad
from graphc.primitives.elementwise import less, where

#: Terms of the series of the incomplete gamma function: enough for concentrations up to this one, and samples that occur.
_TERMS, _LARGE = 200, 30.0


def gamma_sample(concentration: Any) -> Any:
    """A sample of Gamma(concentration, 1), with a gradient: z moves as its probability stays (implicit differentiation)."""
    z = standard_gamma(concentration)
    if not concentration.requires_grad:
        return z
    with no_grad():
        slope = _slope(concentration.detach(), z)
    return z + (concentration - concentration.detach()) * slope


def _slope(a: Any, z: Any) -> Any:
    """dz/da at constant probability, -(dP(a, z)/da) / p(z) (Jankowiak and Obermeyer 2018)."""
    large = less(a.new_full((), _LARGE), a)
    small_a, small_z = where(large, a.new_ones(()), a), where(large, a.new_ones(()), z)
    return where(large, _slope_of_large(where(large, a, a.new_full((), _LARGE)), z), _slope_by_series(small_a, small_z))


def _slope_by_series(a: Any, z: Any) -> Any:
    """P = z^a e^-z / Gamma(a) * sum of z^n / (a (a + 1) ... (a + n)), each term differentiated by a."""
    term = 1 / a

    def step(carry: Any, n: Any) -> Any:
        term, falls, total, slope = carry
        term = term * z / (a + n)
        falls = falls + 1 / (a + n)
        return (term, falls, total + term, slope - term * falls), ()

    n = arange(1, _TERMS, dtype=a.dtype, device=a.device)
    (_, _, total, slope), _ = scan(step, (term, 1 / a, term, -term / a), n)
    return -z * (total * (z.log() - digamma(a)) + slope)


def _slope_of_large(a: Any, z: Any) -> Any:
    """Of Wilson and Hilferty's cube root, which is nearly normal: z = a (1 - c + x sqrt(c))^3, c = 1 / (9 a), x kept."""
    c = 1 / (9 * a)
    root = (z / a).pow(1 / 3)
    x = (root - 1 + c) / c.sqrt()
    # d root / da = c / a - x sqrt(c) / (2 a)
    return root.pow(3) + 3 * a * root.square() * (c / a - x * c.sqrt() / (2 * a))


def incomplete(a: Any, x: Any) -> Any:
    """The share P(a, x) of Gamma(a) up to x: a series below a + 1, a continued fraction above (Press et al., 6.2)."""
    below = less(x, a + 1)
    scale = (a * x.log() - x - a.lgamma()).exp()
    low, high = where(below, x, a), where(below, a + 2, x)

    def add(carry: Any, n: Any) -> Any:
        term, total = carry
        term = term * low / (a + n)
        return (term, total + term), ()

    n = arange(1, _TERMS, dtype=a.dtype, device=a.device)
    (_, total), _ = scan(add, (1 / a, 1 / a), n)
    start = high + (2 * _TERMS + 1) - a
    fraction, _ = scan(lambda f, k: (high + (2 * k - 1) - a - k * (k - a) / f, ()), start, n + 0, reverse=True)
    found = where(below, scale * total, 1 - scale / fraction)
    return where(x <= 0, found.new_zeros(()), found)


class Gamma(ExponentialFamily):
    """rate^a x^(a - 1) exp(-rate x) / Gamma(a), a the concentration."""

    arg_constraints = {"concentration": constraints.positive, "rate": constraints.positive}
    support = constraints.nonnegative
    has_rsample = True
    _parameters = {"concentration": 0, "rate": 0}

    def __init__(self, concentration: Any, rate: Any, validate_args: bool | None = None) -> None:
        self.concentration, self.rate = broadcast_all(concentration, rate)
        super().__init__(self.concentration.shape, validate_args=validate_args)

    mean = property(lambda self: self.concentration / self.rate, doc="concentration / rate")
    mode = property(lambda self: ((self.concentration - 1) / self.rate).clamp(min=0), doc="(concentration - 1) / rate")
    variance = property(lambda self: self.concentration / self.rate.pow(2), doc="concentration / rate^2")

    def rsample(self, sample_shape: Any = ()) -> Any:
        """A sample of rate 1 over the rate."""
        shape = self._extended_shape(sample_shape)
        return gamma_sample(self.concentration.expand(shape)) / self.rate.expand(shape)

    def log_prob(self, value: Any) -> Any:
        """The logarithm of the density."""
        a, x = self.concentration, self._checked(value)
        return a.xlogy(self.rate) + (a - 1).xlogy(x) - self.rate * x - a.lgamma()

    def cdf(self, value: Any) -> Any:
        """By the incomplete gamma function, for concentrations up to some hundreds."""
        a, x = broadcast_all(self.concentration, self.rate * self._checked(value))
        return incomplete(a, x)

    def entropy(self) -> Any:
        """a - log(rate) + log Gamma(a) + (1 - a) psi(a)."""
        a = self.concentration
        return a - self.rate.log() + a.lgamma() + (1.0 - a) * a.digamma()


__all__ = ["Gamma", "gamma_sample", "incomplete"]
