"""Which functions get mistakes: backwards of both orders with their helpers, optimizers, rates, generation, scores."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import CodeType, FunctionType, ModuleType

import minitrain.audit
import minitrain.data.hygiene
import minitrain.evaluation
import minitrain.generation
import minitrain.measures
import minitrain.nn.attention
import minitrain.optim
import minitrain.training
from minitrain.backend.precision import operand_like
from minitrain.ops import op, registry, second_order_registry
from minitrain.testing.mutants import Target

ROOT = Path(__file__).resolve().parents[2]
TESTS = ROOT / "tests"
# The contract hands arrays over and computes nothing.
CONTRACT = op.__module__
# How backwards round their operands.
ROUNDING = operand_like.__module__
# These files of optim choose, check, load and draw.
NO_FORMULAS = {"checks", "factory", "groups", "plot", "registry", "settings", "state"}
SETTING_UP = ("__init__", "__post_init__", "state_dict", "load_state_dict")
# Files that choose tokens, keep what is known of a text, and score texts, each with the quickest tests that hold it.
OWN_TESTS = {
    "bans": ["generation/test_processors.py"],
    "penalties": ["generation/test_processors.py"],
    "cuts": ["generation/test_cuts.py"],
    "context": ["generation/test_context.py"],
    "ending": ["generation/test_ending.py"],
    "stop_strings": ["generation/test_ending.py", "generation/test_text_pieces.py"],
    "choosing": ["generation/test_choosing.py"],
    "engine": ["generation/test_engine.py", "generation/test_batches.py"],
    "requests": ["generation/test_engine.py", "generation/test_batches.py"],
    "past": ["generation/sessions/test_past.py"],
    "kernel": ["generation/sessions/test_kernel_session.py"],
    "cached": ["generation/sessions/test_cached_session.py"],
    "weights": ["generation/sessions/test_rounding.py"],
    "seq2seq": ["generation/sessions/test_seq2seq_session.py"],
    "choice": ["generation/sessions/test_choice.py"],
    "session": ["generation/sessions/test_uncached_session.py"],
    "group": ["generation/search/test_group.py"],
    "phrases": ["generation/search/test_phrases.py"],
    "distribution": ["generation/search/test_distribution.py"],
    "beam": ["generation/search/test_beam_rows.py"],
    "settings": ["generation/search/test_settings.py"],
    "acceptance": ["generation/speculative/test_acceptance.py"],
    "lookup": ["generation/speculative/test_lookup.py"],
    "row": ["generation/speculative/test_row.py"],
    "drafts": ["generation/speculative/test_drafts.py"],
    "slot_context": ["generation/speculative/test_slot_context.py"],
    "params": ["generation/test_params.py"],
    "decoding": ["generation/test_generation.py"],
    "batches": ["generation/test_batches.py"],
    "prompts": ["generation/search/test_prompts.py"],
    "packed": ["generation/sessions/test_packed.py"],
    "detokenize": ["generation/test_text_pieces.py"],
    "sampled": ["generation/test_texts.py"],
    "continued": ["generation/test_texts.py"],
    "generator": ["generation/test_text_generator.py"],
    "chat": ["generation/test_chat_templates.py"],
    "exposure": ["audit/test_audit.py"],
    "extraction": ["audit/test_audit.py"],
    "membership": ["audit/test_audit.py"],
    **{name: ["data/hygiene/test_filters.py"] for name in ("blocklist", "held_out", "language", "quality")},
    **{name: ["data/hygiene/test_personal.py"] for name in ("kinds", "personal")},
    **{name: ["data/hygiene/test_duplicates.py"] for name in ("duplicates", "seen")},
    "sources": ["data/hygiene/test_sources.py"],
    "words": ["data/hygiene/test_words.py"],
    "clean": ["data/hygiene/test_clean.py"],
    "steps": ["data/hygiene/test_clean.py"],
    "gradients": ["training/privacy/test_gradients.py"],
    **{
        name: [f"evaluation/test_{name}.py"]
        for name in ("choices", "likelihood", "pairs", "predictions", "sizes", "text_score", "windows")
    },
    "alignment": ["measures/test_retrieval.py"],
    "base": ["measures/test_base.py"],
    "bootstrap": ["measures/samples/test_bootstrap.py"],
    "calibration": ["measures/test_calibration.py", "measures/test_log_likelihood.py"],
    "confusion": ["measures/test_classification.py", "measures/test_base.py"],
    "edits": ["measures/test_edits.py"],
    "embeddings": ["measures/test_retrieval.py"],
    "evaluator": ["training/test_evaluator.py"],
    "fields": ["measures/test_fields.py", "measures/test_classification.py"],
    "paired": ["measures/samples/test_paired.py"],
    "log_likelihood": ["measures/test_log_likelihood.py"],
    "retrieval": ["measures/test_retrieval.py"],
    "table": ["measures/samples/test_table.py"],
    "texts": ["measures/test_texts.py"],
    "top_k": ["measures/test_classification.py"],
    "unwanted": ["measures/test_unwanted.py"],
    "zero_shot": ["measures/test_retrieval.py"],
}
PLACES_WITH_OWN_TESTS = (
    "minitrain.audit.",
    "minitrain.data.hygiene.",
    "minitrain.evaluation.",
    "minitrain.generation.",
    "minitrain.measures.",
    "minitrain.nn.attention.",
    "minitrain.training.evaluator",
    "minitrain.training.privacy.gradients",
)
# Parts of minitrain that have mistakes, or stand close to what has.
UNITS = {"backend", "errors", "generation", "losses", "models", "nn", "ops", "optim", "random", "testing"}


def targets() -> dict[str, Target]:
    """All targets by name: what is registered, and what is found in the files."""
    found: dict[str, Target] = {}
    for pair in registry().values():
        _reach(pair.backward.reference, found)  # type: ignore[attr-defined]
    for module in (*_modules(), *_second_order()):
        for function, owner in _functions(importlib.import_module(module)):
            if function.__name__ not in SETTING_UP or _has_own_tests(module):
                target = Target(function, owner)
                found.setdefault(target.name, target)
    return found


def _second_order() -> set[str]:
    """The files with backwards of backwards."""
    return {pair.backward.__module__ for pair in second_order_registry().values()}


def files_of_tests(chosen: Iterable[Target]) -> list[str]:
    """The test files for these functions.

    Those of generation and evaluation have their own. For all others they are the files about these parts, which import
    nothing of minitrain that stands above them.
    """
    files = {target.function.__module__.rpartition(".")[2]: target.function.__module__ for target in chosen}
    found = {TESTS / test for file, module in files.items() if _has_own_tests(module) for test in OWN_TESTS[file]}
    if not all(map(_has_own_tests, files.values())):
        paths = (path for path in TESTS.rglob("test_*.py") if "peers" not in path.parts)
        found.update(path for path in paths if _is_about_units(path.read_text(encoding="utf-8")))
    return sorted(map(str, found))


def _has_own_tests(module: str) -> bool:
    place = module.startswith(PLACES_WITH_OWN_TESTS)
    return place and module.rpartition(".")[2] in OWN_TESTS


def _is_about_units(source: str) -> bool:
    modules = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module:
            modules.add(node.module)
        elif isinstance(node, ast.Import):
            modules.update(alias.name for alias in node.names)
    modules = {name if "." in name else f"{name}." for name in modules if name.startswith("minitrain")}
    parts = {name.split(".")[1] for name in modules}
    return (bool(parts & {"generation", "ops", "optim", "nn"}) or ROUNDING in modules) and parts <= UNITS


def _modules() -> Iterator[str]:
    """The files whose functions all get mistakes."""
    packages = (
        minitrain.optim,
        minitrain.generation,
        minitrain.nn.attention,
        minitrain.evaluation,
        minitrain.measures,
        minitrain.training,
        minitrain.audit,
        minitrain.data.hygiene,
    )
    for package in packages:
        for entry in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            is_formula = package is minitrain.optim and entry.name.rpartition(".")[2] not in NO_FORMULAS
            if not entry.ispkg and (is_formula or _has_own_tests(entry.name)):
                yield entry.name


def _reach(function: FunctionType, found: dict[str, Target]) -> None:
    """Add a function and the helpers that it calls by name, in ``minitrain.ops`` and of rounding."""
    target = Target(function, "")
    if target.name in found:
        return
    found[target.name] = target
    for name in _names(function.__code__):
        helper = inspect.unwrap(function.__globals__.get(name))  # type: ignore[arg-type]
        if isinstance(helper, FunctionType) and _is_helper(helper):
            _reach(helper, found)


def _names(code: CodeType) -> Iterator[str]:
    """The global names that code uses, its inner functions and comprehensions included."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _is_helper(function: FunctionType) -> bool:
    module = function.__module__
    here = module.startswith("minitrain.ops.") or module == ROUNDING
    return here and module != CONTRACT and not function.__name__.endswith("_forward")


def _functions(module: ModuleType) -> Iterator[tuple[FunctionType, str]]:
    """The functions and methods that a module defines, each with its class."""
    for value in vars(module).values():
        if getattr(value, "__module__", None) != module.__name__:
            continue
        members = [(v, value.__name__) for v in vars(value).values()] if isinstance(value, type) else [(value, "")]
        for member, owner in members:
            # A property has a function, and a class method wraps one.
            function = member.fget if isinstance(member, property) else inspect.unwrap(member)
            # The file tells what is written there from what a NamedTuple or a dataclass was given.
            if isinstance(function, FunctionType) and function.__code__.co_filename == module.__file__:
                yield function, owner
