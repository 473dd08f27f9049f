"""Fast twins of the operations in ``minitrain.ops``, under the same names."""
