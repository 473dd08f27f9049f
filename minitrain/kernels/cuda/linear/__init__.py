"""CUDA kernels of linear layers, embeddings and dropout."""
