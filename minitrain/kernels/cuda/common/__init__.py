"""What CUDA twins share: launch sizes, memory for gradients."""
