"""Concatenating, splitting and pooling sequences; each file is one operation."""
