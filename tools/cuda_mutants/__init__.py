"""Plants mistakes in the text of every CUDA kernel, and lists those that no check notices: ``make cuda-mutants``.

A mutant in Python is code that is exchanged in a moment. A kernel has to be compiled, which takes seconds. So all
mistakes of a file are compiled at once, each behind a switch that is read while the kernel runs ("mutant schemata",
Untch, Offutt and Harrold, 1993, ISSTA). Only mistakes in what the compiler must know, such as the size of a tile, have
a compilation of their own.

``code.py`` reads the text, ``expressions.py`` and ``statements.py`` find the places for mistakes, ``switches.py``
writes the text with its switches, ``units.py`` knows the checks of each file, ``trial.py`` tries one mutant after the
other, each in a process of its own, and ``store.py`` keeps what was found.
"""
