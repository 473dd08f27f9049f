"""CPU kernels of the optimizers' update rules."""
