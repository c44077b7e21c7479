"""Where each box of the rules checklist (B, M, H, C) and of section 4 of the conformance document is tested.

A box whose test stands elsewhere is one row here; the row breaks when the test goes.
"""

import ast
from functools import cache

import pytest

from tests.support.paths import ROOT

TESTS = ROOT / "tests"
RULES = "conformance/rules"

COVERED = {
    # Boxes B
    "B1 603 and 604 by data": (f"{RULES}/test_remote.py", "test_b1_the_emps_node_refuses_by_the_data_it_has"),
    "B1 no data, no refusal": (f"{RULES}/test_remote.py", "test_b1_a_cpo_without_any_data_is_called"),
    "B2 unreachable EMP": (f"{RULES}/test_b_sessions.py", "test_b2_an_unreachable_emp_counts_as_not_authorized"),
    "B2 refused start": (f"{RULES}/test_b_sessions.py", "test_b2_a_refused_start_has_no_session"),
    "B3 stop": (f"{RULES}/test_b_sessions.py", "test_b3_only_the_sessions_own_provider_may_stop_it_remotely"),
    "B3 record": (f"{RULES}/test_b_sessions.py", "test_b3_only_the_sessions_own_operator_may_send_its_record"),
    "B4 210": (f"{RULES}/test_b_sessions.py", "test_b4_a_backends_start_without_a_contract_is_210"),
    "B4 300": (f"{RULES}/test_b_sessions.py", "test_b4_an_unknown_partner_is_300"),
    "B4 310": (f"{RULES}/test_b_sessions.py", "test_b4_a_partner_that_does_not_respond_is_310"),
    "B4 320": (f"{RULES}/test_b_sessions.py", "test_b4_a_service_that_is_not_offered_is_320"),
    # Boxes M
    "M1": (f"{RULES}/test_authorize_start.py", "test_an_unusable_identification_is_refused_and_no_peer_is_called"),
    "M1 remote": (f"{RULES}/test_remote.py", "test_m1_a_remote_start_carries_remote_identification_only"),
    "M2 plain PIN": (
        f"{RULES}/test_authorize_start.py",
        "test_1_a_qr_code_of_pushed_data_is_authorized_offline_with_its_pin",
    ),
    "M2 stored as bcrypt": (
        "integration/datasets/test_authentication_data.py",
        "test_a_pin_is_a_hash_before_it_is_stored_or_sent_anywhere",
    ),
    "M3": ("unit/oicp/test_rules_of_answers.py", "test_an_inconsistent_response_is_read_with_a_warning"),
    "M4": ("conformance/test_context_vectors.py", "test_a_node_gives_the_verdict_of_a_vector_in_its_context"),
    "M5": ("unit/oicp/test_rules_of_scope.py", "test_ids_must_belong_to_the_parties_of_the_sender"),
    "M6 duration": (f"{RULES}/test_remote.py", "test_m6_a_reservation_lasts_1_to_99_minutes"),
    "M6 record": (f"{RULES}/test_remote.py", "test_m6_a_reservation_that_ends_without_charging_gets_its_record"),
    "M7": ("unit/oicp/test_rules_of_pushes.py", "test_a_push_that_breaks_a_rule"),
    "M8": ("integration/datasets/test_evse_statuses.py", "test_every_action_arrives"),
    "M9, M11, M12": ("unit/oicp/test_rules_of_requests.py", "test_a_request_that_breaks_a_rule"),
    "M11": ("integration/sessions/test_cdr_queries.py", "test_from_after_to_is_refused"),
    "M13": ("unit/oicp/test_rules_of_pushes.py", "test_a_push_that_breaks_a_rule"),
    # Boxes H
    "H1 known": (f"{RULES}/test_h_http.py", "test_h1_every_code_is_known_with_its_words"),
    "H1 kept": (f"{RULES}/test_h_http.py", "test_h1_an_unknown_code_is_read_as_it_is"),
    "H2 never": (f"{RULES}/test_h_http.py", "test_h2_a_start_that_may_have_arrived_is_never_sent_again"),
    "H2 same session": (f"{RULES}/test_h_http.py", "test_h2_an_authorize_start_is_repeated_with_its_own_session"),
    "H2 safely": (
        "integration/sessions/test_settlement.py",
        "test_the_same_record_again_is_acknowledged_again_and_delivered_once",
    ),
    "H3": (f"{RULES}/test_h_http.py", "test_h3_an_answer_with_result_false_is_a_refusal_though_it_is_http_200"),
    "H4": (f"{RULES}/test_h_http.py", "test_h4_the_same_request_up_to_twelve_times_has_one_effect_and_one_answer"),
    # Boxes C that need a node; the others are findings of the language
    "C1 to C7": ("unit/oicp/test_cdr_checks.py", "test_findings_on_a_cdr_to_be_sent"),
    "C4, C6, C7 at the CPO's node": (
        "integration/sessions/test_doubtful_cdrs.py",
        "test_what_our_own_data_speaks_against_is_reported",
    ),
    "C8": (f"{RULES}/test_settlement.py", "test_c8_a_second_record_is_400"),
    "C9": (f"{RULES}/test_settlement.py", "test_a_record_is_acknowledged_though_the_emp_is_away"),
    # Section 4, operations whose boxes stand in other modules
    "AuthorizeStart, offline first": (
        f"{RULES}/test_authorize_start.py",
        "test_1_a_card_of_pushed_data_is_authorized_offline",
    ),
    "AuthorizeStop, media": (
        f"{RULES}/test_authorize_stop.py",
        "test_an_offline_session_is_stopped_by_the_medium_that_started_it",
    ),
    "GetChargeDetailRecords, filters": ("integration/sessions/test_cdr_queries.py", "test_the_filters_find"),
    "GetChargeDetailRecords, pages": (
        "integration/sessions/test_cdr_queries.py",
        "test_pages_tell_all_of_the_envelope_and_keep_their_order",
    ),
    "PushEvseData": ("integration/datasets/test_evse_data.py", "test_a_page_has_all_its_members"),
    "PushEvseStatus": ("integration/datasets/test_evse_statuses.py", "test_every_action_arrives"),
    "PullEvseStatus by id": (
        "integration/datasets/test_evse_statuses.py",
        "test_what_a_backend_pushes_the_other_backend_pulls",
    ),
    "PushAuthenticationData": ("integration/datasets/test_authentication_data.py", "test_pushes_are_checked"),
    "Prices": ("integration/datasets/test_prices.py", None),
    "ChargingNotifications, five minutes": (
        f"{RULES}/test_settlement.py",
        "test_progress_less_than_five_minutes_after_the_last_is_022",
    ),
    "ChargingNotifications, 400": (f"{RULES}/test_settlement.py", "test_a_notification_of_an_invalid_session_is_400"),
    "security 017": ("integration/server/test_bad_input.py", None),
}


@cache
def names_in(module: str) -> set[str]:
    tree = ast.parse((TESTS / module).read_text())
    names = [node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return {name for name in names if name.startswith("test_")}


@pytest.mark.parametrize(("module", "name"), COVERED.values(), ids=COVERED)
def test_every_rule_has_its_test(module, name):
    assert name in names_in(module) if name else names_in(module)
