"""The handlers that ship, but for echo and minimal, on both moorings: detached over plain TCP, resident over TLS."""

import json
import os
import re
import select
import socket
import ssl
import zlib

import pytest

from deflate import OFFER, RSV1, inflated, next_payload
from harness import (BINARY, CONTINUATION, ECHO, LIMIT_S, PING, PONG, TEXT, UPGRADE, Client, Server, eventually, frame, read_response, request,
                     said)
from hostile import serving, unharmed

MIB = 1 << 20

CONFIG = ECHO + """
<Location /ticker>
    WebSocketHandler ticker
    WebSocketParam interval 60000
</Location>
<Location /ticker/fast>
    WebSocketHandler ticker
    WebSocketParam interval 10
</Location>
<Location /auth>
    WebSocketHandler auth
    WebSocketParam token "open sesame%"
</Location>
<Location /auth/nobody>
    WebSocketHandler auth
    WebSocketParam other parameter
</Location>
<Location /upload>
    WebSocketHandler upload
    WebSocketMaxMessage 4294967296
</Location>
<Location /upload/short>
    WebSocketMaxMessage 1000
</Location>
<Location /worker>
    WebSocketHandler worker
</Location>
<Location /worker/single>
    WebSocketHandler worker
    WebSocketWorkers 1
</Location>
<Location /bench>
    WebSocketHandler bench
</Location>
"""
NO_TOKEN = r"auth\.so: rejects every client, as there is no WebSocketParam token$"


@pytest.fixture(scope="module", params=["tcp", "resident-tls"])
def server(request):
    # The token of /auth is inherited by nothing: /auth/nobody has a handler and parameters of its own.
    with serving(CONFIG, mooring=request.param) as running:
        running.expect(NO_TOKEN)
        yield running


def with_small_buffers(server, path):
    connection = socket.socket()
    connection.settimeout(LIMIT_S)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect(("127.0.0.1", server.port))
    if server.tls:
        connection = ssl.create_default_context(cafile=str(server.cert)).wrap_socket(connection, server_hostname="localhost")
    return Client(connection, path)


def said_json(client):
    opcode, payload = client.read_frame()
    assert opcode == TEXT
    return json.loads(payload)


# --- ticker ---

@pytest.mark.parametrize("path", ["/ticker?interval=10", "/ticker/fast", "/ticker/fast?interval=%31%32"])
def test_ticks_come_in_their_order(server, path):
    """Those that nobody hurries come once a minute, which is longer than a test waits."""
    with server.websocket(path) as client:
        client.send_text("is ignored")
        time, tick = 0, 0
        for _ in range(5):
            said = said_json(client)
            assert list(said) == ["tick", "time", "skipped"]
            assert said["time"] >= time > -1
            assert said["tick"] == tick + 1 + said["skipped"]
            time, tick = said["time"], said["tick"]


@pytest.mark.parametrize("mooring", ["tcp", "resident-tls"])
def test_a_client_that_reads_too_slowly_misses_ticks(mooring):
    """Small buffers on both sides, so that what they take is few."""
    with serving("SendBufferSize 4096\n" + CONFIG, mooring=mooring) as server:
        server.expect(NO_TOKEN)
        with unharmed(server), with_small_buffers(server, "/ticker/fast") as slow, server.websocket("/ticker/fast") as quick:
            ticks = 0
            while ticks < 800:
                ticks = said_json(quick)["tick"]
            tick, kept, skipped = 0, 0, 0
            while not skipped:
                told = said_json(slow)
                skipped = told["skipped"]
                assert told["tick"] == tick + 1 + skipped
                tick, kept = told["tick"], kept + 1
                assert kept < 700, "so many ticks wait nowhere but in memory"
            for _ in range(3):
                told = said_json(slow)
                assert told["tick"] == tick + 1 + told["skipped"]
                tick = told["tick"]


