"""Matrix products: the BLAS that kernels call, our own for float32, and those of bfloat16 on units of the processor."""
