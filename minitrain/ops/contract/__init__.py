"""What all operations share: checking, dispatch to kernels, destinations of gradients, and losses as sums."""
