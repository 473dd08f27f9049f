"""Attention layers, positions and masks."""
