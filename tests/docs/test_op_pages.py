"""The pages of operations: their costs are those of the calls, their mistakes are noticed, their pictures are drawn."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitrain import use_kernels
from minitrain.ops import registry
from minitrain.profiling.costs import arrays_in, cost_of, distinct_bytes
from minitrain.profiling.products import Call
from tests.helpers.places import ROOT
from tests.profiling.sized_calls import SIZED
from tools.broken_backwards import BOX, answer

PAGES = {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / "docs" / "ops").glob("*.md")}
OPERATIONS = sorted(PAGES.keys() - {"index"})
PICTURES = [name for name in OPERATIONS if '```python title="picture"' in PAGES[name]]
NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?:e[+-]\d+)?(?![\w.])")
MEMORY, SCALARS = 10, 16  # operations for each byte below which memory is the limit; bytes of numbers left out

every_page = pytest.mark.parametrize("name", OPERATIONS)


def load_hooks():
    spec = importlib.util.spec_from_file_location("op_pages", ROOT / "docs" / "op_pages.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


hooks = load_hooks()


# Costs.


def evaluate(formula: str, sizes: dict[str, int]) -> int:
    """The value of a formula such as ``4 (R C + 2 R)``: neighbours are multiplied."""
    tokens = re.findall(r"\d+|[A-Z]|[()+^]", formula)
    assert "".join(tokens) == formula.replace(" ", ""), f"a formula of a cost has nothing but sizes: {formula}"
    text = re.sub(r"(?<=[\w)]) (?=[\w(])", "*", " ".join(tokens)).replace("^", "**")
    return eval(text, {}, dict(sizes))


def cost_table(name: str) -> dict[str, tuple[str, str, str]]:
    """Operations, bytes and operations per byte, forward and backward."""
    section = PAGES[name].partition("\n## Cost\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (forward|backward) \| \$(.+?)\$ \| \$(.+?)\$ \| (.+?) \|$", section, re.MULTILINE)
    return {way: tuple(cells) for way, *cells in rows}


def kept(name: str) -> tuple[str, str, dict[str, int]]:
    """Bytes of the cache, those of them that are new, and the sizes of the last column."""
    text = " ".join(PAGES[name].partition("\n## Cost\n")[2].partition("\n## ")[0].split())
    found = re.search(
        r"Kept for the backward: \$(.+?)\$ bytes, \$(.+?)\$ of them new\. The last column is for (.+?)\.", text
    )
    return found[1], found[2], {size: int(n) for size, n in re.findall(r"\$([A-Z]) = (\d+)\$", found[3])}


def sizes_of(name: str) -> list[str]:
    return list(inspect.signature(SIZED[name]).parameters)


@every_page
@settings(max_examples=3)
@given(data=st.data())
def test_costs_are_those_of_the_calls(name, data):
    """Operations and bytes as the profile counts them; the cache's bytes as they are; with the kernels and without."""
    sizes = {size: data.draw(st.sampled_from([3, 5] if size == "K" else range(5, 10)), size) for size in sizes_of(name)}
    args, options = SIZED[name](**sizes)
    pair, costs, (cache_bytes, new_bytes, _) = registry()[name], cost_table(name), kept(name)
    with use_kernels(data.draw(st.sampled_from(["auto", "reference"]))):
        *outputs, cache = result = pair.forward(*args, **options)
        real = [out for out in outputs if isinstance(out, np.ndarray) and out.dtype.kind == "f"]
        douts = [np.ones_like(out) for out in real] or [np.float32(2)]
        back = pair.backward(*douts, cache)
    calls = {
        "forward": Call(f"{name}_forward", args, options, result),
        "backward": Call(f"{name}_backward", (*douts, cache), {}, back),
    }
    for way, call in calls.items():
        operations, moved = (evaluate(formula, sizes) for formula in costs[way][:2])
        assert operations == cost_of(call).flops
        assert moved == pytest.approx(cost_of(call).nbytes, abs=SCALARS)
    arrays = list(arrays_in(cache))
    new = [x for x in arrays if not any(np.may_share_memory(x, y) for y in arrays_in([args, outputs]))]
    assert evaluate(cache_bytes, sizes) == pytest.approx(distinct_bytes(arrays), abs=SCALARS)
    assert evaluate(new_bytes, sizes) == pytest.approx(distinct_bytes(new), abs=SCALARS)


