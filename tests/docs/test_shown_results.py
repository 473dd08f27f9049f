"""What the code of a page shows stands below it on the site."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.helpers.places import ROOT
from tests.helpers.texts.html_checks import Page

PAGES = sorted((ROOT / "docs").rglob("*.md"))
TEXT = """
```python
import minitrain as mt

schedule = mt.Constant(0.1)
print("not part of the result")
```

Text.

```python
open("made", "w").close()
schedule
```

<!-- result -->

```python
mt.Constant(float(len(__import__("os").listdir())))
```

<!-- result -->
"""


def load() -> Any:
    spec = importlib.util.spec_from_file_location("shown_results", ROOT / "docs" / "shown_results.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


hooks = load()


def test_results_take_the_places_of_the_comments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    content = f"<p>a</p>{hooks.RESULT}<p>b</p>{hooks.RESULT}"
    page = Page(
        hooks.on_page_content(content, SimpleNamespace(markdown=TEXT)).replace("<p>", "<b>").replace("</p>", "</b>")
    )
    assert page.texts[:2] == ["a", "Constant(lr=0.1, warmup_steps=0)"]
    assert page.texts[page.texts.index("b") + 1] == "Constant(lr=1.0, warmup_steps=0)"
    assert list(tmp_path.iterdir()) == [], "pages run in a folder of their own"


def test_a_page_without_results_runs_nothing() -> None:
    markdown = "```python\nraise SystemExit\n```"
    assert hooks.on_page_content("<p>a</p>", SimpleNamespace(markdown=markdown)) == "<p>a</p>"


@pytest.mark.parametrize("code", ["x = 1", "1 + 1", "import math"])
def test_a_block_that_shows_nothing_is_named(code: str) -> None:
    with pytest.raises(ValueError, match="shows nothing"):
        list(hooks.results(f"```python\n{code}\n```\n\n{hooks.RESULT}\n"))


@pytest.mark.parametrize(
    "path", [path for path in PAGES if hooks.RESULT in path.read_text()], ids=lambda path: path.stem
)
def test_each_result_follows_an_expression(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    asked = [code for code, mark in hooks.BLOCK.findall(text) if mark]
    assert len(asked) == text.count(hooks.RESULT)
    assert all(isinstance(ast.parse(code).body[-1], ast.Expr) for code in asked)
