"""Write docs/reference/ from the code: settings, errors, commands, HTTP, metrics and Python.

    python docs/make_reference.py [FOLDER]

A test runs this and compares, so that the pages are never stale.
"""

from __future__ import annotations

import ast
import inspect
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import msgspec
import msgspec.inspect
import typer.main

import headrace
from headrace.app.command_line import app as command_line
from headrace.app.http.application import create_app
from headrace.core import errors, settings
from headrace.serving.service import Service
from headrace.serving.telemetry import Telemetry

HERE = Path(__file__).resolve().parent
NOTE = "<!-- Written by docs/make_reference.py; change the code instead. -->\n"


def attribute_docs(kind: type) -> dict[str, str]:
    """Return the string below each field of a class."""
    body = ast.parse(inspect.getsource(kind)).body[0]
    assert isinstance(body, ast.ClassDef)
    docs = {}
    for node, after in zip(body.body, body.body[1:], strict=False):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and isinstance(after, ast.Expr):
            assert isinstance(after.value, ast.Constant)
            docs[node.target.id] = " ".join(str(after.value.value).split())
    return docs


def takes(kind: msgspec.inspect.Type) -> str:
    """Say what a field takes: `hash` or `file`, a whole number of 1 or more, a number above 0, or nothing."""
    match kind:
        case msgspec.inspect.UnionType(types=options):
            return " or ".join(takes(option) for option in sorted(options, key=_is_nothing))
        case msgspec.inspect.LiteralType(values=values):
            return " or ".join(f"`{value}`" for value in values)
        case msgspec.inspect.IntType(ge=low, le=high):
            return "a whole number" + _bounds(low, high)
        case msgspec.inspect.FloatType(gt=above, ge=low, le=high):
            return "a number above 0" if above == 0 else "a number" + _bounds(low, high)
        case msgspec.inspect.BoolType():
            return "`true` or `false`"
        case msgspec.inspect.StrType():
            return "a text"
        case msgspec.inspect.VarTupleType():
            return "a list of texts"
        case msgspec.inspect.NoneType():
            return "nothing"
    raise AssertionError(f"no words for {kind}")


