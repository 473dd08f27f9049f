"""Draws a graph of scalars with the value and the gradient at each node."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH, HEIGHT = 2.3, 1.1  # inches per column and per row of nodes
EDGE = 0.31  # from the middle of a box to its side, in columns
VALUE, GRADIENT, NODE = "#2a6fbb", "#d1495b", "#f4f6f8"


class Node(Protocol):
    """A scalar that was computed from others."""

    @property
    def label(self) -> str:
        """Its name, or the operation that made it."""

    @property
    def data(self) -> float:
        """Its value."""

    @property
    def grad(self) -> float:
        """The derivative of the last node with respect to it."""

    @property
    def parents(self) -> Sequence[Node]:
        """The nodes that it was computed from."""


def topological(root: Node) -> list[Node]:
    """All nodes that ``root`` depends on, each after its parents; ``root`` is the last."""
    order: list[Node] = []
    seen: set[int] = set()
    stack: list[tuple[Node, bool]] = [(root, False)]
    while stack:
        node, done = stack.pop()
        if done:
            order.append(node)
        elif id(node) not in seen:
            seen.add(id(node))
            stack.append((node, True))
            stack.extend((parent, False) for parent in reversed(node.parents))
    return order


def draw_graph(root: Node) -> Figure:
    """Draw what ``root`` was computed from: inputs on the left, ``root`` on the right.

    Args:
        root: the last node; each node shows its label, its value (blue) and its gradient (red).
    """
    import matplotlib.pyplot as plt

    nodes = topological(root)
    places = _places(nodes)
    columns = 1 + max(x for x, _ in places.values())
    rows = 1 + max(abs(y) for _, y in places.values()) * 2
    figure, axes = plt.subplots(figsize=(WIDTH * columns, HEIGHT * rows + 0.2), layout="constrained")
    for node in nodes:
        x, y = places[id(node)]
        for parent in node.parents:
            px, py = places[id(parent)]
            bend = 0.35 if x - px > 1 else 0.0  # an arrow past other nodes goes below them
            arrow = {"arrowstyle": "-|>", "color": "#6c757d", "shrinkA": 0, "shrinkB": 0}
            arrow["connectionstyle"] = f"arc3,rad={bend}"
            axes.annotate("", xy=(x - EDGE, y), xytext=(px + EDGE, py), arrowprops=arrow)
        box = {"boxstyle": "round,pad=0.9", "facecolor": NODE, "edgecolor": "#6c757d"}
        axes.text(x, y, f"{node.label:^14}\n\n", ha="center", va="center", bbox=box, family="monospace", weight="bold")
        axes.text(x, y - 0.02, f"{node.data:.3f}", ha="center", va="center", color=VALUE, family="monospace")
        axes.text(x, y - 0.22, f"grad {node.grad:.3f}", ha="center", va="center", color=GRADIENT, family="monospace")
    axes.set_xlim(-0.5, columns - 0.5)
    axes.set_ylim(-rows / 2 - 0.1, rows / 2)
    axes.set_axis_off()
    plt.close(figure)  # the notebook shows what a cell returns, once
    return figure


def _places(nodes: Sequence[Node]) -> dict[int, tuple[int, float]]:
    """Column and row of each node: one column after its last parent; the rows of a column are centred."""
    column: dict[int, int] = {}
    for node in nodes:
        column[id(node)] = 1 + max((column[id(parent)] for parent in node.parents), default=-1)
    # An input stands next to what it is used for.
    for node in reversed(nodes):
        for parent in node.parents:
            if not parent.parents:
                used = [column[id(child)] for child in nodes if any(p is parent for p in child.parents)]
                column[id(parent)] = min(used) - 1
    members: dict[int, list[int]] = {}
    for node in nodes:
        members.setdefault(column[id(node)], []).append(id(node))
    return {
        name: (place, (len(names) - 1) / 2 - row) for place, names in members.items() for row, name in enumerate(names)
    }
