"""Data sets of samples, mixtures of them, and loaders that collate samples into batches."""
