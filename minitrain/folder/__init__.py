"""A run's folder: the names in it, and the rules that keep runs apart."""
