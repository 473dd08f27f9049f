"""Products of matrices by cuBLASLt: its bindings, problems as it sees them, plans that are made once. See ``gemm``."""
