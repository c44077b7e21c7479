"""The site of the documents has every page, and the project has one address (``scripts/docs`` builds the site)."""

import importlib.util
import re
import tomllib
from collections.abc import Iterator

import pytest
import yaml

from tests.meta.test_documents import COMMANDS
from tests.support.paths import ROOT

URLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]
PAGES = [path.relative_to(ROOT / "docs").as_posix() for path in sorted((ROOT / "docs").rglob("*.md"))]


@pytest.fixture(scope="module")
def site():
    spec = importlib.util.spec_from_file_location("docs_site", ROOT / "scripts" / "docs_site.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def leaves(entry: object) -> Iterator[str]:
    if isinstance(entry, str):
        yield entry
    else:
        for each in entry.values() if isinstance(entry, dict) else entry:
            yield from leaves(each)


def test_every_page_is_in_the_navigation_once(site):
    pages = [*PAGES, *site.made_pages(), "guides/a-new-one.md"]
    assert sorted(leaves(site.navigation(pages))) == sorted(pages)


def test_the_reference_of_commands_is_made_from_them(site):
    text = "\n".join(site.cli_reference())
    assert [f"p2p-oicp {command}" for command in COMMANDS] == re.findall(r"(?m)^### (.+)$", text)
    assert "| `--name VALUE` | Name of the node in logs and to its peers. (required) |" in text


def test_links_that_leave_the_documents_lead_to_the_repository(site):
    page = type("Page", (), {"file": type("File", (), {"src_uri": "guides/a.md"})})
    markdown = "[a](../../README.md#see-it) [b](../backup.md) [c](https://example.com)"
    source = URLS["Source"]
    expected = f"[a]({source}/blob/main/README.md#see-it) [b](../backup.md) [c](https://example.com)"
    assert site.on_page_markdown(markdown, page) == expected


def test_the_readme_has_absolute_links_for_those_who_read_it_elsewhere_and_they_lead_to_files():
    targets = re.findall(r"\]\(([^)\s]+)\)", (ROOT / "README.md").read_text())
    base = f"{URLS['Source']}/blob/main/"
    assert [target for target in targets if not target.startswith("https://")] == []
    ours = [target.removeprefix(base).partition("#")[0] for target in targets if target.startswith(base)]
    assert len(ours) > 10
    assert [path for path in ours if not (ROOT / path).exists()] == []


def test_the_addresses_of_the_project_are_those_of_the_package():
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    assert (config["site_url"], config["repo_url"]) == (URLS["Documentation"], URLS["Source"])
    assert set(URLS) == {"Homepage", "Documentation", "Source", "Changelog", "Issues"}
    owner = r"https://github\.com/([\w.-]+/[\w.-]+)"
    ours = URLS["Source"].removeprefix("https://github.com/")
    files = [ROOT / "README.md", *(ROOT / ".github").rglob("*.yml"), ROOT / "compose.yaml", ROOT / "SECURITY.md"]
    named = {name for file in files for name in re.findall(owner, file.read_text()) if name.endswith("/p2p-oicp")}
    assert named == {ours}
