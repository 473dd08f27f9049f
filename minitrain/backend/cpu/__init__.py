"""What the CPU kernels stand on: numba set up once, the BLAS that kernels call, and a matrix product of our own."""
