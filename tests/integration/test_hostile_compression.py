"""Compressed messages that mean harm (RFC 7692): each gets its answer, in bounded memory, and nobody else feels it."""

import contextlib
import os
import zlib

import pytest

import sanitizer
from deflate import RSV1, Deflating, deflated, next_payload
from harness import BINARY, CLOSE, CONTINUATION, ECHO, PING, PONG, TEXT, close_payload, frame
from hostile import LIMIT_BYTES, Memory, make_room, serving

ROOMY_BYTES = 8 << 20  # a limit that a bomb's wire bytes stay below
CONFIG = ECHO + f"""
<Location /takeover>
    WebSocketHandler echo
    WebSocketCompression on takeover=on
</Location>
<Location /roomy>
    WebSocketHandler echo
    WebSocketMaxMessage {ROOMY_BYTES}
</Location>
"""
BUFFERS_KB = 1024  # that are shared, or the system's rounding
LIMIT_KB, ROOMY_KB = LIMIT_BYTES // 1024, ROOMY_BYTES // 1024

# A message up to the limit while it is inflated, once more while its memory grows, and the answer to it.
pytestmark = [pytest.mark.usefixtures("unharmed"), pytest.mark.memory(peak_kb=3 * LIMIT_KB + BUFFERS_KB, kept_kb=LIMIT_KB + BUFFERS_KB)]


