"""Frames that break the rules, or stretch them: each ends with its close code, or is served, and nobody else feels it."""

import contextlib
import struct

import pytest

import sanitizer
from harness import BINARY, CLOSE, CONTINUATION, ECHO, PING, PONG, TEXT, close_payload, frame
from hostile import LIMIT_BYTES, make_room, serving, status_kb

CLAIMS = 1000  # connections
FRAGMENTS = 131_072  # that a message may have
ROUNDING_KB = 512  # what the heap of a process may round up to

pytestmark = pytest.mark.usefixtures("unharmed")


@pytest.fixture(scope="module")
def server(handlers):
    make_room(CLAIMS)
    with serving(ECHO + f"<Location /report>\nWebSocketHandler {handlers}/report.so\n</Location>\n") as running:
        running.expect(r"websocket:info.*/report\.so: ")
        yield running


def first(payload=b"begun", opcode=TEXT):
    """A message that goes on."""
    return frame(opcode, payload, fin=False)


def padded(opcode, payload, form):
    """A frame whose length has more bytes than it needs."""
    length = struct.pack("!BH", 0x80 | 126, len(payload)) if form == 126 else struct.pack("!BQ", 0x80 | 127, len(payload))
    return bytes([0x80 | opcode]) + length + b"\0\0\0\0" + payload


def fails(server, bad, code):
    """What came before is answered, then the client is told the code, and what comes behind is dropped."""
    with server.websocket() as client:
        client.send(frame(TEXT, "before") + bad + frame(TEXT, "behind") + frame(PING, "behind"))
        assert client.read_frame() == (TEXT, b"before")
        got = client.read_close()
        assert got[0] == code, got
        client.read_end()


def reserved_kb(server):
    """What the server has asked the system for, whether it has used it or not."""
    return sum(status_kb(pid, "VmData") for pid in server.children())


# --- lengths ---

@pytest.mark.memory(peak_kb=ROUNDING_KB, kept_kb=ROUNDING_KB)
@pytest.mark.parametrize("length, code", [
    (1 << 63, 1002), ((1 << 64) - 1, 1002), ((1 << 64) - 2, 1002), ((1 << 64) - 14, 1002), ((1 << 64) - 126, 1002),
    ((1 << 63) - 1, 1009), (1 << 62, 1009), (1 << 32, 1009), (LIMIT_BYTES + 1, 1009)], ids=hex)
def test_a_length_that_cannot_be_is_refused_at_once(server, length, code):
    fails(server, frame(BINARY, b"", length=length), code)


@pytest.mark.memory(peak_kb=ROUNDING_KB, kept_kb=ROUNDING_KB)
@pytest.mark.parametrize("length, code", [((1 << 63) - 1, 1009), ((1 << 64) - 5, 1002), ((1 << 64) - 1, 1002), (LIMIT_BYTES - 4, 1009)], ids=hex)
def test_a_length_whose_sum_with_the_fragments_before_cannot_be_is_refused_at_once(server, length, code):
    fails(server, first() + frame(CONTINUATION, b"", fin=False, length=length), code)


@pytest.mark.parametrize("form, size", [(126, 0), (126, 5), (126, 125), (127, 5), (127, 200), (127, 65535)])
def test_a_length_in_a_longer_form_than_it_needs_is_refused(server, form, size):
    fails(server, padded(BINARY, b"x" * size, form), 1002)


CLAIMS_KB = CLAIMS * 8  # of as many connections, each with the 4 KB that the first byte of a message takes


@pytest.mark.memory(peak_kb=CLAIMS_KB, kept_kb=CLAIMS_KB)
@pytest.mark.parametrize("begun", [b"", b"x"], ids=["header", "header-and-a-byte"])
def test_a_thousand_claims_of_a_long_message_reserve_nothing(server, begun):
    claim = frame(BINARY, b"", length=LIMIT_BYTES - 1) + begun
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(server.websocket()) for _ in range(CLAIMS)]
        before_kb = reserved_kb(server)
        for client in clients:
            client.send(claim)
        with server.websocket() as last:
            last.echo()  # all that was sent before has been read
            last.close()
        assert reserved_kb(server) - before_kb < CLAIMS_KB or sanitizer.NAME


# --- first bytes ---

@pytest.mark.parametrize("opcode", [TEXT, BINARY, CLOSE, PING, PONG])
@pytest.mark.parametrize("payload", [b"", close_payload(1000)], ids=["empty", "payload"])
def test_a_frame_without_mask_is_refused(server, opcode, payload):
    fails(server, frame(opcode, payload, mask=None), 1002)


def test_a_continuation_without_mask_is_refused(server):
    fails(server, first() + frame(CONTINUATION, b"rest", mask=None), 1002)


