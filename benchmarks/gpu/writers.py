"""The programs that decode in turn on one card: ``python -m benchmarks.gpu.writers "transformers compiled" 64``.

Greedy decoding with random weights in a shape of SmolLM2-135M, with keys and values kept. minitrain and transformers
continue the same prompts by the same number of tokens.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from minitrain.backend import use_precision
from minitrain.benchmark.turns import Reply, serve

from . import shapes
from .place import Place, place
from .shapes import Decoding

PROGRAMS = ("minitrain float32", "minitrain bfloat16", "transformers eager", "transformers compiled")
"""transformers runs in bfloat16, as it is used; its compiled form has a static cache and CUDA graphs."""


def prompts(work: Decoding, batch: int) -> list[Any]:
    """Seeded prompts, int32."""
    rng = np.random.default_rng(0)
    return list(rng.integers(0, work.model["vocab_size"], (batch, work.prompt), dtype=np.int32))


def minitrain_run(work: Decoding, batch: int, precision: str) -> Callable[[], None]:
    """A function that generates with minitrain."""
    from minitrain.generation import SamplingParams, batch_generate, session_for
    from minitrain.models import Llama, LlamaConfig

    model = Llama(LlamaConfig(**work.model)).to("cuda")
    session: Any = session_for(model, batch, device="cuda")
    texts, params = prompts(work, batch), SamplingParams(max_new_tokens=work.new, temperature=0)

    def run() -> None:
        with use_precision(precision):
            results = batch_generate(session, texts, params)
        if any(len(result.samples[0].tokens) != work.new for result in results):
            raise ValueError("minitrain wrote fewer tokens than were asked for")

    return run


def transformers_run(work: Decoding, batch: int, where: Place, compiled: bool) -> Callable[[], None]:
    """A function that generates with transformers."""
    import torch
    import transformers

    m = work.model
    config = transformers.LlamaConfig(
        vocab_size=m["vocab_size"], max_position_embeddings=m["block_size"], num_hidden_layers=m["n_layer"],
        num_attention_heads=m["n_head"], num_key_value_heads=m["n_kv_head"], hidden_size=m["n_embd"],
        intermediate_size=m["n_hidden"], tie_word_embeddings=m["tie_weights"], bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    model = transformers.LlamaForCausalLM(config).to(where.torch_device, torch.bfloat16).eval()
    tokens = torch.tensor(np.stack(prompts(work, batch)), dtype=torch.long, device=where.torch_device)
    options: dict[str, Any] = {}
    if compiled:
        options["cache_implementation"] = "static"
        if where.emulated:  # generate() compiles by itself on a card alone
            model.forward = torch.compile(model.forward, backend="eager")
        else:
            options["compile_config"] = transformers.CompileConfig(mode="reduce-overhead", fullgraph=False)

    def run() -> None:
        with torch.inference_mode():
            out = model.generate(
                tokens, attention_mask=torch.ones_like(tokens), do_sample=False, max_new_tokens=work.new,
                min_new_tokens=work.new, pad_token_id=0, **options,
            )  # fmt: skip
        if out.shape != (batch, work.prompt + work.new):
            raise ValueError(f"transformers wrote {tuple(out.shape)} tokens")

    return run


def build(name: str, work: Decoding, batch: int, where: Place) -> Callable[[], None]:
    """The program called ``name``: one of ``PROGRAMS``."""
    library, _, kind = name.partition(" ")
    if library == "minitrain":
        return minitrain_run(work, batch, kind)
    return transformers_run(work, batch, where, kind == "compiled")


def main() -> None:
    """Serve the program named on the command line."""
    parser = argparse.ArgumentParser(prog="benchmarks.gpu.writers")
    parser.add_argument("program", choices=PROGRAMS)
    parser.add_argument("batch", type=int)
    parser.add_argument("--emulated", action="store_true")
    arguments = parser.parse_args()
    with place(arguments.emulated) as where:
        run: Callable[[], None]

        def greet() -> Reply:
            nonlocal run
            run = build(arguments.program, shapes.decoding(arguments.emulated), arguments.batch, where)
            run()
            run()  # what is compiled is compiled now
            return {}

        def turn() -> Reply:
            where.wait()
            began = time.perf_counter()
            run()
            where.wait()
            return {"seconds": time.perf_counter() - began}

        serve(greet, {"run": turn})


if __name__ == "__main__":
    main()
