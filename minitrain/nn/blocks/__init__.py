"""Residual blocks, stochastic depth, and recomputing a block's activations in the backward."""
