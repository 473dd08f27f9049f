"""What building the site does to the pages of operations, so that each text stays readable where it lies.

- A block of code titled ``picture`` is run, and what it draws stands in its place, with the code folded below it.
- The section *Break it* becomes a box; its first line, in bold, is the title.
- Links to the reference and to its kernel become the two texts, side by side where the screen is wide enough. A link
  that ends in names, as ``gelu.py#_forward,_backward``, becomes the text of these functions.

MkDocs calls the functions named ``on_...``; ``mkdocs.yml`` names this file under ``hooks``.
"""

from __future__ import annotations

import ast
import posixpath
import re
from io import StringIO
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent

PICTURE = re.compile(r'^```python title="picture"\n(.*?)^```$', re.MULTILINE | re.DOTALL)
BOX = re.compile(r"^## Break it\n\n\*\*(.+?)\*\*\n(.*?)(?=^## )", re.MULTILINE | re.DOTALL)
CODE_LINKS = re.compile(
    r"^\[[^\]]+\]\([^)]+\.py(?:#[\w,]+)?\)(?:\n\n\[[^\]]+\]\([^)]+\.py(?:#[\w,]+)?\))*$", re.MULTILINE
)
TARGET = re.compile(r"\(([^)#]+)(?:#([\w,]+))?\)")
KERNELS = "minitrain/kernels/"
PLACE = '<figure class="drawn"></figure>'

INK = "#123456"  # a colour that no picture uses: on the page it is that of the text, in the light and in the dark
COLOURS = ["#2f86d6", "#e0801f", "#2e9e6b", "#d1495b", "#8d6cc9"]  # stand out on white and on black
LOOKS: dict[str, Any] = {
    "figure.figsize": (5.6, 2.5),
    "figure.constrained_layout.use": True,
    "font.size": 9,
    "axes.titlesize": 9,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.facecolor": "none",
    "lines.linewidth": 1.8,
    "svg.fonttype": "none",
    "svg.hashsalt": "minitrain",
    "savefig.transparent": True,
    **{
        f"{part}color": INK
        for part in ("text.", "axes.edge", "axes.label", "xtick.", "ytick.", "axes.title", "hatch.", "patch.edge")
    },
}

_drawn: dict[str, str] = {}  # pictures of the page that is being built, by its path


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Draw the picture of a page, make its boxes, put code in the place of links to code."""
    path = page.file.src_uri
    if not path.startswith("ops/"):
        return markdown
    if block := PICTURE.search(markdown):
        _drawn[path] = draw(block[1])
    return rewrite(markdown, path)


def on_page_content(content: str, page: Any, **_: Any) -> str:
    """Put the picture in its place; inside the page, its ink can be that of the text."""
    return content.replace(PLACE, f'<figure class="drawn">{_drawn.pop(page.file.src_uri, "")}</figure>')


def rewrite(markdown: str, page: str) -> str:
    """The text of an operation's page for the site, with a place for its picture.

    Args:
        markdown: the text; its links are relative to the file that it stands in.
        page: path of the page below ``docs/``.
    """
    folder = posixpath.dirname(f"docs/{page}")
    markdown = PICTURE.sub(
        lambda block: (
            f"{PLACE}\n\n<details markdown>\n<summary>The code that drew it</summary>\n\n"
            f"```python\n{block[1]}```\n\n</details>"
        ),
        markdown,
    )
    markdown = BOX.sub(
        lambda box: (
            f'## Break it\n\n<div class="admonition failure" markdown>\n<p class="admonition-title">{box[1]}</p>\n'
            f"{unfolded(box[2].rstrip())}\n\n</div>\n\n"
        ),
        markdown,
    )
    return CODE_LINKS.sub(lambda links: side_by_side(TARGET.findall(links[0]), folder), markdown)


def unfolded(text: str) -> str:
    """A box whose answer has its lines in one piece again: browsers fold them to the width of the page."""
    return re.sub(r"```text\n.*?```", lambda answer: re.sub(r"\n {6,}", " ", answer[0]), text, flags=re.DOTALL)


def side_by_side(links: list[tuple[str, str]], folder: str) -> str:
    """The code that links lead to: the reference, and beside it the kernel, if there is one.

    Args:
        links: targets, and the names of functions after the ``#``.
        folder: where the page stands; the targets are relative to it.
    """
    blocks = [(posixpath.normpath(posixpath.join(folder, target)), names) for target, names in links]
    columns = ["\n\n".join(code(path, names) for path, names in blocks if path.startswith(KERNELS) == kernel)
               for kernel in (False, True)]  # fmt: skip
    if not columns[1]:
        return columns[0]
    inside = "\n\n".join(f"<div markdown>\n\n{column}\n\n</div>" for column in columns)
    return f'<div class="twins" markdown>\n\n{inside}\n\n</div>'


def code(path: str, names: str = "") -> str:
    """A Python file, or some of its functions, as a block of code titled with its path.

    Args:
        path: of the file, from the root of the project.
        names: of functions at the top of the file, with commas between them; the whole file if empty.

    Raises:
        ValueError: if the file has no such function.
    """
    text = (ROOT / path).read_text(encoding="utf-8")
    if names:
        lines = text.splitlines(keepends=True)
        functions = {node.name: node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)}
        if unknown := set(names.split(",")) - functions.keys():
            raise ValueError(f"{path} has no function {', '.join(sorted(unknown))}; a page shows it")
        chosen = [functions[name] for name in names.split(",")]
        first = [min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)]) - 1 for node in chosen]
        parts = ["".join(lines[start : node.end_lineno]) for start, node in zip(first, chosen, strict=True)]
        text = "\n\n".join(parts)
    return f'```python title="{path}"\n{text}```'


def draw(program: str) -> str:
    """Run the program of a picture, and return what it drew with matplotlib as SVG.

    Raises:
        ValueError: if it draws no figure, or more than one.
    """
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    style = LOOKS | {"axes.prop_cycle": matplotlib.cycler(color=COLOURS)}
    pyplot.close("all")
    with matplotlib.rc_context(style):
        exec(compile(program, "picture", "exec"), {})
        if len(pyplot.get_fignums()) != 1:
            raise ValueError(f"a picture is one figure, not {len(pyplot.get_fignums())}")
        text = StringIO()
        pyplot.gcf().savefig(text, format="svg", metadata={"Date": None})
    pyplot.close("all")
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
    return re.sub(r"<metadata>.*?</metadata>\s*|(?<=>)\n\s*(?=<)", "", svg, flags=re.DOTALL)
