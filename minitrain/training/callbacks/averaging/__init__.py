"""Callbacks that keep averaged weights beside the trained ones."""
