"""An exported file is checked: it is valid, and computes what the model computes.

The package ``onnx`` checks the file against the standard, with the types and shapes of all values. Then the graph runs,
in ``onnxruntime`` if that is installed, else in the evaluator of ``onnx`` in NumPy, which is slow. Its outputs are
compared with the model's.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import MinitrainError
from .trials import Feed, Run, Trial
from .writing import import_onnx

LARGEST_DIFFERENCE = 1e-4
"""How far an output may be from the model's, as a share of the model's largest one in the same call."""


def check_file(path: str | os.PathLike[str]) -> None:
    """Check a file against the standard, with the types and shapes of all values.

    Raises:
        MinitrainError: if it is not valid.
    """
    onnx = import_onnx()
    try:
        onnx.checker.check_model(os.fspath(path), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise MinitrainError(f"{path} is not valid ONNX: {error}") from error


def open_file(path: str | os.PathLike[str], *, reference: bool = False) -> Run:
    """Open a file to run it on the CPU.

    Args:
        path: the file.
        reference: whether to use the evaluator of ``onnx`` even if ``onnxruntime`` is installed.

    Returns:
        A function from inputs to outputs, both arrays by name.
    """
    if not reference:
        try:
            import onnxruntime
        except ImportError:
            pass
        else:
            return _in_runtime(onnxruntime, path)
    onnx = import_onnx()
    from onnx.reference import ReferenceEvaluator

    evaluator = ReferenceEvaluator(onnx.load(os.fspath(path), format="protobuf"))

    def run(feed: Feed) -> dict[str, NDArray[Any]]:
        # Gather of onnx before 1.23 fails for indices that are not in one piece.
        whole = {name: np.ascontiguousarray(array) for name, array in feed.items()}
        return dict(zip(evaluator.output_names, evaluator.run(None, whole), strict=True))

    return run


def _in_runtime(onnxruntime: Any, path: str | os.PathLike[str]) -> Run:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors alone
    session = onnxruntime.InferenceSession(os.fspath(path), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda feed: dict(zip(names, session.run(names, dict(feed)), strict=True))


def compare(trials: Iterator[Trial]) -> float:
    """The largest difference of all trials, as a share of the largest output of its trial.

    Raises:
        MinitrainError: if it is larger than `LARGEST_DIFFERENCE`, or a shape differs.
    """
    worst = 0.0
    for what, expected, found in trials:
        if expected.shape != found.shape:
            raise MinitrainError(f"the ONNX graph differs from the model: {what}: {found.shape}, not {expected.shape}")
        difference = float(np.max(np.abs(found - expected), initial=0.0))
        largest = float(np.max(np.abs(expected), initial=0.0))
        share = difference / largest if largest else difference
        if not share <= LARGEST_DIFFERENCE:  # NaN too
            raise MinitrainError(
                f"the ONNX graph differs from the model: {what}: by {difference:.2g}, {share:.2g} of the largest "
                f"output, more than {LARGEST_DIFFERENCE:g}; the model may have a part that the export does not know"
            )
        worst = max(worst, share)
    return worst
