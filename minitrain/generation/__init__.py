"""Letting a trained model write: sampling of logits, and the loop that appends what was sampled."""

from .decoding import LanguageModel, generate, stream
from .sampling import sample_logits

__all__ = ["LanguageModel", "generate", "sample_logits", "stream"]
