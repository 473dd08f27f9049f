"""The graph of scalars: an order of its nodes, and a picture with every node's numbers."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from minitrain.tutorials import draw_graph
from minitrain.tutorials.graph import _places, topological


@dataclass(eq=False)
class Scalar:
    label: str
    data: float = 0.0
    grad: float = 0.0
    parents: tuple["Scalar", ...] = field(default_factory=tuple)


@st.composite
def graphs(draw) -> list[Scalar]:
    nodes: list[Scalar] = [Scalar("0")]
    for i in range(draw(st.integers(0, 8))):
        chosen = draw(st.lists(st.integers(0, i), max_size=2))
        nodes.append(Scalar(str(i + 1), i, -i, tuple(nodes[j] for j in chosen)))
    return nodes


@given(graphs())
def test_parents_come_first_and_nodes_once(nodes):
    order = topological(nodes[-1])
    assert order[-1] is nodes[-1]
    assert len({id(node) for node in order}) == len(order)
    for place, node in enumerate(order):
        assert all(any(parent is before for before in order[:place]) for parent in node.parents)


@given(graphs())
def test_no_two_nodes_share_a_place_and_arrows_go_right(nodes):
    order = topological(nodes[-1])
    places = _places(order)
    assert len(set(places.values())) == len(order)
    assert all(places[id(parent)][0] < places[id(node)][0] for node in order for parent in node.parents)
    assert min(x for x, _ in places.values()) == 0


def test_a_long_chain_needs_no_recursion():
    node = Scalar("start")
    for _ in range(3000):
        node = Scalar("next", parents=(node,))
    assert len(topological(node)) == 3001


def test_the_picture_has_each_label_value_and_gradient():
    x, w = Scalar("x", 0.5, -1.25), Scalar("w", 2.0, 0.75)
    figure = draw_graph(Scalar("product", 1.0, 1.0, (x, w)))
    written = " ".join(text.get_text() for text in figure.axes[0].texts)
    for words in ("x", "w", "product", "0.500", "2.000", "1.000", "grad -1.250", "grad 0.750"):
        assert words in written
