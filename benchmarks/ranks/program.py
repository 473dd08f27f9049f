"""A training on some ranks, for the benchmark: ``python -m benchmarks.ranks.program baby 2 --tokens FILE``.

The first process is rank 0, starts the others and answers for all. The model, the batches and the update are those of
the other benchmarks; a rank takes its share of a batch.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import secrets
import subprocess
import sys
import time
from typing import Any

import numpy as np

from minitrain.benchmark.programs import Minitrain
from minitrain.benchmark.sizes import LEARNING_RATE, MAX_GRAD_NORM, SIZES
from minitrain.benchmark.tokens import BatchStream
from minitrain.benchmark.turns import Reply, serve
from minitrain.data.loading.batches import split_batch
from minitrain.distributed.group import Group, Messages
from minitrain.distributed.joined import joined
from minitrain.distributed.tcp.meeting import free_port
from minitrain.training.loop import train_step
from minitrain.training.parallel.together import Together

SUMMARY = "Answer commands of the benchmark of several ranks."


class SlowLink:
    """Makes each message of a group take as long as on a slower link: the process sleeps for the rest of the time.

    Args:
        group: its ``exchange`` is slowed down.
        bandwidth: bytes a second that a rank can send, and receive.
    """

    def __init__(self, group: Group, bandwidth: float) -> None:
        self.exchange, self.bandwidth = group.exchange, bandwidth

    def __call__(self, outgoing: Messages, incoming: Messages) -> None:
        """Exchange, and take the time."""
        sizes = [sum(message.nbytes for message in messages.values()) for messages in (outgoing, incoming)]
        end = time.perf_counter() + max(sizes) / self.bandwidth
        self.exchange(outgoing, incoming)
        time.sleep(max(0.0, end - time.perf_counter()))


class Ranks:
    """One rank of the benchmark.

    Args:
        config: the size.
        tokens: file of the text.
        group: the ranks; ``None`` for a process that trains as one without ranks.
    """

    def __init__(self, config: str, tokens: str, group: Group | None) -> None:
        size = SIZES[config]
        self.group, self.stream = group, BatchStream(np.load(tokens), size.batch_size, size.block_size)
        self.program = Minitrain(size, self.stream)
        self.plain_exchange: Any = None if group is None else group.exchange
        self.together: Together | None = None
        self.prepare()
        self.steps(1)

    def prepare(self, overlap: bool = True, zero: int = 0, dtype: str = "float32", bandwidth: float = 0.0) -> None:
        """Choose how gradients are added from now on."""
        if self.group is None:
            return
        link = SlowLink(self.group, bandwidth) if bandwidth else self.plain_exchange
        if bandwidth:
            link.exchange = self.plain_exchange
        self.group.exchange = link  # type: ignore[method-assign]
        if bandwidth:  # all goes through the link
            self.group.exchange_adding = lambda *messages: False  # type: ignore[method-assign]
        else:
            vars(self.group).pop("exchange_adding", None)
        options = {"overlap": overlap, "zero": zero, "half": dtype == "bfloat16"}
        self.together = Together(self.group, self.group.size, **options)
        if zero and self.program.optimizer._shared is None:
            self.program.optimizer.share(self.group)

    def steps(self, count: int) -> Reply:
        """Make some steps; what they took, over all ranks."""
        group, together, model = self.group, self.together, self.program.model
        if group is not None:
            group.barrier()
        background = None if together is None else together.sums.background
        busy, waited = (0.0, 0.0) if background is None else (background.busy, background.waited)
        started, cpu, loss = time.perf_counter(), time.process_time(), 0.0
        for _ in range(count):
            whole = self.stream.next("int32")
            parts = [(0, whole)] if group is None else split_batch(whole, group.size)[group.rank : group.rank + 1]
            update = train_step(
                model,
                self.program.optimizer,
                parts,
                lr=LEARNING_RATE,
                max_grad_norm=MAX_GRAD_NORM,
                together=together,
            )
            loss = update.loss / update.tokens
        reply = {"seconds": time.perf_counter() - started, "cpu": time.process_time() - cpu, "loss": loss}
        if background is not None:
            reply |= {"busy": background.busy - busy, "waited": background.waited - waited}
        reply["resident_mb"] = resident() / 1e6
        every = [reply] if group is None else group.gather(reply)
        return {
            **reply,
            "cpu": sum(one["cpu"] for one in every),
            "resident_mb": max(one["resident_mb"] for one in every),
        }

    def sums(self, megabytes: float) -> Reply:
        """Add a buffer over all ranks, and copy as many bytes in memory as that sends and receives: best of five."""
        assert self.group is not None
        group = self.group
        array = np.ones(int(megabytes * 1e6) // 4, np.float32)
        other, found = np.empty_like(array), dict[str, list[tuple[float, float]]](add=[], copy=[])
        for _ in range(5):
            for name, times in found.items():
                group.barrier()
                started, cpu = time.perf_counter(), time.process_time()
                if name == "add":
                    group.all_reduce(array)
                else:  # what is sent is copied out, and what is received is copied in: each 2 (P - 1) / P of the buffer
                    count = array.size // group.size
                    for part in range(4 * (group.size - 1)):
                        where = slice(part % group.size * count, (part % group.size + 1) * count)
                        np.copyto(other[where], array[where])
                times.append((time.perf_counter() - started, time.process_time() - cpu))
        reply = {
            f"{name}_{what}": min(t[k] for t in found[name])
            for name in found
            for k, what in enumerate(("seconds", "cpu"))
        }
        every = group.gather(reply)
        return {name: max(one[name] for one in every) for name in reply}


def main() -> None:
    """Be one of the ranks."""
    parser = argparse.ArgumentParser(prog="benchmarks.ranks.program", description=SUMMARY)
    parser.add_argument("config", choices=SIZES)
    parser.add_argument("ranks", type=int, help="0 trains without a group")
    parser.add_argument("--tokens", required=True, help="a .npy file of token ids")
    arguments = parser.parse_args()
    with contextlib.ExitStack() as stack:
        if arguments.ranks and "MINITRAIN_RANK" not in os.environ:
            start_others(stack, arguments.ranks)
        group = stack.enter_context(joined())
        ranks: Any = None

        def greet() -> Reply:
            nonlocal ranks
            ranks = Ranks(arguments.config, arguments.tokens, group)
            return {}

        def everywhere(verb: str, *words: str) -> Reply:
            if group is not None:
                group.from_main([verb, *words])
            return act(ranks, verb, *words)

        if group is None or group.is_main:
            verbs = ("prepare", "run", "sums")
            serve(greet, {verb: (lambda *words, verb=verb: everywhere(verb, *words)) for verb in verbs})
            if group is not None:
                group.from_main(["end"])
            return
        greet()
        while (command := group.from_main())[0] != "end":
            act(ranks, *command)


def resident() -> int:
    """Bytes of this process's own memory that are in physical memory now, on Linux."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) << 10 for line in status if line.startswith("RssAnon:"))


