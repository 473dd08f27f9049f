"""Generating text with a trained model: sampling from logits, and the loop that appends the samples."""

from .decoding import generate as generate
from .decoding import stream as stream
from .sampling import sample_logits as sample_logits
from .session import LanguageModel as LanguageModel
from .session import Session as Session
from .session import UncachedSession as UncachedSession
from .sessions import session_for as session_for
from .text import continue_text as continue_text
