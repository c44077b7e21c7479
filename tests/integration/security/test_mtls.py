"""Client certificates: who is let in by which, and who is not."""

import asyncio
import datetime as dt
import json
import ssl
import time

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from p2p_oicp.cli import peers as cli_peers
from p2p_oicp.crypto import keystore
from p2p_oicp.crypto.tls import Certificate, fingerprint_of, self_signed, unverified_context
from p2p_oicp.errors import ConfigurationError
from p2p_oicp.peers.descriptor import verify_descriptor
from tests.support.clients import SigningTestClient
from tests.support.messages import START, authorize_start
from tests.support.waiting import eventually


@pytest.fixture
def require() -> tuple[str, ...]:
    """What the two nodes want of each other."""
    return ("mtls",)


class Authority:
    """A certificate authority."""

    def __init__(self, folder, name: str = "Roaming CA") -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.certificate = self._sign(self.name, self.key.public_key(), is_ca=True, alternatives=())
        self.file = folder / "ca.crt"
        self.file.write_bytes(self.certificate.public_bytes(Encoding.PEM))

    def _sign(self, subject, key, *, is_ca: bool, alternatives) -> x509.Certificate:
        now = dt.datetime.now(dt.UTC)
        builder = (
            x509.CertificateBuilder().subject_name(subject).issuer_name(self.name).public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(minutes=1)).not_valid_after(now + dt.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        )  # fmt: skip
        if alternatives:
            names = [x509.UniformResourceIdentifier(name) for name in alternatives]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self.key, SHA256())

    def context(self, common_name: str, *alternatives: str, **names: str) -> ssl.SSLContext:
        """Return a client's context with a certificate of this CA; ``names`` are further ones of the subject."""
        key = ec.generate_private_key(ec.SECP256R1())
        more = [x509.NameAttribute(getattr(NameOID, kind), name) for kind, name in names.items()]
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name), *more])
        certificate = self._sign(subject, key.public_key(), is_ca=False, alternatives=alternatives)
        file = self.folder / f"{certificate.serial_number}.pem"
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        file.write_bytes(pem + certificate.public_bytes(Encoding.PEM))
        context = unverified_context()
        context.load_cert_chain(file)
        return context


@pytest.fixture
def authority(stopped, tmp_path) -> Authority:
    """A CA that node B accepts; A's certificate is not pinned there any more."""
    made = Authority(tmp_path / "ca")
    config, peers = stopped.folder / "b" / "node.toml", stopped.folder / "b" / "peers.toml"
    config.write_text(config.read_text() + f'ca = "{made.file}"\n')
    lines = [line for line in peers.read_text().splitlines() if not line.startswith("certificates")]
    peers.write_text("\n".join(lines) + "\n")
    return made


def caller(pair, tls: ssl.SSLContext | None) -> SigningTestClient:
    return SigningTestClient(pair.http, f"https://127.0.0.1:{pair.ports['b']}", pair.key("a"), tls, signs=False)


def refused(pair, answer, reason: str) -> None:
    assert (answer.status, answer.code) == (401, "017")
    assert reason in answer.json["StatusCode"]["AdditionalInfo"]
    assert not pair.contracts.starts


async def test_without_a_certificate_nothing_is_served(stopped):
    async with stopped.running("b"):
        answer = await caller(stopped, unverified_context()).post(START, authorize_start())
        refused(stopped, answer, "no client certificate")


async def test_an_untrusted_certificate_fails_in_the_handshake(stopped, tmp_path):
    stopped.write_certificate(tmp_path, "a", "DE*GEF")
    tls = unverified_context()
    tls.load_cert_chain(tmp_path / "tls.crt", tmp_path / "tls.key")
    async with stopped.running("b"):
        with pytest.raises(aiohttp.ClientError):
            await caller(stopped, tls).post(START, authorize_start())
    assert not stopped.contracts.starts


async def test_a_certificate_of_another_peer_authenticates_only_that_peer(stopped, tmp_path):
    stopped.write_certificate(tmp_path, "c", "DE*GEF")
    pinned = Certificate.from_pem((tmp_path / "tls.crt").read_bytes()).der_base64
    peers = stopped.folder / "b" / "peers.toml"
    peers.write_text(
        peers.read_text()
        + f'[[peer]]\nname = "node c"\nurl = "http://c"\noperators = ["DE*CCC"]\ncertificates = ["{pinned}"]\n'
    )
    tls = unverified_context()
    tls.load_cert_chain(tmp_path / "tls.crt", tmp_path / "tls.key")
    async with stopped.running("b"):
        refused(stopped, await caller(stopped, tls).post(START, authorize_start()), "node c does not speak for DE*GEF")


