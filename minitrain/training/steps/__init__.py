"""How one training step is made: launched one by one, as one graph on a GPU, or on a batch that is compared."""
