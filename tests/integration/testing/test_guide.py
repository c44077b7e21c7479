"""The examples of the test kit's pages run as they stand."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
import yaml

from p2p_oicp.simulator.node_files import free_ports
from tests.support.paths import ROOT

GUIDE = (ROOT / "docs" / "guides" / "test-your-backend-in-ci.md").read_text(encoding="utf-8")
KIT = (ROOT / "docs" / "testing.md").read_text(encoding="utf-8")

#: A charging system that sends the record of a session when it is stopped, until somebody has taken it.
MY_CSMS = f"""#!{sys.executable}
import sys
sys.path.insert(0, {str(ROOT)!r})
import os, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
import json, time, urllib.request
from p2p_oicp.testing import samples

def settle(session):
    record = samples.request("ChargeDetailRecord", session_id=session)
    url = os.environ["OICP_URL"] + "/api/oicp/cdrmgmt/v22/operators/DE*ABC/charge-detail-record"
    request = urllib.request.Request(url, json.dumps(record).encode(), {{"Content-Type": "application/json"}})
    urllib.request.urlopen(request)

class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        answer = json.dumps({{"Result": True, "StatusCode": {{"Code": "000"}}}}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)
        if self.path.endswith("authorize-remote/stop"):
            threading.Timer(0.2, settle, [body["SessionID"]]).start()
    def log_message(self, *args): pass

ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def write_examples(text, folder):
    """Write each Python example into the file that its first line names; return the files."""
    examples = re.findall(r"```python\n# (\w+\.py)\n(.*?)```", text, re.DOTALL)
    for name, code in examples:
        (folder / name).write_text(code)
    return [name for name, _ in examples]


def run_pytest(folder):
    # No plugin but ours, as in a new environment of CI.
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [sys.executable, "-m", "pytest", "-p", "p2p_oicp.testing.plugin", "-q", "-W", "error"]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=280, check=False
    )


def test_the_examples_of_the_guide_pass_with_a_backend_in_another_process(tmp_path):
    (port,) = free_ports(1)
    assert len(write_examples(GUIDE.replace("9000", str(port)), tmp_path)) == 3
    program = tmp_path / "my-csms"
    program.write_text(MY_CSMS)
    program.chmod(0o700)
    done = run_pytest(tmp_path)
    assert (done.returncode, "4 passed" in done.stdout) == (0, True), done.stdout + done.stderr


def test_the_examples_of_the_reference_pass(tmp_path):
    assert len(write_examples(KIT, tmp_path)) == 3
    done = run_pytest(tmp_path)
    assert (done.returncode, "3 passed" in done.stdout) == (0, True), done.stdout + done.stderr


@pytest.mark.parametrize("recipe", re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL))
def test_a_recipe_is_yaml_and_needs_only_pip(recipe):
    assert yaml.safe_load(recipe)
    commands = re.findall(r"(?:run:|^    -) (\w+) .*$", recipe, re.MULTILINE)
    assert commands == ["pip", "pytest"]
