"""Declared settings: names, types, ranges and defaults, and errors that name the nearest valid setting."""
