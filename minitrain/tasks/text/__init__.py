"""Texts as tokens: reading and keeping them, the loss next to guessing, the memory a run needs."""
