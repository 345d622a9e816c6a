"""The shape of the code as tests: sizes, names, public surface, settings that something reads."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

import headrace
from headrace.core.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "headrace"
FILES = sorted(SOURCE.rglob("*.py"))
Function = ast.FunctionDef | ast.AsyncFunctionDef

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 50
MAX_PARAMETERS = 6


def functions(path: Path) -> Iterator[Function]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, Function):
            yield node


def lines_of_code(function: Function) -> int:
    total = (function.end_lineno or 0) - function.lineno + 1
    if ast.get_docstring(function) is not None:
        docstring = function.body[0]
        total -= (docstring.end_lineno or 0) - docstring.lineno + 1
    return total


def parameters(function: Function) -> int:
    arguments = function.args
    names = [a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    return len([name for name in names if name not in ("self", "cls")])


def name_of(path: Path) -> str:
    return str(path.relative_to(SOURCE))


def test_there_are_files_to_check() -> None:
    assert len(FILES) > 40


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_no_file_is_too_long(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_FILE_LINES


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_no_function_is_too_long(path: Path) -> None:
    assert [f"{f.name}: {lines_of_code(f)}" for f in functions(path) if lines_of_code(f) > MAX_FUNCTION_LINES] == []


@pytest.mark.parametrize("path", [p for p in FILES if "app" not in p.relative_to(SOURCE).parts], ids=name_of)
def test_no_function_takes_too_many_parameters(path: Path) -> None:
    assert [f"{f.name}: {parameters(f)}" for f in functions(path) if parameters(f) > MAX_PARAMETERS] == []


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_file_opens_with_what_it_is_for(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not text.strip() or ast.get_docstring(ast.parse(text))


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_public_functions_say_what_they_do(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    public = [n for n in tree.body if isinstance(n, Function | ast.ClassDef) and not n.name.startswith("_")]
    assert [n.name for n in public if ast.get_docstring(n) is None] == []


def test_no_package_file_imports_the_package_root() -> None:
    guilty = []
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import) and any(alias.name == "headrace" for alias in node.names):
                guilty.append(name_of(path))
            if isinstance(node, ast.ImportFrom) and node.module == "headrace":
                guilty.append(name_of(path))
    assert guilty == []


def test_no_module_bears_the_name_of_a_public_function() -> None:
    functions_ = {"evaluate", "load", "prepare", "train", "recommend", "predict", "similar"}
    assert [name_of(p) for p in FILES if p.stem in functions_ or p.parent.name in functions_] == []


def test_words_of_the_design_stay_out_of_the_code() -> None:
    banned = re.compile(r"\b(house|seam|print\()\b", re.IGNORECASE)
    guilty = [name_of(p) for p in FILES if banned.search(p.read_text(encoding="utf-8"))]
    assert guilty == []


def test_the_public_names_are_what_the_contract_lists() -> None:
    errors = {name for name in headrace.__all__ if name.endswith("Error")}
    assert set(headrace.__all__) - errors == {
        "Dataset", "Event", "Item", "Model", "Recommendation", "Report",
        "evaluate", "load", "prepare", "train", "__version__",
    }  # fmt: skip
    assert "HeadraceError" in errors
    assert list(headrace.__all__) == sorted(headrace.__all__)
    assert all(getattr(headrace, name) is not None for name in headrace.__all__)


def test_importing_headrace_loads_nothing_heavy() -> None:
    code = "import sys, headrace; sys.exit(any(m in sys.modules for m in ('torch', 'polars', 'numba', 'litestar')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_setting_has_a_reader() -> None:
    text = "\n".join(p.read_text(encoding="utf-8") for p in FILES if p.name != "settings.py")
    unread = []
    for section in msgspec.structs.fields(Settings):
        if section.name == "scenarios":
            continue
        names = [field.name for field in msgspec.structs.fields(section.type)]
        unread += [f"{section.name}.{n}" for n in names if not re.search(rf"(\.{n}\b|\"{n}\")", text)]
    assert unread == []


def test_every_dependency_is_explained_in_the_readme() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    block = project.split("dependencies = [")[1].split("]\n\n[dependency-groups]")[0]
    names = re.findall(r'"([a-zA-Z0-9-]+)[><=]', block)
    readme = (ROOT / "README.md").read_text(encoding="utf-8").lower()
    assert [name for name in names if name not in readme] == []


def test_the_readme_shows_every_folder() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    packages = sorted(p.name for p in SOURCE.iterdir() if (p / "__init__.py").exists())
    assert [name for name in packages if f"{name}/" not in readme] == []
