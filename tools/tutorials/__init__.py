"""Runs the notebooks in ``tutorials/``, fills in their numbers, checks their exercises, and writes them with outputs."""
