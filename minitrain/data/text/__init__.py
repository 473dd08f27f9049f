"""Text: reading it in bounded pieces, and tokenizers."""