@every_page
def test_the_limit_of_a_page_follows_from_its_operations_per_byte(name):
    *_, sizes = kept(name)
    assert sorted(sizes) == sorted(sizes_of(name))
    limits = set()
    for operations, moved, shown in cost_table(name).values():
        if evaluate(moved, sizes) == 0:
            assert shown == "–"
            continue
        ratio = evaluate(operations, sizes) / evaluate(moved, sizes)
        assert float(shown) == pytest.approx(ratio, rel=0.06)
        limits.add("memory bounds" if ratio < MEMORY else "arithmetic bounds")
    words = " ".join(PAGES[name].partition("\n## Cost\n")[2].partition("\n## ")[0].lower().split())
    assert all(limit in words for limit in limits), f"the text under the table says what bounds it: {limits}"


# Mistakes.


def settled(message: str) -> tuple[str, list[float]]:
    """The words and the numbers of a message.

    Left out is which element is worst: of several that are equally wrong, the rounding of the processor decides.
    """
    text = re.sub(r"the worst element is .*?, (?=relative error)", "", " ".join(message.split()))
    return NUMBER.sub("#", text), [float(number) for number in NUMBER.findall(text)]


@every_page
def test_the_checker_answers_a_mistake_as_the_page_says(name):
    box = BOX.search(PAGES[name])
    (words, numbers), (said, shown) = settled(answer(box["code"], name)), settled(box["answer"])
    assert said == words, "python -m tools.broken_backwards brings the pages up to date"
    np.testing.assert_allclose(shown, numbers, rtol=1e-4)
    assert re.search(r"## Break it\n\n\*\*[^*\n]+\*\*\n\n\S", PAGES[name]), "a title in bold, and what the mistake is"
    assert len([line for line in box["code"].splitlines() if line.strip()]) <= 15
    assert max(map(len, box["answer"].splitlines())) <= 120


# Pictures.


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_drawn_small_and_the_same_each_time(name):
    (program,) = hooks.PICTURE.findall(PAGES[name])
    assert len(program.splitlines()) <= 30
    svg = hooks.draw(program)
    assert svg.startswith("<svg")
    assert len(svg) < 60_000
    assert "currentColor" in svg
    assert hooks.INK not in svg


def test_a_drawing_repeats_itself():
    (program,) = hooks.PICTURE.findall(PAGES["relu"])
    assert hooks.draw(program) == hooks.draw(program)


def test_a_picture_is_one_figure():
    with pytest.raises(ValueError, match="one figure, not 0"):
        hooks.draw("x = 1\n")


# On the site.


@every_page
def test_a_page_shows_its_kernel_or_says_why_there_is_none(name):
    built = hooks.rewrite(PAGES[name], f"ops/{name}.md")
    code = PAGES[name].partition("\n## Code\n")[2].partition("\n## ")[0]
    pair = registry()[name]
    if pair.forward.twin() is None and pair.backward.twin() is None:
        assert re.search(r"^There is no kernel", code, re.MULTILINE)
        return
    twin = (pair.forward.twin() or pair.backward.twin()).__module__.replace(".", "/") + ".py"
    assert f"../../{twin}" in code
    assert '<div class="twins" markdown>' in built
    assert f'```python title="{twin}"\n' in built


def test_links_to_functions_become_their_text():
    path = "minitrain/kernels/cpu/activations/relu.py"
    text = (ROOT / path).read_text(encoding="utf-8")
    start, end = text.index("@kernel"), text.index("def relu_backward")
    shown = hooks.code(path, "_forward")
    assert shown == f'```python title="{path}"\n{text[start:end].rstrip()}\n```'
    both = hooks.code(path, "_forward,_backward")
    assert both.startswith(shown.removesuffix("```"))
    ast.parse("\n".join(both.splitlines()[1:-1]))
    with pytest.raises(ValueError, match=r"relu\.py has no function nothing"):
        hooks.code(path, "_forward,nothing")


def test_boxes_and_pictures_have_their_place():
    built = hooks.rewrite(PAGES["relu"], "ops/relu.md")
    assert built.count(hooks.PLACE) == 1
    assert '<p class="admonition-title">The mask is on everywhere</p>' in built
    box = built.partition('<div class="admonition failure" markdown>')[2].partition("</div>")[0]
    assert "GradientMismatch" in box
    assert (
        "  x (5,): the worst element is [1]: analytic -0.980527171, numeric 0 (step 1e-01), relative error 1.0e+00"
        in box
    )
    assert "(tolerance 1e-06); 3 of 5 elements are wrong\n    hint: 3 elements" in box
    assert "## Code" not in box
