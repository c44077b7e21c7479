"""Backends that were written for another hub, as ocppcompote's: OICP's paths towards it, and paths of their own."""

from contextlib import asynccontextmanager

from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.support.dataset_messages import evse, google
from tests.support.hubs import running_hub
from tests.support.messages import card
from tests.support.waiting import eventually

CPO, SUB, EMP, UID = "DE*ABC", "DE*XYZ", "DE-DCB", "1234ABCD"
EVSE = f"{SUB}*ETEST1"
CPO_PATHS = {"AuthorizeRemoteStart": "authorizeremotestartv21", "AuthorizeRemoteStop": "authorizeremotestopv21"}
EMP_PATHS = {
    "AuthorizeStart": "authorizestartv21?operatorID={id}",
    "AuthorizeStop": "authorizestopv21?operatorID={id}",
    "ChargeDetailRecord": "chargedetailrecordv22?operatorID={id}",
    "ChargingNotifications": "chargingnotificationsv11",
}


@asynccontextmanager
async def backend():
    """A backend of which every path is its own; it lists the requests that it gets."""
    requests = []

    async def serve(request: web.Request) -> web.Response:
        body = await request.json()
        requests.append((request.path_qs, body))
        ids = {name: body[name] for name in ("SessionID", "CPOPartnerSessionID") if name in body}
        success = {"Code": "000", "Description": "Success", "AdditionalInfo": "Success"}
        verdict = {"AuthorizationStatus": "Authorized", "ProviderID": EMP, "AuthorizationStopIdentifications": []}
        is_authorization = request.path.endswith(("startv21", "stopv21")) and "remote" not in request.path
        return web.json_response({**(verdict if is_authorization else {"Result": True}), "StatusCode": success, **ids})

    app = web.Application()
    app.router.add_post("/{path:.*}", serve)
    async with TestServer(app) as server:
        yield str(server.make_url("")).rstrip("/"), requests


@asynccontextmanager
async def both(folder):
    async with backend() as (cpo_url, at_cpo), backend() as (emp_url, at_emp):
        cpo = {"operators": [CPO, SUB], "url": cpo_url, "path": "/oicp_api", "paths": CPO_PATHS}
        emp = {"providers": [EMP], "url": emp_url, "path": "/oicp_api", "paths": EMP_PATHS}
        async with running_hub(folder, partners=[cpo, emp]) as hub:
            yield hub, at_cpo, at_emp


def published() -> dict:
    record = evse("x", EvseID=EVSE, GeoCoordinates=google(52.480495, 13.356465), deltaType="insert", HubOperatorID=CPO)
    record |= {"PaymentOptions": ["No Payment"], "ChargingPoolID": f"{CPO}*P1234TEST*1", "MaxCapacity": 50}
    data = {"OperatorID": CPO, "OperatorName": "ABC technologies", "EvseDataRecord": [record]}
    return {"ActionType": "fullLoad", "OperatorEvseData": data}


async def test_its_cpo_publishes_for_a_sub_operator_and_its_emp_pulls(tmp_path):
    async with both(tmp_path) as (hub, _, _):
        pushed = await hub.post(f"evsepush/v23/operators/{CPO}/data-records", published())
        assert pushed.code == "000", pushed.json
        pull = {"ProviderID": EMP, "GeoCoordinatesResponseFormat": "Google", "OperatorIds": [CPO]}
        page = (await hub.post(f"evsepull/v23/providers/{EMP}/data-records", pull)).json
    assert [each["EvseID"] for each in page["content"]] == [EVSE]


async def test_its_cpo_authorizes_a_card_and_settles_at_the_own_paths_of_its_emp(tmp_path):
    async with both(tmp_path) as (hub, _, at_emp):
        ids = {"CPOPartnerSessionID": "1234XYZ", "EMPPartnerSessionID": "2345ABC"}
        started = (await hub.start(CPO, card(UID), EvseID=EVSE, PartnerProductID="AC 1", **ids)).json
        assert (started["AuthorizationStatus"], started["ProviderID"]) == ("Authorized", EMP)
        settled = await hub.settle(CPO, started["SessionID"], UID, EvseID=EVSE, HubOperatorID=CPO, HubProviderID=EMP)
        assert settled.code == "000"
        await eventually(lambda: len(at_emp) == 2)
    assert [path for path, _ in at_emp] == [
        f"/oicp_api/authorizestartv21?operatorID={CPO}",
        f"/oicp_api/chargedetailrecordv22?operatorID={CPO}",
    ]


async def test_its_emp_starts_and_stops_remotely_at_the_own_paths_of_its_cpo(tmp_path):
    async with both(tmp_path) as (hub, at_cpo, _):
        session = (await hub.remote_start(EMP, EVSE)).json["SessionID"]
        stop = {"SessionID": session, "ProviderID": EMP, "EvseID": EVSE}
        stopped = await hub.post(f"charging/v21/providers/{EMP}/authorize-remote/stop", stop)
    assert stopped.code == "000"
    assert [path for path, _ in at_cpo] == ["/oicp_api/authorizeremotestartv21", "/oicp_api/authorizeremotestopv21"]
