"""The webhooks of a node: those of ``node.toml``, and those that are added and removed while it runs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import orjson
import structlog

from p2p_oicp.concurrency import TaskSupervisor
from p2p_oicp.config.webhooks import WebhookSettings, webhook_destination
from p2p_oicp.delivery.outbox import OutboxDispatcher
from p2p_oicp.delivery.webhooks import WebhookParts, WebhookSender, WebhookTarget, filter_of
from p2p_oicp.errors import ConfigurationError, StoreError
from p2p_oicp.events.cloud_events import encode_event
from p2p_oicp.storage import Transaction, event_queries, job_keys, webhooks
from p2p_oicp.storage.event_log import Event, EventType, emit
from p2p_oicp.storage.peer_state import Destination

log = structlog.get_logger(__name__)

# Events between the one that was written and the newest: others are written at the same moment.
_MAX_EVENTS_SINCE_TEST = 1000


class Webhook(NamedTuple):
    """A webhook that is served.

    Attributes:
        settings: of it.
        is_configured: whether it stands in ``node.toml``.
        target: where its events are sent.
        sender: sends them.
    """

    settings: WebhookSettings
    is_configured: bool
    target: WebhookTarget
    sender: WebhookSender


class UnknownWebhook(ConfigurationError):
    """No webhook of a name, or one that may not be changed here."""


class WebhookPool:
    """Owns the workers of all webhooks.

    Args:
        configured: those of ``node.toml``.
        parts: what they share.
    """

    def __init__(self, configured: Sequence[WebhookSettings], parts: WebhookParts) -> None:
        self._configured = configured
        self._parts = parts
        self._feed = parts.feed
        self._store = parts.store
        self._supervisor: TaskSupervisor | None = None
        self._webhooks: dict[str, Webhook] = {}
        for each in configured:
            _check_filter(each)

    def __repr__(self) -> str:
        return f"<WebhookPool webhooks={len(self._webhooks)}>"

    @property
    def all(self) -> list[Webhook]:
        """All webhooks, by name."""
        return [self._webhooks[name] for name in sorted(self._webhooks)]

    async def behind(self) -> dict[str, int]:
        """Return by the destination of each webhook how many events its receiver has not got yet."""
        return {each.target.name: await each.sender.behind() for each in self.all}

    async def start(self, supervisor: TaskSupervisor) -> None:
        """Start all workers; what is no more in ``node.toml`` is deleted with its dead letters.

        Raises StoreError.
        """
        self._supervisor = supervisor
        stored = {each.name: each for each in await webhooks.list_now(self._store)}
        names = {each.name for each in self._configured}
        gone = [each.name for each in stored.values() if not each.settings and each.name not in names]
        last = await self._feed.last_number()
        if gone or not names <= stored.keys():
            about = tuple(job_keys.destination(webhook_destination(name)) for name in (*gone, *names))
            await self._store.write(partial(self._adopt, gone=gone, position=last), about=about)
        for settings in self._configured:
            known = stored.get(settings.name)
            self._start(settings, last if known is None else known.position, is_configured=True)
        for each in stored.values():
            # Those of node.toml go before those that have been added.
            if each.settings and each.name not in names:
                self._start(_from_json(each.settings), each.position, is_configured=False)

    def _adopt(self, tx: Transaction, gone: Sequence[str], position: int) -> None:
        for name in gone:
            webhooks.remove(tx, name, webhook_destination(name))
        for settings in self._configured:
            webhooks.add(tx, settings.name, b"", position)

    def _start(self, settings: WebhookSettings, position: int, *, is_configured: bool) -> None:
        if self._supervisor is None:
            raise RuntimeError("webhooks are started first")
        parts, register, destination = self._parts, self._parts.wakeups.register, settings.destination
        target = WebhookTarget(settings, parts)
        wakeup = register(Destination(destination))
        dispatcher = OutboxDispatcher(
            target, store=parts.store, wakeup=wakeup, clock=parts.clock, backoff=parts.backoff
        )
        wakeup = register(Destination(destination, webhooks.EVENTS_CHANNEL))
        sender = WebhookSender(target, position, wakeup=wakeup, parts=parts)
        self._webhooks[settings.name] = Webhook(settings, is_configured, target, sender)
        outbox_task, events_task = _task_names(settings.name)
        self._supervisor.start_service(outbox_task, dispatcher.run)
        self._supervisor.start_service(events_task, sender.run)

    async def add(self, settings: WebhookSettings) -> None:
        """Add a webhook, which gets what happens from now on. Raises ConfigurationError, StoreError."""
        _check_filter(settings)
        position = await self._feed.last_number()
        job = partial(webhooks.add, name=settings.name, settings=_to_json(settings), position=position)
        # The database decides: two may want one name at once.
        if not await self._store.write(job, about=(job_keys.destination(settings.destination),)):
            raise ConfigurationError(f"there is a webhook {settings.name} already; remove it first")
        self._start(settings, position, is_configured=False)
        log.info("webhook.added", webhook=settings.name)

    async def remove(self, name: str) -> None:
        """Remove a webhook that was added, with its dead letters. Raises ConfigurationError, StoreError."""
        webhook = self.get(name)
        if webhook.is_configured:
            raise UnknownWebhook(f"{name} stands in node.toml: remove its table there, and start the node again")
        # Order: stopped first, or a dead letter could be written after those of the webhook are deleted.
        self._stop(webhook)
        job = partial(webhooks.remove, name=name, destination=webhook.target.name)
        try:
            await self._store.write(job, about=(job_keys.destination(webhook.target.name),))
        except StoreError:
            self._start(webhook.settings, webhook.sender.position, is_configured=False)
            raise
        log.info("webhook.removed", webhook=name)

    def _stop(self, webhook: Webhook) -> None:
        name = webhook.settings.name
        if self._supervisor is not None:
            for task in _task_names(name):
                self._supervisor.stop(task)
        self._parts.wakeups.unregister(webhook.target.name)
        del self._webhooks[name]

    def get(self, name: str) -> Webhook:
        """Return a webhook. Raises ConfigurationError."""
        if name not in self._webhooks:
            raise UnknownWebhook(f"there is no webhook {name}; p2p-oicp webhooks list shows them")
        return self._webhooks[name]

    async def test(self, name: str) -> str:
        """Write an event ``webhook.test``, send it to a webhook at once, whatever it selects, and return its id.

        Raises ConfigurationError, StoreError, and PeerError if it is not taken.
        """
        webhook = self.get(name)
        before, now = await self._feed.last_number(), self._parts.clock.time()
        event_of_test = Event(EventType.WEBHOOK, "test", now, name)
        await self._store.write(partial(emit, event=event_of_test), about=job_keys.ANY_ORDER)
        written = await event_queries.events_after(self._store, before, _MAX_EVENTS_SINCE_TEST, [EventType.WEBHOOK])
        numbered = next(each for each in written if (each.event.what, each.event.subject) == ("test", name))
        event = encode_event(await self._feed.view.view(numbered), self._parts.source)
        await webhook.target.post([event.body])
        return event.id


def _task_names(name: str) -> tuple[str, str]:
    return f"outbox of webhook {name}", f"events to webhook {name}"


def _check_filter(settings: WebhookSettings) -> None:
    try:
        filter_of(settings)
    except ValueError as error:
        raise ConfigurationError(f'[[webhooks]] "{settings.name}": {error}') from error


def _to_json(settings: WebhookSettings) -> bytes:
    members = settings.model_dump(mode="json", exclude_defaults=True)
    if settings.token is not None:
        members["token"] = settings.token.get_secret_value()
    return orjson.dumps(members)


def _from_json(settings: bytes) -> WebhookSettings:
    return WebhookSettings.model_validate_json(settings)