WRONG_INTERVALS = ["", "9", "60001", "-10", "10x", "x", "1e3", "99999999999999999999", "1 000"]


@pytest.mark.parametrize("interval", WRONG_INTERVALS)
def test_a_wrong_interval_is_answered_in_the_handshake(server, interval):
    status, headers, body = server.http(f"/ticker?interval={interval.replace(' ', '%20')}", *UPGRADE)
    assert (status, headers["content-type"]) == (400, "text/plain")
    assert body == b"interval is a number of milliseconds from 10 to 60000\n"


@pytest.mark.parametrize("interval", WRONG_INTERVALS[1:])  # no parameter is empty
def test_a_wrong_interval_in_the_configuration_fails_the_configtest(interval):
    server = Server(f'<Location /t>\nWebSocketHandler ticker\nWebSocketParam interval "{interval}"\n</Location>')
    try:
        status, text = server.configtest()
    finally:
        server.kill()
    assert status != 0
    assert "ticker.so: interval is a number of milliseconds from 10 to 60000\n" in text


# --- auth ---

def refused(server, *headers, path="/auth"):
    status, got, body = server.http(path, *UPGRADE, *headers)
    assert status == 401
    assert got["content-type"] == "application/json"
    assert "set-cookie" not in got and "sec-websocket-accept" not in got
    return got["www-authenticate"], json.loads(body)


MISSING = 'Bearer realm="mod_websocket"', {"error": "a token is needed"}
WRONG = 'Bearer realm="mod_websocket", error="invalid_token"', {"error": "the token is wrong"}


@pytest.mark.parametrize("path, headers, way", [
    ("/auth", ["Authorization: Bearer open sesame%"], "Authorization header"),
    ("/auth", ["Authorization: bearer open sesame%"], "Authorization header"),
    ("/auth", ["Cookie: a=b; token=open sesame%; c=d"], "cookie"),
    ("/auth?a=b&token=open%20sesame%25", [], "query"),
    ("/auth?token=wrong", ["Authorization: Bearer open sesame%", "Cookie: token=wrong"], "Authorization header"),
    ("/auth?token=wrong", ["Cookie: token=open sesame%"], "cookie"),
    ("/auth", ["Authorization: Basic YTpi", "Cookie: token=open sesame%"], "cookie"),
])
def test_a_token_lets_in(server, path, headers, way):
    with server.websocket(path, *headers) as client:
        assert client.read_frame() == (TEXT, f"welcome: your token came by the {way}".encode())
        client.echo()
        client.close()


@pytest.mark.parametrize("path, headers", [
    ("/auth", []), ("/auth?other=open%20sesame%25", []), ("/auth", ["Authorization: Basic YTpi"]), ("/auth", ["Cookie: session=x; tokens=y"]),
])
def test_without_a_token_nobody_comes_in(server, path, headers):
    assert refused(server, *headers, path=path) == MISSING


@pytest.mark.parametrize("token", ["open sesame", "open sesame%%", "open sesame%open sesame%", "Open sesame%", "open sesame&", "x"])
def test_a_wrong_token_is_refused_whatever_way_it_takes(server, token):
    assert refused(server, f"Authorization: Bearer {token}") == WRONG
    assert refused(server, f"Cookie: token={token}") == WRONG
    assert refused(server, path="/auth?token=" + "".join(f"%{ord(char):02x}" for char in token)) == WRONG


@pytest.mark.parametrize("headers", [["Authorization: Bearer wrong", "Cookie: token=open sesame%"], ["Cookie: token=wrong"], ["Cookie: token="]])
def test_the_first_token_counts(server, headers):
    assert refused(server, *headers, path="/auth?token=open%20sesame%25") == WRONG


