"""Generating text with a trained model: sampling from logits, and the loop that appends the samples."""

from .decoding import LanguageModel as LanguageModel
from .decoding import generate as generate
from .decoding import stream as stream
from .sampling import sample_logits as sample_logits
from .text import continue_text as continue_text
