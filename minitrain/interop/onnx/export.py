"""Export of a model to ONNX: its graphs are built, written, checked, and only then put in their place."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from ...errors import ConfigError
from ...files import checked_path
from ...models.captioner import Captioner
from ...models.clip import Clip
from ...models.common.decoder import Decoder
from ...models.dual_encoder import DualEncoder
from ...models.encoder import Encoder
from ...models.masked import MaskedEncoder
from ...models.mlp import MLP
from ...models.seq2seq import Seq2Seq
from ...models.vit import ViT
from ...nn.core.module import Module
from . import captioner, seq2seq
from .check import check_file, compare, open_file
from .classifier import encoder_graph, masked_graph, mlp_graph, vit_graph
from .decoder import decoder_graph
from .graph import Graph
from .refusals import refuse
from .trials import Opened, Trial, try_captioner, try_clip, try_decoder, try_encoder, try_mlp, try_seq2seq, try_vit
from .writing import import_onnx, writing


class Kind(NamedTuple):
    """How models of a class are exported."""

    graphs: Callable[..., dict[str, Graph]]  # of (model, opset, cache): the graphs by the names of their parts
    trials: Callable[[Any, Mapping[str, Opened]], Iterator[Trial]]


def _two_stacks(graphs: ModuleType) -> Callable[[Any, int, bool], dict[str, Graph]]:
    """Graphs of an encoder and a decoder: one for both, or with a cache one for each."""

    def build(model: Any, opset: int, cache: bool) -> dict[str, Graph]:
        if not cache:
            return {"": graphs.joint_graph(model, opset)}
        return {"encoder": graphs.encoder_graph(model, opset), "decoder": graphs.decoder_graph(model, opset)}

    return build


def _clip_graphs(model: Clip, opset: int, cache: bool) -> dict[str, Graph]:
    return {"image": vit_graph(model.image, opset), "text": encoder_graph(model.text, opset)}


KINDS: dict[type, Kind] = {
    Decoder: Kind(lambda model, opset, cache: {"": decoder_graph(model, opset, cache=cache)}, try_decoder),
    Seq2Seq: Kind(_two_stacks(seq2seq), try_seq2seq),
    Encoder: Kind(lambda model, opset, cache: {"": encoder_graph(model, opset)}, try_encoder),
    Captioner: Kind(_two_stacks(captioner), try_captioner),
    MaskedEncoder: Kind(lambda model, opset, cache: {"": masked_graph(model, opset)}, try_encoder),
    Clip: Kind(_clip_graphs, try_clip),
    ViT: Kind(lambda model, opset, cache: {"": vit_graph(model, opset)}, try_vit),
    MLP: Kind(lambda model, opset, cache: {"": mlp_graph(model, opset)}, try_mlp),
}
"""The models that can be exported."""


def export_onnx(
    model: Module, path: str | os.PathLike[str], *, opset: int = 23, cache: bool = True, check: bool = True
) -> list[Path]:
    """Write a model as an ONNX graph, which many programs run without minitrain.

    Number of samples and length vary from call to call; weights are float32, under their paths in the model. Sizes and
    the largest length are in the file's metadata. Weights of more than 2 GB lie in a second file beside the first.
    Nothing is at ``path`` before the graph has been checked, and an older file stays if that fails.

    Args:
        model: a `Decoder` such as GPT and Llama, a `Seq2Seq`, a `Captioner`, an `Encoder`, a `MaskedEncoder`, a `ViT`,
            a `Clip` or an `MLP`.
        path: the file, such as ``model.onnx``. A `Seq2Seq` or `Captioner` with a cache becomes two,
            ``model.encoder.onnx`` and ``model.decoder.onnx``; a `Clip` becomes ``model.image.onnx`` and
            ``model.text.onnx``, whose ``logits`` are the features before they are normalised.
        opset: version of the operator set: 23, which has norms, rotary positions and attention as single operators,
            or 17, which older programs know too.
        cache: whether a model that generates takes keys and values of earlier tokens, and gives them.
        check: whether to check the file as `check_onnx` does.

    Returns:
        The files written.

    Raises:
        ConfigError: if the model cannot be exported, or the package ``onnx`` is not installed.
        FileError: if a file cannot be written.
        MinitrainError: if the check finds a difference.
    """
    import_onnx()
    kind = _kind(model)
    graphs = kind.graphs(model, opset, cache)
    paths = _paths(checked_path(path), graphs)
    with contextlib.ExitStack() as stack:
        files = {
            part: stack.enter_context(writing(graph, paths[part], _metadata(model))) for part, graph in graphs.items()
        }
        if check:
            _check(model, kind, graphs, files)
    return list(paths.values())


def check_onnx(
    model: Module,
    path: str | os.PathLike[str],
    *,
    opset: int = 23,
    cache: bool = True,
    reference: bool = False,
) -> float:
    """Check files that `export_onnx` has written.

    Each file must be valid, with the types and shapes of all values, and give the outputs of the model: for a decoder
    with a cache, those of a prompt, one token and five more, for one to three samples.

    Args:
        model: the model that was exported.
        path: as it was given to `export_onnx`, and so are ``opset`` and ``cache``.
        opset: version of the operator set.
        cache: whether the graph has a cache.
        reference: whether to run the graph in the evaluator of ``onnx``, not in ``onnxruntime``.

    Returns:
        The largest difference of an output, as a share of the largest output in the same call.

    Raises:
        ConfigError: if the model cannot be exported, or the package ``onnx`` is not installed.
        MinitrainError: if a file is not valid, or the difference is larger than 1e-4.
    """
    kind = _kind(model)
    graphs = kind.graphs(model, opset, cache)
    return _check(model, kind, graphs, _paths(checked_path(path), graphs), reference=reference)


def _kind(model: Module) -> Kind:
    for base, kind in KINDS.items():
        if isinstance(model, base):
            return kind
    if isinstance(model, DualEncoder):
        raise ConfigError(
            "a DualEncoder cannot be exported to ONNX in one piece: export its encoders, model.image and model.text"
        )
    refuse("", model, tuple(KINDS))


def _paths(path: Path, graphs: Mapping[str, Graph]) -> dict[str, Path]:
    """The file of each part: ``model.onnx``, or ``model.encoder.onnx``."""
    return {part: path.with_name(f"{path.stem}.{part}{path.suffix}") if part else path for part in graphs}


def _metadata(model: Any) -> dict[str, str]:
    """Texts for programs that run the file."""
    return {"model": type(model).__name__, "config": json.dumps(dataclasses.asdict(model.config), sort_keys=True)}


def _check(
    model: Module, kind: Kind, graphs: Mapping[str, Graph], files: Mapping[str, Path], *, reference: bool = False
) -> float:
    for file in files.values():
        check_file(file)
    opened = {part: Opened(graph, open_file(files[part], reference=reference)) for part, graph in graphs.items()}
    return compare(kind.trials(model, opened))
