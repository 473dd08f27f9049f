"""The outline of a module: all its weights, each once, as text and as a tree."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from minitrain.errors import ConfigError
from minitrain.models import PRESETS, DualEncoder, build_model, summarize
from minitrain.nn import Linear, Module, Parameter, add_lora, freeze, outline, pack
from tests.helpers.model_zoo import KINDS, RELATIVES
from tests.helpers.texts.html_checks import page_of

SMALL = {"vocab_size": 30, "n_embd": 8, "n_head": 2, "n_layer": 3, "block_size": 8, "n_hidden": 8, "head_width": None}


def small(preset: str) -> Any:
    """A model with the parts of a preset, but narrow."""
    config = PRESETS[preset]
    fields = {field.name for field in dataclasses.fields(config)}
    changes = {name: value for name, value in SMALL.items() if name in fields and getattr(config, name) is not None}
    if getattr(config, "n_kv_head", None):
        changes["n_kv_head"] = 1
    return build_model(dataclasses.replace(config, **changes))


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_is_shown_with_all_its_weights(preset: str) -> None:
    model = small(preset)
    tree, page = outline(model), page_of(model)
    assert tree.size == model.parameter_count()
    assert tree.nbytes == sum(parameter.data.nbytes for parameter in model.parameters())
    for text in (str(tree), page.text):
        assert f"{type(model).__name__}" in text
        assert f"{tree.size:,} weights" in text
    assert page.text == page_of(tree).text


@pytest.mark.parametrize("name", [*KINDS, *RELATIVES])
def test_text_and_summary_agree_with_the_model(name: str) -> None:
    model = (KINDS | RELATIVES)[name].build()
    assert outline(model).size == summarize(model).parameter_count == model.parameter_count()
    assert f"{model.parameter_count():,}" in page_of(summarize(model)).text
    assert f"{model.parameter_count():,}" in str(summarize(model))
    tied = sum(1 for _ in model._walk("")) - len(model.parameters())
    assert str(outline(model)).count("tied to") <= tied
    assert ("tied to" in str(outline(model))) == bool(tied)


def test_alike_blocks_are_one_part_with_copies() -> None:
    model = small("gpt-char")
    (blocks,) = (part for part in outline(model).parts if part.copies > 1)
    assert (blocks.name, blocks.copies) == ("blocks.0–2", 3)
    assert blocks.size == 3 * model.blocks[0].parameter_count()
    freeze(model, "blocks.1.*")
    assert [part.name for part in outline(model).parts if "blocks" in part.name] == ["blocks.0", "blocks.1", "blocks.2"]
    assert "frozen" in page_of(model).text


def test_a_packed_model_and_one_with_adapters_are_shown() -> None:
    model = small("gpt-char")
    plain = page_of(model).text
    pack(model)
    assert page_of(model).text == plain
    adapted = small("llama-char")
    add_lora(adapted, rank=2, alpha=4)
    assert outline(adapted).size == adapted.parameter_count()
    assert "LoRALinear" in page_of(adapted).text


def test_a_module_of_two_models_is_shown() -> None:
    both = DualEncoder(small("vit-digits"), small("encoder-tiny"))
    assert outline(both).size == both.parameter_count()
    assert {"image", "text"} <= set(page_of(both).texts)


class Own(Module):
    """A student's module."""

    def __init__(self) -> None:
        self.layer = Linear(2, 3, np.random.default_rng(0))
        self.again = self.layer
        self.scale = Parameter(np.ones(2))


def test_a_layer_that_is_there_twice_counts_once() -> None:
    tree = outline(Own())
    assert tree.size == Own().parameter_count() == 2 + 9
    assert str(tree).count("tied to layer.") == 2
    assert "float32, float64" in str(tree)


def test_a_module_that_cannot_be_shown_breaks_no_cell() -> None:
    hidden = Own()
    hidden.parts = {"a": Parameter(np.ones(2))}  # type: ignore[attr-defined]
    assert hidden._repr_html_() is None
    with pytest.raises(ConfigError, match="put layers and parameters into attributes or lists"):
        outline(hidden)
    hidden.scale.data = None  # type: ignore[assignment]
    assert hidden._repr_html_() is None


def test_names_of_classes_are_text() -> None:
    hostile = type("<script>alert(1)</script>", (Own,), {})()
    assert "<script>" in page_of(hostile).text
    assert page_of(Linear(3, 4, np.random.default_rng(0))).text.startswith("Linear")