def test_who_comes_in_gets_a_session_and_the_subprotocol(server):
    sessions = set()
    for offered, chosen in [("other, auth.v1", "auth.v1"), ("auth.v2", None), (None, None)]:
        offer = [f"Sec-WebSocket-Protocol: {offered}"] if offered else []
        with server.websocket("/auth", "Cookie: token=open sesame%", *offer) as client:
            assert client.headers.get("sec-websocket-protocol") == chosen
            sessions.add(re.fullmatch(r"session=([0-9a-f]{32}); Path=/; HttpOnly; SameSite=Strict" + ("; Secure" if server.tls else ""),
                                      client.headers["set-cookie"])[1])
            client.read_frame()
            client.close()
    assert len(sessions) == 3


def test_a_connection_that_was_refused_may_try_again(server):
    with server.connect() as connection:
        connection.sendall(request("/auth", *UPGRADE))
        assert read_response(connection)[0] == 401
        with Client(connection, "/auth", "Cookie: token=open sesame%") as client:
            assert client.read_frame()[0] == TEXT
            client.close()


@pytest.mark.parametrize("path, challenge", [("/auth/nobody", MISSING), ("/auth/nobody?token=", WRONG), ("/auth/nobody?token=parameter", WRONG)])
def test_without_a_parameter_everybody_is_refused(server, path, challenge):
    assert refused(server, path=path) == challenge
    assert re.search(r"\[websocket:warn\].*" + NO_TOKEN, server.error_log(), re.M)


# --- upload ---

def summary_of(message):
    return {"bytes": len(message), "crc32": f"{zlib.crc32(message):08x}"}


def summary(client):
    """What it says of a message, without the pieces, of which a message has one at least."""
    told = said_json(client)
    assert list(told) == ["bytes", "crc32", "pieces"]
    assert told.pop("pieces") >= 1
    return told


