"""Other ways to make a training step: as one graph on a GPU, or on a batch whose samples are compared."""
