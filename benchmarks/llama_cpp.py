"""Greedy decoding and prefill against llama.cpp: the same weights in 32, 16 and 8 bits.

    pip install 'minitrain[llamacpp]'      # compiles for a quarter of an hour and more
    python -m benchmarks.llama_cpp --model FILE.gguf --rounds 5

The model is a published one. minitrain writes it as GGUF in each type, for llama.cpp to read. Both programs have the
same number of threads, take in a prompt of 256 tokens, and continue a short one by 96.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
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

from .output import out_file

SUMMARY = "Time greedy decoding and prefill against llama.cpp."
TYPES = {"float32": "float32", "bfloat16": "bfloat16", "int8": "q8_0"}
"""minitrain's weights, and the type of the file that llama.cpp reads."""
NEW, LONG, BLOCK = 96, 256, 512
THREADS = 2
ROUNDS = 5
PROMPT = "Once upon a time there was a little girl who lived in a village near the forest. Every morning"


def measure(model: str, *, rounds: int | None = None, threads: int | None = None) -> dict[str, Any]:
    """Time both programs with each type of weights, in turn.

    Raises:
        WorkerError: if a program does not run.
    """
    count = threads or THREADS
    environment = thread_settings(count) | default_install()
    watch = OtherLoad()
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        files = write_files(model, Path(folder))
        workers = []
        for weights in TYPES:
            for name, place in (("minitrain", model), ("llama.cpp", str(files[weights]))):
                command = ["benchmarks.llama_cpp", "--serve", name, "--model", place, "--weights", weights]
                worker = Worker(f"{name} {weights}", [*command, "--threads", str(count)], environment)
                workers.append(stack.enter_context(contextlib.closing(worker)))
        replies = take_turns(workers, "run", rounds or ROUNDS)
        own = sum(turns[-1]["cpu_seconds"] for turns in replies.values())
        agree = {weights: agreement(workers, weights) for weights in TYPES}
    lines = [line(weights, replies) | {"agree": agree[weights]} for weights in TYPES]
    return {"lines": lines, "threads": count, "cores_used_by_others": watch.cores(own), "machine": describe()}


def write_files(model: str, folder: Path) -> dict[str, Path]:
    """The model as GGUF in each type, with its tokenizer."""
    from minitrain.interop import save_gguf
    from minitrain.interop.formats import load_published
    from minitrain.runs.weights.published import published_tokenizer

    loaded, tokenizer = load_published(model, block_size=BLOCK), published_tokenizer(model)
    files = {weights: folder / f"{weights}.gguf" for weights in TYPES}
    for weights, path in files.items():
        save_gguf(loaded, path, dtype=TYPES[weights], tokenizer=tokenizer)
    return files


def line(weights: str, replies: Mapping[str, Sequence[Reply]]) -> dict[str, Any]:
    """Tokens a second of both programs, and how many times as fast minitrain is."""
    result: dict[str, Any] = {"weights": weights}
    for what in ("decode", "prefill"):
        ours, theirs = ([turn[what] for turn in replies[f"{name} {weights}"]] for name in ("minitrain", "llama.cpp"))
        result[what] = {
            "minitrain": 1 / spread(ours).median,
            "llama.cpp": 1 / spread(theirs).median,
            "ratio": pairwise_ratio(theirs, ours)._asdict(),
        }
    return result


def agreement(workers: Sequence[Worker], weights: str) -> int:
    """How many tokens of the continuation are the same, from the first on. llama.cpp rounds activations."""
    ours, theirs = (
        next(worker for worker in workers if worker.name == f"{name} {weights}").greeting["tokens"]
        for name in ("minitrain", "llama.cpp")
    )
    return next((i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), min(len(ours), len(theirs)))


