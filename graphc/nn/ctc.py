"""The loss of connectionist temporal classification (Graves et al. 2006), as a scan over time.

Between and around the labels of a target stand blanks: 2 S + 1 states. alpha[s] is the log-probability of all paths that
end in state s: it comes from s, from s - 1, and from s - 2 where that is another label.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphc.control import scan
from graphc.core.autocast import CPU_FULL, casts
from graphc.core.errors import ArgumentError, ShapeError
from graphc.core.one_call import one_call
from graphc.core.tensor_types import int64
from graphc.functions.arguments import need_float, need_tensor
from graphc.functions.creation import arange, full, tensor
from graphc.functions.joining import pad, stack
from graphc.functions.promotion import cast_to
from graphc.functions.reductions import amax
from graphc.functions.reductions import sum as sum_
from graphc.functions.running import cumsum
from graphc.functions.shaping import broadcast_to
from graphc.nn.losses import differ, known, number, reduced, shape_of
from graphc.primitives.elementwise import exp, greater_equal, less, log, logical_and, maximum, minimum, not_equal
from graphc.primitives.elementwise import where as choose
from graphc.primitives.indexing import gather
from graphc.primitives.views import reshape

#: log 0, but a number: infinities would make NaN of gradients. No sum of real log-probabilities comes near.
_NOTHING = -1e30


def _lengths(x: Any, batch: Any, what: str) -> Any:
    """Lengths as i64[N]."""
    found = cast_to(x, int64) if not isinstance(x, Sequence | int) else tensor(x, dtype=int64)
    found = reshape(found, shape=(1,)) if found.dim() == 0 else found
    if found.dim() != 1 or differ(found.shape[0], batch):
        raise ShapeError(f"{what} must be of size batch_size, got {list(found.shape)} for a batch of {batch}")
    return found


def _rows(targets: Any, lengths: Any, batch: Any) -> Any:
    """Targets as i64[N, S]: concatenated ones are cut by their lengths."""
    if targets.dim() != 1:
        return targets
    total = targets.shape[0]
    longest = int(amax(lengths, 0)) if known(lengths) and lengths.numel() else total
    starts = reshape(cumsum(lengths, 0) - lengths, shape=(batch, 1))
    places = minimum(starts + reshape(arange(longest), shape=(1, longest)), number(max(total - 1, 0), lengths))
    if isinstance(total, int) and total == 0:
        return broadcast_to(reshape(arange(0), shape=(1, 0)), (batch, 0))
    wide = broadcast_to(reshape(targets, shape=(1, total)), (batch, total))
    return gather(wide, places, axis=1)


def _check(x: Any, targets: Any, lengths: Any, target_lengths: Any, blank: int) -> None:
    if x.dim() != 3 or targets.dim() not in (1, 2):
        raise ShapeError(
            f"ctc_loss: log_probs must be [T, N, C] or [T, C], got {list(x.shape)}", "targets [N, S] or [n]"
        )
    if isinstance(x.shape[2], int) and not 0 <= blank < x.shape[2]:
        raise ShapeError("blank must be in label range", f"0 <= blank < {x.shape[2]}, got {blank}")
    if targets.dim() == 2 and differ(targets.shape[0], x.shape[1]):
        raise ShapeError(f"ctc_loss: targets of batch size {targets.shape[0]} for log_probs of {x.shape[1]}")
    if known(lengths) and isinstance(x.shape[0], int) and lengths.numel():
        worst = int(amax(lengths, 0))
        if worst > x.shape[0]:
            raise ShapeError(f"Expected input_lengths to have value at most {x.shape[0]}, but got value {worst}")
    if known(target_lengths) and targets.dim() == 2 and isinstance(targets.shape[1], int) and target_lengths.numel():
        worst = int(amax(target_lengths, 0))
        if worst > targets.shape[1]:
            raise ShapeError(
                f"Expected tensor to have size at least {worst} at dimension 1, but got size {targets.shape[1]} for "
                "argument #2 'targets'"
            )


@casts(CPU_FULL)
def ctc_loss(
    log_probs: Any, targets: Any, input_lengths: Any, target_lengths: Any, blank: int = 0, reduction: str = "mean",
    zero_infinity: bool = False,
) -> Any:  # fmt: skip
    """-log of the probability of `targets`, all alignments together: log_probs f32[T, N, C] or f32[T, C], targets i64[N, S],
    i64[S] or concatenated. "mean" divides by the target lengths first. ShapeError for sizes that do not fit.
    """
    x, labels = need_float(log_probs, "log_probs"), need_tensor(targets, "targets")
    if reduction not in ("none", "mean", "sum"):
        raise ArgumentError(f"{reduction} is not a valid value for reduction")
    single = x.dim() == 2
    if single:
        x = reshape(x, shape=(x.shape[0], 1, x.shape[1]))
    batch = x.shape[1] if x.dim() == 3 else 0
    lengths = _lengths(input_lengths, batch, "input_lengths")
    counts = _lengths(target_lengths, batch, "target_lengths")
    _check(x, labels, lengths, counts, blank)
    loss = _ctc(x, _rows(cast_to(labels, int64), counts, batch), lengths, counts, blank)
    impossible = greater_equal(loss, number(-_NOTHING / 2, loss))
    loss = choose(impossible, number(0.0 if zero_infinity else float("inf"), loss), loss)
    if reduction == "mean":
        counts = cast_to(maximum(counts, number(1, counts)), loss.dtype)
        return reduced(loss / counts, "mean")
    return reshape(loss, shape=()) if single and reduction == "none" else reduced(loss, reduction)


@one_call(weight=20)
def _ctc(x: Any, labels: Any, lengths: Any, counts: Any, blank: int) -> Any:
    """The loss of each sample, about 1e30 where no path is long enough; x: f[T, N, C], labels: i64[N, S]."""
    (steps, batch, _), longest = shape_of(x), labels.shape[1]
    inside = less(reshape(arange(longest), shape=(1, longest)), reshape(counts, shape=(batch, 1)))
    labels = choose(inside, labels, number(blank, labels))
    blanks = full((batch, longest), blank, dtype=int64)
    states = pad(reshape(stack((blanks, labels), -1), shape=(batch, 2 * longest)), (0, 1), value=blank)
    width = 2 * longest + 1
    two_back = pad(states, (2, 0), value=blank)[:, :width]
    skips = logical_and(not_equal(states, number(blank, states)), not_equal(states, two_back))
    scores = gather(x, broadcast_to(reshape(states, shape=(1, batch, width)), (steps, batch, width)), axis=2)
    places, nothing = arange(width), number(_NOTHING, x)
    start = broadcast_to(reshape(less(places, number(1, places)), shape=(1, width)), (batch, width))

    # a state before the first: its paths enter the first blank and the first label in the first step
    before = choose(start, number(0.0, x), nothing)

    def step(alpha: Any, here: Any) -> Any:
        row, time = here
        one, two = (pad(alpha, (k, 0), value=_NOTHING)[:, :width] for k in (1, 2))
        found = _log_sum(alpha, one, choose(skips, two, nothing)) + row
        alpha = choose(reshape(less(time, lengths), shape=(batch, 1)), found, alpha)
        return alpha, ()

    alpha, _ = scan(step, before, (scores, arange(steps)))
    ends = reshape(counts * 2, shape=(batch, 1))
    last = gather(alpha, ends, axis=1)
    label = choose(less(ends, number(1, ends)), nothing, gather(alpha, maximum(ends - 1, number(0, ends)), axis=1))
    loss = -reshape(_log_sum(last, label), shape=(batch,))
    return loss + _slope_of_softmax(x, lengths)


def _log_sum(*parts: Any) -> Any:
    """log of the sum of exponentials, of numbers."""
    top = parts[0]
    for x in parts[1:]:
        top = maximum(top, x)
    top = top.detach()
    total = exp(parts[0] - top)
    for x in parts[1:]:
        total = total + exp(x - top)
    return log(total) + top


def _slope_of_softmax(x: Any, lengths: Any) -> Any:
    """0, with the gradient exp(x): PyTorch's gradient is the one that has gone through the log_softmax that made x."""
    steps, batch, _ = shape_of(x)
    inside = less(reshape(arange(steps), shape=(steps, 1)), reshape(lengths, shape=(1, batch)))
    p = sum_(choose(inside, sum_(exp(x), 2), number(0.0, x)), 0)
    return p - p.detach()


__all__ = ["ctc_loss"]
