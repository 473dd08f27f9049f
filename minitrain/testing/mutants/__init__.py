"""Mutation testing: plant one small mistake at a time in a function, and see whether a test notices.

A test that passes says little unless it can fail. ``try_mutants`` changes a function in one place (an operator, a sign,
a constant, an axis, a term left out), runs the tests that call it, and lists the changes that no test noticed (DeMillo,
Lipton, Sayward, 1978, IEEE Computer 11(4)). Each of them is a test to write, or a change that makes no difference.

``mistakes.py`` makes the mutants, ``target.py`` exchanges a function's code, ``session.py`` runs the tests inside
pytest, ``workers.py`` keeps such processes at work, ``run.py`` puts it together. Needs pytest and Hypothesis.
"""

from .equivalents import Equivalent as Equivalent
from .equivalents import load_equivalents as load_equivalents
from .mistakes import KINDS as KINDS
from .mistakes import Mutant as Mutant
from .report import MutationReport as MutationReport
from .run import try_mutants as try_mutants
from .session import Outcome as Outcome
from .target import Target as Target
from .target import target_of as target_of
