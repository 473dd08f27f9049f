"""Other ways to check a backward, beside finite differences element by element.

- ``check_jvp``: forward mode against reverse mode, by one dot product, to twelve digits.
- ``check_complex_step``: derivatives without cancellation, where the forward runs on complex numbers.
- ``check_second``: a backward of the backward.
- ``check_batches``: the gradient of a batch is put together from those of its samples.
- ``check_large``: a hundred million inputs, and which wrong elements it would miss.
"""

from .batches import check_batches as check_batches
from .complex_step import check_complex_step as check_complex_step
from .forward_mode import check_jvp as check_jvp
from .large import LargeReport as LargeReport
from .large import check_large as check_large
from .second_order import check_second as check_second
