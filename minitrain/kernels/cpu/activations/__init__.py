"""CPU kernels of activations."""