@pytest.mark.parametrize("size", [0, 1, 9, 65535, 65536, 3 * MIB])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_an_upload_is_measured(server, size, opcode):
    message = bytes(65 + i % 26 for i in range(9973)) * (size // 9973 + 1)
    with server.websocket("/upload") as client:
        for _ in range(2):
            client.send(frame(opcode, message[:size]))
            assert summary(client) == summary_of(message[:size])
        client.close()


def test_the_checksum_is_the_one_of_the_standard(server):
    with server.websocket("/upload") as client:
        client.send_text("123456789")
        assert client.read_frame() == (TEXT, b'{"bytes":9,"crc32":"cbf43926","pieces":1}')


@pytest.mark.parametrize("step", [1, 2, 3, 1000])
def test_characters_may_be_split_between_frames(server, step):
    message = "grüße, 日本, 😀; ".encode() * 50
    with server.websocket("/upload") as client:
        pieces = [message[start:start + step] for start in range(0, len(message), step)]
        client.send(b"".join(frame(CONTINUATION if i else TEXT, piece, fin=i == len(pieces) - 1) for i, piece in enumerate(pieces)))
        assert summary(client) == summary_of(message)
        client.close()


def test_text_that_is_not_utf8_is_refused_when_it_comes(server):
    with server.websocket("/upload") as client:
        client.send(frame(TEXT, "fine", fin=False) + frame(CONTINUATION, b"\xff", fin=False))
        assert client.read_close()[0] == 1007


def send_long(client, mebibytes):
    """A message in frames of 1 MiB; its summary. In the middle the client is served as ever."""
    parts = [os.urandom(MIB) for _ in range(4)]
    frames = [frame(CONTINUATION, part, fin=False) for part in parts]
    client.send(frame(BINARY, b"", fin=False))
    crc = 0
    for number in range(mebibytes):
        client.send(frames[number % 4])
        crc = zlib.crc32(parts[number % 4], crc)
        if number == mebibytes // 2:
            client.send(frame(PING, b"still there?"))
            assert client.read_frame() == (PONG, b"still there?")
    client.send(frame(CONTINUATION, b""))
    return {"bytes": mebibytes * MIB, "crc32": f"{crc:08x}"}


def test_a_long_upload_takes_no_memory(server):
    with unharmed(server), server.websocket("/upload") as client:
        expected = send_long(client, 200)
        assert summary(client) == expected
        client.close()


@pytest.mark.soak
def test_an_upload_of_2_gb_takes_no_memory(server):
    with unharmed(server), server.websocket("/upload") as client:
        expected = send_long(client, 2100)  # more than 31 bits
        assert summary(client) == expected
        client.close()


def test_a_long_compressed_upload_takes_no_memory(server):
    compressor, part, crc = zlib.compressobj(1, wbits=-15), os.urandom(1000) * 1000, 0
    with unharmed(server), server.websocket("/upload", OFFER) as client:
        client.send(frame(BINARY, b"", fin=False, rsv=RSV1))
        for _ in range(200):
            client.send(frame(CONTINUATION, compressor.compress(part), fin=False))
            crc = zlib.crc32(part, crc)
        client.send(frame(CONTINUATION, next_payload(compressor, b"")))
        assert summary(client) == {"bytes": 200_000_000, "crc32": f"{crc:08x}"}
        client.close()


def test_an_upload_past_the_limit_is_refused(server):
    with server.websocket("/upload/short") as client:
        client.send(frame(BINARY, b"x" * 600, fin=False) + frame(CONTINUATION, b"x" * 400))
        assert summary(client) == summary_of(b"x" * 1000)
        client.send(frame(BINARY, b"x" * 600, fin=False) + frame(CONTINUATION, b"x" * 401))
        assert client.read_close()[0] == 1009


@pytest.mark.parametrize("leave", [Client.reset, lambda client: client.connection.close()], ids=["reset", "close"])
def test_a_client_may_vanish_in_the_middle_of_an_upload(server, leave):
    with unharmed(server):
        for _ in range(10):
            client = server.websocket("/upload")
            client.send(frame(BINARY, b"x" * MIB, fin=False) + frame(CONTINUATION, b"x" * 100, fin=False, length=MIB))
            leave(client)


# --- worker ---

def test_work_is_done_in_its_order(server):
    with server.websocket("/worker") as client:
        client.send(b"".join(frame(TEXT, text) for text in ["60", "some text", "0", "10001", "", "99999999999999999999", "some text", "-5", "1 "]))
        answers = [client.read_frame()[1].decode() for _ in range(9)]
        assert [answer.split(":")[0] for answer in answers] == [
            "slept 60 ms", "hashed 9 bytes", "slept 0 ms", "error", "hashed 0 bytes", "error", "hashed 9 bytes", "hashed 2 bytes", "hashed 2 bytes"]
        assert answers[3] == answers[5] == "error: at most 10000 ms"
        hashes = [answers[i].split(": ")[1] for i in [1, 4, 6, 7, 8]]
        assert all(re.fullmatch("[0-9a-f]{16}", each) for each in hashes)
        assert hashes[0] == hashes[2] and len(set(hashes)) == 4
        client.close()


@pytest.mark.parametrize("path, others", [("/worker", ["/worker", "/echo"]), ("/worker/single", ["/echo"])])
def test_others_are_served_while_one_works(server, path, others):
    def is_done(client):
        return select.select([client.connection], [], [], 0)[0]

    with server.websocket(path) as busy, server.websocket(others[0]) as first, server.websocket(others[-1]) as second:
        busy.send_text("4000")
        rounds = 0
        while not is_done(busy):
            if others[0] == "/worker":
                assert said(first, "1") == "slept 1 ms"
            second.echo()
            rounds += 1
        assert rounds > 1
        assert busy.read_frame() == (TEXT, b"slept 4000 ms")


def test_a_client_may_leave_while_its_work_is_done(server):
    with unharmed(server):
        for leave in [Client.reset, lambda client: client.connection.close()]:
            client = server.websocket("/worker/single")
            client.send(frame(TEXT, "300") + frame(TEXT, "1"))
            leave(client)
        with server.websocket("/worker/single") as next_client:
            assert said(next_client, "0") == "slept 0 ms"
            next_client.close()


# --- bench ---

def letters(size):
    return (b"abcdefghijklmnopqrstuvwxyz" * (size // 26 + 1))[:size]


@pytest.mark.parametrize("command, size, count, opcode", [
    ("0 3", 0, 3, BINARY), ("1 1 text", 1, 1, TEXT), ("125 1000 binary", 125, 1000, BINARY), (" 70000\t20  text ", 70000, 20, TEXT),
    ("16777216 3", 16777216, 3, BINARY), ("5 2 compress", 5, 2, BINARY), ("5 2 compress text", 5, 2, TEXT),
])
def test_as_many_messages_come_as_were_asked_for(server, command, size, count, opcode):
    with server.websocket("/bench") as client:
        client.send_text(command)
        expected = letters(size)
        for _ in range(count):
            got, payload = client.read_frame()
            assert got == opcode and payload == expected
        assert said(client, "?").startswith("error: ")  # there was none too many
        client.close()


def test_many_small_messages(server):
    count = 100_000
    with unharmed(server), server.websocket("/bench") as client:
        for opcode, word in [(BINARY, "binary"), (TEXT, "text")]:
            client.send_text(f"2 {count} {word}")
            assert client.read_exactly(4 * count) == (bytes([0x80 | opcode, 2]) + b"ab") * count
        client.close()


@pytest.mark.parametrize("words, compressed", [("compress", True), ("text compress", True), ("", False)])
def test_messages_are_compressed_on_request(server, words, compressed):
    with server.websocket("/bench", OFFER) as client:
        client.send_text(f"100000 10 {words}")
        for _ in range(10):
            first, payload = client.read_any_frame()
            assert bool(first & 0x40) == compressed
            assert (inflated(payload) if compressed else payload) == letters(100000)
        client.close()


@pytest.mark.parametrize("command, text", [
    ("", "say: SIZE COUNT [text|binary] [compress]"), ("10", "say: SIZE COUNT [text|binary] [compress]"),
    ("a b", "say: SIZE COUNT [text|binary] [compress]"), ("10 99999999999999999999", "say: SIZE COUNT [text|binary] [compress]"),
    ("-1 1", "SIZE is a number of bytes from 0 to 16777216"), ("16777217 1", "SIZE is a number of bytes from 0 to 16777216"),
    ("1 0", "COUNT is a number from 1 to 1000000"), ("1 1000001", "COUNT is a number from 1 to 1000000"),
    ("1 1 TEXT", "only text, binary or compress may follow the numbers"), ("1 1.5", "only text, binary or compress may follow the numbers"),
])
def test_a_wrong_command_is_explained(server, command, text):
    with server.websocket("/bench") as client:
        assert said(client, command) == f"error: {text}"
        client.send_text("3 1")
        assert client.read_frame() == (BINARY, b"abc")
        client.close()


@pytest.mark.parametrize("size, count", [(MIB, 100), (500, 100_000)])  # a buffer that is referred to, and one that is copied
def test_a_client_that_reads_slowly_costs_no_more_memory(server, size, count):
    """And is told that it has to wait with its next request."""
    with unharmed(server), with_small_buffers(server, "/bench") as client:
        client.send_text(f"{size} {count}")
        eventually(lambda: select.select([client.connection], [], [], 0)[0], "nothing comes")
        client.send_text("1 1")
        errors = 0
        while count:
            opcode, payload = client.read_frame()
            if opcode == TEXT:
                assert payload == b"error: the request before is still being served"
                errors += 1
            else:
                assert payload == letters(size)
                count -= 1
        assert errors == 1
        client.close()


def test_a_client_may_leave_while_messages_come(server):
    with unharmed(server, kept_kb=4096):
        for _ in range(5):
            client = server.websocket("/bench")
            client.send_text("100000 1000000")
            assert client.read_frame()[0] == BINARY
            client.reset()
