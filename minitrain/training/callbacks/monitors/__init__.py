"""Callbacks that measure and show: statistics, throughput, samples, plots, progress."""
