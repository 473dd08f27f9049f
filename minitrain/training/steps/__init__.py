"""How one training step is made: launched kernel by kernel, or as one graph on a GPU."""
