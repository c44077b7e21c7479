"""What is wrong with a node.toml."""

from collections.abc import Callable
from pathlib import Path

import pytest

from p2p_oicp.config import Settings
from p2p_oicp.errors import ConfigurationError


def complaint(read: Callable[[str], Settings], text: str) -> str:
    """Return the one line with which a file is refused, with its name in the place of its path."""
    with pytest.raises(ConfigurationError) as caught:
        read(text)
    assert "\n" not in str(caught.value)
    place, message = str(caught.value).split(": ", 1)
    return f"{Path(place).name}: {message}"
