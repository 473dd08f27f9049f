"""Exercises for notebooks: the reader writes a function, and the gradient checker says what is wrong with it.

::

    exercise = Exercise("square", forward=square, inputs={"x": (3, 4)}, hints=["d(x * x)/dx is 2 * x."])
    exercise.check(my_square_backward)

Nothing here is needed to train. The notebooks in ``tutorials/`` use it, and so can your own. For teachers,
``python -m minitrain.tutorials`` hands notebooks out without solutions, and grades what comes back.
"""

from .exercise import Exercise as Exercise
from .grading import Mark as Mark
from .grading import grade as grade
from .graph import draw_graph as draw_graph
from .hand_out import for_students as for_students
from .notebook import read_notebook as read_notebook
from .notebook import write_notebook as write_notebook
from .sealed import unseal_exercise as unseal_exercise
from .sealed import unseal_solution as unseal_solution
from .verdict import Verdict as Verdict
