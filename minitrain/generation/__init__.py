"""Generating text with a trained model: sampling from logits, and the loop that appends the samples."""

from .decoding import LanguageModel, generate, stream
from .sampling import sample_logits
from .text import continue_text

__all__ = ["LanguageModel", "continue_text", "generate", "sample_logits", "stream"]
