"""Every metric of a node, with its labels; and what a node shows to Prometheus."""

from prometheus_client.parser import text_string_to_metric_families

#: By the name without its prefix; of a counter with ``_total``, of a histogram without ``_bucket`` and the like.
METRICS = {
    "peer_up": {"peer", "channel"},
    "peer_paused": {"peer"},
    "replication_lag_changes": {"peer", "channel"},
    "replication_lag_seconds": {"peer", "channel"},
    "delivery_failures_total": {"peer", "channel", "reason"},
    "outbox_messages": {"peer", "state"},
    "outbox_oldest_seconds": {"peer"},
    "webhook_lag_events": {"peer"},
    "event_clients": set(),
    "cdrs": {"role", "state"},
    "doubtful_cdrs": {"role"},
    "sessions": {"role", "state"},
    "requests_total": {"listener", "operation", "result"},
    "request_duration_seconds": {"listener", "operation"},
    "requests_rejected_total": {"listener", "reason"},
    "peer_request_duration_seconds": {"peer", "operation"},
    "signature_failures_total": {"peer", "reason"},
    "certificate_not_after_seconds": {"subject"},
    "key_valid_until_seconds": {"peer", "key"},
    "clock_skew_seconds": {"peer"},
    "event_loop_lag_seconds": set(),
    "database_bytes": set(),
    "held_records": {"peer", "party"},
    "pins_total": {"peer", "result"},
    "ocpi_held_cdrs": {"partner"},
    "ocpi_requests_total": {"partner", "module", "method", "status"},
    "build_info": {"version"},
}
PREFIX = "p2p_oicp_"
HISTOGRAMS = {name for name in METRICS if name.endswith("request_duration_seconds")}


async def families(pair, name: str) -> list:
    """What Prometheus is shown by a node."""
    async with pair.http.get(f"http://127.0.0.1:{pair.ports[name + ' backend']}/metrics") as response:
        assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        return list(text_string_to_metric_families(await response.text()))


async def samples(pair, name: str) -> dict:
    """All samples of a node, by name and by the values of the labels, in the order of the labels' names."""
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in await families(pair, name)
        for sample in family.samples
    }
