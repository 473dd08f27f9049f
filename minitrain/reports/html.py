"""A run in one HTML file: metrics, troubles, pictures, settings; nothing outside the file is needed to read it."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import DataError
from ..files import read_file, write_atomically
from ..folder.names import REPORT as REPORT
from ..records.collector import MetricsCollector
from ..records.made import Made, by_input

LARGEST_REPORT = 256_000_000
LONGEST_MADE = 200
"""Characters of a text in the table of what a model made."""
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 62rem; padding: 0 1rem; color: #212529 }
h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin-top: 2rem }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { text-align: right; padding: .2rem .8rem; border-bottom: 1px solid #dee2e6 }
th:first-child, td:first-child { text-align: left }
img { max-width: 100%; margin: .5rem 0 }
pre { background: #f8f9fa; padding: 1rem; overflow-x: auto; white-space: pre-wrap }
.curves { display: grid; grid-template-columns: repeat(auto-fit, minmax(26rem, 1fr)); gap: .5rem 1rem }
.made { display: grid; grid-template-columns: repeat(auto-fit, minmax(20rem, 1fr)); gap: .5rem 2rem; font-size: .9rem }
.made td { text-align: left; vertical-align: top; overflow-wrap: anywhere } .made td:first-child { text-align: right }
.made p { margin: .8rem 0 .2rem; overflow-wrap: anywhere } .good { color: #2b7a51 } .bad { color: #b8334a }
.trouble { background: #fff3cd; border-left: 4px solid #edae49; padding: .5rem 1rem; margin: .5rem 0 }
"""


def write_html_report(
    path: str | Path,
    *,
    title: str,
    history: MetricsCollector,
    summary: str = "",
    curves: Sequence[str | Path] = (),
    pictures: Iterable[str | Path] = (),
    made: Mapping[int, Sequence[Made]] | None = None,
    settings: str = "",
    versions: Mapping[str, str] | None = None,
    sample: str = "",
) -> Path:
    """Write the report of a run.

    Args:
        path: the HTML file.
        title: the text above the picture.
        history: the metrics, for the table and for what they show of troubles.
        summary: a few lines of plain text at the top.
        curves: PNG files of curves over the steps, which are put into the page: the first, the loss, at the top.
        pictures: PNG files of what the model does.
        made: what the model made of some held-out inputs, by step.
        settings: the settings, as text.
        versions: what it was made with, by name.
        sample: text that the model wrote; left out if ``made`` has some.

    Returns:
        The file.

    Raises:
        FileError: if a file cannot be read or written.
    """
    parts = [f"<h1>{html.escape(title)}</h1>"]
    if summary:
        parts.append(f"<pre>{html.escape(summary)}</pre>")
    parts += [
        f'<div class="trouble"><b>{html.escape(found.kind)}</b>: {html.escape(found.message)}</div>'
        for found in history.diagnose_training_issues()
    ]
    parts += [_picture(Path(curve)) for curve in curves[:1]]
    parts += [f"<h2>{_name(Path(picture))}</h2>\n{_picture(Path(picture))}" for picture in pictures]
    if any((made or {}).values()):
        parts += ["<h2>The same held-out inputs at each evaluation</h2>", _made(by_input(made or {}))]
    elif sample:
        parts += ["<h2>A sample</h2>", f"<pre>{html.escape(sample)}</pre>"]
    if len(curves) > 1:
        inside = "\n".join(_picture(Path(curve)) for curve in curves[1:])
        parts += ["<h2>Curves</h2>", f'<div class="curves">\n{inside}\n</div>']
    if history.names():
        parts += ["<h2>Metrics</h2>", _table(history.get_summary())]
    if settings:
        parts += ["<h2>Settings</h2>", f"<pre>{html.escape(settings)}</pre>"]
    if versions:
        parts.append(f"<p>{html.escape(', '.join(f'{name} {version}' for name, version in versions.items()))}</p>")
    page = (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"<title>{html.escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body>\n</html>\n"
    )
    write_atomically(path, page.encode())
    return Path(path)


def _picture(path: Path) -> str:
    from ..files import file_error

    try:
        content = base64.b64encode(path.read_bytes()).decode()
    except OSError as error:
        raise file_error("read", path, error) from error
    return f'<img alt="{_name(path)}" src="data:image/png;base64,{content}">'


def _name(path: Path) -> str:
    return html.escape(path.stem.replace("_", " "))


def _made(inputs: Iterable[Mapping[int, Made]]) -> str:
    """For each input a small table: a row for each step."""
    parts = []
    for by_step in inputs:
        last = by_step[max(by_step)]
        rows = "".join(
            f'<tr><td>{step:,}</td><td class="{"good" if one.good else "bad"}">{_cut(one.made)}</td></tr>'
            for step, one in by_step.items()
        )
        told = f"<p><b>{_cut(last.given)}</b><br>right: {_cut(last.right)}</p>"
        parts.append(f"<div>{told}\n<table>{rows}</table></div>")
    return '<div class="made">\n' + "\n".join(parts) + "\n</div>"


def _cut(text: str) -> str:
    return html.escape(text if len(text) <= LONGEST_MADE else f"{text[: LONGEST_MADE - 1]}…")


def _table(summary: Mapping[str, Mapping[str, float]]) -> str:
    columns = ("latest", "best", "mean", "std")
    head = "".join(f"<th>{column}</th>" for column in ("metric", *columns))
    rows = (
        f"<tr><td>{html.escape(name)}</td>{''.join(f'<td>{_number(row[column])}</td>' for column in columns)}</tr>"
        for name, row in summary.items()
    )
    return f"<table>\n<tr>{head}</tr>\n" + "\n".join(rows) + "\n</table>"


def _number(value: Any) -> str:
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"


def put_section(path: str | Path, heading: str, text: str) -> None:
    """Put a section at the end of a report, in place of an older one of the same heading.

    Args:
        path: a report that `write_html_report` wrote.
        heading: what stands above the section.
        text: plain text.

    Raises:
        DataError: if it is no such report.
        FileError: if it cannot be read or written.
    """
    path = Path(path)
    name = html.escape(heading)
    begin, end, last = f"<!-- section: {name} -->", f"<!-- end of section: {name} -->", "\n</body>"
    page = read_file(path, LARGEST_REPORT).decode(errors="replace")
    if begin in page and end in page:
        page = page[: page.index(begin)].rstrip("\n") + page[page.index(end) + len(end) :]
    place = page.rfind(last)
    if place < 0:
        raise DataError(f"{path} is not a report of minitrain: it has no end; write it anew with minitrain plot")
    section = f"\n{begin}\n<h2>{name}</h2>\n<pre>{html.escape(text)}</pre>\n{end}"
    write_atomically(path, (page[:place] + section + page[place:]).encode())
