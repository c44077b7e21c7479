"""Settings are read from a file alone."""

import os

import pytest

from p2p_oicp.config import Settings, load_settings


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch):
    for name in os.environ:
        if name.upper().startswith("P2P_OICP_"):
            monkeypatch.delenv(name)


@pytest.fixture
def read(tmp_path):
    def read(text: str) -> Settings:
        (tmp_path / "node.toml").write_text(text)
        return load_settings(tmp_path / "node.toml")

    return read
