"""What developers of minitrain run beside its tests and benchmarks."""
