"""Tools for developers of minitrain, beside its tests and benchmarks."""
