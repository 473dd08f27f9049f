"""A stand-in for cuBLASLt that enforces its documented rules and multiplies in host memory.

``FakeCublasLt`` has the functions of a binding (``minitrain.backend.cuda.products.bindings``). Calls that the real
library may refuse, or answer with undefined results, are errors here that name the rule. It cannot show how fast a
product is, nor the last bits of its sums.
"""

from .errors import FakeCublasLtError as FakeCublasLtError
from .library import FakeCublasLt as FakeCublasLt
