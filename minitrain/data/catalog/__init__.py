"""Data sets by name: where each comes from, its licence, and its records. Nothing is downloaded."""
