"""Graphs of ONNX run by other programs: onnxruntime, and the evaluator of the package onnx."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minitrain.interop.onnx.graph import Graph
from minitrain.interop.onnx.writing import message

Run = Callable[[dict[str, Any]], dict[str, Any]]


def in_runtime(graph: Graph | str) -> Run:
    """A graph, or a file, in onnxruntime: from inputs by name to outputs by name."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    source = graph if isinstance(graph, str) else message(graph, {}, None).SerializeToString()
    session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda feed: dict(zip(names, session.run(names, feed), strict=True))


def in_reference(graph: Graph) -> Run:
    """A graph in NumPy."""
    from onnx.reference import ReferenceEvaluator

    evaluator = ReferenceEvaluator(message(graph, {}, None))
    return lambda feed: dict(zip(evaluator.output_names, evaluator.run(None, feed), strict=True))


def empty_cache(graph: Graph, rows: int) -> dict[str, Any]:
    """The cache before the first token."""
    ports = [port for port in graph.inputs if port.name.startswith("past")]
    return {port.name: np.zeros((rows, port.shape[1], 0, port.shape[3]), np.float32) for port in ports}


def next_cache(outputs: dict[str, Any]) -> dict[str, Any]:
    """The cache that the next call takes."""
    return {f"past_key_values{name[7:]}": array for name, array in outputs.items() if name.startswith("present")}


def in_steps(
    run: Run, cache: dict[str, Any], tokens: Any, steps: Sequence[int], *, name: str = "input_ids", **fixed: Any
) -> Any:
    """The logits (B, T, V) of tokens (B, T) that are passed in calls of ``steps`` tokens each."""
    logits, start = [], 0
    for step in steps:
        outputs = run({name: np.ascontiguousarray(tokens[:, start : start + step]), **fixed, **cache})
        logits.append(outputs["logits"])
        cache, start = next_cache(outputs), start + step
    assert start == tokens.shape[1]
    return np.concatenate(logits, axis=1)


def assert_near(found: Any, expected: Any, tolerance: float = 1e-4) -> None:
    """Equal up to ``tolerance`` times the largest element."""
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * abs(expected).max(initial=0))
