"""How to call every operation and layer. The property tests, the peers and ``minitrain gradcheck`` use these cases.

A case of an operation is a function that draws its inputs and options for a given ``Extent``, registered with ``@case``
in the file of its family. Inputs are drawn in float64; tests cast them. A case of a layer, registered with
``layer_case``, says how to build it and what to feed it. Needs Hypothesis.
"""

from . import activations as activations
from . import attention as attention
from . import classification as classification
from . import contrastive as contrastive
from . import images as images
from . import linear as linear
from . import models as models
from . import norms as norms
from . import regression as regression
from . import routing as routing
from . import sequences as sequences
from .base import CASES as CASES
from .base import EMPTY as EMPTY
from .base import SMALL as SMALL
from .base import TILES as TILES
from .base import Call as Call
from .base import Case as Case
from .base import Extent as Extent
from .base import case as case
from .layer import LAYERS as LAYERS
from .layer import LayerCase as LayerCase
from .layer import layer_case as layer_case
