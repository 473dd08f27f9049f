"""Decoding methods that compare texts: beam search and contrastive search; and what they share with others."""

from .beam import beam_search_generate as beam_search_generate
from .contrastive import contrastive_generate as contrastive_generate
from .phrases import Constraint as Constraint
from .settings import Hypothesis as Hypothesis
from .targets import beam_search_targets as beam_search_targets
