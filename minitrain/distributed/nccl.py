"""Ranks with a GPU each, whose arrays travel by NCCL through CuPy: ``pip install nvidia-nccl-cu13``.

A group of processes carries what is small and on the host: settings, losses, requests. What is on a GPU goes from GPU
to GPU: each exchange is one NCCL group of sends and receives on the current stream, so the host does not wait, and what
is enqueued behind it reads what arrived. The sums are formed by `Group`, in its order, and not by ``allReduce``, whose
order depends on the number of ranks: 1, 2 and 4 ranks end with the same bytes.

Nothing here has met a GPU. The tests run it against a stand-in that enforces NCCL's documented rules
(`minitrain.testing.cuda.nccl`).
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Any

from ..backend.arrays import Array, device_of, is_cupy
from ..backend.cuda.device import use_gpu
from ..backend.cuda.launch import address_of
from ..backend.cuda.nccl import TYPES, load_nccl
from ..errors import ConfigError, DeviceError
from .group import Group, Messages


class NcclGroup(Group):
    """The ranks of another group, which also exchange arrays of their GPUs.

    Args:
        carrier: connects the same ranks on the host.
        device: this rank's GPU: ``"cuda"`` for the current one, or ``"cuda:N"``. Each rank needs its own.

    Raises:
        ConfigError: if NCCL is not installed, or two ranks have the same GPU; on every rank.
    """

    def __init__(self, carrier: Group, device: str = "cuda") -> None:
        super().__init__(carrier.rank, carrier.size)
        self.carrier = carrier
        self.xp: Any = use_gpu(device)
        self._nccl = load_nccl()
        self._refuse_shared_gpus()
        made = self._nccl.get_unique_id() if self.is_main else None
        number = carrier.from_main(None if made is None else [isinstance(made, bytes), *made])
        # A tuple of numbers in CuPy 13, bytes in newer ones.
        identity = bytes(number[1:]) if number[0] else tuple(number[1:])
        self._communicator = self._nccl.NcclCommunicator(self.size, identity, self.rank)  # waits for all ranks
        self._gpu = int(self.xp.cuda.runtime.getDevice())

    @property
    def failure(self) -> str:
        """The failure that another thread has noticed; see `minitrain.distributed.watch`."""
        return str(getattr(self.carrier, "failure", ""))

    def exchange(self, outgoing: Messages, incoming: Messages) -> None:
        """See the base class: on the host."""
        self.carrier.exchange(outgoing, incoming)

    def exchange_arrays(self, outgoing: Mapping[int, Array], incoming: Mapping[int, Array]) -> None:
        """Send and receive flat buffers: those of a GPU by NCCL, on the current stream.

        Raises:
            DeviceError: if a buffer is on another GPU than the communicator, or in pieces.
        """
        arrays = [*outgoing.values(), *incoming.values()]
        if not any(map(is_cupy, arrays)):
            super().exchange_arrays(outgoing, incoming)
            return
        for x in arrays:
            if device_of(x) != f"cuda:{self._gpu}" or not x.flags.c_contiguous:
                raise DeviceError(
                    f"rank {self.rank} exchanges contiguous arrays on cuda:{self._gpu} by NCCL, got {x!r:.80}"
                )
        stream = self.xp.cuda.get_current_stream().ptr
        self._nccl.groupStart()
        try:
            for rank, x in outgoing.items():
                if x.size:
                    self._communicator.send(address_of(x), x.size, TYPES[x.dtype.name], rank, stream)
            for rank, x in incoming.items():
                if x.size:
                    self._communicator.recv(address_of(x), x.size, TYPES[x.dtype.name], rank, stream)
        finally:
            self._nccl.groupEnd()

    def close(self) -> None:
        """End the communicator. The carrier stays: whoever made it closes it."""
        self.carrier.on_gpus = {device: one for device, one in self.carrier.on_gpus.items() if one is not self}
        self._communicator.destroy()

    def _refuse_shared_gpus(self) -> None:
        """NCCL takes one rank for a GPU; its own error, ``invalid usage``, does not say that."""
        places = self.gather([socket.gethostname(), str(self.xp.cuda.Device().pci_bus_id)])
        first: dict[tuple[str, str], int] = {}
        for rank, (host, gpu) in enumerate(places):
            if (other := first.setdefault((host, gpu), rank)) != rank:
                raise ConfigError(
                    f"ranks {other} and {rank} both compute on the GPU {gpu} of {host}, and each needs its own: start "
                    "fewer ranks, or let each process see another GPU in CUDA_VISIBLE_DEVICES"
                )


def on_device(group: Group | None, device: str) -> Group | None:
    """A group for arrays of a device: the same one on the CPU, and for a single rank.

    A communicator takes memory of the GPU and all ranks to make, so the next training on the group has the same one.
    """
    if group is None or group.size == 1 or device == "cpu" or isinstance(group, NcclGroup):
        return group
    if device not in group.on_gpus:
        group.on_gpus[device] = NcclGroup(group, device)
    return group.on_gpus[device]
