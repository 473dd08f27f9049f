"""The base of the CPU kernels: numba's setup, the threads that run them, and the matrix products that they call."""
