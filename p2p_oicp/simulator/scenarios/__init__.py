"""The classic onboarding sequences, played against any two OICP endpoints.

One endpoint plays the clearing house for a CPO's backend, the other for an EMP's; they may be the backend APIs of two
nodes, or one hub. `run_scenarios` is both backends: it sends the requests of a CSMS and of a contract system
(`messages`), serves the requests of the endpoints (`backends`), and reports of each sequence whether the endpoints
behaved as OICP demands, or the first deviation. `cases` has the sequences, `harness` the context that they run in.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from time import perf_counter
from types import MappingProxyType

from p2p_oicp.client import HttpTransport, OicpClient
from p2p_oicp.clock import SystemClock, UuidGenerator
from p2p_oicp.crypto import BearerToken
from p2p_oicp.errors import PeerError
from p2p_oicp.simulator.scenarios import cases
from p2p_oicp.simulator.scenarios.backends import ScriptedContracts, scripted_csms
from p2p_oicp.simulator.scenarios.harness import Endpoints, ScenarioContext, ScenarioFailed, TestClient
from p2p_oicp.version import VERSION

__all__ = ["SCENARIOS", "Endpoints", "ScenarioResult", "run_scenarios"]

Scenario = Callable[[ScenarioContext], Awaitable[None]]
SCENARIOS: Mapping[str, Scenario] = MappingProxyType(
    {
        "publish and discover": cases.publish_and_discover,
        "authorize, charge, settle": cases.authorize_charge_settle,
        "remote start": cases.remote_start,
        "refused contract with its code": cases.refused_contract_with_its_code,
        "status reaches the EMP": cases.status_reaches_the_emp,
        "delta converges": cases.delta_converges,
        "fleet change without fullLoad": cases.fleet_change_without_full_load,
        "second CDR refused or idempotent": cases.second_cdr,
        "stop by the right medium only": cases.stop_with_same_identification_only,
        "withdrawn EVSE": cases.withdrawn_evse,
        "answer lost and repeated": cases.retry_after_lost_response,
        "remote start repeated": cases.duplicate_remote_start,
    }
)
_MAX_BODY_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ScenarioResult:
    """The result of one sequence; ``reason`` is None if it passed."""

    name: str
    seconds: float
    reason: str | None = None


async def run_scenarios(
    endpoints: Endpoints, *, names: Collection[str] = (), cpo_token: str | None = None, emp_token: str | None = None
) -> AsyncIterator[ScenarioResult]:
    """Run the sequences (those of ``names``, or all) and yield each result at once."""
    async with AsyncExitStack() as stack:
        transport = HttpTransport(user_agent=f"p2p-oicp scenarios/{VERSION}", max_body=_MAX_BODY_BYTES)
        await stack.enter_async_context(transport)
        cpo, emp = _oicp_client(transport, cpo_token), _oicp_client(transport, emp_token)
        valid_uid = secrets.token_hex(4).upper()
        contracts = ScriptedContracts(str(endpoints.provider), valid_uid)
        csms_backend = await stack.enter_async_context(scripted_csms(endpoints.cpo_port))
        emp_backend = await stack.enter_async_context(contracts.backend(endpoints.emp_port))
        for name, scenario in SCENARIOS.items():
            if names and name not in names:
                continue
            # A sequence counts the requests that it causes.
            csms_backend.received.clear()
            emp_backend.received.clear()
            context = ScenarioContext(
                endpoints,
                TestClient("the CPO's endpoint", endpoints.cpo, str(endpoints.operator), cpo),
                TestClient("the EMP's endpoint", endpoints.emp, str(endpoints.provider), emp),
                csms_backend,
                contracts,
                emp_backend,
                valid_uid,
            )
            yield await _run_scenario(name, scenario, context)


async def _run_scenario(name: str, scenario: Scenario, context: ScenarioContext) -> ScenarioResult:
    started = perf_counter()
    try:
        await scenario(context)
    except (ScenarioFailed, PeerError) as error:
        return ScenarioResult(name, perf_counter() - started, str(error))
    except (KeyError, TypeError, ValueError) as error:
        return ScenarioResult(name, perf_counter() - started, f"a response lacks members that OICP demands: {error!r}")
    return ScenarioResult(name, perf_counter() - started)


def _oicp_client(transport: HttpTransport, token: str | None) -> OicpClient:
    credentials = BearerToken(token) if token else None
    return OicpClient(transport, ids=UuidGenerator(), clock=SystemClock(), credentials=credentials)
