"""What the site of the documents has besides the pages of docs/ (a hook of MkDocs, which mkdocs.yml names).

Made from the code: a page with every command and its options, and three with the public names and their docstrings.
From the root of the repository: the start page (README.md) and the changelog. A link that leaves docs/ leads to the
repository. The navigation has every page: a new one of docs/guides/ stands there by itself.
"""

from __future__ import annotations

import posixpath
import re
import tomllib
from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from typer.main import get_command

import p2p_oicp
from p2p_oicp import oicp, testing
from p2p_oicp.cli import app, load_command

ROOT = Path(__file__).parents[1]
_LINK = re.compile(r"\]\(([^)#:\s]+)(#[^)\s]*)?\)")
_CLI, _PYTHON, _OICP, _CHANGELOG = "reference/cli.md", "reference/python.md", "reference/oicp.md", "changelog.md"
_TESTING = "reference/testing.md"
_SAMPLES = ("samples.request", "samples.response", "samples.notification", "samples.fleet", "samples.Fleet")
#: The order of what is known; any other page of docs/ is a guide.
_REFERENCE = (
    "configuration.md",
    _CLI,
    "api.md",
    "events.md",
    "python.md",
    _PYTHON,
    "language.md",
    _OICP,
    "ocpi.md",
    "testing.md",
    _TESTING,
)
_BACKGROUND = ("security.md", "performance.md", "flows.md")
_FIRST_GUIDES = ("commands.md", "deployment.md", "backup.md")


def repository() -> str:
    """Return the address of the repository, which pyproject.toml has."""
    return str(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]["Source"])


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made here, and put all pages into the navigation."""
    for path, text in made_pages().items():
        files.append(File.generated(config, path, content=text))
    config.nav = navigation(file.src_uri for file in files.documentation_pages())
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Let links that leave docs/ lead to the repository."""

    def absolute(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(page.file.src_uri), link[1]))
        if not target.startswith("../"):
            return link[0]
        return f"]({repository()}/blob/main/{target.removeprefix('../')}{link[2] or ''})"

    return _LINK.sub(absolute, markdown)


def made_pages() -> dict[str, str]:
    """Return the pages that do not stand in docs/, by their paths."""
    readme, changelog = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "CHANGELOG.md"))
    root = f"]({repository()}/blob/main/"
    first_decision = min((ROOT / "docs" / "decisions").iterdir()).name
    for target, here in (
        ("docs/decisions)", f"decisions/{first_decision})"),
        ("docs/", ""),
        ("CHANGELOG.md", _CHANGELOG),
    ):
        readme = readme.replace(f"{root}{target}", f"]({here}")
    return {
        "index.md": readme,
        _CHANGELOG: changelog.replace("](docs/", "]("),
        _CLI: "\n".join(cli_reference()),
        _PYTHON: "\n".join(api_reference("Python: the node", "p2p_oicp", p2p_oicp.__all__)),
        _OICP: "\n".join(api_reference("Python: OICP 2.3", "p2p_oicp.oicp", oicp.__all__)),
        _TESTING: "\n".join(api_reference("Python: the test kit", "p2p_oicp.testing", [*testing.__all__, *_SAMPLES])),
    }


def navigation(pages: Iterable[str]) -> list[dict[str, Any]]:
    """Return the navigation with all of these pages, each once."""
    remaining = dict.fromkeys(sorted(pages))

    def take(paths: Iterable[str]) -> list[str]:
        return [path for path in list(paths) if path in remaining and remaining.pop(path, path) is None]

    start, reference, background = take(["index.md"]), take(_REFERENCE), take(_BACKGROUND)
    decisions = take(path for path in list(remaining) if path.startswith("decisions/"))
    changes, guides = take([_CHANGELOG]), take([*_FIRST_GUIDES, *remaining])
    sections = {"Guides": guides, "Reference": reference, "Background": [*background, {"Decisions": decisions}]}
    return [*({"Start": path} for path in start), *({name: paths} for name, paths in sections.items()), *changes]


def cli_reference() -> Iterator[str]:
    """Return every command with its arguments and options."""
    yield "# Commands\n"
    yield "Made from the program, as `p2p-oicp COMMAND --help`. [Using a node](../commands.md) says what for.\n"
    panel = ""
    for name, listed in get_command(app).commands.items():
        if listed.rich_help_panel != panel:
            panel = listed.rich_help_panel
            yield f"## {panel}\n"
        command = load_command(name)
        subcommands = getattr(command, "commands", None)
        if subcommands is None:
            yield from _describe(f"p2p-oicp {name}", command)
            continue
        for subcommand, loaded in subcommands.items():
            yield from _describe(f"p2p-oicp {name} {subcommand}", loaded)


def _describe(name: str, command: Any) -> Iterator[str]:  # noqa: ANN401 - Typer exports no type of either
    parameters = [each for each in command.params if each.name != "help"]
    arguments = [each for each in parameters if each.param_type_name == "argument"]
    options = [each for each in parameters if each.param_type_name == "option"]
    names = [each.metavar or each.name.upper() for each in arguments]
    usage = " ".join([name, *names, *(["[OPTIONS]"] if options else [])])
    yield f"### {name}\n\n```text\n{usage}\n```\n"
    yield from (f"{_escaped(' '.join(paragraph.split()))}\n" for paragraph in command.help.split("\n\n"))
    if parameters:
        yield "| | |\n|---|---|"
        for argument, each in zip(names, arguments, strict=True):
            yield f"| `{argument.replace('|', ' or ')}` | {_escaped(each.help or '')} |"
        for each in options:
            value = "" if getattr(each, "is_flag", False) else f" {_value_name(each)}"
            spellings = ", ".join(f"`{option}{value}`" for option in each.opts)
            required = " (required)" if each.required else ""
            yield f"| {spellings} | {_escaped(each.help or '')}{required} |"
        yield ""


def _value_name(option: Any) -> str:  # noqa: ANN401 - as in _describe
    choices = getattr(option.type_descriptor, "choices", None)
    return str(option.metavar or ("/".join(map(str, choices)) if choices else "VALUE")).replace("|", "/")


def _escaped(text: str) -> str:
    return re.sub(r"([|<>*_\[\]])(?=[^`]*(?:`[^`]*`[^`]*)*$)", r"\\\1", text)


def api_reference(title: str, module: str, names: Iterable[str]) -> Iterator[str]:
    """Return the public names of a module, with what their docstrings say."""
    package = import_module(module)
    yield f"# {title}\n\n{_without_markup(package.__doc__ or '')}\n"
    homes = getattr(package, "_HOMES", {})
    for name in names:
        yield f"::: {homes.get(name, module)}.{name}\n"


def _without_markup(docstring: str) -> str:
    return "\n".join(line.strip() for line in docstring.splitlines())
