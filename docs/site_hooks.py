"""What building the site does beyond Markdown, so that each text stays readable where it lies.

- README, CONTRIBUTING and the figures lie outside ``docs/``: they become pages of the site. So do the notebooks, as
  their last run wrote them.
- A paragraph that is nothing but a link to a Python file becomes that file's text: on a code-hosting site the reader
  follows the link, on the built site the code stands on the page, and neither is a copy that could go stale.
- Formulas between dollar signs become MathML while the site is built, so a reader's browser needs no script and no
  network for them.

MkDocs calls the functions named ``on_...``; ``mkdocs.yml`` names this file under ``hooks``.
"""

from __future__ import annotations

import html
import posixpath
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
BORROWED = {"README.md": "overview.md", "CONTRIBUTING.md": "contributing.md", "benchmarks/RESULTS.md": "results.md"}
"""Files outside ``docs/`` and the pages they become."""
NOTEBOOKS = ROOT / "tutorials" / "out"
"""What ``make tutorials`` wrote: pages, their pictures, and notebooks to download."""

NOTEBOOK = re.compile(r"tutorials/\w+\.py")
FENCED = re.compile(r"^(```.*?^```)$", re.MULTILINE | re.DOTALL)
CODE_LINK = re.compile(r"^\[`?[^\]`]+`?\]\(([^)]+\.py)\)$", re.MULTILINE)
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)#:\s]+)(#[^)]*)?\)")
FORMULA = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL)
# A minus after another operator, unless that closes something: browsers would set it like one between two terms.
UNARY_MINUS = re.compile(r"(<mo\b[^>]*>(?!&#x00029;|&#x0007C;|&#x02016;|&#x0005D;)[^<]*</mo>)<mo>&#x02212;</mo>")

# A function's name before its argument, such as log N; as the base of an exponent it has its place already.
FUNCTION = re.compile(r"(?<!<msup>)(?<!<msub>)(<mi>(?:log|sin|cos|sinh|cosh|tanh)</mi>)(?=<m)(?!<mo[ >])")


def on_files(files: Any, config: Any) -> Any:
    """Add the pages whose text lies outside ``docs/``."""
    from mkdocs.structure.files import File

    for source, page in BORROWED.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    for path in sorted(NOTEBOOKS.rglob("*.*")):
        name = f"tutorials/{path.relative_to(NOTEBOOKS).as_posix()}"
        files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Put code in the place of links to code, and let the other links lead to pages."""
    return rewrite(markdown, page.file.src_uri)


def on_page_content(content: str, page: Any, **_: Any) -> str:
    """Typeset the formulas that ``arithmatex`` has marked; a docstring's ``::`` before a block of code is a colon."""
    content = content.replace("::</p>", ":</p>")
    try:
        return FORMULA.sub(lambda match: mathml(html.unescape(match[3]), match[2] == "["), content)
    except ValueError as error:
        raise ValueError(f"{page.file.src_uri}: {error}") from None


def rewrite(markdown: str, page: str) -> str:
    """The text of a page, from the text as it reads on a code-hosting site.

    Args:
        markdown: the text; its links are relative to the file that it stands in.
        page: path of the page below ``docs/``.
    """
    if page.startswith("tutorials/"):
        return markdown  # written for the site
    folder = posixpath.dirname(dict(zip(BORROWED.values(), BORROWED, strict=True)).get(page, f"docs/{page}"))
    markdown = outside_fences(markdown, lambda text: CODE_LINK.sub(lambda match: _code(match, folder), text))
    return outside_fences(markdown, lambda text: LINK.sub(lambda match: _link(match, folder, page), text))


def outside_fences(markdown: str, change: Callable[[str], str]) -> str:
    """Change the text between fenced blocks of code."""
    parts = FENCED.split(markdown)  # prose, fenced, prose, ...
    return "".join(part if i % 2 else change(part) for i, part in enumerate(parts))


def mathml(formula: str, display: bool) -> str:
    """A formula as MathML.

    Raises:
        ValueError: if it has a command that the converter does not know; it would stand in the page as it is.
    """
    from latex2mathml.converter import convert

    result: str = convert(formula, display="block" if display else "inline")
    if "\\" in result:
        raise ValueError(f"no MathML for a command in the formula {formula.strip()}")
    result = FUNCTION.sub(r'\1<mspace width="0.17em"/>', result)
    return UNARY_MINUS.sub(r'\1<mo form="prefix">&#x02212;</mo>', result)


def _code(match: re.Match[str], folder: str) -> str:
    """The text of the file that a link leads to, as a block of code."""
    path = posixpath.normpath(posixpath.join(folder, match[1]))
    return f'```python title="{path}"\n{(ROOT / path).read_text(encoding="utf-8")}```'


def _link(match: re.Match[str], folder: str, page: str) -> str:
    """A link as it reads on the site: to a page or an image, or plain text if its target is no part of the site."""
    image, text, target, anchor = match.groups()
    path = posixpath.normpath(posixpath.join(folder, target))
    if NOTEBOOK.fullmatch(path):
        there = path.removesuffix(".py") + ".md"
    elif path in BORROWED or path.startswith("docs/"):
        there = BORROWED.get(path, path.removeprefix("docs/"))
    else:
        return text
    return f"{image}[{text}]({posixpath.relpath(there, posixpath.dirname(page) or '.')}{anchor or ''})"
