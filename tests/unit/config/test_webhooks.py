"""The tables ``[[webhooks]]``: where events may be sent."""

import pytest

from tests.support.settings import complaint

NODE = '[node]\nname = "A"\noperators = ["DE*ABC"]\n'
FORM = 'expected one such as "https://crm.example.com/events"'
HAS_PASSWORD = "a URL with a user or password in it; expected none, and the secret as token or token_file"


def table(url: str) -> str:
    return f'{NODE}[[webhooks]]\nname = "crm"\nurl = "{url}"\n'


@pytest.mark.parametrize(
    "url",
    [
        "https://crm.example.com/events?of=node&by=a@b",
        "https://crm.example.com/hooks/@events",
        "http://127.0.0.1:65535",
        "http://[::1]:1/x",
    ],
)
def test_a_url_is_sent_to_as_it_stands(read, url):
    (webhook,) = read(table(url)).webhooks
    assert webhook.url == url


@pytest.mark.parametrize(
    "url",
    [
        "ftp://crm.example.com",
        "crm.example.com",
        "https://",
        "http://[",
        "https://crm.example.com:0/events",
        "https://crm.example.com:70000",
        "https://crm.example.com:x",
        "https://crm.example.com/ events",
        "https://crm.example.com/événements",
        "https://crm.example.com/#part",
        "https://crm.example.com/#",
    ],
)
def test_what_is_no_url_to_send_to_is_refused_with_the_form(read, url):
    shown = complaint(read, table(url))
    assert shown == f'node.toml:6: [[webhooks]] url: "{url}" is no URL to send to; {FORM}'


@pytest.mark.parametrize("user", ["kim", "kim:swordfish", ":swordfish", ""])
def test_a_url_with_a_user_or_password_is_refused_and_not_shown(read, user):
    assert (
        complaint(read, table(f"https://{user}@crm.example.com:0")) == f"node.toml:6: [[webhooks]] url: {HAS_PASSWORD}"
    )
