"""Plays the sequences, one after the other, and says how each went."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from time import perf_counter
from types import MappingProxyType

from p2p_oicp.clock import RandomMint
from p2p_oicp.errors import PeerError
from p2p_oicp.identity import BearerToken
from p2p_oicp.simulator.scenarios import charging, publishing, repeating
from p2p_oicp.simulator.scenarios.backends import Contracts, csms
from p2p_oicp.simulator.scenarios.stage import Caller, Endpoints, ScenarioFailed, Stage
from p2p_oicp.transport import OicpClient
from p2p_oicp.version import VERSION

Scenario = Callable[[Stage], Awaitable[None]]
SCENARIOS: Mapping[str, Scenario] = MappingProxyType(
    {
        "publish and discover": publishing.publish_and_discover,
        "authorize, charge, settle": charging.authorize_charge_settle,
        "remote start": charging.remote_start,
        "refused contract with its code": charging.refused_contract_with_its_code,
        "status reaches the EMP": publishing.status_reaches_the_emp,
        "delta converges": publishing.delta_converges,
        "fleet change without fullLoad": publishing.fleet_change_without_full_load,
        "second CDR refused or idempotent": charging.second_record,
        "stop by the right medium only": charging.stop_by_the_right_medium_only,
        "withdrawn EVSE": publishing.withdrawn_evse,
        "answer lost and repeated": repeating.answer_lost_and_repeated,
        "remote start repeated": repeating.remote_start_repeated,
    }
)
_MOST_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a sequence went: ``reason`` is None where it passed."""

    name: str
    seconds: float
    reason: str | None = None


async def play(
    ends: Endpoints, *, names: Collection[str] = (), cpo_token: str | None = None, emp_token: str | None = None
) -> AsyncIterator[Outcome]:
    """Play the sequences (those of ``names``, or all) and tell each outcome at once."""
    async with AsyncExitStack() as stack:
        cpo = await stack.enter_async_context(_client(cpo_token))
        emp = await stack.enter_async_context(_client(emp_token))
        uid = secrets.token_hex(4).upper()
        contracts = Contracts(str(ends.provider), uid)
        station = await stack.enter_async_context(csms(ends.cpo_port))
        backend = await stack.enter_async_context(contracts.backend(ends.emp_port))
        for name, scenario in SCENARIOS.items():
            if names and name not in names:
                continue
            station.heard.clear()
            backend.heard.clear()
            stage = Stage(
                ends,
                Caller("the CPO's endpoint", ends.cpo, str(ends.operator), cpo),
                Caller("the EMP's endpoint", ends.emp, str(ends.provider), emp),
                station,
                contracts,
                backend,
                uid,
            )
            yield await _played(name, scenario, stage)


async def _played(name: str, scenario: Scenario, stage: Stage) -> Outcome:
    begin = perf_counter()
    try:
        await scenario(stage)
    except (ScenarioFailed, PeerError) as error:
        return Outcome(name, perf_counter() - begin, str(error))
    except (KeyError, TypeError, ValueError) as error:
        return Outcome(name, perf_counter() - begin, f"an answer has not the members that OICP says: {error!r}")
    return Outcome(name, perf_counter() - begin)


def _client(token: str | None) -> OicpClient:
    signer = BearerToken(token) if token else None
    return OicpClient(
        mint=RandomMint(), signer=signer, user_agent=f"p2p-oicp scenarios/{VERSION}", max_body=_MOST_BYTES
    )
