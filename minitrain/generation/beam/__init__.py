"""Beam search: the most likely texts, from several that are kept at each step."""

from .phrases import Constraint as Constraint
from .search import beam_search_generate as beam_search_generate
from .settings import Hypothesis as Hypothesis
