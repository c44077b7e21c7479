"""What a person reads who has made a mistake: one line with what to change, and never the words of a library."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading

import pytest

from p2p_oicp.simulator.node_files import free_ports

_LIBRARY_SPEECH = re.compile(r"Errno|Traceback|Input should be|Value error|_ssl\.c|this is a bug|Usage:|pydantic")


@pytest.fixture
def config(tmp_path, p2p_oicp):
    folder = tmp_path / "alpha"
    assert p2p_oicp("init", folder, "--name", "Alpha Charging", "--operator", "DE*ALF").code == 0
    return folder / "node.toml"


@pytest.fixture
def message(tmp_path):
    file = tmp_path / "message.json"
    file.write_text('{"ProviderID": "DE-BET"}')
    return file


@pytest.fixture
def plain_http_port():
    """Return the port of a listener that answers everything in plain text, as an http server does to TLS."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=_answer_in_plain_text, args=(listening,), daemon=True).start()
        yield listening.getsockname()[1]


def _answer_in_plain_text(listening):
    try:
        while True:
            with listening.accept()[0] as connection:
                connection.recv(1000)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    except OSError:
        return


# In each line: what is called, and what the one line says.
USAGE_MISTAKES = {
    "a number that is none": (("outbox", "show", "ID"), 'ID: expected a whole number, not "ID"'),
    "a number too small": (("cdrs", "list", "--limit", "0"), '--limit: expected a number of at least 1, not "0"'),
    "an unknown choice": (
        ("openapi", "--role", "xml"),
        '--role: expected one of cpo, emp, not "xml"',
    ),
    "an unknown state": (("cdrs", "list", "--state", "lost"), "--state: expected one of waiting, delivered"),
    "a missing option": (("init", "alpha"), "--name is missing: Name of the node in logs and to its peers"),
    "an unknown option": (("send", "--nope"), "no such option: --nope"),
    "an unknown command": (("sned",), "no such command 'sned'. Did you mean 'send'?"),
    "too much": (("send", "a", "b", "c"), "unexpected extra argument"),
    "no settings": (("run", "--config", "nowhere/node.toml"), "`p2p-oicp init nowhere --name"),
}


@pytest.mark.parametrize(("arguments", "expected"), USAGE_MISTAKES.values(), ids=USAGE_MISTAKES)
def test_a_wrong_call_is_one_line_in_our_words(p2p_oicp, arguments, expected):
    outcome = p2p_oicp(*arguments)
    assert outcome.code == 2
    assert expected in outcome.err
    assert outcome.err.startswith("p2p-oicp: ")
    assert outcome.err.count("\n") == 1
    assert not _LIBRARY_SPEECH.search(outcome.err)


def test_http_at_an_https_address_is_called_so(p2p_oicp, message, plain_http_port):
    outcome = p2p_oicp("send", "pull-evse-status", message, "--url", f"https://127.0.0.1:{plain_http_port}")
    assert outcome.code == 2
    assert "TLS failed: " in outcome.err
    assert "is it http?" in outcome.err
    assert not _LIBRARY_SPEECH.search(outcome.err)


def test_an_unknown_host_is_called_so(p2p_oicp, message, monkeypatch):
    def unknown(*_args, **_kwargs):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    outcome = p2p_oicp("send", "pull-evse-status", message, "--url", "https://no.such.host.example")
    assert "host name not found" in outcome.err


def test_an_endpoint_that_is_not_there_is_reported_once_and_no_sequence_fails(p2p_oicp):
    url = f"http://127.0.0.1:{free_ports(1)[0]}"
    parties = ("--operator", "DE*ALF", "--provider", "DE-BET")
    outcome = p2p_oicp("scenarios", "--cpo", url, "--emp", url, *parties)
    assert (outcome.code, outcome.out) == (2, "")
    assert f"--cpo {url}: nobody is there (no connection to" in outcome.err
    assert "Connection refused" in outcome.err


