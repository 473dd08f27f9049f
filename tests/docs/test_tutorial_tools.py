"""What runs the notebooks: numbers in texts, exercises that are checked, and the notebook that readers get."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("jupytext")
pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tools.tutorials.numbers import Number, filled, lies_within, numbers, question
from tools.tutorials.page import folded, is_folded, write_page
from tools.tutorials.publish import for_download, published
from tools.tutorials.run import check_exercises, check_streams, run
from tools.tutorials.source import GALLERY, TutorialError, chosen, read, sources

WHOLE = """# %% [markdown]
# # 1. A test

# %%
total = 2 + 3
print(total)

# %% [markdown]
# Two and three are {{ total:.1f | 5 ± 0.1 }}, which is {{ total / 10:.0% | ≥ 0.5 }} of ten.

# %% tags=["folded"]
from minitrain.tutorials import Exercise

same = Exercise("same", reference=lambda x: x, inputs={"x": (2,)})

# %% tags=["exercise"]
def answer(x):
    ...  # your turn


same.check(answer)

# %% tags=["solution"]
same.check(lambda x: x)

# %% tags=["hidden"]
for wrong in (lambda x: None, lambda x: x + 1, lambda x: -x):
    same.expect(wrong, "")
"""


@pytest.fixture
def notebook(tmp_path):
    def write(text: str) -> Path:
        path = tmp_path / "01_test.py"
        path.write_text(text, encoding="utf-8")
        return path

    return write


@given(st.floats(-1e6, 1e6), st.floats(0, 1e6), st.floats(-1e6, 1e6))
def test_ranges(middle, width, value):
    assert lies_within(value, f"{middle!r} ± {width!r}") == (abs(value - middle) <= width)
    assert lies_within(value, f"≥ {middle!r}") == (value >= middle)
    assert lies_within(value, f"≤ {middle!r}") == (value <= middle)


@given(st.floats(-1e6, 1e6), st.integers(0, 6))
def test_a_number_takes_its_place_in_the_text(value, digits):
    text = f"It is {{{{ value:.{digits}f }}}}, {{{{ value * 2 }}}}; {{x}}, $\\frac{{a}}{{b}}$ stay."
    printed: list[str] = []
    exec(question(numbers(text)), {"value": value, "print": printed.append})
    assert filled(text, printed[0]) == f"It is {value:.{digits}f}, {value * 2}; {{x}}, $\\frac{{a}}{{b}}$ stay."


def test_a_line_may_end_within_a_number():
    whole = "It is {{ value:.1f | 5 ± 0.1 }}."
    for place in (match.start() for match in re.finditer(" ", whole[6:])):
        text = f"{whole[: 6 + place]}\n{whole[7 + place :]}"
        printed: list[str] = []
        exec(question(numbers(text)), {"value": 5.0, "print": printed.append})
        assert filled(text, printed[0]).split() == ["It", "is", "5.0."]


def test_folded_code_is_in_both_editions_and_opens_on_a_click():
    cell = new_code_cell("secret = 1", metadata={"tags": ["folded"]}, outputs=[])
    for solutions in (True, False):
        (kept,) = published(new_notebook(cells=[cell]), solutions=solutions).cells
        assert kept.metadata.jupyter.source_hidden
    assert is_folded(cell)
    assert folded(cell).startswith('??? note "Code"')
    assert not is_folded(new_code_cell("open = 1"))


def test_a_picture_under_a_fold_is_refused():
    picture = new_output("display_data", data={"image/png": "", "text/plain": "a figure"})
    with pytest.raises(TutorialError, match=r"'draw\(\)' shows a picture"):
        folded(new_code_cell("draw()", metadata={"tags": ["folded"]}, outputs=[picture]))


def test_a_page_keeps_no_pictures_of_an_earlier_run(tmp_path):
    picture = new_output("display_data", data={"image/png": "AAAA", "text/plain": "a figure"})
    for cells in (3, 1):
        drawn = [new_code_cell("draw()", outputs=[picture]) for _ in range(cells)]
        write_page(new_notebook(cells=[new_markdown_cell("# 1. A test"), *drawn]), "01_test", tmp_path)
        assert len(list((tmp_path / "01_test_files").iterdir())) == cells
    assert "01_test_files/" in (tmp_path / "01_test.md").read_text(encoding="utf-8")


def test_an_exercise_in_sight_of_the_reader_is_refused(notebook):
    with pytest.raises(TutorialError, match="has its answer in it"):
        read(notebook(WHOLE.replace(' tags=["folded"]', "")))
    hints = folded(next(cell for cell in read(notebook(WHOLE)).cells if "folded" in cell.metadata.get("tags", ())))
    assert hints.startswith('??? note "How it is checked')


def test_a_downloaded_notebook_has_no_link_to_a_page_that_is_not_there():
    text = "# 1. A test\n\nRead [the\nlinear layer](../ops/linear.md), [paper](https://x.org/a.md), [next](02_more.md)."
    page = new_notebook(cells=[new_markdown_cell(text)])
    (cell,) = for_download(page).cells
    assert (
        "Read the\nlinear layer (`docs/ops/linear.md`), [paper](https://x.org/a.md), [next](02_more.ipynb)."
        in cell.source
    )
    assert cell.source.startswith("# 1. A test\n\nWhat it needs: `pip install minitrain")
    assert page.cells[0].source == text  # the page keeps its links


def test_parts_of_a_number():
    assert Number.parse("table[1:3].sum():.2f | 4 ± 1") == Number("table[1:3].sum()", ".2f", "4 ± 1")
    assert Number.parse("x") == Number("x", "", "")


@pytest.mark.parametrize("text", ["x | about 3", "x | 3 +- 1", "x!r", ":.2f", "x | > 3"])
def test_a_number_that_cannot_be_read_is_refused(text):
    with pytest.raises(TutorialError):
        Number.parse(text)


@pytest.mark.parametrize("text", ["{{ x:.0%}: less", "{{ x }} and {{ y", "{{ x: less\nthan {{ y }}."])
def test_a_number_without_an_end_is_refused(text):
    with pytest.raises(TutorialError, match="has no end"):
        numbers(text)


def test_a_notebook_is_run_filled_in_checked_and_published(notebook):
    done = run(notebook(WHOLE))
    assert done.exercises == 1
    cells = published(done.notebook).cells
    assert cells[2].source == "Two and three are 5.0, which is 50% of ten."
    assert cells[1].outputs[0].text == "5\n"
    assert "not yet" in cells[4].outputs[0].data["text/plain"]
    assert "right" in cells[5].outputs[0].data["text/plain"]
    assert cells[5].metadata.jupyter.source_hidden
    assert len(cells) == 6  # without the hidden one
    assert len(published(done.notebook, solutions=False).cells) == 5
    assert all(cell.metadata.get("execution") is None for cell in cells)  # no times: the same bytes from the same run


def test_a_notebook_that_fails_is_named_with_its_mistake(notebook):
    with pytest.raises(TutorialError) as error:
        run(notebook(WHOLE.replace("print(total)", "print(missing)")))
    assert "NameError" in str(error.value)
    assert "01_test.py" in str(error.value)
    assert "\x1b" not in str(error.value)


def test_an_unknown_tag_is_refused(notebook):
    with pytest.raises(TutorialError, match="unknown tag 'hiden'"):
        read(notebook(WHOLE.replace("hidden", "hiden")))


def test_a_number_outside_its_range_is_refused():
    text = "{{ total:.1f | 5 ± 0.1 }}"
    with pytest.raises(TutorialError, match=r"total is 6, and the text says 5 ± 0\.1"):
        filled(text, '[["6.0", 6.0]]')
    assert filled(text, '[["5.0", 5.05]]') == "5.0"


def test_a_warning_is_refused():
    cell = new_code_cell("warn()", outputs=[new_output("stream", name="stderr", text="old")])
    with pytest.raises(TutorialError, match=r"'warn\(\)' writes to stderr"):
        check_streams(Path("01_test.py"), cell)
    check_streams(Path("01_test.py"), new_code_cell("x", outputs=[new_output("stream", name="stdout", text="fine")]))


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ([["same", False, 3]], "no solution of the exercise 'same' passes"),
        ([["same", True, 2]], "shows 2 wrong answers"),
        ([], "but there is no Exercise"),
    ],
)
def test_exercises_need_a_solution_and_wrong_answers(notebook, found, words):
    path = notebook(WHOLE)
    with pytest.raises(TutorialError) as error:
        check_exercises(path, json.dumps(found))
    assert words in str(error.value)
    assert check_exercises(path, json.dumps([["same", True, 3]])) == 1


def test_notebooks_are_chosen_by_the_beginning_of_their_names():
    assert chosen(None) == [*sources(), GALLERY]
    assert [path.name[:2] for path in chosen(["01"])] == ["01"]
    with pytest.raises(TutorialError, match="no notebook begins with '99'"):
        chosen(["99"])
