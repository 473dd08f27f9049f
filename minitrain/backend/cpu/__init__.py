"""The base of the CPU kernels: numba's setup, the BLAS that kernels call, and a matrix product of our own."""
