"""The API pages: each public name is documented on exactly one of them, below a link that leads on."""

from __future__ import annotations

import ast
import functools
import re
from collections import Counter
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs" / "api").glob("*.md"))
NOT_FOR_USERS = (
    "minitrain.backend.cuda",
    "minitrain.benchmark",
    "minitrain.kernels",
    "minitrain.profiling.gpu",
    "minitrain.testing.cuda.cublaslt",
)
"""Packages that others import from and whose names no user calls."""

every_page = pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)


@functools.cache
def imports(module: str) -> dict[str, tuple[str, str]]:
    """The names that a module imports from minitrain: where from, and what they are called there."""
    file = source(module)
    package = module if file.stem == "__init__" else module.rpartition(".")[0]
    found = {}
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and node.level:
            above = package.split(".")[: len(package.split(".")) + 1 - node.level]
            for alias in node.names:
                found[alias.asname or alias.name] = (".".join([*above, *filter(None, [node.module])]), alias.name)
    return found


@functools.cache
def defined(module: str) -> set[str]:
    """The names that a module defines, each by a statement of its own: mkdocstrings finds no others."""
    names: set[str] = set()
    for node in ast.parse(source(module).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names


def source(module: str) -> Path:
    """The file of a module; of ``minitrain`` itself it is the stub, which has the names."""
    folder = ROOT.joinpath(*module.split("."))
    files = (folder / "__init__.pyi", folder / "__init__.py", folder.with_suffix(".py"))
    return next(file for file in files if file.exists())


def is_module(name: str) -> bool:
    folder = ROOT.joinpath(*name.split("."))
    return folder.is_dir() or folder.with_suffix(".py").exists()


def home(module: str, name: str) -> str | None:
    """The full name of a thing where it is defined; ``None`` for a module or what there is not."""
    if is_module(f"{module}.{name}"):
        return None
    while name in imports(module):
        module, name = imports(module)[name]
    return f"{module}.{name}" if name in defined(module) else None


def public_names() -> dict[str, str]:
    """The names that packages offer, by the full name of what they stand for."""
    found = {}
    for file in sorted((ROOT / "minitrain").rglob("__init__.py")):
        package = ".".join(file.parent.relative_to(ROOT).parts)
        if package.startswith(NOT_FOR_USERS):
            continue
        for name in offered(package):
            if not name.startswith("_") and (place := home(package, name)):
                found[place] = f"{package}.{name}"
    return found


def offered(package: str) -> set[str]:
    """What a package imports for others: ``from .x import y as y``, or what ``__all__`` lists."""
    offered = set()
    for node in ast.parse(source(package).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom):
            offered |= {alias.name for alias in node.names if alias.asname == alias.name}
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.List):
            names = [target.id for target in node.targets if isinstance(target, ast.Name)]
            offered |= set(ast.literal_eval(node.value)) if names == ["__all__"] else set()
    return offered


def documented(path: Path) -> list[str]:
    """The names that a page documents, as they are written there."""
    return re.findall(r"^::: (minitrain\.\S+)$", path.read_text(encoding="utf-8"), re.MULTILINE)


def test_every_public_name_is_on_exactly_one_page() -> None:
    places = Counter(home(*name.rpartition(".")[::2]) for path in PAGES for name in documented(path))
    public = public_names()
    assert len(public) > 300, "the search finds the names"
    assert [public[place] for place in public if place not in places] == [], "on no page of docs/api"
    assert [place for place, times in places.items() if place is not None and times > 1] == [], "documented twice"


@every_page
def test_what_a_page_documents_exists(path: Path) -> None:
    for name in documented(path):
        assert is_module(name) or home(*name.rpartition(".")[::2]), f"{name} does not exist"


@every_page
def test_each_group_of_names_leads_on(path: Path) -> None:
    """To a derivation, a guarantee or a how-to, in the text above the first name of the group."""
    title, *groups = re.split(r"^##+ ", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert title.startswith("# ")
    assert groups
    for group in groups:
        text = group.partition("\n::: ")[0]
        assert ":::" not in group or re.search(r"\]\([\w./]+\.md(#[\w-]+)?\)", text), group.splitlines()[0]


@every_page
def test_an_operation_leads_to_its_derivation(path: Path) -> None:
    from minitrain.ops import registry

    text = path.read_text(encoding="utf-8")
    for section in re.split(r"^##+ ", text, flags=re.MULTILINE):
        for name in re.findall(r"^::: minitrain\.ops\.(\w+)_forward$", section, re.MULTILINE):
            assert name in registry()
            assert f"(../ops/{name}.md)" in section


def test_every_package_for_users_has_a_page() -> None:
    navigation = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    (pages,) = [entry["Reference"] for entry in navigation if "Reference" in entry]
    assert sorted(page for entry in pages for page in entry.values()) == sorted(
        [*(f"api/{path.name}" for path in PAGES), "settings.md", "reliability.md", "changes.md"]
    )