@pytest.mark.parametrize("rsv", range(1, 8))
@pytest.mark.parametrize("opcode", [TEXT, BINARY, CLOSE, PING, PONG])
def test_a_reserved_bit_is_refused(server, opcode, rsv):
    fails(server, frame(opcode, close_payload(1000), rsv=rsv), 1002)


@pytest.mark.parametrize("rsv", range(1, 8))
def test_a_reserved_bit_on_a_continuation_is_refused(server, rsv):
    fails(server, first() + frame(CONTINUATION, b"rest", rsv=rsv), 1002)


@pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
def test_an_opcode_that_nobody_has_defined_is_refused(server, opcode):
    fails(server, frame(opcode, b"x"), 1002)


# --- control frames and fragments ---

@pytest.mark.parametrize("opcode", [CLOSE, PING, PONG])
@pytest.mark.parametrize("size", [126, 65536])
def test_a_control_frame_of_more_than_125_bytes_is_refused(server, opcode, size):
    fails(server, frame(opcode, b"\x03\xe8" + b"x" * (size - 2)), 1002)


@pytest.mark.parametrize("opcode", [CLOSE, PING, PONG])
def test_a_fragmented_control_frame_is_refused(server, opcode):
    fails(server, frame(opcode, b"", fin=False) + frame(CONTINUATION, b""), 1002)


def test_pings_between_fragments_are_answered(server):
    with server.websocket() as client:
        client.send(first("one "))
        client.echo_of_ping(b"p" * 125)
        client.send(frame(CONTINUATION, "two ", fin=False))
        client.echo_of_ping(b"")
        client.send(frame(CONTINUATION, "three"))
        assert client.read_frame() == (TEXT, b"one two three")


@pytest.mark.parametrize("fin", [True, False], ids=["last", "not-last"])
@pytest.mark.parametrize("before", [b"", frame(BINARY, b"whole"), first() + frame(CONTINUATION, b"")],
                         ids=["at-once", "after-a-message", "after-fragments"])
def test_a_continuation_of_nothing_is_refused(server, before, fin):
    with server.websocket() as client:
        client.send(before + frame(CONTINUATION, b"rest", fin=fin) + frame(TEXT, "behind"))
        if before:
            client.read_frame()
        assert client.read_close()[0] == 1002
        client.read_end()


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("fin", [True, False], ids=["whole", "fragment"])
def test_a_new_message_inside_a_fragmented_one_is_refused(server, opcode, fin):
    fails(server, first() + frame(opcode, b"new", fin=fin), 1002)


# --- fragments without number ---

def test_65536_fragments_of_a_byte_are_a_message(server):
    count = 65536
    with server.websocket() as client:
        client.send(first(b"x", BINARY) + frame(CONTINUATION, b"x", fin=False) * (count - 2) + frame(CONTINUATION, b"x"))
        assert client.read_frame() == (BINARY, b"x" * count)


def send_without_end(client, data, code):
    """Until the server has had enough."""
    client.start_sending(data)
    assert client.read_close()[0] == code
    client.stop_sending()
    client.await_cut()


def test_fragments_that_never_end_meet_the_limit_of_a_message(server):
    with server.websocket() as client:
        send_without_end(client, first(b"x" * 1000, BINARY) + frame(CONTINUATION, b"x" * 1000, fin=False) * 8000, 1009)


@pytest.mark.parametrize("payload", [b"", b"x"], ids=["empty", "of-a-byte"])
def test_fragments_that_never_end_meet_the_limit_on_their_number(server, payload):
    with server.websocket() as client:
        send_without_end(client, first(b"x", BINARY) + frame(CONTINUATION, payload, fin=False) * 140_000, 1008)


def test_as_many_fragments_as_there_may_be_are_a_message(server):
    with server.websocket() as client:
        client.send(first(b"x", BINARY) + frame(CONTINUATION, b"", fin=False) * (FRAGMENTS - 2) + frame(CONTINUATION, b"x"))
        assert client.read_frame() == (BINARY, b"xx")
        client.send(first(b"x", BINARY) + frame(CONTINUATION, b"", fin=False) * (FRAGMENTS - 1) + frame(CONTINUATION, b"x"))
        assert client.read_close()[0] == 1008


# --- splits ---

