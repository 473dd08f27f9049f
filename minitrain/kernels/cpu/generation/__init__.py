"""Kernels of generation: one call computes the next tokens' logits from kept keys and values."""
