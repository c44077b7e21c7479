"""Copies files of npm's packages to where the node serves them, and writes the table of what stands there.

``scripts/vendor`` calls it with the folder of the packages. The table, ``files.tsv``, has a line for each file:
package, version, licence, file, SHA-256. A test compares it with the files, and with package.json.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
TARGET = ROOT / "p2p_oicp" / "server" / "static" / "vendor"
TABLE = TARGET / "files.tsv"
HEAD = "package\tversion\tlicence\tfile\tsha256"
# Of each package these are copied without being named.
_LICENCES = ("LICENSE*", "*LICENCE*", "COPYING*", "NOTICE*")


def named_files() -> dict[str, list[str]]:
    """Return the files of each package that package.json names."""
    return dict(json.loads((ROOT / "package.json").read_text(encoding="utf-8"))["vendor"])


def named_licences() -> dict[str, str]:
    """Return the licences that package.json names, of packages that do not name theirs but have its text."""
    return dict(json.loads((ROOT / "package.json").read_text(encoding="utf-8"))["licences"])


def copy_all(packages: Path) -> Iterator[str]:
    """Copy everything anew; yield the lines of the table."""
    shutil.rmtree(TARGET, ignore_errors=True)
    for package, files in sorted(named_files().items()):
        source, target = packages / package, TARGET / package
        about = json.loads((source / "package.json").read_text(encoding="utf-8"))
        for name in sorted({*files, *licences_of(source)}):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / name, target / name)
            licence = about.get("license") or named_licences()[package]
            yield "\t".join((package, about["version"], licence, name, digest(target / name)))


def licences_of(source: Path) -> list[str]:
    """Return the names of the files with a package's licence; a package without any is not copied."""
    names = [path.name for pattern in _LICENCES for path in source.glob(pattern)]
    if not names:
        sys.exit(f"{source.name} has no file with its licence: copy nothing of it")
    return names


def digest(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_table(lines: Iterable[str]) -> None:
    """Write the table of what was copied."""
    text = "\n".join((HEAD, *lines))
    TABLE.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    write_table(copy_all(Path(sys.argv[1])))
    print(TABLE.read_text(encoding="utf-8"), end="")
