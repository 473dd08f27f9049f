"""Processes that ``mpirun`` or ``srun`` started, connected by MPI: ``pip install 'minitrain[distributed]'``.

Only upper-case calls of mpi4py are used: they send memory as it is, where the lower-case ones pickle, and fail beyond
2 GiB. mpi4py 4 takes counts of any size if the library behind it has MPI 4. The sums are formed by `Group`, in its
order: MPI's own ``Allreduce`` promises none.

While a rank waits it looks every millisecond at most whether something failed, so a rank that stands still does not
hold the others for ever. A rank that raises ends all of them (`minitrain.distributed.joined`): MPI alone would leave
the others waiting.
"""

from __future__ import annotations

import time

from ..errors import ConfigError
from .group import Group, Messages, PeerLost
from .tcp.meeting import own_address

_LONGEST_PAUSE = 0.001


class MpiGroup(Group):
    """The ranks of ``MPI.COMM_WORLD``.

    Args:
        patience: seconds after which a call gives up.

    Attributes:
        failure: what another thread knows to have gone wrong; a call that waits raises it.
        watched: whether there is such a thread.
        address: of this machine, where others can reach it.

    Raises:
        ConfigError: if mpi4py or an MPI library is not installed.
    """

    def __init__(self, *, patience: float = 600.0) -> None:
        try:
            from mpi4py import MPI
        except (ImportError, RuntimeError) as error:  # a RuntimeError: there is no library to load
            raise ConfigError(
                f"this process was started by MPI, and mpi4py cannot be loaded ({error}): "
                "pip install 'minitrain[distributed]'"
            ) from error
        if MPI.Query_thread() < MPI.THREAD_SERIALIZED:  # a thread adds gradients beside the one that computes
            raise ConfigError("this MPI library takes calls of one thread alone: pip install mpich has another")
        self._mpi, self._world = MPI, MPI.COMM_WORLD
        super().__init__(self._world.Get_rank(), self._world.Get_size())
        self.patience, self.failure, self.watched = patience, "", False
        self.address = own_address(("192.0.2.1", 9))  # an address for examples: nothing is sent there

    def exchange(self, outgoing: Messages, incoming: Messages) -> None:
        """See the base class."""
        byte = self._mpi.BYTE
        requests = [self._world.Irecv([data, byte], source=rank) for rank, data in incoming.items() if data.nbytes]
        requests += [self._world.Isend([data, byte], dest=rank) for rank, data in outgoing.items() if data.nbytes]
        deadline, pause, looks = time.monotonic() + self.patience, 0.0, 0
        while not self._mpi.Request.Testall(requests):
            looks += 1
            if looks > 200:  # at first without a pause: most calls are over at once
                if self.failure:
                    raise PeerLost(self.failure)
                if time.monotonic() > deadline:
                    raise PeerLost(f"rank {self.rank}: a call did not end within {self.patience:g} s")
                time.sleep(pause)
                pause = min(_LONGEST_PAUSE, pause + 1e-5)

    def close(self) -> None:
        """Nothing: MPI ends with the process."""
