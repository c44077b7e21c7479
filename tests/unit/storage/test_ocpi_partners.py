"""OCPI partners in the database: who a token is of, and for how long."""

from __future__ import annotations

import pytest

from p2p_oicp.storage import ocpi_partners
from p2p_oicp.storage.ocpi_partners import PartnerState, Registration
from tests.support.database import read

NOW = 1_000_000.0
LOCATIONS = ("locations", "SENDER", "https://cpo.example/ocpi/2.2.1/locations")
AGREED = Registration("https://cpo.example/versions", "2.2.1", (LOCATIONS,), ({"role": "CPO", "party_id": "GEF"},))


async def write(store, job, *arguments):
    return await store.write(lambda tx: job(tx, *arguments))


async def invite(store, token="invitation", until=NOW + 60):  # noqa: S107 - an invented secret
    await write(store, ocpi_partners.begin, "citrine", PartnerState.INVITED, token, until)


async def register(store, token="current"):  # noqa: S107 - an invented secret
    await invite(store)
    await write(store, ocpi_partners.complete, "citrine", AGREED, b"sealed", token, NOW)


async def name_of(store, token, now=NOW):
    """Return whose token it is, if it opens anything."""
    owner = await ocpi_partners.find_by_token(store, token, now)
    return owner.partner.name if owner and not owner.is_spent else None


async def test_an_invitation_is_recognised_until_it_ends(store):
    await invite(store)
    assert await name_of(store, "invitation") == "citrine"
    assert await name_of(store, "invitation", NOW + 60) is None
    assert await name_of(store, "another") is None


async def test_a_second_invitation_ends_the_first(store):
    await invite(store, "first")
    await invite(store, "second")
    assert (await name_of(store, "first"), await name_of(store, "second")) == (None, "citrine")


async def test_a_registered_partner_has_what_was_agreed_and_its_invitation_is_spent(store):
    await register(store)
    (partner,) = await ocpi_partners.list_now(store)
    assert (partner.state, partner.registration, partner.sealed_token) == (PartnerState.REGISTERED, AGREED, b"sealed")
    assert (await ocpi_partners.find_by_token(store, "invitation", NOW)).is_spent
    assert await name_of(store, "current", NOW + 10**9) == "citrine"


async def test_a_partner_that_is_unknown_is_not_registered(store):
    assert await write(store, ocpi_partners.complete, "nobody", AGREED, b"sealed", "token", NOW) is False
    assert await ocpi_partners.list_now(store) == []


async def test_after_a_refresh_both_tokens_are_valid_for_a_while(store):
    await register(store, "old")
    await write(store, ocpi_partners.replace_token, "citrine", "new", NOW + 3600)
    assert (await name_of(store, "old"), await name_of(store, "new")) == ("citrine", "citrine")
    assert (await name_of(store, "old", NOW + 3600), await name_of(store, "new", NOW + 3600)) == (None, "citrine")


async def test_the_old_token_ends_once_the_new_one_was_used(store):
    await register(store, "old")
    await write(store, ocpi_partners.replace_token, "citrine", "new", NOW + 3600)
    await write(store, ocpi_partners.end_previous_token, "citrine")
    assert (await name_of(store, "old"), await name_of(store, "new")) == (None, "citrine")


async def test_a_token_that_a_partner_has_not_got_yet_ends_no_other(store):
    await register(store, "old")
    await write(store, ocpi_partners.replace_token, "citrine", "lost", None)
    await write(store, ocpi_partners.replace_token, "citrine", "new", None)
    assert await name_of(store, "old", NOW + 10**9) == "citrine"
    assert (await name_of(store, "lost"), await name_of(store, "new")) == (None, "citrine")
    await write(store, ocpi_partners.limit_previous_token, "citrine", NOW + 3600)
    assert (await name_of(store, "old", NOW + 3600), await name_of(store, "new", NOW + 3600)) == (None, "citrine")


async def test_a_token_that_a_partner_has_certainly_not_got_is_taken_back(store):
    await register(store, "old")
    await write(store, ocpi_partners.replace_token, "citrine", "new", None)
    await write(store, ocpi_partners.restore_previous_token, "citrine")
    await write(store, ocpi_partners.restore_previous_token, "citrine")
    assert (await name_of(store, "old", NOW + 10**9), await name_of(store, "new")) == ("citrine", None)


@pytest.mark.sqlite
async def test_no_token_that_a_partner_sends_stands_in_the_database(store, database):
    await register(store, "a-secret-of-the-partner")
    rows = read(database, "SELECT * FROM ocpi_partners")
    assert "sealed" in repr(rows)
    assert "a-secret-of-the-partner" not in repr(rows)
    assert "invitation" not in repr(rows)


async def test_failures_and_successes_are_recorded(store):
    await register(store)
    await write(store, ocpi_partners.record_failure, "citrine", NOW + 1, "timeout")
    (partner,) = await ocpi_partners.list_now(store)
    assert (partner.last_failure_at, partner.last_error) == (NOW + 1, "timeout")
    await write(store, ocpi_partners.record_success, "citrine", NOW + 2)
    (partner,) = await ocpi_partners.list_now(store)
    assert (partner.last_success_at, partner.last_error) == (NOW + 2, "")


async def test_a_partner_is_suspended_and_goes_on(store):
    await register(store)
    for state in (PartnerState.SUSPENDED, PartnerState.REGISTERED):
        await write(store, ocpi_partners.set_state, "citrine", state)
        assert (await ocpi_partners.find_by_token(store, "current", NOW)).partner.state is state


async def test_of_a_partner_that_is_removed_nothing_stays(store):
    await register(store)
    assert await write(store, ocpi_partners.remove, "citrine") is True
    assert await write(store, ocpi_partners.remove, "citrine") is False
    assert await name_of(store, "current") is None
