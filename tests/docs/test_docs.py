"""The pages of docs/: none is missing, each is found in the navigation, and what the pages claim is run."""

from __future__ import annotations

import functools
import importlib.util
import posixpath
import re

import pytest
import yaml

import minitrain.ops
from minitrain.ops import registry
from minitrain.testing.cases import CASES
from tests.helpers.places import ROOT
from tests.helpers.serving.browser import CHROMIUM, browsing

DOCS = ROOT / "docs"
PAGES = {path.stem: path.read_text(encoding="utf-8") for path in (DOCS / "ops").glob("*.md") if path.stem != "index"}
PARTS = [
    "Forward", "Backward", "Cheap and stable", "Cost", "Shapes and edges", "Check it", "Break it", "Code", "Reference"
]  # fmt: skip
MARKDOWN = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md"), ROOT / "benchmarks" / "RESULTS.md"])

every_page = pytest.mark.parametrize("name", sorted(PAGES))
every_markdown = pytest.mark.parametrize("path", MARKDOWN, ids=lambda path: str(path.relative_to(ROOT)))


def load_hooks(name):
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


hooks, op_pages = load_hooks("site_hooks"), load_hooks("op_pages")


def without_code(text: str) -> str:
    return re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)


def formulas(text: str) -> list[str]:
    return [display or inline for display, inline in re.findall(r"\$\$(.+?)\$\$|\$(.+?)\$", without_code(text), re.S)]


def snippets(name: str) -> list[str]:
    section = PAGES[name].partition("\n## Check it\n")[2].partition("\n## ")[0]
    return re.findall(r"```python\n(.*?)```", section, re.DOTALL)


def run_snippets(name: str) -> None:
    for snippet in snippets(name):
        exec(compile(snippet, f"docs/ops/{name}.md", "exec"), {})


# Nothing is missing.


def test_every_operation_has_a_page_and_every_page_an_operation():
    assert PAGES.keys() == registry().keys(), "docs/ops has one page for each operation, called like it"


