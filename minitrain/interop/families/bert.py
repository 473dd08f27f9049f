"""BERT and the sentence encoders made from it, such as MiniLM, as transformers writes them."""

from __future__ import annotations

import json
from collections.abc import Container
from pathlib import Path
from typing import Any

from ...errors import CheckpointError
from ...files import FileError, parse_json, read_file, write_atomically
from ...models.bert import Bert, BertConfig
from ..family import Family, Values
from ..table import Part, Row, row

LAYER = "encoder.layer.{i}."
NORMS = (
    ("norm", "embeddings.LayerNorm"),
    ("blocks.{i}.norm1", LAYER + "attention.output.LayerNorm"),
    ("blocks.{i}.norm2", LAYER + "output.LayerNorm"),
)
LINEAR = (
    ("blocks.{i}.attention.out", LAYER + "attention.output.dense", "C", " Q"),
    ("blocks.{i}.feed_forward.up", LAYER + "intermediate.dense", "F", " C"),
    ("blocks.{i}.feed_forward.down", LAYER + "output.dense", "C", " F"),
)
ACTIVATIONS = {"gelu": "exact", "gelu_python": "exact", "gelu_new": "tanh", "gelu_pytorch_tanh": "tanh"}


def rows(config: BertConfig) -> list[Row]:
    """The weights, those of the pooler if the model has one."""
    found = [
        row("tok_emb.weight", "embeddings.word_embeddings.weight", "V C"),
        row("pos_emb.weight", "embeddings.position_embeddings.weight", "P C"),
        row("type_emb.weight", "embeddings.token_type_embeddings.weight", "T C"),
    ]
    linear = LINEAR if config.pooler == "absent" else (*LINEAR, ("pooler", "pooler.dense", "C", " C"))
    for what in ("weight", "bias"):
        found += [row(f"{ours}.{what}", f"{theirs}.{what}", "C") for ours, theirs in NORMS]
        parts = [
            Part(f"{LAYER}attention.self.{name}.{what}", size + (" C" if what == "weight" else ""))
            for name, size in (("query", "Q"), ("key", "K"), ("value", "K"))
        ]
        found.append(Row(f"blocks.{{i}}.attention.qkv.{what}", tuple(parts)))
        for ours, theirs, out, inner in linear:
            found.append(row(f"{ours}.{what}", f"{theirs}.{what}", out + (inner if what == "weight" else "")))
    return found


def read(values: Values, ours: Values) -> Values:
    """The activation."""
    activation = values.pop("hidden_act", "gelu")
    if activation not in ACTIVATIONS:
        raise ValueError(f"hidden_act = {activation!r:.100}; known are {', '.join(ACTIVATIONS)}")
    values.pop("classifier_dropout", None)  # of a head that is not read
    values.pop("tie_word_embeddings", None)  # likewise
    return {"gelu": ACTIVATIONS[activation]}


def write(config: BertConfig) -> Values:
    """The activation, and the width of the feed-forward layer."""
    gelu = "gelu_new" if config.gelu == "tanh" else "gelu"
    return {"hidden_act": gelu, "intermediate_size": config.n_hidden or 4 * config.n_embd}


def fits(config: Any) -> bool:
    """Whether it is a BERT."""
    return isinstance(config, BertConfig)


MODULES, POOLING = "modules.json", "1_Pooling/config.json"
"""Files of sentence-transformers: the steps from a text to a vector, and how the vector is pooled."""
POOLS = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "first"}
LARGEST = 100_000  # bytes of such a file


def look(folder: Path, names: Container[str]) -> Values:
    """How a sentence's vector is made: as sentence-transformers' files say, or else as BERT's own pooler does.

    Raises:
        CheckpointError: if the files are damaged, or ask for steps that minitrain does not have.
    """
    pooler = "pooler.dense.weight" in names or "bert.pooler.dense.weight" in names
    if not (folder / MODULES).exists():
        if pooler:
            return {"pool": "first", "pooler": "used", "normalize": False}
        return {"pool": "mean", "pooler": "absent", "normalize": True}
    try:
        steps = [str(step["type"]).rpartition(".")[2] for step in parse_json(read_file(folder / MODULES, LARGEST))]
        if steps not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
            raise ValueError(f"{MODULES} has the steps {', '.join(steps):.200}")
        pooling = dict(parse_json(read_file(folder / POOLING, LARGEST)))
        modes = [name for name, value in pooling.items() if name.startswith("pooling_mode_") and value]
        if len(modes) != 1 or modes[0] not in POOLS:
            raise ValueError(f"{POOLING} pools by {', '.join(modes):.200}; known are {', '.join(POOLS)}")
    except (FileError, OSError, ValueError, TypeError, KeyError) as error:
        raise CheckpointError(f"{folder}: how its sentences become vectors cannot be read: {error!s:.300}") from error
    return {"pool": POOLS[modes[0]], "pooler": "unused" if pooler else "absent", "normalize": len(steps) == 3}


def add(folder: Path, config: BertConfig) -> None:
    """Write sentence-transformers' files, unless the vector is that of BERT's own pooler.

    Raises:
        CheckpointError: if they cannot say how the vector is made.
        FileError: if a file cannot be written.
    """
    if config.pooler == "used":
        if config.pool != "first" or config.normalize:
            raise CheckpointError(
                "BERT's pooler reads the first position and does not normalise: pool='first', normalize=False"
            )
        return
    names = ["Transformer", "Pooling", "Normalize"][: 3 if config.normalize else 2]
    paths = ["", "1_Pooling", "2_Normalize"]
    steps = [
        {"idx": i, "name": str(i), "path": paths[i], "type": f"sentence_transformers.models.{name}"}
        for i, name in enumerate(names)
    ]
    pooling = {"word_embedding_dimension": config.n_embd} | {name: pool == config.pool for name, pool in POOLS.items()}
    for path, content in ((MODULES, steps), (POOLING, pooling)):
        write_atomically(folder / path, json.dumps(content, indent=2).encode() + b"\n")


BERT = Family(
    name="bert",
    architectures=("BertModel",),
    model=Bert,
    config=BertConfig,
    settings={
        "vocab_size": "vocab_size",
        "max_position_embeddings": "block_size",
        "type_vocab_size": "n_types",
        "hidden_size": "n_embd",
        "intermediate_size": "n_hidden",
        "num_hidden_layers": "n_layer",
        "num_attention_heads": "n_head",
        "layer_norm_eps": "eps",
    },
    defaults={"layer_norm_eps": 1e-12, "type_vocab_size": 2},
    fixed={"position_embedding_type": ("absolute",)},
    dropouts=("hidden_dropout_prob", "attention_probs_dropout_prob"),
    rows=rows,
    fits=fits,
    read=read,
    write=write,
    prefix="bert.",
    ignored=(r"(bert\.)?embeddings\.position_ids",),
    look=look,
    add=add,
)
