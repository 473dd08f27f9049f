"""Generating text with a trained model: sampling from logits, and the loop that appends the samples."""

from .beam import Constraint as Constraint
from .beam import Hypothesis as Hypothesis
from .beam import beam_search_generate as beam_search_generate
from .contrastive import contrastive_generate as contrastive_generate
from .decoding import generate as generate
from .decoding import stream as stream
from .sampling import sample_logits as sample_logits
from .session import LanguageModel as LanguageModel
from .session import Session as Session
from .session import UncachedSession as UncachedSession
from .speculative import Drafter as Drafter
from .speculative import DraftRequest as DraftRequest
from .speculative import PromptLookup as PromptLookup
from .speculative import Proposal as Proposal
from .speculative import Speculated as Speculated
from .speculative import speculative_generate as speculative_generate
from .text import continue_text as continue_text
