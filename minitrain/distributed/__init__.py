"""Several processes as one: groups of ranks that add and exchange arrays, and how they are started.

A `Group` connects the processes of a training, its *ranks*. `ThreadGroup` connects threads of one process, `TcpGroup`
processes over sockets, and `MpiGroup` those that ``mpirun`` started. `NcclGroup` adds arrays of
GPUs to one of these. All add in the same order, so a sum has the same
bytes on every rank, for every engine.
"""

from .group import Alone as Alone
from .group import Group as Group
from .group import PeerLost as PeerLost
from .group import part as part
from .joined import joined as joined
from .micro_batches import share_of as share_of
from .micro_batches import valid_ranks as valid_ranks
from .mpi import MpiGroup as MpiGroup
from .nccl import NcclGroup as NcclGroup
from .tcp import TcpGroup as TcpGroup
from .threads import ThreadGroup as ThreadGroup
from .threads import run_ranks as run_ranks
