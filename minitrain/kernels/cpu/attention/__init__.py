"""CPU kernels of attention and rotary positions."""
