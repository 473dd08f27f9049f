"""Pictures as PNG files: one style, curves over steps, one picture for each kind of metric, and those of an evaluation.

Nothing here knows of runs or trainers: the functions take numbers and a path. Matplotlib is imported when the first
picture is made.
"""

from .alignment import plot_alignment as plot_alignment
from .by_kind import plot_histograms as plot_histograms
from .by_kind import plot_history as plot_history
from .curves import plot_learning_rate as plot_learning_rate
from .curves import plot_loss as plot_loss
from .curves import smooth as smooth
from .evaluation import plot_confusion as plot_confusion
from .evaluation import plot_reliability as plot_reliability
from .gallery import plot_gallery as plot_gallery