@pytest.mark.usefixtures("authority")
async def test_a_peer_that_was_removed_does_not_become_the_party_its_certificate_names(stopped, tmp_path):
    """The TLS library still accepts it; then it belongs to no peer."""
    stopped.write_certificate(tmp_path, "c", "DE*GEF")
    pinned = Certificate.from_pem((tmp_path / "tls.crt").read_bytes()).der_base64
    peers = stopped.folder / "b" / "peers.toml"
    before = peers.read_text()
    entry = f'[[peer]]\nname = "node c"\nurl = "http://c"\noperators = ["DE*CCC"]\ncertificates = ["{pinned}"]\n'
    peers.write_text(before + entry)
    tls = unverified_context()
    tls.load_cert_chain(tmp_path / "tls.crt", tmp_path / "tls.key")
    async with stopped.running("b") as b:
        peers.write_text(before)
        await b.reload()
        answer = await caller(stopped, tls).post(START, authorize_start())
        refused(stopped, answer, "the client certificate of nobody")


NAMED = {
    "common name": (("DE*GEF",), True),
    "alternative name": (("Greenfield", "DE*GEF"), True),
    "a name that begins like it": (("DE*GEFX",), False),
    "a name that contains it": (("CN=DE*GEF, O=Thief",), False),
    "another party": (("DE*CCC",), False),
    "another spelling": (("de*gef",), False),
    "no party": (("Greenfield",), False),
}


@pytest.mark.parametrize(("names", "is_accepted"), NAMED.values(), ids=NAMED)
async def test_a_certificate_of_the_ca_counts_if_it_names_the_party_as_a_whole(stopped, authority, names, is_accepted):
    async with stopped.running("b"):
        answer = await caller(stopped, authority.context(*names)).post(START, authorize_start())
        if is_accepted:
            assert answer.json["AuthorizationStatus"] == "Authorized"
        else:
            refused(stopped, answer, "the client certificate of nobody")


NO_NAMES = ["ORGANIZATIONAL_UNIT_NAME", "ORGANIZATION_NAME", "TITLE", "LOCALITY_NAME"]


@pytest.mark.parametrize("kind", NO_NAMES)
async def test_only_common_name_and_alternative_names_name_a_party(stopped, authority, kind):
    async with stopped.running("b"):
        answer = await caller(stopped, authority.context("Thief", **{kind: "DE*GEF"})).post(START, authorize_start())
        refused(stopped, answer, "the client certificate of nobody")


async def test_a_certificate_that_names_parties_of_two_peers_is_nobodys(stopped, authority):
    peers = stopped.folder / "b" / "peers.toml"
    peers.write_text(peers.read_text() + '[[peer]]\nname = "node c"\nurl = "http://c"\noperators = ["DE*CCC"]\n')
    async with stopped.running("b"):
        answer = await caller(stopped, authority.context("DE*GEF", "DE*CCC")).post(START, authorize_start())
        refused(stopped, answer, "the client certificate of nobody")


async def test_the_ca_cannot_issue_a_certificate_for_a_peer_that_is_pinned(stopped, tmp_path):
    authority = Authority(tmp_path / "ca")
    config = stopped.folder / "b" / "node.toml"
    config.write_text(config.read_text() + f'ca = "{authority.file}"\n')
    async with stopped.running("b"):
        answer = await caller(stopped, authority.context("DE*GEF")).post(START, authorize_start())
        refused(stopped, answer, "the client certificate of nobody")


async def test_a_server_with_neither_the_certificate_nor_the_key_of_b_is_sent_nothing(stopped):
    keys = stopped.folder / "b" / "keys"
    (keys / "node.key").unlink()
    (keys / "node.pub").unlink()
    keystore.generate(keys)
    stopped.write_certificate(keys, "b", "DE-GDF")
    async with stopped.running("a"), stopped.running("b"):
        answer = await stopped.a.post(START, authorize_start())
    assert answer.json["AuthorizationStatus"] == "NotAuthorized"
    assert not stopped.contracts.starts


async def test_old_tls_is_refused(stopped):
    tls = unverified_context()
    tls.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        tls.maximum_version = ssl.TLSVersion.TLSv1_1
    async with stopped.running("b"):
        with pytest.raises(aiohttp.ClientError):
            await caller(stopped, tls).post(START, authorize_start())


async def certificate_shown_by_b(pair) -> str:
    _, writer = await asyncio.open_connection("127.0.0.1", pair.ports["b"], ssl=unverified_context())
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    await writer.wait_closed()
    return fingerprint_of(shown)


async def certificates_announced_by_b(pair) -> tuple[str, ...]:
    url = f"https://127.0.0.1:{pair.ports['b']}/.well-known/oicp-p2p"
    async with pair.http.get(url, ssl=unverified_context()) as answer:
        return verify_descriptor(await answer.read()).descriptor.certificates


async def test_a_new_certificate_is_used_without_a_restart(stopped):
    async with stopped.running("b") as b:
        stopped.write_certificate(stopped.folder / "b" / "keys", "b", "DE-GDF")
        await b.reload()
        assert await certificate_shown_by_b(stopped) == stopped.certificate("b").fingerprint


