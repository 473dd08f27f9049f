"""Helpers for tests of other programs' formats."""
