"""Greedy generation against transformers: tokens a second, one sequence and eight at once.

    python -m benchmarks.generation --configs char baby --rounds 5

Models have the shapes of the training benchmark and random weights, contexts are long enough for the text, and every
program continues prompts of 16 tokens by 128, with its keys and values kept. ``transformers`` is in float32; so is
minitrain, and with weights of 16 and 8 bits besides. ``reads`` reads as many bytes as the float32 weights, by all
threads: no program that reads every weight for each token can be faster at one sequence.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from minitrain.benchmark.contestants import default_install
from minitrain.benchmark.machine import OtherLoad, describe
from minitrain.benchmark.ratios import Spread, pairwise_ratio, spread
from minitrain.benchmark.report import Table, load_line, say, show, write_json
from minitrain.benchmark.train_step import thread_settings
from minitrain.benchmark.turns import Reply, Worker, serve, take_turns
from minitrain.errors import WorkerError
from minitrain.models import PRESETS, GPTConfig

from .output import out_file

SUMMARY = "Time greedy generation against transformers."
CONFIGS = ("char", "baby", "gpt2")
BATCHES = (1, 8)
PROMPT, NEW = 16, 128
PROGRAMS = ("float32", "bfloat16", "int8", "reads", "transformers")
ROUNDS = 5
TITLES = {
    "bfloat16": "bfloat16, times as fast as float32",
    "int8": "int8, likewise",
    "reads": "float32, times as fast as reads",
    "transformers": "float32, times as fast as transformers",
}


def config_of(name: str) -> GPTConfig:
    """The shape of a model, with room for the text."""
    config: GPTConfig = PRESETS["gpt2" if name == "gpt2" else f"gpt-{name}"]
    return replace(config, block_size=max(256, config.block_size), dropout=0.0)


def measure(
    configs: Sequence[str] = CONFIGS, *, rounds: int | None = None, threads: int | None = None, with_torch: bool = True
) -> dict[str, Any]:
    """Time all programs on each model at each number of sequences, in turn.

    Raises:
        WorkerError: if a program does not run.
    """
    environment = thread_settings(threads) | default_install()
    rival = with_torch and importlib.util.find_spec("transformers") is not None
    programs = [name for name in PROGRAMS if name != "transformers" or rival]
    watch, own, lines = OtherLoad(), 0.0, []
    for config in configs:
        for batch in BATCHES:
            say(f"{config}, {batch} at once …")
            with contextlib.ExitStack() as stack:
                workers = []
                for name in programs:
                    arguments = ["benchmarks.generation", "--serve", name, "--configs", config, "--batch", str(batch)]
                    worker = Worker(name, arguments, environment)
                    workers.append(stack.enter_context(contextlib.closing(worker)))
                replies = take_turns(workers, "run", rounds or ROUNDS)
                own += sum(turns[-1]["cpu_seconds"] for turns in replies.values())
            lines.append(line(config, batch, replies))
    return {"lines": lines, "cores_used_by_others": watch.cores(own), "machine": describe()}


def line(config: str, batch: int, replies: Mapping[str, Sequence[Reply]]) -> dict[str, Any]:
    """Seconds of a token (for ``batch`` sequences), and ratios.

    How many times as fast as ``transformers``, and as plain reads, float32 is; and weights of fewer bits as float32.
    """
    seconds = {name: [reply["seconds"] for reply in turns] for name, turns in replies.items()}
    ratios = {}
    for name, times in seconds.items():
        if name in ("reads", "transformers"):
            ratios[name] = pairwise_ratio(times, seconds["float32"])._asdict()
        elif name != "float32":
            ratios[name] = pairwise_ratio(seconds["float32"], times)._asdict()
    middle = {name: spread(times).median for name, times in seconds.items()}
    return {"config": config, "batch": batch, "seconds": middle, "ratios": ratios}


def tables(result: Mapping[str, Any]) -> list[Table]:
    """Tokens a second, and the ratios."""
    names = list(result["lines"][0]["seconds"])
    others = [name for name in names if name != "float32"]
    rows = []
    for one in result["lines"]:
        rates = [f"{one['batch'] / one['seconds'][name]:.0f}" for name in names]
        ratios = [str(Spread(**one["ratios"][name])) for name in others]
        rows.append([one["config"], str(one["batch"]), *rates, *ratios])
    columns = ["model", "sequences", *(f"{name} tokens/s" for name in names)]
    columns += [TITLES[name] for name in others]
    return [Table(f"greedy generation of {NEW} tokens, {result['machine']['cpu']}", columns, rows)]


def notes(result: Mapping[str, Any]) -> list[str]:
    """The meaning of the columns, and whether the rival is missing."""
    lines = ["float32, bfloat16, int8: minitrain's weights; reads: the weights are read, nothing is computed"]
    if "transformers" not in result["lines"][0]["seconds"]:
        lines.append("transformers was left out: it needs torch and transformers (pip install 'minitrain[peers]')")
    return lines


def minitrain_run(config: str, batch: int, weights: str) -> Callable[[], None]:
    """A function that generates with minitrain."""
    from minitrain.generation import SamplingParams, batch_generate, session_for
    from minitrain.models import build_model

    session: Any = session_for(build_model(config_of(config)), batch, weights=weights)
    session.warm_up()
    prompts, params = prompts_of(batch), SamplingParams(max_new_tokens=NEW, temperature=0)

    def run() -> None:
        results = batch_generate(session, prompts, params)
        assert all(len(result.samples[0].tokens) == NEW for result in results)

    return run


def transformers_run(config: str, batch: int) -> Callable[[], None]:
    """A function that generates with transformers."""
    import torch
    import transformers

    shape = config_of(config)
    model = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(
            vocab_size=shape.vocab_size, n_positions=shape.block_size, n_embd=shape.n_embd, n_layer=shape.n_layer,
            n_head=shape.n_head, eos_token_id=None, bos_token_id=None,
        )
    ).eval()  # fmt: skip
    tokens = torch.tensor(np.stack(prompts_of(batch)), dtype=torch.long)

    def run() -> None:
        with torch.inference_mode():
            out = model.generate(
                tokens, attention_mask=torch.ones_like(tokens), do_sample=False, max_new_tokens=NEW, pad_token_id=0
            )
        assert out.shape == (batch, PROMPT + NEW)

    return run


def reads_run(config: str) -> Callable[[], None]:
    """A function that reads the weights as often as generation does."""
    from minitrain.kernels.cpu.reads import read
    from minitrain.models import build_model

    size = sum(p.data.size for p in build_model(config_of(config)).parameters())
    memory = np.ones(size, np.float32)
    return lambda: [read(memory) for _ in range(NEW)] and None


def prompts_of(batch: int) -> list[Any]:
    """Prompts that every model's vocabulary has."""
    return list(np.random.default_rng(0).integers(0, 60, (batch, PROMPT)).astype(np.int32))


