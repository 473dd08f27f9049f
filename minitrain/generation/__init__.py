"""Letting a trained model write: sampling of logits, and the loop that appends what was sampled."""

from .decoding import LanguageModel, generate, stream
from .sampling import sample_logits
from .text import continue_text

__all__ = ["LanguageModel", "continue_text", "generate", "sample_logits", "stream"]
