"""The classic onboarding sequences, played against any two OICP endpoints.

One endpoint plays the clearing house for a CPO's backend, the other for an EMP's; they may be the backend APIs of two
nodes, or one hub. `run_scenarios` is both backends: it sends the requests of a CSMS and of a contract system
(`messages`), serves the requests of the endpoints (`backends`), and reports of each sequence whether the endpoints
behaved as OICP demands, or the first deviation. `session_cases` and `dataset_cases` have the sequences, `harness` the
context that they run in. They use EVSEs and products of their own, and delete them; sessions and CDRs stay.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from time import perf_counter
from types import MappingProxyType

from p2p_oicp.client import HttpTransport
from p2p_oicp.simulator.scenarios import dataset_cases, session_cases
from p2p_oicp.simulator.scenarios.backends import ScriptedContracts, ScriptedCsms
from p2p_oicp.simulator.scenarios.harness import (
    Endpoints,
    ScenarioContext,
    ScenarioFailed,
    ScenarioSkipped,
    TestClient,
)
from p2p_oicp.version import VERSION

__all__ = ["SCENARIOS", "Endpoints", "ScenarioResult", "run_scenarios"]

Scenario = Callable[[ScenarioContext], Awaitable[None]]
SCENARIOS: Mapping[str, Scenario] = MappingProxyType(
    {
        "publish and discover": dataset_cases.publish_and_discover,
        "authorize, charge, settle": session_cases.authorize_charge_settle,
        "error notification": session_cases.error_notification,
        "remote start": session_cases.remote_start,
        "reservation": session_cases.reservation,
        "reservation at the other path": session_cases.reservation_at_other_path,
        "refused contract with its code": session_cases.refused_contract_with_its_code,
        "offline authorization": dataset_cases.offline_authorization,
        "status reaches the EMP": dataset_cases.status_reaches_the_emp,
        "prices per provider": dataset_cases.prices_per_provider,
        "delta converges": dataset_cases.delta_converges,
        "delta with deletion": dataset_cases.delta_with_deletion,
        "fleet change without fullLoad": dataset_cases.fleet_change_without_full_load,
        "second CDR refused or idempotent": session_cases.second_cdr,
        "CDR against the clock": session_cases.cdr_against_the_clock,
        "CDRs in pages": session_cases.cdrs_in_pages,
        "stop by the same identification": session_cases.stop_with_same_identification_only,
        "withdrawn EVSE": dataset_cases.withdrawn_evse,
        "answer lost and repeated": session_cases.retry_after_lost_response,
        "remote start repeated": session_cases.duplicate_remote_start,
        "fullLoad replaces": dataset_cases.full_load_replaces,
        "remote start with a late answer": session_cases.late_remote_start,
    }
)
_MAX_BODY_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ScenarioResult:
    """The result of one sequence; ``reason`` is why it failed, ``skipped`` why it was not played, None otherwise."""

    name: str
    seconds: float
    reason: str | None = None
    skipped: str | None = None


async def run_scenarios(
    endpoints: Endpoints, *, names: Collection[str] = (), cpo_token: str | None = None, emp_token: str | None = None
) -> AsyncIterator[ScenarioResult]:
    """Run the sequences (those of ``names``, or all) and yield each result at once."""
    async with AsyncExitStack() as stack:
        transport = HttpTransport(user_agent=f"p2p-oicp scenarios/{VERSION}", max_body=_MAX_BODY_BYTES)
        await stack.enter_async_context(transport)
        valid_uid, provider = secrets.token_hex(4).upper(), str(endpoints.provider)
        contracts = ScriptedContracts(provider, valid_uid)
        csms = await stack.enter_async_context(ScriptedCsms(endpoints.cpo_port))
        emp_backend = await stack.enter_async_context(contracts.backend(endpoints.emp_port))
        for name, scenario in SCENARIOS.items():
            if names and name not in names:
                continue
            # A sequence counts the requests that it causes.
            csms.received.clear()
            emp_backend.received.clear()
            context = ScenarioContext(
                endpoints,
                TestClient("the CPO's endpoint", endpoints.cpo, str(endpoints.operator), transport, cpo_token),
                emp_client := TestClient("the EMP's endpoint", endpoints.emp, provider, transport, emp_token),
                csms,
                contracts,
                emp_backend,
                valid_uid,
                await dataset_cases.find_operator_name(emp_client, str(endpoints.operator)),
            )
            yield await _run_scenario(name, scenario, context)


async def _run_scenario(name: str, scenario: Scenario, context: ScenarioContext) -> ScenarioResult:
    started, skipped, reasons = perf_counter(), None, []
    try:
        await scenario(context)
    except ScenarioSkipped as exc:
        skipped = str(exc)
    except ScenarioFailed as error:
        reasons.append(str(error))
    except (KeyError, TypeError, ValueError) as error:
        # An endpoint may put anything anywhere: what it was, its answer says.
        client = context.emp_client if context.emp_client.last is not None else context.cpo_client
        reasons.append(f"{client.unexpected('a message of OICP 2.3')}, which cannot be used: {error}")
    # What the endpoints sent to the backends has to be OICP as well.
    reasons += [*context.csms.faults()[:1], *context.emp_backend.faults()[:1]]
    reasons += await dataset_cases.withdraw(context)
    return ScenarioResult(name, perf_counter() - started, "; ".join(reasons) or None, skipped)
