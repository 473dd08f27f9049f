"""Text: reading it in bounded pieces, tokenizers, and baselines to compare a model with."""
