"""From the start of a process to the end of its group: connected, watched, and ended together."""

from __future__ import annotations

import contextlib
import os
import sys
import time
import traceback
from collections.abc import Iterator, Mapping

from ..errors import MinitrainError
from .environment import Seat, seat, seconds
from .group import Group, PeerLost
from .launch.gpus import VISIBLE, local_rank, visible_to
from .mpi import MpiGroup
from .tcp import TcpGroup
from .watch import PATIENCE, Watch


@contextlib.contextmanager
def joined(environment: Mapping[str, str] = os.environ) -> Iterator[Group | None]:
    """The group of this process within the ``with`` block; ``None`` if it was started alone.

    If the block fails on one rank, it fails on all: within seconds, with the reason of the rank that failed first. An
    error that nobody foresaw is printed with its traceback by its own rank.

    Raises:
        PeerLost: on the ranks that were well.
        ConfigError: if the environment is wrong.
    """
    place = seat(environment)
    if place is None:
        yield None
        return
    if (rank := local_rank(environment)) is not None:
        os.environ[VISIBLE] = visible_to(rank, environment)  # before anything asks CUDA
    patience, silence = (
        seconds(environment, name, usual)
        for name, usual in (("MINITRAIN_PATIENCE", 600), ("MINITRAIN_SILENCE", PATIENCE))
    )
    group = _connect(place, patience)
    watch = Watch(group, address=group.address, patience=silence)
    try:
        yield group
    except BaseException as error:
        end_all_of_mpi(1)
        if isinstance(error, PeerLost):
            watch.end_after(error)
        else:
            if not isinstance(error, MinitrainError | SystemExit | KeyboardInterrupt):
                print(f"rank {group.rank}:", file=sys.stderr)
                traceback.print_exception(error)
            watch.tell(f"{'' if isinstance(error, MinitrainError) else type(error).__name__ + ': '}{error}")
        raise
    finally:
        watch.close()
        group.close()


def end_all_of_mpi(code: int) -> None:
    """If this process is a rank of MPI, end all ranks when it ends: MPI alone would leave the others waiting.

    Args:
        code: the exit code; nothing happens for 0.
    """
    if code and "mpi4py.MPI" in sys.modules:
        from mpi4py import run

        run.set_abort_status(code)


def wait_for_the_end_by_mpi() -> None:
    """If this process is a rank of MPI, give the one that failed the time to end all with its own exit code."""
    if "mpi4py.MPI" in sys.modules:
        time.sleep(1.0)


def _connect(place: Seat, patience: float) -> TcpGroup | MpiGroup:
    if place.engine == "mpi":
        return MpiGroup(patience=patience)
    return TcpGroup(place.rank, place.size, place.root, token=place.token, patience=patience)
