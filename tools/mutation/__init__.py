"""Mutation testing of minitrain itself: every backward, optimizer and schedule, and generation, against its own tests.

``python -m tools.mutation`` (``make mutants``) lists the mistakes that no test notices. ``minitrain.testing.mutants``
does the work, ``targets.py`` says which functions and which tests, and ``equivalents.toml`` names the changes that make
no difference.
"""
