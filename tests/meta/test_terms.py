"""The words of terms.txt are used nowhere: there is no list of exceptions."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.paths import ROOT

TERMS_FILE = Path(__file__).with_name("terms.txt")
READ = ("p2p_oicp", "bench", "scripts", "tests", "docs", ".ci", "README.md", "CONTRIBUTING.md", "peers.example.toml")
# The words of other projects.
VENDORED = ROOT / "p2p_oicp" / "server" / "static" / "vendor"
TEXT_SUFFIXES = {".md", ".toml", ".txt", ".lua", ".mako", ""}
# A value of the header P2P-Identity.
WIRE_STRINGS = {"proven"}
IDENTIFIER_LIKE = re.compile(r"[A-Za-z_][A-Za-z0-9]*(?:[._\-/][A-Za-z0-9_]+)*")


@dataclass(frozen=True)
class Term:
    """A word or phrase that is not used; ``allowed`` are phrases that may hold it, ``path:`` is a part of a path."""

    text: str
    in_texts: bool
    allowed: tuple[str, ...]

    def is_free_in(self, path: Path) -> bool:
        """Tell whether a file may use the term, since it is about a protocol that has it."""
        parts = (phrase.removeprefix("path:") for phrase in self.allowed if phrase.startswith("path:"))
        return any(part in str(path) for part in parts)

    def is_in_words(self, words: str) -> bool:
        """Look into the words of an identifier, in lower case and separated by blanks."""
        for phrase in self.allowed:
            words = re.sub(rf"\b{re.escape(as_words(phrase))}s?\b", "", words)
        return re.search(rf"\b{self.text}s?\b", words) is not None

    def is_in_text(self, text: str) -> bool:
        for phrase in self.allowed:
            text = re.sub(re.escape(phrase), "", text, flags=re.IGNORECASE)
        return re.search(rf"(?<![A-Za-z]){self.text}(?:s|es|ed|ing)?(?![A-Za-z])", text, re.IGNORECASE) is not None


def read_terms(lines: Iterable[str]) -> Iterator[Term]:
    for line in lines:
        if line.strip() and not line.startswith("#"):
            words, scope, allowed = (part.strip() for part in line.split("|"))
            phrases = tuple(phrase.strip() for phrase in allowed.split(",") if phrase.strip())
            assert scope in {"both", "identifier"}, line
            yield from (Term(word.strip(), scope == "both", phrases) for word in words.split(","))


def as_words(identifier: str) -> str:
    return " ".join(re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", identifier)).lower()


def identifiers(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Return the names that a module gives, and its strings that look like a name (a table, an event, a member)."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield node.lineno, node.name
            case ast.arg():
                yield node.lineno, node.arg
            case ast.Name(ctx=ast.Store()):
                yield node.lineno, node.id
            case ast.Attribute(ctx=ast.Store()):
                yield node.lineno, node.attr
            case ast.alias(asname=str()):
                yield node.lineno, node.asname
            case ast.Constant(value=str()) if IDENTIFIER_LIKE.fullmatch(node.value) and node.value not in WIRE_STRINGS:
                yield node.lineno, node.value


def texts(source: str, tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Return the strings and the comments of a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def offences(path: Path, terms: list[Term]) -> Iterator[str]:
    place, source = path.relative_to(ROOT), read(path)
    terms = [term for term in terms if not term.is_free_in(place)]
    found: list[tuple[int, str, str]] = [
        (1, term.text, str(place)) for term in terms if term.is_in_words(as_words(str(place.with_suffix(""))))
    ]
    if path.suffix in {".py", ".pyi"}:
        tree = ast.parse(source)
        for line, name in identifiers(tree):
            words = as_words(name)
            found += [(line, term.text, name) for term in terms if term.is_in_words(words)]
        read_texts = texts(source, tree)
    else:
        read_texts = enumerate(source.splitlines(), 1)
    text_terms = [term for term in terms if term.in_texts]
    for line, text in read_texts:
        found += [(line, term.text, " ".join(text.split())[:100]) for term in text_terms if term.is_in_text(text)]
    return (f"{place}:{line}: {term}: {text}" for line, term, text in sorted(set(found)))


def read(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    if path.name != "CHANGELOG.md":
        return text
    unreleased = re.search(r"^## \[?Unreleased\]?.*?(?=^## |\Z)", text, re.DOTALL | re.MULTILINE | re.IGNORECASE)
    return unreleased[0] if unreleased else ""


def files() -> Iterator[Path]:
    for name in (*READ, "CHANGELOG.md"):
        path = ROOT / name
        found = sorted(path.rglob("*")) if path.is_dir() else [path]
        yield from (path for path in found if VENDORED not in path.parents)


def test_the_words_of_the_list_are_used_nowhere():
    terms = list(read_terms(TERMS_FILE.read_text(encoding="utf-8").splitlines()))
    assert len(terms) > 40
    found = [
        offence
        for path in files()
        if path.is_file() and path.suffix in {".py", ".pyi", *TEXT_SUFFIXES} and path != TERMS_FILE
        for offence in offences(path, terms)
    ]
    assert found == [], f"{len(found)} uses:\n" + "\n".join(found)
