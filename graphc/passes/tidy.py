"""Canonical views, folded constants and algebra in one walk through the program.

A change near the inputs makes every pass rebuild all that comes after it, which costs more than looking for rules: so the
three that touch everything share one walk. Each is a pass of its own too, for looking at and for testing.
"""

from __future__ import annotations

from graphc.ir.program import Program
from graphc.passes import canonical_views, fold_constants, simplify
from graphc.passes.rewrite import rewrite

RULES = canonical_views.RULES.together(fold_constants.RULES, simplify.RULES)


def tidy(program: Program) -> Program:
    """Applies `canonical_views`, `fold_constants` and `simplify` together, until none of their rules applies."""
    return rewrite(program, RULES, "tidy")