def written(value: object) -> str:
    """Write a value as `headrace.toml` does; `none` for one that is left out there."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    return str(list(value) if isinstance(value, tuple) else value)


def _is_nothing(kind: msgspec.inspect.Type) -> bool:
    return isinstance(kind, msgspec.inspect.NoneType)


def _bounds(low: float | None, high: float | None) -> str:
    if low is not None and high is not None:
        return f", {low:g} to {high:g}"
    return "" if low is None else f" of {low:g} or more"


def cell(text: object) -> str:
    """Make a text safe inside a table."""
    return str(text).replace("|", "\\|").replace("\n", " ")


def settings_page() -> str:
    """Every section of headrace.toml."""
    lines = [
        "# Settings",
        "",
        " ".join((settings.__doc__ or "").split()),
        "",
        "`headrace config` shows those in force.",
    ]
    for section in msgspec.structs.fields(settings.Settings):
        kind = section.type
        if not (isinstance(kind, type) and issubclass(kind, msgspec.Struct)):
            continue
        docs, types = attribute_docs(kind), msgspec.inspect.type_info(kind)
        assert isinstance(types, msgspec.inspect.StructType)
        lines += ["", f"## [{section.name}]", "", inspect.getdoc(kind) or "", ""]
        lines += ["| name | takes | default | meaning |", "| --- | --- | --- | --- |"]
        for field, typed in zip(msgspec.structs.fields(kind), types.fields, strict=True):
            row = (
                f"`{field.name}`",
                cell(takes(typed.type)),
                f"`{cell(written(field.default))}`",
                cell(docs.get(field.name, "")),
            )
            lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines)


def errors_page() -> str:
    """The tree of errors, with exit codes and HTTP status."""
    lines = [
        "# Errors",
        "",
        "A command prints the message and leaves with the exit code; HTTP answers with the status and",
    ]
    lines += [
        "`application/problem+json` (RFC 9457).",
        "",
        "| error | exit code | status | meaning |",
        "| --- | --- | --- | --- |",
    ]
    for name, kind in vars(errors).items():
        if isinstance(kind, type) and issubclass(kind, errors.HeadraceError):
            lines.append(
                f"| `{name}` | {kind.exit_code} | {kind.status} | {cell((kind.__doc__ or '').splitlines()[0])} |"
            )
    return "\n".join(lines)


def commands_page() -> str:
    """Every command with its arguments and options."""
    group = typer.main.get_command(command_line)
    assert isinstance(group, click.Group) or hasattr(group, "commands")
    lines = ["# Commands", "", "Exit code 0: done; 1: failed; 2: the input or the command line breaks a rule."]
    for name, command in group.commands.items():
        lines += ["", f"## headrace {name}", "", inspect.cleandoc(command.help or ""), ""]
        lines += ["| argument or option | default | meaning |", "| --- | --- | --- |"]
        for parameter in command.params:
            shown = "/".join([*parameter.opts, *parameter.secondary_opts])
            label = parameter.metavar or parameter.name if parameter.param_type_name == "argument" else shown
            default = "" if parameter.default in (None, False) or callable(parameter.default) else parameter.default
            lines.append(f"| `{cell(label)}` | {cell(default)} | {cell(getattr(parameter, 'help', '') or '')} |")
    return "\n".join(lines)


def http_page() -> str:
    """Every route with its parameters and answers, out of the OpenAPI document."""
    with tempfile.TemporaryDirectory() as folder:
        chosen = settings.load_settings(flags={"serving.store": f"sqlite:///{folder}/reference.db"})
        service = Service.open(chosen)
        try:
            document = create_app(service, page=True, api_key=None, settings=chosen).state["document"]
        finally:
            service.close()
    tree = document if isinstance(document, dict) else msgspec.json.decode(document)
    lines = [
        "# HTTP",
        "",
        "The same as `/docs` of a running service, whose OpenAPI document has the schemas. Every route",
    ]
    lines += [
        "may answer with one of these problems (`application/problem+json`):",
        "",
        "| status | meaning |",
        "| --- | --- |",
    ]
    lines += [f"| {code} | {text} |" for code, text in sorted(_problems(tree).items())]
    for path, methods in sorted(tree["paths"].items()):
        for method, route in methods.items():
            lines += [
                "",
                f"## {method.upper()} {path}",
                "",
                " ".join((route.get("description") or route.get("summary") or "").split()),
                "",
            ]
            for parameter in route.get("parameters", []):
                need = "required" if parameter.get("required") else "optional"
                lines.append(
                    f"- `{parameter['name']}` ({parameter['in']}, {need}) {parameter.get('description', '')}".rstrip()
                )
            good = [code for code in sorted(route.get("responses", {})) if code.startswith("2")]
            lines += ["", "Answers " + " or ".join(good) + ", or one of the problems above."]
    return "\n".join(lines)


def _problems(tree: dict[str, Any]) -> dict[str, str]:
    routes = [route for methods in tree["paths"].values() for route in methods.values()]
    return {
        code: answer["description"]
        for route in routes
        for code, answer in route["responses"].items()
        if not code.startswith("2")
    }


def metrics_page() -> str:
    """Every metric of /metrics."""
    telemetry = Telemetry()
    lines = ["# Metrics", "", "`GET /metrics`, in the Prometheus text format.", ""]
    lines += ["| name | type | labels | meaning |", "| --- | --- | --- | --- |"]
    found = {
        metric._name: metric
        for metric in vars(telemetry).values()
        if hasattr(metric, "_documentation") and hasattr(metric, "_labelnames")
    }
    for name, metric in sorted(found.items()):
        suffix = "_total" if metric._type == "counter" else ""
        labels = ", ".join(metric._labelnames)
        lines.append(f"| `{name}{suffix}` | {metric._type} | {labels} | {cell(metric._documentation)} |")
    return "\n".join(lines)


def members(kind: type) -> Iterator[tuple[str, object]]:
    """Yield the public methods and properties of a class in the order of its source."""
    for name, member in vars(kind).items():
        if not name.startswith("_") and (callable(member) or isinstance(member, classmethod | property | staticmethod)):
            yield name, member


def python_page() -> str:
    """Every public name of `import headrace`."""
    lines = ["# Python", "", inspect.getdoc(headrace) or ""]
    for name in headrace.__all__:
        value = getattr(headrace, name)
        if name.endswith("Error") or name == "__version__":
            continue
        signature = "" if isinstance(value, type) else str(inspect.signature(value)).replace(" -> ", " -> ")
        lines += ["", f"## {name}", "", "```text", f"{name}{signature}", "", inspect.getdoc(value) or "", "```"]
        if not isinstance(value, type):
            continue
        for member, function in members(value):
            plain = function.fget if isinstance(function, property) else getattr(function, "__func__", function)
            shown = "" if isinstance(function, property) else str(inspect.signature(plain))
            lines += [
                "",
                f"### {name}.{member}",
                "",
                "```text",
                f"{member}{shown}",
                "",
                inspect.getdoc(plain) or "",
                "```",
            ]
    return "\n".join(lines)


PAGES = {
    "commands": commands_page,
    "errors": errors_page,
    "http": http_page,
    "metrics": metrics_page,
    "python": python_page,
    "settings": settings_page,
}


def main() -> None:
    """Write all pages into the folder given, docs/reference by default."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "reference"
    folder.mkdir(parents=True, exist_ok=True)
    for name, page in PAGES.items():
        (folder / f"{name}.md").write_text(NOTE + "\n" + page().rstrip() + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
