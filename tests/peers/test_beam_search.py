"""Beam search against transformers' on the same GPT-2: the same texts, with the same scores.

What transformers does differently is kept out of the comparison. It pads prompts of a batch to one length, which
changes their logits; so each prompt is alone there. Its scores are float32, and it orders equal ones as they come; so
weights are random and ties do not occur. With more beams than tokens, its first step fills beams with a text of score
-1e9; so there are fewer. It has no groups and no constraints since version 5.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from minitrain.generation import beam_search_generate  # noqa: E402
from minitrain.models.gpt import GPT, GPTConfig  # noqa: E402

V = 23


def twins(seed: int) -> tuple[GPT, Any]:
    """The same random weights in both, in float32."""
    shape = {"vocab_size": V, "n_layer": 2, "n_head": 2, "n_embd": 16}
    config = transformers.GPT2Config(**shape, n_positions=32, eos_token_id=None, bos_token_id=None)
    torch.manual_seed(seed)
    theirs = transformers.GPT2LMHeadModel(config).eval()
    ours = GPT(GPTConfig(**shape, block_size=32, bias=True, gelu="tanh"), seed=0)
    names = {
        "tok_emb.weight": "wte.weight",
        "pos_emb.weight": "wpe.weight",
        "norm.weight": "ln_f.weight",
        "norm.bias": "ln_f.bias",
    }
    for i in range(2):
        parts = {"norm1": "ln_1", "norm2": "ln_2", "attention.qkv": "attn.c_attn", "attention.out": "attn.c_proj"}
        parts |= {"feed_forward.up": "mlp.c_fc", "feed_forward.down": "mlp.c_proj"}
        for part, other in parts.items():
            for kind in ("weight", "bias"):
                names[f"blocks.{i}.{part}.{kind}"] = f"h.{i}.{other}.{kind}"
    state = dict(theirs.transformer.named_parameters())
    with torch.no_grad():
        for parameter in state.values():
            parameter += 0.4 * torch.randn_like(parameter)
    assert names.keys() == ours.state_dict().keys()
    weights = {}
    for path, name in names.items():
        array = state[name].detach().numpy()
        weights[path] = array.T if ".c_" in name and array.ndim == 2 else array  # Conv1D keeps (in, out)
    ours.load_state_dict(weights)
    return ours, theirs


def test_the_twins_have_the_same_logits() -> None:
    ours, theirs = twins(0)
    tokens = np.arange(20, dtype=np.int32)[None] % V
    with torch.no_grad():
        expected = theirs(torch.from_numpy(tokens).long()).logits.numpy()
    np.testing.assert_allclose(ours.forward(tokens)[0], expected, atol=2e-5 * np.abs(expected).max())


@pytest.fixture(scope="module")
def pairs() -> list[tuple[GPT, Any]]:
    return [twins(seed) for seed in range(4)]


@pytest.mark.parametrize("beams", [2, 5])
@pytest.mark.parametrize("stops", [[], [3], [3, 11]], ids=["no stop", "one", "two"])
@pytest.mark.parametrize("early", [False, True, "never"])
@pytest.mark.parametrize(("seed", "penalty"), [(0, 0.0), (1, 1.0), (2, 2.0), (3, -1.0)])
def test_the_same_texts(
    pairs: list[tuple[GPT, Any]], beams: int, stops: list[int], early: Any, seed: int, penalty: float
) -> None:
    ours, theirs = pairs[seed]
    prompts = [[1, 2, 3], [4]]
    found = beam_search_generate(
        ours,
        prompts,
        num_beams=beams,
        max_new_tokens=10,
        length_penalty=penalty,
        early_stopping=early,
        num_return_sequences=beams,
        stop_token_ids=stops,
    )
    for prompt, row in zip(prompts, found, strict=True):
        with torch.no_grad():
            out = theirs.generate(
                torch.tensor([prompt]),
                attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
                do_sample=False,
                num_beams=beams,
                max_new_tokens=10,
                length_penalty=penalty,
                early_stopping=early,
                num_return_sequences=beams,
                eos_token_id=stops or None,
                pad_token_id=0,
                return_dict_in_generate=True,
                output_scores=True,
            )
        expected = []
        for sequence in out.sequences[:, len(prompt) :].tolist():
            ends = [i + 1 for i, token in enumerate(sequence) if token in stops]
            expected.append(sequence[: ends[0] if ends else None])
        assert [one.tokens.tolist() for one in row] == expected
        np.testing.assert_allclose([one.score for one in row], out.sequences_scores.numpy(), rtol=2e-4)