async def test_a_certificate_whose_key_is_not_there_yet_changes_nothing(stopped):
    keys, before = stopped.folder / "b" / "keys", stopped.certificate("b")
    async with stopped.running("b") as b:
        old_key = (keys / "tls.key").read_bytes()
        stopped.write_certificate(keys, "b", "DE-GDF")
        new_key = (keys / "tls.key").read_bytes()
        (keys / "tls.key").write_bytes(old_key)
        await b.reload()
        assert await certificate_shown_by_b(stopped) == before.fingerprint
        assert await certificates_announced_by_b(stopped) == (before.der_base64,)
        (keys / "tls.key").write_bytes(new_key)
        await b.reload()
        assert await certificate_shown_by_b(stopped) == stopped.certificate("b").fingerprint


async def test_peers_follow_a_new_certificate_by_the_signed_descriptor(stopped):
    async with stopped.running("a"):
        stopped.write_certificate(stopped.folder / "b" / "keys", "b", "DE-GDF")
        async with stopped.running("b"):
            answer = await stopped.a.post(START, authorize_start())
    assert answer.json["AuthorizationStatus"] == "Authorized"


async def test_a_node_with_a_self_signed_certificate_can_be_inspected(stopped, capsys):
    async with stopped.running("b"):
        found = await cli_peers.fetch_verified_descriptor(f"https://127.0.0.1:{stopped.ports['b']}")
    assert found["fingerprint"] == stopped.key("b").key_id
    cli_peers.print_descriptor(found)
    assert "requires     mtls" in capsys.readouterr().out


async def test_a_node_that_requires_mtls_does_not_start_without_a_certificate(stopped):
    config = stopped.folder / "a" / "node.toml"
    config.write_text(config.read_text().split("[tls]")[0])
    with pytest.raises(ConfigurationError, match=r'\[security\] require has "mtls": expected \[tls\]'):
        async with stopped.running("a"):
            pass


def test_a_certificate_names_its_owner():
    _, pem = self_signed("node a", ["DE*GEF", "DE-GDF"], ["oicp.example", "127.0.0.1"], now=time.time(), days=1)
    certificate = Certificate.from_pem(pem)
    assert certificate.names() == {"node a", "DE*GEF", "DE-GDF", "oicp.example"}
    assert certificate.is_valid(time.time())
    assert not certificate.is_valid(time.time() + 2 * 86400)
    assert Certificate.from_base64(certificate.der_base64).fingerprint == certificate.fingerprint


@pytest.fixture
async def small_limit(stopped):
    """Two nodes of which B has a small limit of connections."""
    config = stopped.folder / "b" / "node.toml"
    config.write_text(config.read_text() + "[limits]\nconnections = 16\n")
    async with stopped.running("b"):
        yield stopped


class Connections:
    """Connections to node B; a task in ``ended`` is done when B has closed its connection."""

    def __init__(self, pair) -> None:
        self._port = pair.ports["b"]
        self._writers: list[asyncio.StreamWriter] = []
        self.ended: list[asyncio.Task] = []

    async def open(self, tls: ssl.SSLContext | None = None, first_bytes: bytes = b"") -> asyncio.Task:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port, ssl=tls)
        writer.write(first_bytes)
        self._writers.append(writer)
        self.ended.append(asyncio.create_task(reader.read()))
        return self.ended[-1]

    def count(self) -> int:
        return sum(task.done() for task in self.ended)

    async def close(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.gather(*self.ended, return_exceptions=True)


@pytest.fixture
async def connections(stopped):
    """Connections to node B, closed at the end."""
    made = Connections(stopped)
    yield made
    await made.close()


async def test_connections_without_a_handshake_evict_each_other_and_others_are_served(small_limit, connections):
    for number in range(200):
        await connections.open()
        await eventually(lambda ended=number + 1 - 128: connections.count() >= ended, timeout=5)
    assert (await small_limit.b_peer.post(START, authorize_start())).json["AuthorizationStatus"] == "Authorized"


async def test_connections_without_a_handshake_close_none_of_the_others(small_limit, connections):
    established = [await connections.open(small_limit.b_peer.tls) for _ in range(16)]
    for number in range(200):
        await connections.open()
        await eventually(lambda ended=number + 1 - 128: connections.count() >= ended, timeout=5)
    assert not any(task.done() for task in established)


async def test_a_failed_handshake_frees_its_connection(small_limit, connections):
    established = await connections.open(small_limit.b_peer.tls)
    for _ in range(40):
        await asyncio.wait([await connections.open(first_bytes=b"GET / HTTP/1.1\r\n\r\n")])
    assert not established.done()


async def test_a_handshake_that_outlasts_the_node_gets_503(stopped, caplog):
    """The parts that would serve the request are closed by then."""
    async with stopped.running("b"):
        reader, writer = await asyncio.open_connection("127.0.0.1", stopped.ports["b"])
        await asyncio.sleep(0.1)  # until it is accepted
    body = json.dumps(authorize_start()).encode()
    head = f"POST /api/oicp/{START} HTTP/1.1\r\nHost: b\r\nContent-Type: application/json\r\n"
    try:
        await writer.start_tls(stopped.b_peer.tls)
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    except (ConnectionError, asyncio.IncompleteReadError):
        answer = b"HTTP/1.1 503 "  # or cut off, which means the same to a client
    finally:
        writer.transport.abort()
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert "store_failed" not in caplog.text