def test_a_backup_into_a_folder_that_is_not_there_names_the_folder(p2p_oicp, config, tmp_path):
    outcome = p2p_oicp("backup", tmp_path / "nowhere" / "alpha.tar", "--config", config)
    assert (outcome.code, f"{tmp_path / 'nowhere'}: no such folder" in outcome.err) == (2, True)


FOLDERS = {"a file": ("peers.toml", "is a file; expected a folder"), "below a file": ("peers.toml/data", "is a file")}


@pytest.mark.parametrize(("data_dir", "expected"), FOLDERS.values(), ids=FOLDERS)
def test_an_impossible_data_folder_is_a_mistake_of_the_operator(p2p_oicp, config, monkeypatch, data_dir, expected):
    monkeypatch.setenv("P2P_OICP_NODE__DATA_DIR", data_dir)
    for command in (("run",), ("tokens", "add", "1234ABCD")):
        outcome = p2p_oicp(*command, "--config", config)
        assert (outcome.code, expected in outcome.err) == (2, True), outcome.err
        assert not _LIBRARY_SPEECH.search(outcome.err)


def test_a_full_disk_behind_standard_output_is_named():
    for arguments in (("endpoints",), ("schema",), ("--help",), ("--version",)):
        with open("/dev/full", "w") as full:  # noqa: PTH123 - a device
            result = subprocess.run(
                [sys.executable, "-m", "p2p_oicp", *arguments], stdout=full, stderr=subprocess.PIPE, check=False
            )
        assert result.stderr.decode() == "p2p-oicp: standard output: No space left on device\n"
        assert result.returncode == 2


@pytest.mark.skipif(os.getuid() == 0, reason="root may open every port")
def test_a_port_that_needs_a_privilege_says_what_can_be_done(p2p_oicp, config, monkeypatch):
    monkeypatch.setenv("P2P_OICP_PEER_API__PORT", "443")
    assert "CAP_NET_BIND_SERVICE" in p2p_oicp("run", "--config", config).err


def test_a_party_that_a_peer_takes_from_this_node_has_its_line(p2p_oicp, config):
    peers = config.parent / "peers.toml"
    peers.write_text('\n[[peer]]\nname = "b"\nurl = "http://127.0.0.1:1"\noperators = ["DE*ALF"]\n')
    outcome = p2p_oicp("run", "--config", config)
    assert f'{peers}:5: [[peer]] operators: "DE*ALF" is claimed by this node itself' in outcome.err


def test_tokens_say_what_was_done_and_what_it_is_good_for(p2p_oicp, config):
    added = p2p_oicp("tokens", "add", "1234ABCD", "--config", config)
    assert (added.out, "without a ProviderID" in added.err) == ("1 added\n", True)
    assert p2p_oicp("tokens", "remove", "1234ABCD", "--config", config).out == "1 revoked\n"


def test_the_version_is_printed(p2p_oicp):
    assert re.fullmatch(r"p2p-oicp \d+\.\d+\.\d+\n", p2p_oicp("--version").out)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_completes_commands_and_subcommands(shell):
    for words, expected in (("p2p-oicp o", ["outbox", "openapi"]), ("p2p-oicp outbox ", ["list", "retry"])):
        environment = os.environ | {
            "_P2P_OICP_COMPLETE": f"complete_{shell}",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split(" ")) - 1),
            "_TYPER_COMPLETE_ARGS": words,
            "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        }
        command = [sys.executable, "-m", "p2p_oicp"]
        result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert all(name in result.stdout for name in expected), result


def test_ctrl_c_while_a_message_is_read_ends_with_130():
    reader, writer = os.openpty()  # at a terminal the command says that it reads
    process = _start("validate", "AuthorizeStart", stdin=writer)
    assert "Reading from standard input" in process.stderr.readline()
    _interrupt(process)
    os.close(reader)
    os.close(writer)


def test_ctrl_c_during_the_demo_ends_with_130_and_nothing_failed():
    process = _start("demo", "--json")
    assert process.stdout.readline()  # it has begun
    assert "FAIL" not in _interrupt(process).upper()


def _start(*arguments, **streams):
    command = [sys.executable, "-m", "p2p_oicp", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **streams)


def _interrupt(process):
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    return out
