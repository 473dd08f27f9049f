"""CPU kernels of linear maps, tables and dropout."""