def tables(result: Mapping[str, Any]) -> list[Table]:
    """A table for decoding and one for prefill."""
    made = []
    for what, title in (("decode", f"{NEW} tokens at one sequence"), ("prefill", f"a prompt of {LONG} tokens")):
        rows = []
        for one in result["lines"]:
            figures = one[what]
            rates = [f"{figures[name]:.1f}" for name in ("minitrain", "llama.cpp")]
            row = [one["weights"], *rates, str(Spread(**figures["ratio"]))]
            rows.append([*row, f"{one['agree']} of {NEW}"] if what == "decode" else row)
        columns = ["weights", "minitrain tokens/s", "llama.cpp tokens/s", "times as fast"]
        columns += ["first tokens that agree"] if what == "decode" else []
        made.append(Table(f"{title}, {result['threads']} threads, {result['machine']['cpu']}", columns, rows))
    return made


def minitrain_program(place: str, weights: str) -> tuple[Callable[[], list[int]], Callable[[], None]]:
    """Functions that continue the short prompt, and that take in the long one."""
    from minitrain.generation import SamplingParams, batch_generate, session_for
    from minitrain.interop.formats import load_published
    from minitrain.runs.weights.published import published_tokenizer

    model, tokenizer = load_published(place, block_size=BLOCK), published_tokenizer(place)
    session: Any = session_for(model, 1, weights=weights)
    session.warm_up()
    prompt = np.asarray(tokenizer.encode(PROMPT), np.int32)

    def decode() -> list[int]:
        (result,) = batch_generate(session, [prompt], SamplingParams(max_new_tokens=NEW, temperature=0))
        tokens: list[int] = result.tokens.tolist()
        return tokens

    def prefill() -> None:
        session.extend({0: np.arange(LONG, dtype=np.int32)})
        session.cut(0, 0)

    return decode, prefill


def llama_program(place: str, threads: int) -> tuple[Callable[[], list[int]], Callable[[], None]]:
    """The same with llama.cpp."""
    from itertools import islice

    import llama_cpp

    model = llama_cpp.Llama(place, n_ctx=BLOCK, n_threads=threads, n_threads_batch=threads, verbose=False)
    prompt = model.tokenize(PROMPT.encode(), add_bos=False)

    def decode() -> list[int]:
        model.reset()
        return list(islice(model.generate(prompt, temp=0.0, repeat_penalty=1.0, reset=True), NEW))

    def prefill() -> None:
        model.reset()
        model.eval(list(range(LONG)))

    return decode, prefill


def serve_program(name: str, place: str, weights: str, threads: int) -> None:
    """The child's side."""
    runs: dict[str, Callable[[], Any]] = {}

    def greet() -> Reply:
        made = minitrain_program(place, weights) if name == "minitrain" else llama_program(place, threads)
        runs["decode"], runs["prefill"] = made
        runs["prefill"]()
        return {"tokens": runs["decode"]()}

    def turn() -> Reply:
        seconds = {}
        for what, tokens in (("decode", NEW), ("prefill", LONG)):
            began = time.perf_counter()
            runs[what]()
            seconds[what] = (time.perf_counter() - began) / tokens
        return seconds

    serve(greet, {"run": turn})


def main() -> int:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.llama_cpp", description=SUMMARY)
    parser.add_argument("--model", required=True, help="folder or GGUF file of a published model")
    parser.add_argument("--rounds", type=int, help=f"turns of every program ({ROUNDS})")
    parser.add_argument("--threads", type=int, default=THREADS, help=f"threads for every program ({THREADS})")
    parser.add_argument("--json", type=Path, default=out_file("llama_cpp.json"), help="where the figures go")
    parser.add_argument("--serve", choices=("minitrain", "llama.cpp"), help=argparse.SUPPRESS)
    parser.add_argument("--weights", choices=TYPES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve_program(arguments.serve, arguments.model, arguments.weights, arguments.threads)
        return 0
    if importlib.util.find_spec("llama_cpp") is None:
        print("llama-cpp-python is not installed: pip install 'minitrain[llamacpp]' (it is compiled)", file=sys.stderr)
        return 1
    try:
        result = measure(arguments.model, rounds=arguments.rounds, threads=arguments.threads)
    except WorkerError as error:
        print(error, file=sys.stderr)
        return 1
    for table in tables(result):
        show(table)
    say(load_line(result["cores_used_by_others"]))
    say(f"figures written to {write_json(arguments.json, result)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
