import msgspec
import pytest

from p2p_oicp.storage.exchange_files import FileExchangeRing, read_files
from p2p_oicp.storage.exchanges import (
    Exchange,
    ExchangeFilter,
    ExchangePage,
    MemoryExchangeRing,
    RecordedBody,
    RingLimits,
    encode_page,
)

LIMITS = RingLimits(entries=80, bytes=1_000_000)


def exchange(**members) -> Exchange:
    defaults = {"at": 1.0, "seconds": 0.1, "direction": "in", "method": "POST", "path": "/api/oicp/x"}
    return Exchange(**defaults | members)


def numbers(page) -> list[int]:
    return [each.number for each in page.exchanges]


def bytes_in(folder) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


@pytest.fixture(params=["memory", "disk"])
def ring(request, tmp_path):
    return MemoryExchangeRing(LIMITS) if request.param == "memory" else FileExchangeRing(tmp_path / "ring", LIMITS)


def test_the_newest_are_read_with_rising_numbers(ring):
    ring.append([exchange() for _ in range(5)])
    ring.append([exchange() for _ in range(5)])
    assert numbers(ring.read(ExchangeFilter(limit=3))) == [8, 9, 10]


def test_after_a_number_the_oldest_come_first(ring):
    ring.append([exchange() for _ in range(50)])
    assert numbers(ring.read(ExchangeFilter(after=4, limit=3))) == [5, 6, 7]
    assert numbers(ring.read(ExchangeFilter(after=48, limit=3))) == [49, 50]
    assert numbers(ring.read(ExchangeFilter(after=50, limit=3))) == []


def test_the_oldest_make_room(ring):
    for _ in range(1000):
        ring.append([exchange()])
    page = ring.read(ExchangeFilter(limit=1000))
    assert 70 <= len(page.exchanges) <= 80
    assert (page.newest, page.oldest, numbers(page)) == (1000, numbers(page)[0], [*range(page.oldest, 1001)])


@pytest.mark.parametrize(
    "selection",
    [{"peer": "beta"}, {"peer": "backend:north"}, {"operation": "AuthorizeStart"}, {"session": "ABC"}],
    ids=lambda selection: next(iter(selection)),
)
def test_exchanges_are_filtered(ring, selection):
    ring.append([exchange(peer="alpha", operation="ChargeDetailRecord", session_id="def")])
    match = {"peer": "beta"} if selection == {"peer": "beta"} else {"backend": "north"}
    ring.append([exchange(operation="AuthorizeStart", session_id="abc", **match)])
    assert numbers(ring.read(ExchangeFilter(**selection))) == [2]


def test_a_follower_does_not_read_again_what_does_not_match(ring):
    ring.append([exchange(peer="alpha") for _ in range(20)])
    selection = ExchangeFilter(after=0, peer="beta")
    assert msgspec.json.decode(encode_page(ring.read(selection), selection, "disk"))["next"] == 20


def test_files_stay_within_their_bytes(tmp_path):
    limits = RingLimits(entries=1_000_000, bytes=100_000)
    ring = FileExchangeRing(tmp_path, limits)
    for size in [10, 3000, 40, 9000] * 100:
        ring.append([exchange(request=RecordedBody(size, start="x" * size))])
        assert bytes_in(tmp_path) <= limits.bytes
    assert bytes_in(tmp_path) > limits.bytes / 2


def test_memory_stays_within_its_bytes():
    ring = MemoryExchangeRing(RingLimits(entries=1_000_000, bytes=10_000))
    ring.append([exchange(request=RecordedBody(1000, start="x" * 1000)) for _ in range(50)])
    assert 5 <= len(ring.read(ExchangeFilter(limit=100)).exchanges) < 10


def test_a_body_that_no_file_has_room_for_is_left_out(tmp_path):
    ring = FileExchangeRing(tmp_path, RingLimits(entries=80, bytes=8000))
    ring.append([exchange(request=RecordedBody(5000, start="x" * 5000))])
    assert ring.read(ExchangeFilter()).exchanges[0].request == RecordedBody(5000)


def test_what_a_crash_has_left_of_a_line_is_cut_off(tmp_path):
    FileExchangeRing(tmp_path, LIMITS).append([exchange(), exchange()])
    (file,) = tmp_path.iterdir()
    with file.open("ab") as stream:
        stream.write(b'{"number":3,"at":')
    assert numbers(read_files(tmp_path, ExchangeFilter())) == [1, 2]
    ring = FileExchangeRing(tmp_path, LIMITS)
    ring.append([exchange()])
    assert numbers(ring.read(ExchangeFilter())) == [1, 2, 3]


def test_a_line_that_cannot_be_read_hides_no_other(tmp_path):
    ring = FileExchangeRing(tmp_path, LIMITS)
    ring.append([exchange() for _ in range(3)])
    (file,) = tmp_path.iterdir()
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(lines[0] + b"\0" * 20 + b"\n" + lines[2])
    assert numbers(ring.read(ExchangeFilter())) == [1, 3]


def test_numbers_go_on_after_a_restart_and_lower_limits_hold_at_once(tmp_path):
    FileExchangeRing(tmp_path, LIMITS).append([exchange() for _ in range(80)])
    ring = FileExchangeRing(tmp_path, RingLimits(entries=16, bytes=1_000_000))
    assert len(ring.read(ExchangeFilter()).exchanges) <= 16
    ring.append([exchange()])
    assert ring.read(ExchangeFilter()).newest == 81


def test_only_its_owner_may_read_it(tmp_path):
    FileExchangeRing(tmp_path / "ring", LIMITS).append([exchange()])
    (file,) = (tmp_path / "ring").iterdir()
    assert [path.stat().st_mode & 0o777 for path in (tmp_path / "ring", file)] == [0o700, 0o600]


def test_a_follower_goes_on_behind_the_last_shown_if_more_was_written_meanwhile():
    page = ExchangePage([exchange(number=1), exchange(number=2)], 1, 1)
    assert msgspec.json.decode(encode_page(page, ExchangeFilter(after=0), "disk"))["next"] == 2


def test_numbers_go_on_after_all_were_deleted(ring):
    ring.append([exchange() for _ in range(50)])
    for _ in range(2):
        ring.clear()
    page = ring.read(ExchangeFilter())
    assert (page.exchanges, page.oldest, page.newest) == ([], 51, 50)
    ring.append([exchange()])
    assert numbers(ring.read(ExchangeFilter())) == [51]


def test_they_do_so_after_a_restart(tmp_path):
    ring = FileExchangeRing(tmp_path, LIMITS)
    ring.append([exchange() for _ in range(50)])
    ring.clear()
    ring = FileExchangeRing(tmp_path, LIMITS)
    ring.append([exchange()])
    assert numbers(ring.read(ExchangeFilter())) == [51]
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
