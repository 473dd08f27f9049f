"""Convolution and pooling; each file is one operation."""
