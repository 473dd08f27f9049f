"""Which source tokens a translator looks at for each target token."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...backend.arrays import to_device, to_numpy
from ...data.text.bpe import BOS, EOS
from ...errors import DataError
from ...inside import capture
from .pairs import PairProcessor

END = "<end>"
"""How the end token is shown."""


class Alignment(NamedTuple):
    """The cross-attention of one pair of texts; `minitrain.plotting.plot_alignment` draws it.

    Attributes:
        source: the S tokens of the source, as texts.
        target: the T tokens of the target, as texts, with its end.
        weights: (L, T, S) float64: in each layer of the decoder, how much of each source token goes into the prediction
            of each target token. Each row sums to 1; the heads are averaged.
    """

    source: list[str]
    target: list[str]
    weights: NDArray[np.float64]


def align(
    model: Any, processor: PairProcessor, source: str, target: str | None = None, *, device: str = "cpu"
) -> Alignment:
    """Look at the cross-attention of a trained model.

    Args:
        model: a `Seq2Seq`, such as ``load_run(folder).model``.
        processor: its tokenizers, such as ``load_run(folder).processor``.
        source: a text to translate.
        target: a translation of it; ``None`` takes what the model writes, always the most likely token.
        device: the model's device.

    Raises:
        DataError: if a text has no tokens, or more than the model reads.
    """
    begin, end = (processor.target.special_id(name) for name in (BOS, EOS))
    sources = to_device(_row(processor, processor.source.encode(source), "source"), device)
    if target is None:
        written = to_numpy(model.generate(sources, start=begin, end=end, max_new_tokens=processor.block_size))
        ids = written[:, 1:]
    else:
        ids = _row(processor, np.append(processor.target.encode(target), end), "target")
    inputs = np.concatenate([[[begin]], ids[:, :-1]], axis=1).astype(np.int32)  # (1, T): what each token follows
    with capture(model, "decoder.*.cross.weights") as seen:
        model.forward(sources, to_device(inputs, device))
    weights = np.stack([to_numpy(one)[0].mean(axis=0, dtype=np.float64) for one in seen.values()])  # (L, T, S)
    names = [END if number == end else processor.target.decode([number]) for number in ids[0].tolist()]
    return Alignment([processor.source.decode([number]) for number in to_numpy(sources)[0].tolist()], names, weights)


def _row(processor: PairProcessor, ids: NDArray[np.int32], name: str) -> NDArray[np.int32]:
    """Tokens (1, N) of a text."""
    if not 0 < len(ids) <= processor.block_size:
        raise DataError(f"the {name} has {len(ids)} tokens, and the model reads 1 to {processor.block_size}")
    return np.asarray(ids, np.int32)[None]
