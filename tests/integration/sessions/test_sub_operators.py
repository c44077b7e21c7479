"""Hub operators speak for their sub-operators, and a SessionID belongs to one process."""

import json
from types import SimpleNamespace

from p2p_oicp.backends import HttpBackend
from p2p_oicp.oicp import Acknowledgement, AuthorizationStart, ChargeDetailRecord, SessionID
from p2p_oicp.oicp.operations import OPERATION_BY_NAME
from tests.support.messages import CDR, NOTIFY, START, UNKNOWN_SESSION, authorize_start, cdr, notification

SUB_EVSE = "DE*GE2*E1"


def with_sub_operator(pair) -> None:
    for file in (pair.folder / "a" / "node.toml", pair.folder / "b" / "peers.toml"):
        file.write_text(file.read_text().replace('["DE*GEF"]', '["DE*GEF", "DE*GE2"]'))


async def test_a_notification_may_name_the_sub_operator_whose_evse_it_is(stopped):
    with_sub_operator(stopped)
    async with stopped.running("a"), stopped.running("b"):
        session = (await stopped.a.post(START, authorize_start(EvseID=SUB_EVSE))).json["SessionID"]
        message = notification("Start", session, OperatorID="DE*GE2", EvseID=SUB_EVSE)
        assert (await stopped.a.post(NOTIFY, message)).code == "000"
        assert (await stopped.a.post(CDR, cdr(session, EvseID=SUB_EVSE))).code == "000"
        await stopped.contracts.until(lambda book: book.notifications and book.records)


async def test_a_record_reaches_the_emps_system_under_the_id_that_sent_it():
    sent = []

    class Client:
        async def call(self, _endpoint, _operation, party, body, *, deadline):
            sent.append((party, body, deadline))
            answer = Acknowledgement.from_json(b'{"Result":true,"StatusCode":{"Code":"000"}}')
            return SimpleNamespace(message=answer)

    body = json.dumps(cdr(UNKNOWN_SESSION, EvseID=SUB_EVSE)).encode()
    backend = HttpBackend("contracts", "http://contracts", Client())
    operation = OPERATION_BY_NAME["ChargeDetailRecord"]
    assert (await backend.call(operation, ChargeDetailRecord.from_json(body), sender="DE*GEF")).result
    assert [(party, content) for party, content, _ in sent] == [("DE*GEF", body)]


async def test_a_responder_that_gives_one_session_id_twice_is_refused_the_second_time(pair):
    answered = pair.contracts.authorize_start

    async def always_the_same(request) -> AuthorizationStart:
        return (await answered(request)).replace(session_id=SessionID(UNKNOWN_SESSION))

    pair.contracts.authorize_start = always_the_same
    first, second = [await pair.a.post(START, authorize_start()) for _ in range(2)]
    assert (first.json["AuthorizationStatus"], first.json["SessionID"]) == ("Authorized", UNKNOWN_SESSION)
    assert (second.status, second.json["AuthorizationStatus"], second.code) == (200, "NotAuthorized", "400")