@pytest.mark.parametrize("size", [5, 200, 70_000], ids=["short", "length-of-2-bytes", "length-of-8-bytes"])
def test_a_frame_may_be_split_at_every_byte(server, size):
    data = frame(BINARY, bytes(range(250)) * (size // 250) + bytes(size % 250))
    payload = frame(BINARY, bytes(range(250)) * (size // 250) + bytes(size % 250), mask=None)[-size:]
    with server.websocket() as client, server.websocket() as other:
        for offset in [*range(1, min(len(data), 40)), len(data) - 1]:
            client.send(data[:offset])
            other.echo()  # the one loop has read the first part
            client.send(data[offset:])
            assert client.read_frame() == (BINARY, payload)
        for byte in data[:250]:
            client.send(bytes([byte]))
        client.send(data[250:])
        assert client.read_frame() == (BINARY, payload)


# --- UTF-8 ---

# What makes a text impossible, up to the byte that settles it; and what comes behind.
IMPOSSIBLE = {
    "lone-continuation": (b"\x80", b""), "two-starts": (b"\xc3\xc3", b"\xa9"),
    "overlong-of-2-bytes": (b"\xc0", b"\x80"), "last-overlong-of-2-bytes": (b"\xc1", b"\xbf"),
    "overlong-of-3-bytes": (b"\xe0\x80", b"\x80"), "last-overlong-of-3-bytes": (b"\xe0\x9f", b"\xbf"),
    "overlong-of-4-bytes": (b"\xf0\x80", b"\x80\x80"), "last-overlong-of-4-bytes": (b"\xf0\x8f", b"\xbf\xbf"),
    "first-surrogate": (b"\xed\xa0", b"\x80"), "last-surrogate": (b"\xed\xbf", b"\xbf"), "pair-of-surrogates": (b"\xed\xa0", b"\x80\xed\xb0\x80"),
    "above-the-last-character": (b"\xf4\x90", b"\x80\x80"), "far-above": (b"\xf5", b"\x80\x80\x80"),
    "5-bytes": (b"\xf8", b"\x88\x80\x80\x80"), "6-bytes": (b"\xfc", b"\x84\x80\x80\x80\x80"), "fe": (b"\xfe", b""), "ff": (b"\xff", b""),
}
CUT_OFF = {"of-2": b"\xc3", "of-3": b"\xe2\x82", "of-4": b"\xf0\x9f\x98"}
GOOD = "Grüße, 世界 🌍 ".encode()


@pytest.mark.parametrize("settled, rest", IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_a_text_that_is_not_utf8_is_refused(server, settled, rest):
    fails(server, frame(TEXT, GOOD + settled + rest + GOOD), 1007)


@pytest.mark.parametrize("settled, rest", IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_a_text_is_refused_as_soon_as_it_cannot_be_utf8(server, settled, rest):
    with server.websocket() as in_a_frame, server.websocket() as in_fragments:
        in_a_frame.send(frame(TEXT, GOOD + settled, length=100_000))
        in_fragments.send(first(GOOD) + b"".join(frame(CONTINUATION, bytes([byte]), fin=False) for byte in settled))
        for client in [in_a_frame, in_fragments]:
            assert client.read_close()[0] == 1007
            client.read_end()


@pytest.mark.parametrize("end", CUT_OFF.values(), ids=CUT_OFF)
def test_a_text_that_ends_inside_a_character_is_refused(server, end):
    fails(server, frame(TEXT, GOOD + end), 1007)
    fails(server, first(GOOD) + frame(CONTINUATION, end), 1007)
    fails(server, first(GOOD + end) + frame(CONTINUATION, b""), 1007)


def test_characters_may_be_split_over_fragments(server):
    with server.websocket() as client:
        client.send(first(b"") + b"".join(frame(CONTINUATION, bytes([byte]), fin=False) for byte in GOOD) + frame(CONTINUATION, b""))
        assert client.read_frame() == (TEXT, GOOD)


# --- close frames ---

@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535])
def test_a_close_code_that_may_not_be_sent_is_refused(server, code):
    fails(server, frame(CLOSE, close_payload(code)), 1002)


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1011, 1012, 1013, 1014, 3000, 4999])
def test_a_close_code_that_may_be_sent_comes_back(server, code):
    with server.websocket() as client:
        client.close(code, "Grüße")


def test_a_close_frame_of_one_byte_is_refused(server):
    fails(server, frame(CLOSE, b"\x03"), 1002)


@pytest.mark.parametrize("reason", [b"\xff", b"\xed\xa0\x80", b"cut \xe2\x82", b"\xc0\x80"])
def test_a_close_reason_that_is_not_utf8_is_refused(server, reason):
    fails(server, frame(CLOSE, struct.pack("!H", 1000) + reason), 1007)


@pytest.mark.parametrize("before, behind", [
    (b"", frame(TEXT, "late")), (b"", frame(CLOSE, close_payload(4001, "second"))), (b"", frame(PING, "late")), (b"", b"\xff" * 100),
    (first(), b""), (first(), frame(CONTINUATION, "late"))],
    ids=["data-behind", "two-closes", "ping-behind", "garbage-behind", "inside-a-message", "inside-a-message-and-data-behind"])
def test_nothing_behind_a_close_frame_counts(server, name, before, behind):
    with server.websocket("/report?" + name) as client:
        client.send(before + frame(CLOSE, close_payload(4000, "first")) + behind)
        assert client.read_close() == (4000, "first")
        client.read_end()
    assert server.told_of_end(name) == ['4000 "first" clean after 0']
