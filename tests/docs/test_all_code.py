"""No page has code that nothing runs: each block of Python is executed by a test, and each command is parsed.

A page whose code has a test of its own stands in ``RUN_BY``. Every other page is run here, block after block, in a
folder with a text. A block that cannot run anywhere stands in ``NOT_RUN`` of ``tests/helpers/pages.py``, with a reason.
"""

from __future__ import annotations

import inspect
import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.docs import test_docs
from tests.docs.pages import (
    test_an_afternoon,
    test_data_docs,
    test_evaluation_docs,
    test_generation_docs,
    test_guide,
    test_howto_docs,
    test_learning_pages,
    test_onnx_docs,
    test_reference_docs,
    test_safety_docs,
    test_search_docs,
    test_tasks_docs,
    test_text_docs,
    test_training_docs,
)
from tests.helpers.pages import NOT_RUN, blocks, run, snippets
from tests.helpers.pages import here as here  # a fixture
from tests.helpers.places import ROOT

PAGES = [
    path.relative_to(ROOT).as_posix()
    for path in sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").glob("*.md")])
]
OPS = [page for page in PAGES if page.startswith("docs/ops/") and page != "docs/ops/index.md"]

RUN_BY: dict[str, Callable[..., Any]] = {
    "CONTRIBUTING.md": test_guide.example,
    "README.md": test_training_docs.test_the_operation_of_the_readme_and_what_is_said_of_a_wrong_factor,
    "docs/callbacks.md": test_reference_docs.test_callbacks,
    "docs/cheat_sheet.md": test_learning_pages.test_the_cheat_sheets_code,
    "docs/data.md": test_data_docs.test_the_code_runs,
    "docs/evaluation.md": test_evaluation_docs.test_the_page_runs,
    "docs/for_pytorch_users.md": test_learning_pages.test_the_net_for_people_who_know_pytorch,
    "docs/generation.md": test_generation_docs.test_the_code_of_the_page,
    "docs/howto/an_afternoon.md": test_an_afternoon.test_an_afternoon,
    "docs/howto/looking_inside.md": test_howto_docs.test_looking_inside,
    "docs/howto/notebooks.md": test_howto_docs.test_notebooks,
    "docs/howto/lora.md": test_howto_docs.test_lora,
    "docs/howto/trackers.md": test_howto_docs.test_trackers,
    "docs/howto/teach.md": test_learning_pages.test_the_exercise_of_a_teacher,
    "docs/howto/train_on.md": test_howto_docs.test_train_on,
    "docs/howto/your_own_callback.md": test_howto_docs.test_your_own_callback,
    "docs/howto/your_own_data.md": test_howto_docs.test_your_own_data,
    "docs/index.md": test_training_docs.test_the_landing_page,
    "docs/interop.md": test_reference_docs.test_models_of_other_programs,
    "docs/onnx.md": test_onnx_docs.test_the_page,
    "docs/precision.md": test_howto_docs.test_mixed_precision,
    "docs/safety.md": test_safety_docs.test_the_code_runs,
    "docs/search.md": test_search_docs.test_the_page_runs,
    "docs/serve.md": test_reference_docs.test_a_server_and_its_clients,
    "docs/tasks.md": test_tasks_docs.test_the_code_runs,
    "docs/text.md": test_text_docs.test_the_code_runs,
    "docs/threads.md": test_reference_docs.test_compiling_ahead,
    "docs/training.md": test_training_docs.test_the_page_about_training,
} | dict.fromkeys(OPS, test_docs.test_the_check_of_a_page_runs_and_is_short)
"""The test that runs the code of a page."""

TAKEN_APART = {"README.md": 2, "CONTRIBUTING.md": 10}
"""Pages whose blocks are run one by one, and how many there are: a new one needs a test."""

LANGUAGES = {"python", "sh", "text", "json", "toml", "yaml"}


@pytest.mark.parametrize("page", [page for page in PAGES if page not in RUN_BY and snippets(page)])
def test_the_code_of_a_page_runs(page: str) -> None:
    run(page, *snippets(page))


@pytest.mark.parametrize("page", RUN_BY)
def test_a_test_names_the_page_that_it_runs(page: str) -> None:
    source = inspect.getsource(inspect.getmodule(RUN_BY[page]) or test_docs)
    folder = "docs/ops" if page in OPS else page
    assert snippets(page), "it has no code any more: take it out of RUN_BY"
    assert Path(folder).stem in source
    assert page not in TAKEN_APART or len(snippets(page)) == TAKEN_APART[page]


def test_what_is_not_run_is_there() -> None:
    for page, beginning in NOT_RUN:
        assert sum(block.text.startswith(beginning) for block in blocks(page)) == 1, (page, beginning)


@pytest.mark.parametrize("page", PAGES)
def test_each_block_says_what_it_is(page: str) -> None:
    """Code cannot hide: a block without a language would be neither run nor parsed."""
    for language, text in blocks(page):
        assert language in LANGUAGES, f"{language!r} before {text[:40]!r}: one of {', '.join(sorted(LANGUAGES))}"
        if language == "json":
            json.loads(text)
        elif language == "toml":
            tomllib.loads(text)
        elif language == "yaml":
            yaml.safe_load(text)
        elif language == "text":
            assert not text.startswith(("import ", "from ", "minitrain ", "make ", "pip ")), "python or sh"
