"""CUDA without a GPU: an emulated device for arrays, and a shim that runs kernels on the CPU."""