def serve_program(name: str, config: str, batch: int) -> None:
    """The child's side."""
    run: Callable[[], None] = lambda: None  # noqa: E731

    def greet() -> Reply:
        nonlocal run
        if name == "transformers":
            run = transformers_run(config, batch)
        elif name == "reads":
            run = reads_run(config)
        else:
            run = minitrain_run(config, batch, name)
        run()
        return {}

    def turn() -> Reply:
        began = time.perf_counter()
        run()
        return {"seconds": (time.perf_counter() - began) / NEW}

    serve(greet, {"run": turn})


def main() -> int:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.generation", description=SUMMARY)
    parser.add_argument("--configs", nargs="*", choices=CONFIGS, default=list(CONFIGS))
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--no-torch", action="store_true", help="measure minitrain alone")
    parser.add_argument("--json", type=Path, default=out_file("generation.json"), help="where the figures go")
    parser.add_argument("--serve", choices=PROGRAMS, help=argparse.SUPPRESS)
    parser.add_argument("--batch", type=int, default=1, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve_program(arguments.serve, arguments.configs[0], arguments.batch)
        return 0
    try:
        result = measure(
            arguments.configs, rounds=arguments.rounds, threads=arguments.threads, with_torch=not arguments.no_torch
        )
    except WorkerError as error:
        print(error, file=sys.stderr)
        return 1
    for table in tables(result):
        show(table)
    for text in [*notes(result), load_line(result["cores_used_by_others"])]:
        say(text)
    say(f"figures written to {write_json(arguments.json, result)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