def act(ranks: Ranks, verb: str, *words: str) -> Reply:
    """Do what a command asks for."""
    if verb == "run":
        return ranks.steps(int(words[0]))
    if verb == "sums":
        return ranks.sums(float(words[0]))
    overlap, zero, dtype, bandwidth = words
    ranks.prepare(overlap == "1", int(zero), dtype, float(bandwidth))
    ranks.steps(1)  # the first backward is observed
    return {}


def start_others(stack: contextlib.ExitStack, ranks: int) -> None:
    """Start the other ranks, which end with this process."""
    os.environ |= {
        "MINITRAIN_RANKS": str(ranks),
        "MINITRAIN_RANK": "0",
        "MINITRAIN_ROOT": f"127.0.0.1:{free_port()}",
        "MINITRAIN_TOKEN": secrets.token_hex(16),
        "MINITRAIN_SILENCE": "120",  # the machine may be busy
    }
    for rank in range(1, ranks):
        command = [sys.executable, "-m", "benchmarks.ranks.program", *sys.argv[1:]]
        process = subprocess.Popen(
            command, env={**os.environ, "MINITRAIN_RANK": str(rank)}, stdin=subprocess.DEVNULL, stdout=sys.stderr
        )
        stack.callback(process.wait, 30)


if __name__ == "__main__":
    main()
