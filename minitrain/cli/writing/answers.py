"""Answers of models that are no language models: a translation, a class, a caption."""

from __future__ import annotations

import argparse

from ...errors import printable
from ..failures import warn


def print_answer(arguments: argparse.Namespace) -> bool:
    """Print what the model of a run makes of the prompt.

    Returns:
        Whether it did: a language model, from a run or published, continues the prompt instead.
    """
    from ...folder import RunFolder
    from ...interop.formats import is_published
    from ...runs import RunConfig, load_run
    from ...runs.python_run import read_settings

    if is_published(arguments.run):
        return False
    config = read_settings(RunFolder(arguments.run), to_train=False)
    if not isinstance(config, RunConfig) or config.task == RunConfig.task:
        return False
    loaded = load_run(arguments.run, device=arguments.device, trusted=arguments.trust, warn=warn)
    task = config.the_task
    print(printable(task.answer(config, loaded.model, loaded.processor, arguments.prompt)))
    return True
