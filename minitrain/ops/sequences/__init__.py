"""Joining, cutting and pooling sequences; each file is one operation."""
