"""Backends behind one interface: what each form makes of a response, of a failure and of an operation it lacks."""

import asyncio
import dataclasses
import json
from types import SimpleNamespace

import pytest

from p2p_oicp.backends import HttpBackend, LimitedBackend, PythonBackend, UnsupportedBackend
from p2p_oicp.errors import OperationNotSupported, PeerBusy, PeerProtocolError, PeerTimeout, PeerUnreachable
from p2p_oicp.oicp import Acknowledgement, AuthorizeRemoteStart, AuthorizeStart, StatusCode
from p2p_oicp.oicp.operations import OPERATION_BY_NAME
from tests.support.messages import authorize_start, remote_start
from tests.support.waiting import eventually

REMOTE_START = OPERATION_BY_NAME["AuthorizeRemoteStart"]
RESERVE = OPERATION_BY_NAME["AuthorizeRemoteReservationStart"]
START = OPERATION_BY_NAME["AuthorizeStart"]
CDR = "ChargeDetailRecord"
REQUEST = AuthorizeRemoteStart.from_json(json.dumps(remote_start()).encode())
ACCEPTED = Acknowledgement(result=True, status_code=StatusCode(code="000"))


async def hang(_request):
    await asyncio.Event().wait()


async def crash(_request):
    raise KeyError("a bug of the backend")


async def unreachable(_request):
    raise PeerUnreachable("csms", "connection refused")


async def nonsense(_request):
    return "yes"


FAILURES = {
    "hangs": (hang, PeerTimeout, "no answer to AuthorizeRemoteStart within 0.01 s"),
    "has a bug": (crash, PeerProtocolError, "failed at AuthorizeRemoteStart: KeyError"),
    "raises a PeerError": (unreachable, PeerUnreachable, "connection refused"),
    "returns another type": (
        nonsense,
        PeerProtocolError,
        "answered AuthorizeRemoteStart with str, not Acknowledgement",
    ),
}


@pytest.mark.parametrize(("method", "error", "text"), FAILURES.values(), ids=FAILURES)
async def test_a_failure_of_a_python_backend_is_a_peer_error(method, error, text):
    backend = PythonBackend("csms", SimpleNamespace(authorize_remote_start=method))
    with pytest.raises(error, match=text):
        await backend.call(dataclasses.replace(REMOTE_START, deadline=0.01), REQUEST)


async def test_a_python_backend_gets_the_message_and_its_response_is_returned():
    requests = []

    async def accept(request):
        requests.append(request)
        return ACCEPTED

    backend = PythonBackend("csms", SimpleNamespace(authorize_remote_start=accept))
    assert await backend.call(REMOTE_START, REQUEST, sender="DE-GDF") is ACCEPTED
    assert requests == [REQUEST]


WITHOUT_RESERVATIONS = {
    "an object without the method": PythonBackend("csms", SimpleNamespace(authorize_remote_start=crash)),
    "no backend": UnsupportedBackend(),
}


@pytest.mark.parametrize("backend", WITHOUT_RESERVATIONS.values(), ids=WITHOUT_RESERVATIONS)
async def test_an_operation_that_a_backend_does_not_offer_is_320_and_has_not_arrived(backend):
    assert not backend.supports(RESERVE)
    with pytest.raises(OperationNotSupported) as error:
        await backend.call(RESERVE, REQUEST)
    assert (error.value.code, error.value.may_have_arrived) == ("320", False)


class HttpClient:
    """Answers with one message, and lists what was sent."""

    def __init__(self, message) -> None:
        self.sent = []
        self._message = message

    async def call(self, endpoint, operation, party, body, *, deadline):
        self.sent.append((endpoint.url, operation.name, party, body, deadline))
        return SimpleNamespace(message=self._message)


async def test_an_http_backend_is_called_under_the_party_that_the_message_names():
    client = HttpClient(ACCEPTED)
    assert await HttpBackend("csms", "http://csms", client).call(REMOTE_START, REQUEST) is ACCEPTED
    deadline = REMOTE_START.deadline
    assert client.sent == [("http://csms", "AuthorizeRemoteStart", "DE-GDF", REQUEST.to_json(), deadline)]


async def test_a_general_success_over_http_is_no_response_to_an_authorization():
    request = AuthorizeStart.from_json(json.dumps(authorize_start()).encode())
    backend = HttpBackend("contracts", "http://contracts", HttpClient(ACCEPTED))
    with pytest.raises(PeerProtocolError, match="answered AuthorizeStart with an Acknowledgement, 000"):
        await backend.call(START, request)


async def test_a_backend_that_hangs_occupies_a_bounded_number_of_requests():
    backend = LimitedBackend("csms", PythonBackend("csms", SimpleNamespace(authorize_remote_start=hang)), concurrent=2)
    waiting = [asyncio.create_task(backend.call(REMOTE_START, REQUEST)) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(PeerBusy, match="2 requests wait for its answer") as error:
        await backend.call(REMOTE_START, REQUEST)
    assert not error.value.may_have_arrived
    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)
    assert "in_use=0/2" in repr(backend)


class Recorder:
    """A backend that lists the deadlines of its calls."""

    def __init__(self) -> None:
        self.deadlines = []

    async def call(self, operation, _message, *, sender, deadline):
        assert sender is None
        self.deadlines.append((operation.name, deadline))


async def test_a_backend_has_timeouts_of_its_own_which_are_never_longer_than_the_callers():
    recorder = Recorder()
    backend = LimitedBackend("all", recorder, concurrent=9, authorize_timeout=3, record_timeout=7)
    for operation, deadline in ((START, 4), (START, 2), (OPERATION_BY_NAME[CDR], None)):
        await backend.call(operation, REQUEST, deadline=deadline)
    assert recorder.deadlines == [("AuthorizeStart", 3), ("AuthorizeStart", 2), (CDR, 7)]


async def test_a_late_answer_of_a_csms_is_waited_for_and_counted_no_more():
    csms = PythonBackend("csms", SimpleNamespace(authorize_remote_start=hang))
    backend = LimitedBackend("csms", csms, concurrent=1, remote_timeout=0.01)
    waiting = asyncio.create_task(backend.call(REMOTE_START, REQUEST, deadline=60))
    await eventually(lambda: "in_use=0/1" in repr(backend) and not waiting.done())
    waiting.cancel()
    await asyncio.wait([waiting])
