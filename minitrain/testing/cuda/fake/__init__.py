"""An emulated GPU: CuPy's functions over host memory, which refuse to move data silently, and count the rest.

`emulated_device` puts it in CuPy's place. It shows that code runs on arrays of a device, and when it waits for them.
How fast it is, it cannot say, and nothing that is proved here has met a device.
"""

from .capture import CaptureError as CaptureError
from .emulation import EmulatedDevice as EmulatedDevice
from .emulation import emulated_device as emulated_device
from .record import Counts as Counts
from .record import counting as counting
from .streams import StreamOrderError as StreamOrderError