def test_every_page_is_in_the_navigation_once():
    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))

    def leaves(entry):
        if isinstance(entry, str):
            return [entry]
        return [leaf for part in (entry.values() if isinstance(entry, dict) else entry) for leaf in leaves(part)]

    pages = [path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")]
    notebooks = [f"tutorials/{path.stem}.md" for path in (ROOT / "tutorials").glob("*.py")]
    assert sorted(leaves(settings["nav"])) == sorted([*pages, *notebooks, *hooks.BORROWED.values()])


def test_the_index_leads_to_every_page():
    index = (DOCS / "ops" / "index.md").read_text(encoding="utf-8")
    listed = re.findall(r"\]\((\w+)\.md\)", index.partition("## The pages")[2])
    assert sorted(listed) == sorted(PAGES)


@every_page
def test_a_page_has_its_parts(name):
    text = PAGES[name]
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == PARTS
    assert re.match(r"# \S.*\n\n\S", text), "a title, and what the operation is for"
    backward = text.partition("## Backward")[2].partition("## ")[0]
    assert backward.count("$$") >= 2, "a derivation in formulas"
    assert len(text.partition("## Reference")[2].strip()) > 20


@every_page
def test_a_page_shows_the_code_of_its_operation(name):
    path = registry()[name].forward.__module__.replace(".", "/") + ".py"
    assert f"\n## Code\n\n[`{path}`](../../{path})\n" in PAGES[name]
    built = op_pages.rewrite(PAGES[name], f"ops/{name}.md")
    assert f'```python title="{path}"\n{(ROOT / path).read_text(encoding="utf-8")}```' in built


@every_markdown
def test_links_lead_to_files(path):
    for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", without_code(path.read_text(encoding="utf-8"))):
        assert (path.parent / target).exists(), f"{target} does not exist"


def test_docstrings_have_no_links_to_files():
    """They are read in editors, and on API pages whose place they do not know: a page is named, not linked."""
    for path in (ROOT / "minitrain").rglob("*.py"):
        found = re.search(r"\]\((?!https?:)[\w./]+\.md", path.read_text(encoding="utf-8"))
        assert found is None, f"{path.relative_to(ROOT)}: {found}"


# What the pages say is true.


@every_page
def test_the_check_of_a_page_runs_and_is_short(name):
    (snippet,) = snippets(name)
    assert len([line for line in snippet.splitlines() if line.strip()]) <= 15
    run_snippets(name)


@every_page
def test_the_check_of_a_page_notices_each_wrong_gradient(name, monkeypatch):
    """Each gradient in turn is off by a thousandth, and the check of the page must fail."""
    backward = registry()[name].backward

    def slightly_wrong(wrong, *args):
        gradients = backward(*args)
        if not isinstance(gradients, tuple):
            return gradients * 1.001
        return tuple(1.001 * g if i == wrong and g is not None else g for i, g in enumerate(gradients))

    for i, differentiable in enumerate(CASES[name].gradients()):
        if differentiable:
            monkeypatch.setattr(minitrain.ops, f"{name}_backward", functools.partial(slightly_wrong, i))
            with pytest.raises(AssertionError):
                run_snippets(name)


# Formulas.


@every_markdown
def test_formulas_are_typeset(path):
    """Each becomes MathML, and has nothing in it that Markdown takes for its own on a code-hosting site."""
    for formula in formulas(path.read_text(encoding="utf-8")):
        assert hooks.mathml(formula, display=True).startswith("<math")
        assert not re.search(r"\\[^a-zA-Z]|[<>*]", formula), f"write \\cr, \\lbrace, \\lt, \\cdot in {formula}"
        assert not re.search(r"[^a-zA-Z0-9]_", formula), f"write \\bar x_i^2, not \\bar{{x}}^2_i, in {formula}"


def test_a_formula_with_an_unknown_command_is_refused():
    with pytest.raises(ValueError, match=r"no MathML for a command in the formula x \+ \\nonsense"):
        hooks.mathml(r" x + \nonsense ", display=False)


@pytest.mark.parametrize(
    ("formula", "sign"),
    [("x = -y", True), ("(-x)", True), (r"\bar x - y", False), ("(x) - y", False), (r"\left| x \right| - y", False)],
)
def test_a_minus_that_is_a_sign_is_told_from_a_subtraction(formula, sign):
    assert ('<mo form="prefix">&#x02212;</mo>' in hooks.mathml(formula, display=False)) == sign


@pytest.mark.parametrize(
    ("formula", "spaced"), [(r"\log N", True), (r"\cos(x)", False), (r"\tanh^2 x", False), (r"\log p_c", True)]
)
def test_a_function_keeps_its_distance_from_its_argument(formula, spaced):
    assert ("<mspace" in hooks.mathml(formula, display=False)) == spaced


def test_marked_formulas_are_replaced():
    class Page:
        class file:
            src_uri = "ops/x.md"

    content = hooks.on_page_content(r'<p><span class="arithmatex">\(a &lt; b\)</span>, <code>\(c\)</code></p>', Page)
    assert content.startswith("<p><math")
    assert "<mo>&#x0003C;</mo>" in content
    assert content.endswith(r"</math>, <code>\(c\)</code></p>")
    assert hooks.on_page_content("<p>Thus::</p> <code>a::b</code>", Page) == "<p>Thus:</p> <code>a::b</code>"
    with pytest.raises(ValueError, match=r"ops/x.md: no MathML"):
        hooks.on_page_content(r'<div class="arithmatex">\[\nonsense\]</div>', Page)


# Links on the built site.


@pytest.mark.parametrize(
    ("page", "text", "expected"),
    [
        ("overview.md", "[a](docs/architecture.md) [b](CONTRIBUTING.md)", "[a](architecture.md) [b](contributing.md)"),
        ("overview.md", "![loss of `x`](docs/images/loss.png)", "![loss of `x`](images/loss.png)"),
        ("contributing.md", "[a](docs/ops/index.md#gates)", "[a](ops/index.md#gates)"),
        ("results.md", "[a](../README.md)", "[a](overview.md)"),
        ("ops/relu.md", "[a](gelu.md#backward) [b](../../README.md)", "[a](gelu.md#backward) [b](../overview.md)"),
        ("ops/relu.md", "see [its twin](../../minitrain/kernels/cpu/activations/gelu.py).", "see its twin."),
        ("index.md", "See [a](../tutorials/gallery.py).", "See [a](tutorials/gallery.md)."),
        ("ops/relu.md", "[a](https://example.org/x.md) [b](#code)", "[a](https://example.org/x.md) [b](#code)"),
        ("overview.md", "```\n[a](docs/architecture.md)\n```", "```\n[a](docs/architecture.md)\n```"),
    ],
)
def test_links_are_rewritten_for_the_site(page, text, expected):
    assert hooks.rewrite(text, page) == expected


def test_borrowed_pages_exist():
    for source, page in hooks.BORROWED.items():
        assert (ROOT / source).is_file()
        assert not (DOCS / page).exists(), "a page of docs/ would be overwritten"
        assert posixpath.dirname(page) == ""


# In the browser.


def test_light_and_dark_follow_the_system():
    """Without a button for it, the theme never leaves the first of its palettes."""
    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    assert [palette["scheme"] for palette in settings["theme"]["palette"]] == ["default", "slate"]
    assert all(
        palette["toggle"] and "prefers-color-scheme" in palette["media"] for palette in settings["theme"]["palette"]
    )


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")
def test_a_worker_works_in_a_page_from_disk(tmp_path):
    """The search of the theme needs one, and browsers refuse it."""
    (tmp_path / "worker.js").write_text("addEventListener('message', event => postMessage(event.data + 1));")
    shim = (DOCS / "iframe-worker.js").as_uri()
    page = f"<script src='{shim}'></script><script>const worker = new Worker('worker.js');"
    page += "worker.addEventListener('message', event => answer = event.data); worker.postMessage(41);</script>"
    (tmp_path / "page.html").write_text(f"<!doctype html><body>{page}")
    with browsing() as browser:
        browser.open((tmp_path / "page.html").as_uri())
        browser.wait_for("typeof answer !== 'undefined'")
        assert browser.run("answer") == 42
        assert browser.complaints == []
