"""Mutation testing: one small mistake at a time in every backward, optimizer and schedule, and whether a test notices.

``python -m benchmarks.mutation`` lists the mistakes that no test notices (DeMillo, Lipton, Sayward, 1978, IEEE
Computer 11(4)). ``mutants.py`` makes them, ``targets.py`` says where, ``session.py`` runs the tests inside pytest,
``workers.py`` keeps two such processes at work, and ``equivalents.toml`` names the changes that change nothing.
"""
