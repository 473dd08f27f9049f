"""The notebooks: each has the parts that a reader counts on. ``make tutorials`` runs them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest.importorskip("jupytext")

from tools.tutorials.numbers import PLACE, numbers
from tools.tutorials.source import GALLERY, first_line, read, sources, tags

LONGEST_LINE = 120
every_notebook = pytest.mark.parametrize("path", sources(), ids=lambda path: path.stem)


def texts(path: Path) -> list[str]:
    return [cell.source for cell in read(path).cells if cell.cell_type == "markdown"]


@every_notebook
def test_it_says_what_you_will_be_able_to_do_and_ends_with_questions_and_reading(path):
    first, last = texts(path)[0], texts(path)[-1]
    assert re.match(rf"# {int(path.name[:2])}\. \S", first)
    assert "After this notebook you can" in first
    assert 3 <= len(re.findall(r"^- ", first, re.MULTILINE)) <= 5
    assert re.search(r"\d+ minutes", first)
    assert "## Questions" in last
    assert "## Further reading" in last


@every_notebook
def test_each_exercise_has_a_solution_and_wrong_answers(path):
    kinds = [next(iter(tags(cell)), "") for cell in read(path).cells if cell.cell_type == "code"]
    places = [i for i, kind in enumerate(kinds) if kind == "exercise"]
    assert places, "no exercise"
    for place in places:
        assert kinds[place + 1 : place + 3] == ["solution", "hidden"]


@every_notebook
def test_the_numbers_of_its_text_can_be_read_and_some_are_checked(path):
    found = [number for text in texts(path) for number in numbers(text)]
    assert [number for number in found if number.within], "no number with a range"


@pytest.mark.parametrize("path", [*sources(), GALLERY], ids=lambda path: path.stem)
def test_its_lines_fit(path):
    long = [line for line in path.read_text(encoding="utf-8").splitlines() if len(line) > LONGEST_LINE]
    assert long == []


@pytest.mark.parametrize("path", [*sources(), GALLERY], ids=lambda path: path.stem)
def test_its_links_lead_somewhere(path):
    docs = path.parents[1] / "docs"
    for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", PLACE.sub("", "\n".join(texts(path)))):
        if target.startswith("../"):
            assert (docs / target[3:]).exists(), target
        else:
            assert target.removesuffix(".md") in {source.stem for source in sources()}, target


def test_cells_are_named_by_their_first_line():
    cells = read(sources()[0]).cells
    assert first_line(cells[0]) == "# 1. Gradients by hand"


def test_each_section_of_the_gallery_has_a_picture():
    """Ten or more pictures, each made by the cell under its heading."""
    cells = read(GALLERY).cells[2:]  # after the title and the imports
    code = [cell.source for cell in cells if cell.cell_type == "code"]
    assert 10 <= len(code) == sum(cell.source.startswith("## ") for cell in cells)
    assert all("plt.show()" in source or "Image(" in source for source in code)
