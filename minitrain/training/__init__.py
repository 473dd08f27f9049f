"""Training: the trainer and its parts, each with one responsibility."""
