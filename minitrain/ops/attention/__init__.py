"""Attention and rotary positions; each file is one operation."""
