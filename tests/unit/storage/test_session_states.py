"""The state machine of a session."""

import pytest

from p2p_oicp.storage.sessions import (
    TRANSITIONS,
    SessionState,
    can_transition,
    next_state,
    next_state_after_notification,
)


def test_every_state_has_its_transitions():
    assert set(TRANSITIONS) == set(SessionState)


def test_no_transition_leads_back():
    for before, afters in TRANSITIONS.items():
        assert before not in afters
        assert SessionState.REQUESTED not in afters


@pytest.mark.parametrize("state", [SessionState.SETTLED, SessionState.REFUSED])
def test_settled_and_refused_are_final(state):
    assert TRANSITIONS[state] == frozenset()


MONEY = {state: can_transition(state, SessionState.ENDED) for state in SessionState}


def test_a_cdr_is_accepted_in_every_state_but_the_final_ones():
    refused = {SessionState.ENDED, SessionState.SETTLED, SessionState.REFUSED}
    assert {state for state, accepted in MONEY.items() if not accepted} == refused


NOTIFICATIONS = {
    "the first one: energy flows": ("authorized", "Start", "charging"),
    "an uncertain start did arrive": ("uncertain", "Start", "charging"),
    "progress without a start": ("authorized", "Progress", "charging"),
    "the end": ("charging", "End", "ended"),
    "the end alone": ("authorized", "End", "ended"),
    "a late start": ("ended", "Start", "ended"),
    "a late end": ("settled", "End", "settled"),
    "an error does not change the state": ("charging", "Error", "charging"),
    "an expired session goes on": ("expired", "Progress", "charging"),
    "faster than the answer to the start": ("requested", "Start", "charging"),
}


@pytest.mark.parametrize(("before", "kind", "after"), NOTIFICATIONS.values(), ids=NOTIFICATIONS)
def test_a_notification_moves_a_session_only_forwards(before, kind, after):
    assert next_state_after_notification(before, kind) == after


def test_the_answer_to_a_start_does_not_undo_later_events():
    assert next_state("charging", "authorized") is SessionState.CHARGING
