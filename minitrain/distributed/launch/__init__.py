"""Starters of the ranks of a training where no ``mpirun`` or ``srun`` does it."""
