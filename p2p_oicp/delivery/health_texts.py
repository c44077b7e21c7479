"""What people read of a failure: one sentence that says what is wrong, and one that says what to do.

For each `FailureCause` of a call, and for each `Condition` that is not one call's failure. ``{name}`` is the peer or
the backend. A backend is the company's own, so its cures name the table ``[[backends]]`` instead of the other company.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

from p2p_oicp.errors import FailureCause as Cause


class Condition(StrEnum):
    """What needs a person, and is not the failure of one call."""

    DEAD_LETTERS = "dead letters"
    QUEUE_GROWING = "queue growing"
    MESSAGES_HELD = "messages held"
    CDRS_HELD = "CDRs held"
    RESTORED = "restored"
    HELD = "held"
    REFUSED_HERE = "refused here"
    PAUSED = "paused"
    CLOCK_APART = "clock apart"
    INSECURE = "insecure"
    DISK_NEARLY_FULL = "disk nearly full"
    DATABASE_FAILED = "database failed"
    CERTIFICATE_ENDS = "certificate ends"
    KEY_ENDS = "signing key ends"
    KEY_OF_PEER_ENDS = "signing key of a peer ends"
    NODE_DOWN = "node down"
    NOT_REGISTERED = "not registered"
    SUSPENDED = "suspended"


class Explanation(NamedTuple):
    """A sentence, and the cure; both for people."""

    text: str
    cure: str


_ASK = "Call {name}'s operator"
_PEER: Mapping[Cause, Explanation] = MappingProxyType(
    {
        Cause.CANNOT_CONNECT: Explanation(
            "Nothing answers at the address of {name}.",
            f"Check the url of {{name}} and the firewalls between you; if both are right, its node is down: {_ASK}.",
        ),
        Cause.UNKNOWN_HOST: Explanation(
            "The host name in the url of {name} is not known.",
            "Correct the url of {name} in the peers file, or the DNS that this machine uses.",
        ),
        Cause.TIMEOUT: Explanation(
            "{name} takes a request and does not answer in time.",
            f"Its node, or a proxy before it, hangs: {_ASK}.",
        ),
        Cause.BUSY: Explanation(
            "{name} has no room for our requests at present (429 or 503).",
            f"It goes on by itself; if it lasts, {_ASK.lower()} about its limits.",
        ),
        Cause.UNTRUSTED_CERTIFICATE: Explanation(
            "The certificate that {name} shows is not trusted here: no CA that this node knows has issued it.",
            "Put {name}'s CA into [tls] ca (or SSL_CERT_FILE), or its certificate into its entry (certificates = […]).",
        ),
        Cause.WRONG_HOST_NAME: Explanation(
            "The certificate that {name} shows is for another host name than its url has.",
            "Correct the url of {name}, or have {name} get a certificate for the name in the url.",
        ),
        Cause.EXPIRED_CERTIFICATE: Explanation(
            "The certificate of {name} has expired.",
            f"Only {{name}} can renew it: {_ASK}. If it is valid, the clock of this machine is wrong.",
        ),
        Cause.CERTIFICATE_NOT_YET_VALID: Explanation(
            "The certificate of {name} is not valid yet.",
            "Compare the clock of this machine with the right time; if it is right, {name}'s certificate is not.",
        ),
        Cause.TLS_FAILED: Explanation(
            "The TLS connection to {name} fails.",
            "Check that both sides speak TLS at this url, and that {name} knows our client certificate ([tls]).",
        ),
        Cause.CLOCK_OFF: Explanation(
            "The clocks of this node and of {name} differ by more than the five minutes that signatures allow.",
            "Compare both clocks with the right time (chronyc tracking, timedatectl), and set the wrong one.",
        ),
        Cause.UNKNOWN_KEY: Explanation(
            "A signing key is unknown: {name} does not know ours, or this node does not know its.",
            "Compare the fingerprints (p2p-oicp peers inspect URL, at both sides); pair again or correct the entry.",
        ),
        Cause.SIGNATURE_INVALID: Explanation(
            "The answers of {name} carry no valid signature.",
            "Its node does not sign, or a proxy changes its answers: compare [security] require at both sides.",
        ),
        Cause.CREDENTIALS_REFUSED: Explanation(
            "{name} does not accept who we are.",
            "Read its reason below; {name} has to know our key or certificate: pair again, or have it corrected there.",
        ),
        Cause.PARTY_REFUSED: Explanation(
            "{name} does not accept one of our parties.",
            f"It has to add that OperatorID or ProviderID to its entry of us: {_ASK}.",
        ),
        Cause.MESSAGE_REFUSED: Explanation(
            "{name} refuses some of what we send, and takes the rest.",
            "Read its reason below and correct that record in the own backend; a corrected one is sent by itself.",
        ),
        Cause.BODY_TOO_LARGE: Explanation(
            "A proxy before {name} does not take bodies of the size that is needed (413).",
            "Have {name} raise the limit of its proxy (nginx: client_max_body_size 32m).",
        ),
        Cause.FORBIDDEN_BY_PROXY: Explanation(
            "Something before {name} forbids our requests (401 or 403 without OICP): a proxy, not its node.",
            f"Its proxy has to let our address through to its node: {_ASK}.",
        ),
        Cause.BAD_GATEWAY: Explanation(
            "The proxy before {name} answers, and does not reach its node (502, 503 or 504).",
            f"Its node is down, or its proxy has a wrong address of it: {_ASK}.",
        ),
        Cause.SERVER_ERROR: Explanation(
            "{name} answers with an error of its own.",
            f"Read its answer below; only {{name}} can mend it: {_ASK}.",
        ),
        Cause.NOT_OICP: Explanation(
            "What answers at the address of {name} does not speak OICP, such as a web page.",
            "Correct the url of {name} (its path, too), or have {name} correct the paths of its proxy.",
        ),
        Cause.REDIRECTED: Explanation(
            "The address of {name} redirects to another one, which signatures do not allow.",
            "Put the new address into the url of {name}.",
        ),
        Cause.ANOTHER_SYSTEM: Explanation(
            "Another node answers at the address of {name}.",
            "Correct the url of {name}; two nodes may have changed their ports or names.",
        ),
        Cause.INTERNAL_ERROR: Explanation(
            "Sending to {name} meets a bug of this node.",
            "Report it with the lines of the log around it; nothing is lost meanwhile.",
        ),
        Cause.OTHER: Explanation(
            "Calls to {name} fail.", "Read the reason below; p2p-oicp peers inspect URL shows who answers there."
        ),
    }
)
# The peer calls this node, and tells what became of it; {url} is the one that it has of this node.
_CALLED_BACK: Mapping[Cause, Explanation] = MappingProxyType(
    {
        Cause.CANNOT_CONNECT: Explanation(
            "{name} does not reach this node: nothing answers at {url}.",
            "Check [peer_api] url, port and host of node.toml, the firewall and the port forwarding before this node.",
        ),
        Cause.UNKNOWN_HOST: Explanation(
            "{name} does not know the host name in {url}, its address of this node.",
            "Correct [peer_api] url of node.toml, or the DNS entry of that name; then {name} needs the right one, too.",
        ),
        Cause.TIMEOUT: Explanation(
            "{name} connects to {url}, and gets no answer of this node in time.",
            "Look for a proxy before this node that hangs, or has another address of it.",
        ),
        Cause.UNTRUSTED_CERTIFICATE: Explanation(
            "{name} does not trust the certificate that it is shown at {url}.",
            "Send {name} your CA, for its [tls] ca or SSL_CERT_FILE, or your certificate, for its entry of you.",
        ),
        Cause.WRONG_HOST_NAME: Explanation(
            "The certificate that {name} is shown at {url} is for another host name.",
            "Get a certificate for the name in [peer_api] url, or correct that url.",
        ),
        Cause.EXPIRED_CERTIFICATE: Explanation(
            "The certificate that {name} is shown at {url} has expired.",
            "Renew it, and send SIGHUP to the node (or reload the proxy that shows it).",
        ),
        Cause.TLS_FAILED: Explanation(
            "The TLS connection of {name} to {url} fails.",
            "Check that what listens there speaks TLS, and that this node knows the client certificate of {name}.",
        ),
        Cause.CLOCK_OFF: _PEER[Cause.CLOCK_OFF],
        Cause.UNKNOWN_KEY: _PEER[Cause.UNKNOWN_KEY],
        Cause.SIGNATURE_INVALID: Explanation(
            "{name} gets answers from {url} that carry no valid signature of this node.",
            "Have your proxy pass answers on as they are, and compare [security] require at both sides.",
        ),
        Cause.CREDENTIALS_REFUSED: Explanation(
            "This node does not accept who {name} is.",
            "Read the reason below; this node has to know its key or certificate: pair again, or correct its entry.",
        ),
        Cause.PARTY_REFUSED: Explanation(
            "This node does not accept one of the parties of {name}.",
            "p2p-oicp peers accept NAME agrees to them, or add them to its entry in the peers file.",
        ),
        Cause.FORBIDDEN_BY_PROXY: Explanation(
            "A proxy before this node forbids the requests of {name} (401 or 403).",
            "Let its address through in your proxy.",
        ),
        Cause.BAD_GATEWAY: Explanation(
            "The proxy at {url} does not reach this node (502, 503 or 504).",
            "Correct the address of this node in your proxy: host and port of [peer_api].",
        ),
        Cause.NOT_OICP: Explanation(
            "What answers {name} at {url} is not this node, but something such as a web page.",
            "Correct [peer_api] url of node.toml, or the paths of your proxy: /p2p, /api/oicp and /.well-known.",
        ),
        Cause.REDIRECTED: Explanation(
            "{url} redirects {name} to another address, which signatures do not allow.",
            "Put the new address into [peer_api] url, and have {name} correct its entry of you.",
        ),
        Cause.ANOTHER_SYSTEM: Explanation(
            "Another node answers {name} at {url}.", "Correct [peer_api] url of node.toml, or the entry of {name}."
        ),
        Cause.OTHER: Explanation(
            "The calls of {name} to this node fail.", "Read the reason below; {name}'s log has the same request."
        ),
    }
)
_TABLE = "[[backends]] (or cpo_url, emp_url)"
_BACKEND: Mapping[Cause, Explanation] = MappingProxyType(
    {
        Cause.CANNOT_CONNECT: Explanation(
            "Our own {name} is absent: nothing answers at its address.",
            f"Start it, or correct its url in {_TABLE}.",
        ),
        Cause.TIMEOUT: Explanation(
            "Our own {name} hangs: it takes a request and does not answer in time.",
            "Look into its log, and restart it if need be; timeouts stand in its table of node.toml.",
        ),
        Cause.BUSY: Explanation(
            "Our own {name} has no room for more requests.",
            "It goes on by itself; concurrent in its table of node.toml says how many it gets at a time.",
        ),
        Cause.CREDENTIALS_REFUSED: Explanation(
            "Our own {name} refuses our credentials.",
            f"Correct token, certificate or signature of its table in {_TABLE}.",
        ),
        Cause.FORBIDDEN_BY_PROXY: Explanation(
            "Our own {name} refuses our credentials (401 or 403).",
            f"Correct token, certificate or signature of its table in {_TABLE}.",
        ),
        Cause.PARTY_REFUSED: Explanation(
            "Our own {name} does not accept one of our parties.",
            "Set up that OperatorID or ProviderID in it, or in its table of node.toml.",
        ),
        Cause.MESSAGE_REFUSED: Explanation(
            "Our own {name} refuses some of what it is sent.",
            "Read its reason below, and correct the system or the record.",
        ),
        Cause.UNTRUSTED_CERTIFICATE: Explanation(
            "The certificate of our own {name} is not trusted here.",
            "Put its CA into ca of its table in node.toml.",
        ),
        Cause.SERVER_ERROR: Explanation(
            "Our own {name} answers with an error of its own.", "Look into its log; what it was sent is sent again."
        ),
        Cause.NOT_OICP: Explanation(
            "What answers at the address of our own {name} does not speak OICP.",
            f"Correct url and path of its table in {_TABLE}.",
        ),
    }
)
_WEBHOOK: Mapping[Cause, Explanation] = MappingProxyType(
    {
        Cause.NOT_OICP: Explanation(
            "What answers at the url of {name} takes no events.",
            "Read its reason below, and correct its url; p2p-oicp webhooks test tries it. Nothing is lost meanwhile.",
        ),
        Cause.REDIRECTED: Explanation(
            "The url of {name} redirects to another one, which is not followed.", "Put the new address into its url."
        ),
    }
)
_OCPI: Mapping[Cause, Explanation] = MappingProxyType(
    {
        Cause.CREDENTIALS_REFUSED: Explanation(
            "{name} refuses our credentials.",
            "p2p-oicp ocpi refresh, with the name of the partner, exchanges them anew.",
        ),
        Cause.ANOTHER_SYSTEM: Explanation(
            "What answers at the address of {name} does not speak OCPI.",
            "Read the reason below; p2p-oicp ocpi partners shows the addresses that it has given.",
        ),
        Cause.OTHER: Explanation(
            "The last request to {name} failed.", "Read the reason below; the partner's log has the same request."
        ),
    }
)
_CONDITIONS: Mapping[Condition, Explanation] = MappingProxyType(
    {
        Condition.DEAD_LETTERS: Explanation(
            "{name} has refused messages for good; they wait for a person.",
            "p2p-oicp outbox list --dead shows why; then outbox retry ID, or outbox drop ID.",
        ),
        Condition.QUEUE_GROWING: Explanation(
            "Messages for {name} are sent more slowly than they come.",
            "It goes on by itself if {name} becomes faster; p2p-oicp outbox list shows what waits.",
        ),
        Condition.MESSAGES_HELD: Explanation(
            "Messages wait for {name}, which is configured no more.",
            "p2p-oicp outbox move --to NAME gives them to another backend.",
        ),
        Condition.CDRS_HELD: Explanation(
            "CDRs of {name} belong to no session that is known, or cannot be carried: nobody is billed for them.",
            "p2p-oicp ocpi held NAME shows them with their reasons; assign carries one, drop decides against it.",
        ),
        Condition.RESTORED: Explanation(
            "The database of {name} is another one (a restore, or a new node): everything is sent to it again.",
            "Nothing is to be done; it ends when {name} has everything.",
        ),
        Condition.HELD: Explanation(
            "What {name} says of itself does not count yet.",
            "p2p-oicp peers list shows what is held; ask {name} whether it is right, then: p2p-oicp peers accept NAME.",
        ),
        Condition.REFUSED_HERE: Explanation(
            "Requests in the name of {name} are refused by this node.",
            "Read the reason below; if it is {name}, it or this node has to correct key, clock or parties.",
        ),
        Condition.PAUSED: Explanation(
            "Deliveries to {name} are paused by a person: what is for it waits, and is not lost.",
            "They go on with p2p-oicp peers resume NAME, or by the page of the peer.",
        ),
        Condition.CLOCK_APART: Explanation(
            "The clock of {name} differs from ours.",
            "Compare both clocks with the right time; above five minutes, signatures are refused.",
        ),
        Condition.INSECURE: Explanation(
            "{name} is not authenticated: anyone may speak for it.",
            'Set [security] require = ["signature"], or security of its entry.',
        ),
        Condition.DISK_NEARLY_FULL: Explanation(
            "The disk of the database is nearly full.",
            "Make room, or move data_dir to a larger disk; when it is full, every request is refused (503).",
        ),
        Condition.DATABASE_FAILED: Explanation(
            "The database cannot be written.", "Read the reason below; the node goes on by itself when it is mended."
        ),
        Condition.CERTIFICATE_ENDS: Explanation(
            "A certificate of this node ends soon.",
            "Replace the files of [tls] or [backend_api], and send SIGHUP to the node.",
        ),
        Condition.KEY_ENDS: Explanation(
            "The last signing key of this node ends soon.", "Make another one: p2p-oicp keys rotate."
        ),
        Condition.KEY_OF_PEER_ENDS: Explanation(
            "The last signing key of {name} ends soon.",
            f"Only {{name}} can make another one, and its hello brings it here: {_ASK}.",
        ),
        Condition.NOT_REGISTERED: Explanation(
            "{name} is not registered yet: nothing is sent to it, and it can send nothing.",
            "p2p-oicp ocpi invite, or p2p-oicp ocpi register, with the name of the partner.",
        ),
        Condition.SUSPENDED: Explanation(
            "{name} refuses our credentials, again and again: nothing is sent to it any more.",
            "p2p-oicp ocpi refresh exchanges them anew; if it fails, unregister the partner and register it again.",
        ),
        Condition.NODE_DOWN: Explanation("The node does not run.", "Start it: p2p-oicp run."),
    }
)


def explain(cause: str, name: str, *, is_backend: bool = False) -> Explanation:
    """Return what a cause means for the peer or backend ``name``, and what to do."""
    if cause in set(Condition):
        found = _CONDITIONS[Condition(cause)]
    else:
        known = Cause(cause) if cause in set(Cause) else Cause.OTHER
        found = _BACKEND.get(known, _PEER[known]) if is_backend else _PEER[known]
        if name.startswith("webhook:"):
            found = _WEBHOOK.get(known) or Explanation(found.text, found.cure.replace(_TABLE, "[[webhooks]]"))
        if name.startswith("ocpi:"):
            found = _OCPI.get(known) or Explanation(found.text, found.cure.replace(_TABLE, "[[ocpi.partners]]"))
    return Explanation(found.text.format(name=name), found.cure.format(name=name))


def explain_call_back(cause: str, name: str, url: str) -> Explanation:
    """Return what a cause means where the peer ``name`` calls this node at ``url``, and what to do."""
    known = Cause(cause) if cause in set(Cause) else Cause.OTHER
    found = _CALLED_BACK.get(known, _CALLED_BACK[Cause.OTHER])
    return Explanation(found.text.format(name=name, url=url), found.cure.format(name=name, url=url))
