"""Export to ONNX: a graph for each model, built from its layers operation by operation.

A function for each layer adds the nodes that compute what the layer's ``forward`` computes. No call is recorded, so
sizes that vary stay variables, and a part that cannot be written is refused by name.
"""

from .export import check_onnx as check_onnx
from .export import export_onnx as export_onnx