@pytest.fixture(scope="module")
def server():
    with serving(CONFIG) as running:
        for path in ["/echo", "/takeover"]:  # what is made once is there
            with Deflating(running, path) as client:
                client.exchange(os.urandom(1000) * (LIMIT_BYTES // 1000))
        yield running


def zeros(size):
    """That refer to nothing before them, so that any number of them can follow one another."""
    return deflated(b"\0" * size, zlib.Z_FULL_FLUSH)


def bits(text):
    """In the order in which deflate reads them."""
    text = text.replace(" ", "")
    return bytes(int(text[at:at + 8][::-1], 2) for at in range(0, len(text), 8))


def fails(server, data, code, path="/echo"):
    with Deflating(server, path) as client:
        client.start_sending(frame(TEXT, "before") + data + frame(TEXT, "behind"))
        assert client.read_message() == (TEXT, b"before")
        got = client.read_close()
        assert got[0] == code, got
        client.stop_sending()
        client.await_cut()


# --- bombs ---

SIX_GB = zeros(1 << 20) * 6144  # in 6 MB


def test_a_bomb_that_is_too_long_itself_is_refused(server):
    assert len(SIX_GB) < 6.5e6
    fails(server, frame(BINARY, SIX_GB, rsv=RSV1), 1009)


@pytest.mark.memory(peak_kb=ROOMY_KB + 3 * BUFFERS_KB, kept_kb=LIMIT_KB + BUFFERS_KB)
def test_a_bomb_of_6_gb_is_inflated_to_the_limit_at_most(server):
    fails(server, frame(BINARY, SIX_GB, rsv=RSV1), 1009, "/roomy")


@pytest.mark.memory(peak_kb=LIMIT_KB + 3 * BUFFERS_KB, kept_kb=LIMIT_KB + BUFFERS_KB)
def test_a_bomb_of_1_gb_within_the_limit_of_the_wire_is_inflated_to_the_limit_at_most(server):
    bomb = zeros(1 << 20) * 1000
    assert len(bomb) < 1.1 * LIMIT_BYTES
    fails(server, frame(BINARY, bomb, rsv=RSV1), 1009)


@pytest.mark.parametrize("path", ["/echo", "/takeover"])
@pytest.mark.parametrize("level", [0, 9], ids=["stored", "deflated"])
@pytest.mark.parametrize("more, fits", [(0, True), (1, False), (2, False)])
def test_the_limit_counts_inflated_bytes(server, path, level, more, fits):
    payload = os.urandom(1024) * (LIMIT_BYTES // 1024) + b"x" * more
    data = deflated(payload, level=level)
    in_fragments = frame(BINARY, data[:500], fin=False, rsv=RSV1) + frame(CONTINUATION, data[500:])
    for message in [frame(BINARY, data, rsv=RSV1), in_fragments]:
        if not fits:
            fails(server, message, 1009, path)
            continue
        with Deflating(server, path) as client:
            client.start_sending(message)
            assert client.read_message() == (BINARY, payload)


@pytest.mark.parametrize("path", ["/echo", "/takeover"])
def test_a_bomb_over_many_fragments_is_refused(server, path):
    piece = zeros(1 << 12)
    fails(server, frame(BINARY, piece, fin=False, rsv=RSV1) + frame(CONTINUATION, piece, fin=False) * 100_000, 1009, path)


def test_empty_blocks_over_fragments_without_end_are_refused(server):
    empty = b"\0\0\0\xff\xff" * 10
    fails(server, frame(BINARY, empty, fin=False, rsv=RSV1) + frame(CONTINUATION, empty, fin=False) * 100_000, 1009)


def test_a_bomb_that_refers_to_an_earlier_message_is_refused(server):
    word = os.urandom(30_000)
    compressor = zlib.compressobj(9, wbits=-15)
    with Deflating(server, "/takeover") as client:
        for repeats, fits in [(1, True), (30, True), (1000, False)]:
            data = next_payload(compressor, word * repeats)
            assert len(data) < 35_000 or not fits
            client.start_sending(frame(BINARY, data, rsv=RSV1))
            if fits:
                assert client.read_message() == (BINARY, word * repeats)
            else:
                assert client.read_close()[0] == 1009


@pytest.mark.parametrize("path", ["/echo", "/takeover"])
def test_small_bombs_within_the_limit_are_messages(server, path):
    with Deflating(server, path) as client:
        for _ in range(50):
            client.exchange(b"\0" * LIMIT_BYTES)


CLAIMS, CLAIM_KB = 500, 64


@pytest.mark.memory(peak_kb=CLAIMS * CLAIM_KB, kept_kb=CLAIMS * CLAIM_KB)  # a window of 32 KB each, and what zlib notes beside it
def test_many_compressed_messages_that_never_end_take_a_window_each(server):
    make_room(CLAIMS)
    begun = deflated(os.urandom(1000))
    with contextlib.ExitStack() as stack:
        for _ in range(CLAIMS):
            client = stack.enter_context(Deflating(server))
            client.send(frame(BINARY, begun, rsv=RSV1, length=LIMIT_BYTES))
        with server.websocket() as last:
            last.echo()  # all that was sent before has been read
            last.close()


# --- what is no deflate data, and what is ---

HELLO = deflated(b"hello " * 100)
CORRUPT = {
    "cut-off": deflated(os.urandom(1000) * 3)[:700], "cut-off-in-its-first-block": HELLO[:3],
    "a-block-of-no-type": bits("0 11 00000"), "a-stored-block-of-two-lengths": b"\0\x05\0\0\0hello",
    "a-distance-that-none-stands-for": bits("0 10 0000001 11110"), "a-distance-before-the-start": bits("0 10 0000001 00000 0000000"),
    "a-dictionary-that-nobody-has": deflated(b"a dictionary that nobody has" * 3, zdict=b"a dictionary that nobody has"),
    "noise": b"\xff" * 100,
}
GOOD = {
    "a-last-block": (deflated(b"one", zlib.Z_FINISH), b"one"),
    "a-last-block-and-the-usual-end": (deflated(b"one", zlib.Z_FINISH) + b"\0", b"one"),
    "a-last-block-inside": (deflated(b"one ", zlib.Z_FINISH) + deflated(b"two"), b"one two"),
    "last-blocks-only": (deflated(b"x", zlib.Z_FINISH) * 1000, b"x" * 1000),
    "stored-blocks-only": (deflated(b"stored " * 20_000, level=0), b"stored " * 20_000),
    "empty": (b"\0", b""), "empty-without-a-byte": (b"", b""), "empty-stored-block": (b"\0\0\0\xff\xff" + b"\0", b""),
    "many-empty-blocks": (b"\0\0\0\xff\xff" * 1000 + b"\0", b""), "fixed-codes": (deflated(b"fixed", strategy=zlib.Z_FIXED), b"fixed"),
}


@pytest.mark.parametrize("path", ["/echo", "/takeover"])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("data", CORRUPT.values(), ids=CORRUPT)
def test_what_is_no_deflate_data_is_refused(server, path, opcode, data):
    fails(server, frame(opcode, data, rsv=RSV1), 1007, path)
    fails(server, frame(opcode, data[:1], fin=False, rsv=RSV1) + frame(CONTINUATION, data[1:]), 1007, path)


@pytest.mark.parametrize("path", ["/echo", "/takeover"])
@pytest.mark.parametrize("data, payload", GOOD.values(), ids=GOOD)
def test_deflate_data_of_any_form_is_a_message(server, path, data, payload):
    with Deflating(server, path) as client:
        for message in [frame(TEXT, data, rsv=RSV1), frame(TEXT, data[:1], fin=False, rsv=RSV1) + frame(CONTINUATION, data[1:])]:
            client.send(message)
            assert client.read_message() == (TEXT, payload)
        client.exchange(b"and later " * 100, TEXT)


def test_a_message_refers_to_an_earlier_one_only_where_that_is_agreed_on(server):
    word = os.urandom(1000)
    compressor = zlib.compressobj(9, wbits=-15)
    first, second = [next_payload(compressor, word) for _ in range(2)]
    with Deflating(server, "/takeover") as taking, Deflating(server) as client:
        for each in [taking, client]:
            each.send(frame(BINARY, first, rsv=RSV1))
            assert each.read_message() == (BINARY, word)
            each.send(frame(BINARY, second, rsv=RSV1))
        assert taking.read_message() == (BINARY, word)
        assert client.read_close()[0] == 1007


@pytest.mark.parametrize("text", [b"\xff", b"\xed\xa0\x80", b"cut off \xe2\x82", b"\xf4\x90\x80\x80" + b"x" * 1000])
def test_an_inflated_text_that_is_not_utf8_is_refused(server, text):
    fails(server, frame(TEXT, deflated(b"x" * 1000 + text), rsv=RSV1), 1007)


@pytest.mark.parametrize("rsv", [1, 2, 3, 5, 6, 7])
def test_a_reserved_bit_beside_that_of_compression_is_refused(server, rsv):
    fails(server, frame(TEXT, HELLO, rsv=rsv), 1002)


@pytest.mark.parametrize("opcode", [CLOSE, PING, PONG, CONTINUATION])
def test_the_bit_of_compression_on_what_begins_no_message_is_refused(server, opcode):
    before = frame(TEXT, HELLO, fin=False, rsv=RSV1) if opcode == CONTINUATION else b""
    fails(server, before + frame(opcode, close_payload(1000), rsv=RSV1), 1002)


# --- idle sockets ---

# More than a socket without compression costs, in KB: where each message stands alone, and with windows and hash tables of its own.
NEGOTIATED_KB, TAKEOVER_KB = 1, 320


def idle_kb(connect, count, warm):
    """Of one of as many sockets, each of which has had a message and an answer to it."""
    with serving(CONFIG) as server, contextlib.ExitStack() as stack:
        for _ in range(warm):
            with connect(server) as client:
                talk(client)
        server.await_idle()
        server.settle()
        memory = Memory(server)
        for _ in range(count):
            talk(stack.enter_context(connect(server)))
        server.settle()
        kb = memory.grown_kb() / count
        stack.close()
    return kb


def talk(client):
    payload = b"a message that is long enough to be compressed " * 20
    if isinstance(client, Deflating):
        client.exchange(payload)
    else:
        client.echo(payload, BINARY)


def idle_sockets(count):
    make_room(count)
    without = idle_kb(lambda server: server.websocket(), count, 5)
    negotiated = idle_kb(Deflating, count, 5)
    takeover = idle_kb(lambda server: Deflating(server, "/takeover"), count, 5)
    print(f"{count} idle sockets: {without:.2f} KB each, {negotiated:.2f} KB with compression, {takeover:.1f} KB with takeover")
    if not sanitizer.NAME:
        assert negotiated - without < NEGOTIATED_KB and takeover - without < TAKEOVER_KB


def test_200_idle_sockets_pay_for_compression_only_with_takeover(server):
    idle_sockets(200)


@pytest.mark.soak
def test_5000_idle_sockets_pay_for_compression_only_with_takeover(server):
    idle_sockets(5000)
