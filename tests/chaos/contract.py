"""Schemathesis against a listener, from our own OpenAPI document: no 5xx, no trace, no hang.

``python -m tests.chaos.contract --role cpo --url http://127.0.0.1:8320 --examples 50``.

`run_reads` takes the document that a node serves itself, and what only reads: each answer has to be one of those in it.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.support import messages

RESPONSE_TIMEOUT_SECONDS = 15


def run(role: str, url: str, *, examples: int, seed: int = 1) -> subprocess.CompletedProcess[str]:
    """Send so many requests to each operation, valid and invalid by its schema; return the finished process."""
    with tempfile.TemporaryDirectory() as folder:
        document = Path(folder) / "openapi.json"
        printed = subprocess.run(
            (sys.executable, "-m", "p2p_oicp", "openapi", "--role", role), check=True, capture_output=True
        )
        document.write_bytes(printed.stdout)
        (Path(folder) / "schemathesis.toml").write_text(
            f'[parameters]\noperatorID = "{messages.A_CPO}"\nproviderID = "{messages.B_EMP}"\n'  # or all were 401
        )
        return subprocess.run(
            (
                sys.executable, "-m", "schemathesis.cli", "run", str(document),
                "--url", f"{url}/api/oicp", "--checks", "not_a_server_error", "--phases", "fuzzing", "--mode", "all",
                "--max-examples", str(examples), "--seed", str(seed),
                "--request-timeout", str(RESPONSE_TIMEOUT_SECONDS),
                "--no-shrink", "--workers", "1", "--no-color", "--generation-database", "none",
            ),
            check=False, capture_output=True, text=True, cwd=folder,
        )  # fmt: skip


#: Of all that is read, what makes no sense without an end: a stream of events.
STREAMS = ("/events",)
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


def run_reads(url: str, token: str | None = None, *, examples: int, seed: int = 1) -> subprocess.CompletedProcess[str]:
    """Send GET requests, valid and invalid ones, to each path of the node's own document; return the process."""
    headers = [] if token is None else ["--header", f"Authorization: Bearer {token}"]
    excluded = [argument for path in STREAMS for argument in ("--exclude-path", path)]
    with tempfile.TemporaryDirectory() as folder:
        return subprocess.run(
            (
                sys.executable, "-m", "schemathesis.cli", "run", f"{url}/openapi.json", "--url", url,
                "--include-method", "GET", *excluded, *headers, "--checks", CHECKS,
                "--phases", "examples,coverage,fuzzing", "--mode", "all", "--max-examples", str(examples),
                "--seed", str(seed),
                "--request-timeout", str(RESPONSE_TIMEOUT_SECONDS),
                "--no-shrink", "--workers", "1", "--no-color", "--generation-database", "none",
            ),
            check=False, capture_output=True, text=True, cwd=folder,
        )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description="Schemathesis against one listener.")
    parser.add_argument("--role", choices=("cpo", "emp"), required=True)
    parser.add_argument("--url", required=True)
    parser.add_argument("--examples", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    done = run(options.role, options.url, examples=options.examples, seed=options.seed)
    print(done.stdout)
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
