"""Decoding methods against greedy decoding with the same model: speculative decoding and beam search.

    python -m benchmarks.decoding --model FILE.gguf --rounds 5

The model is a published one, a folder or a GGUF file, because drafts and beams behave as they do only on real text. Two
drafts are tried, both with the float32 model's own tokens as the result: the same weights in 8 bits, and tokens copied
from the text (prompt lookup), on a prompt that begins a story and on one that repeats its words. Greedy decoding with
weights of 16 and 8 bits stands beside them, and so does how fast each takes in a long prompt.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
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

SUMMARY = "Time speculative decoding and beam search against greedy decoding."
WEIGHTS = ("bfloat16", "int8")
PROGRAMS = ("greedy", "int8 draft", "prompt lookup", "beams 4", *WEIGHTS)
NEW, BLOCK = 96, 512
ROUNDS = 5
LONG = 256
"""Tokens of the long prompt."""
PROMPTS = {
    "story": "Once upon a time there was a little girl who lived in a village near the forest. Every morning",
    "copy": "red green blue yellow, red green blue yellow, red green blue yellow, red green",
}


def measure(model: str, *, rounds: int | None = None, threads: int | None = None) -> dict[str, Any]:
    """Time all programs, in turn.

    Raises:
        WorkerError: if a program does not run.
    """
    environment = thread_settings(threads) | default_install()
    watch, command = OtherLoad(), ["benchmarks.decoding", "--model", model]
    with contextlib.ExitStack() as stack:
        workers = [Worker(name, [*command, "--serve", name], environment) for name in PROGRAMS]
        for worker in workers:
            stack.enter_context(contextlib.closing(worker))
        replies = take_turns(workers, "run", rounds or ROUNDS)
        own = sum(turns[-1]["cpu_seconds"] for turns in replies.values())
        greetings = {worker.name: worker.greeting for worker in workers}
    lines = [line(text, replies, greetings) for text in PROMPTS]
    prefill = {name: spread([reply["long"] for reply in replies[name]]).median for name in ("greedy", *WEIGHTS)}
    return {"lines": lines, "prefill": prefill, "cores_used_by_others": watch.cores(own), "machine": describe()}


def line(text: str, replies: Mapping[str, Sequence[Reply]], greetings: Mapping[str, Reply]) -> dict[str, Any]:
    """Seconds of a token, how many times as fast as greedy each program is, and how many drafts were accepted."""
    seconds = {name: [reply[text] for reply in turns] for name, turns in replies.items()}
    return {
        "prompt": text,
        "seconds": {name: spread(times).median for name, times in seconds.items()},
        "speedup": {name: pairwise_ratio(seconds["greedy"], times)._asdict() for name, times in seconds.items()},
        "accepted": {name: greetings[name][text] for name in seconds},
    }


def tables(result: Mapping[str, Any]) -> list[Table]:
    """Tokens a second and speed-ups."""
    rows = []
    for one in result["lines"]:
        for name in PROGRAMS:
            share = one["accepted"][name]
            rows.append(
                [
                    one["prompt"],
                    name,
                    f"{1 / one['seconds'][name]:.1f}",
                    str(Spread(**one["speedup"][name])),
                    "" if share is None else f"{share:.0%}",
                ]
            )
    title = f"{NEW} tokens at one sequence, {result['machine']['cpu']}"
    columns = ["prompt", "method", "tokens/s", "times as fast as greedy", "drafts accepted"]
    long = [[name, f"{LONG / seconds:.0f}"] for name, seconds in result["prefill"].items()]
    return [Table(title, columns, rows), Table(f"a prompt of {LONG} tokens", ["weights", "tokens/s"], long)]


def program(name: str, place: str) -> dict[str, Callable[[], float | None]]:
    """Functions by prompt that generate, and return the share of accepted drafts."""
    from minitrain.generation import (
        PromptLookup,
        SamplingParams,
        batch_generate,
        beam_search_generate,
        session_for,
        speculative_generate,
    )
    from minitrain.interop.formats import load_published, published_tokenizer

    model, tokenizer = load_published(place, block_size=BLOCK), published_tokenizer(place)
    weights = name if name in WEIGHTS else "float32"
    session: Any = session_for(model, 4 if name == "beams 4" else 1, weights=weights)
    session.warm_up()
    draft: Any = PromptLookup()
    if name == "int8 draft":
        draft = session_for(model, 1, weights="int8")
        draft.warm_up()
    expected: dict[str, list[int]] = {}

    def run(text: str) -> float | None:
        prompt = np.asarray(tokenizer.encode(PROMPTS[text]), np.int32)
        if name == "beams 4":
            beam_search_generate(session, [prompt], num_beams=4, max_new_tokens=NEW)
            return None
        if name in ("greedy", *WEIGHTS) or text not in expected:
            (result,) = batch_generate(session, [prompt], SamplingParams(max_new_tokens=NEW, temperature=0))
            expected[text] = result.tokens.tolist()
            if name in ("greedy", *WEIGHTS):
                return None
        greedy = SamplingParams(max_new_tokens=NEW, temperature=0)
        (drafted,) = speculative_generate(session, [prompt], greedy, draft=draft)
        assert drafted.tokens.tolist() == expected[text], "a draft changed the text"
        return drafted.acceptance_rate

    def take_in() -> None:
        session.extend({0: np.arange(LONG, dtype=np.int32)})
        session.cut(0, 0)

    runs: dict[str, Callable[[], float | None]] = {text: lambda text=text: run(text) for text in PROMPTS}
    return runs | ({"long": take_in} if name in ("greedy", *WEIGHTS) else {})


def serve_program(name: str, model: str) -> None:
    """The child's side."""
    runs: dict[str, Callable[[], float | None]] = {}

    def greet() -> Reply:
        runs.update(program(name, model))
        return {text: run() for text, run in runs.items()}

    def turn() -> Reply:
        seconds = {}
        for text, run in runs.items():
            began = time.perf_counter()
            run()
            seconds[text] = (time.perf_counter() - began) / (1 if text == "long" else NEW)
        return seconds

    serve(greet, {"run": turn})


def main() -> int:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.decoding", description=SUMMARY)
    parser.add_argument("--model", required=True, help="folder or GGUF file of a published model")
    parser.add_argument("--rounds", type=int, help=f"turns of every program ({ROUNDS})")
    parser.add_argument("--threads", type=int, help="threads for every program")
    parser.add_argument("--json", type=Path, default=out_file("decoding.json"), help="where the figures go")
    parser.add_argument("--serve", choices=PROGRAMS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve_program(arguments.serve, arguments.model)
        return 0
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
