"""Families of published models: the names of their settings and of their weights, one file for each."""
