"""Von Mises distributions: angles."""

from __future__ import annotations

import math
from typing import Any

from graphc.control import while_loop
from graphc.core.tensor_types import bool_, float64
from graphc.distributions import constraints
from graphc.distributions.distribution import Distribution
from graphc.distributions.utils import broadcast_all, lazy_property
from graphc.functions.comparisons import where
from graphc.functions.creation import zeros
from graphc.functions.random import rand
from graphc.functions.splitting import unbind
from graphc.grad_mode import no_grad
from graphc.primitives.elementwise import logical_and, logical_not, logical_or

#: I_0 and I_1 / x below 3.75 by powers of (x / 3.75)^2, and sqrt(x) exp(-x) I above by powers of 3.75 / x (Abramowitz and
#: Stegun, 9.8.1 to 9.8.4)
_SMALL = (
    (1.0, 3.5156229, 3.0899424, 1.2067492, 0.2659732, 0.360768e-1, 0.45813e-2),
    (0.5, 0.87890594, 0.51498869, 0.15084934, 0.2658733e-1, 0.301532e-2, 0.32411e-3),
)
_LARGE = (
    (0.39894228, 0.1328592e-1, 0.225319e-2, -0.157565e-2, 0.916281e-2, -0.2057706e-1, 0.2635537e-1, -0.1647633e-1, 0.392377e-2),
    (0.39894228, -0.3988024e-1, -0.362018e-2, 0.163801e-2, -0.1031555e-1, 0.2282967e-1, -0.2895312e-1, 0.1787654e-1,
     -0.420059e-2),
)  # fmt: skip


def _polynomial(x: Any, coefficients: tuple[float, ...]) -> Any:
    found = x.new_full((), coefficients[-1])
    for c in coefficients[-2::-1]:
        found = c + x * found
    return found


def log_bessel(x: Any, order: int) -> Any:
    """The logarithm of the modified Bessel function I of order 0 or 1, for x > 0."""
    small = _polynomial((x / 3.75).square(), _SMALL[order])
    small = (x.abs() * small if order else small).log()
    large = x - 0.5 * x.log() + _polynomial(3.75 / x, _LARGE[order]).log()
    return where(x < 3.75, small, large)


class VonMises(Distribution):
    """exp(concentration cos(x - loc)) / (2 pi I_0(concentration)): angles in radians around loc."""

    arg_constraints = {"loc": constraints.real, "concentration": constraints.positive}
    support = constraints.real
    _parameters = {"loc": 0, "concentration": 0}

    def __init__(self, loc: Any, concentration: Any, validate_args: bool | None = None) -> None:
        self.loc, self.concentration = broadcast_all(loc, concentration)
        super().__init__(self.loc.shape, validate_args=validate_args)

    mean = mode = property(lambda self: self.loc, doc="loc, the mean direction")

    @lazy_property
    def variance(self) -> Any:
        """1 - I_1 / I_0, the circular variance."""
        return 1 - (log_bessel(self.concentration, 1) - log_bessel(self.concentration, 0)).exp()

    def sample(self, sample_shape: Any = ()) -> Any:
        """By rejection from a wrapped Cauchy distribution, in float64 (Best and Fisher 1979)."""
        with no_grad():
            shape = self._extended_shape(sample_shape)
            loc, kappa = self.loc.to(float64), self.concentration.to(float64)
            tau = 1 + (1 + 4 * kappa.square()).sqrt()
            rho = (tau - (2 * tau).sqrt()) / (2 * kappa)
            r = where(kappa < 1e-5, 1 / kappa + kappa, (1 + rho.square()) / (2 * rho)).expand(shape)
            kappa = kappa.expand(shape)

            def again(x: Any, done: Any) -> Any:
                u1, u2, u3 = unbind(rand(3, *shape, dtype=float64, device=loc.device))
                z = (math.pi * u1).cos()
                f = (1 + r * z) / (r + z)
                c = kappa * (r - f)
                accepts = logical_or(c * (2 - c) - u2 > 0, (c / u2).log() + 1 - c >= 0)
                new = logical_and(accepts, logical_not(done))
                return where(new, (u3 - 0.5).sign() * f.acos(), x), logical_or(done, accepts)

            start = zeros(*shape, dtype=float64, device=loc.device), zeros(*shape, dtype=bool_, device=loc.device)
            x, _ = while_loop(lambda x, done: logical_not(done.all()), again, start)
            return ((x + math.pi + loc) % (2 * math.pi) - math.pi).to(self.loc.dtype)

    def log_prob(self, value: Any) -> Any:
        """The logarithm of the density."""
        angle = (self._checked(value) - self.loc).cos()
        return self.concentration * angle - math.log(2 * math.pi) - log_bessel(self.concentration, 0)


__all__ = ["VonMises"]
