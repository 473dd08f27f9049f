"""CPU kernels of classification losses."""
