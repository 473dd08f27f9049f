"""Regression losses; each file is one operation."""
