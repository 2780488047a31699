"""Limits of open connections: each alone and with many clients at once, with its close code, its counter and its line in the log."""

import contextlib
import json
import re
import select
import socket
import time

import pytest

from harness import BINARY, CLOSE, PING, PONG, TEXT, Server, close_payload, eventually, frame
from status_support import CONFIG, location, read_json
from ws_client import LIMIT_S, Client

MOORINGS = ["tcp", "tls", "resident"]
MANY = 40


def counted(server, path="/echo"):
    return location(read_json(server), path)


def await_ends(server, count, cause, code, path="/echo"):
    def are_counted():
        closed = counted(server, path)["closed"]
        return (closed["causes"][cause], closed["codes"][str(code)]) == (count, count)
    eventually(are_counted, f"not {count} ends by {cause} with {code}")


@contextlib.contextmanager
def limited(directives, line=None, mooring="tcp", **options):
    """A server with these directives, in the log of which that line comes, if one is named, and no other."""
    with Server(CONFIG + directives, mooring=mooring, log_level="warn websocket:info", **options) as server:
        server.expect(r"WS203:", r"WS201:")
        if line:
            server.expect(line)
        yield server
        assert not line or re.search(line + r".*", server.error_log()), server.error_log()


def heedless(handlers):
    return f'<Location /heedless>\n WebSocketHandler "{handlers}/heedless.so"\n</Location>\n'


@contextlib.contextmanager
def clients_of(server, count=MANY):
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(server.websocket()) for _ in range(count)]


# --- Time ---

@pytest.mark.parametrize("mooring", MOORINGS)
def test_silent_clients_are_pinged_and_those_that_stay_silent_let_go(mooring):
    with limited("WebSocketPing 500ms 8\n", r"WS310: \[client 127\.0\.0\.1, connection [0-9a-f]{16}\] let go", mooring) as server:
        with clients_of(server, 10 if mooring == "resident" else MANY) as clients:
            dead, living = clients[::2], clients[1::2]
            answered = dict.fromkeys(living, 0)
            deadline = time.monotonic() + LIMIT_S
            while min(answered.values()) < 5:
                assert time.monotonic() < deadline, "too few pings"
                for ready in select.select([each.connection for each in living], [], [], 1)[0]:
                    client = next(each for each in living if each.connection is ready)
                    opcode, payload = client.read_frame()
                    assert opcode == PING
                    client.send(frame(PONG, payload))
                    answered[client] += 1
            await_ends(server, len(dead), "ping", 1006)
            for client in dead:
                client.await_cut()
            for client in living:
                client.send_text("still here")
                while client.read_frame() != (TEXT, b"still here"):
                    pass
            now = counted(server)
            assert now["pings_sent"] >= now["pongs_received"] >= 5 * len(living)
            assert now["round_trip_seconds"]["count"] >= 5 * len(living)


def test_a_handler_hears_of_the_pongs_it_asked_for_only(handlers):
    with limited("WebSocketPing 200ms 20\n" + heedless(handlers)) as server, server.websocket("/heedless") as client:
        asked = 0
        for _ in range(6):
            opcode, payload = client.read_frame()
            assert opcode == PING
            client.send(frame(PONG, payload))
            asked += payload == b"the handler's"
        client.send_text("pongs")
        while True:
            opcode, payload = client.read_frame()
            if opcode == TEXT:
                break
        assert int(payload) == asked == 1


@pytest.mark.parametrize("mooring", MOORINGS)
def test_idle_connections_are_closed_and_busy_ones_not(mooring):
    with limited("WebSocketPing off\nWebSocketIdleTimeout 4\n", r"WS311: .*closed with 1001", mooring) as server:
        with clients_of(server, 10 if mooring == "resident" else MANY) as clients, server.websocket() as busy:
            idle = list(clients)
            while idle:
                busy.echo("busy")
                for ready in select.select([each.connection for each in idle], [], [], 0.05)[0]:
                    client = next(each for each in idle if each.connection is ready)
                    assert client.read_close() == (1001, "")
                    client.send(frame(CLOSE, close_payload(1001)))
                    idle.remove(client)
            busy.echo("still")
            await_ends(server, len(clients), "idle", 1001)


def test_lifetimes_end_at_moments_of_their_own():
    with limited("WebSocketPing off\nWebSocketMaxLifetime 2 90%\nWebSocketLog ends.log fields=duration_seconds\n", r"WS312: .*closed with 1001") as server, clients_of(server) as clients:
        left = list(clients)
        while left:
            ready = select.select([each.connection for each in left], [], [], LIMIT_S)[0]
            assert ready, "lifetimes do not end"
            for client in [each for each in left if each.connection in ready]:
                assert client.read_close() == (1001, "")
                client.send(frame(CLOSE, close_payload(1001)))
                left.remove(client)
        await_ends(server, MANY, "lifetime", 1001)
        durations = [json.loads(line)["duration_seconds"] for line in (server.folder / "ends.log").read_text().splitlines()]
        assert len(durations) == MANY and len({round(each, 1) for each in durations}) > 3, durations


def test_a_client_that_does_not_answer_a_close_frame_is_cut():
    with limited("WebSocketPing off\nWebSocketIdleTimeout 200ms\nWebSocketCloseTimeout 300ms\n", r"WS311:") as server:
        with server.websocket() as client:
            assert client.read_close() == (1001, "")
            client.read_end()
        await_ends(server, 1, "idle", 1006)


# --- Rates ---

def flood(count):
    return b"".join(frame(TEXT, str(number)) for number in range(count))


@pytest.mark.parametrize("mooring", MOORINGS)
def test_who_sends_too_many_messages_waits_and_loses_none(mooring):
    with limited("WebSocketRateLimit messages=200:50\n", r"WS313: .*sends more", mooring) as server:
        with clients_of(server, 5 if mooring == "resident" else MANY) as clients, server.websocket() as modest:
            for client in clients:
                client.send(flood(120))
            modest.echo("at once")
            for client in clients:
                for number in range(120):
                    assert client.read_frame() == (TEXT, str(number).encode())
            now = counted(server)
            assert now["rate_pauses"] >= len(clients)
            assert now["messages"]["received"]["text"] == 120 * len(clients) + 1
            for client in clients:
                client.close()


def test_who_sends_too_many_messages_is_closed_where_that_is_wanted():
    with limited("WebSocketRateLimit messages=1:50 close\n", r"WS313: .*sends more") as server, clients_of(server) as clients:
        for client in clients:
            client.send(flood(60))
        for client in clients:
            echoes = 0
            while (got := client.read_frame())[0] == TEXT:
                assert got[1] == str(echoes).encode()
                echoes += 1
            assert got == (CLOSE, close_payload(1008, "more than may be sent in a second"))
            assert 50 <= echoes < 60
            client.send(frame(CLOSE, close_payload(1008)))
        await_ends(server, MANY, "rate", 1008)


def test_who_sends_too_many_bytes_feels_it_in_tcp():
    with limited("WebSocketRateLimit bytes=100K:100K\n", r"WS313:") as server, server.websocket() as client:
        client.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 32 * 1024)
        client.start_sending(b"".join(frame(TEXT, "x" * 10_000) for _ in range(1000)))
        client.send_until_blocked()
        assert client.unsent, "10 MB went through"
        client.stop_sending()
        received = counted(server)["bytes"]["received"]["text"]
        assert received < 3_000_000
        with server.websocket() as other:
            other.echo("not held up")


def test_a_flood_of_control_frames_is_closed():
    with limited("WebSocketRateLimit control=10:100\n", r"WS314: .*too many control frames") as server, clients_of(server) as clients:
        for client in clients:
            client.send(frame(PONG, b"unasked") * 150)
        for client in clients:
            assert client.read_close() == (1008, "too many control frames")
            client.send(frame(CLOSE, close_payload(1008)))
        await_ends(server, MANY, "control_rate", 1008)


# --- Fragments and slow readers ---

def test_messages_of_too_many_fragments_are_refused():
    with limited("WebSocketMaxFragments 3\n", r"WS301: .*1008") as server, server.websocket() as client:
        client.send(frame(TEXT, b"a", fin=False) + frame(0, b"b", fin=False) + frame(0, b"c"))
        assert client.read_frame() == (TEXT, b"abc")
        client.send(frame(TEXT, b"a", fin=False) + frame(0, b"b", fin=False) + frame(0, b"c", fin=False) + frame(0, b"d"))
        assert client.read_close()[0] == 1008
        client.send(frame(CLOSE, close_payload(1008)))
        await_ends(server, 1, "fragments", 1008)


def slow_client(server, path):
    connection = socket.socket()
    connection.settimeout(LIMIT_S)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
    connection.connect(("127.0.0.1", server.port))
    return Client(connection, path)


def test_slow_clients_are_closed_where_that_is_wanted(handlers):
    with limited("WebSocketSendBuffer 64K\nWebSocketSlowClient close\nWebSocketCloseTimeout 4\n" + heedless(handlers),
                 r"WS315: .*reads too slowly") as server, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(slow_client(server, "/heedless")) for _ in range(8)]
        for client in clients:
            client.send_text("100000 200")
        await_ends(server, len(clients), "slow", 1006, "/heedless")
        with slow_client(server, "/heedless") as late:
            late.send_text("100000 200")
            while (got := late.read_frame())[0] != CLOSE:
                pass
            assert got == (CLOSE, close_payload(1008, "reads too slowly"))
            late.send(frame(CLOSE, close_payload(1008)))
        eventually(lambda: counted(server, "/heedless")["closed"]["codes"]["1008"] == 1, "the end is not counted")
        with server.websocket("/heedless") as quick:
            assert quick.read_frame()[0] == PING
            quick.send_text("10 3")
            for _ in range(3):
                assert quick.read_frame() == (BINARY, b"x" * 10)


def test_messages_for_slow_clients_are_dropped_where_that_is_wanted(handlers):
    with limited("WebSocketSendBuffer 64K\nWebSocketSlowClient drop\n" + heedless(handlers), r"WS315: .*reads too slowly") as server:
        with slow_client(server, "/heedless") as client:
            client.send_text("100000 200")

            def sent_and_dropped():
                now = counted(server, "/heedless")
                return now["messages"]["sent"]["binary"], now["dropped"]
            eventually(lambda: sum(sent_and_dropped()) == 200, "some are neither sent nor dropped")
            sent, dropped = sent_and_dropped()
            assert dropped > 0
            assert client.read_frame()[0] == PING
            for _ in range(sent):
                assert len(client.read_frame()[1]) == 100_000
            client.close()


def test_past_what_may_wait_in_all_the_slowest_go(handlers):
    with limited("WebSocketMaxBuffered 4M\nWebSocketSendBuffer 64M\n" + heedless(handlers), r"WS316: .*let go, as most waits for it") as server:
        with contextlib.ExitStack() as stack:
            modest = stack.enter_context(slow_client(server, "/heedless"))
            modest.send_text("100000 5")
            for _ in range(4):
                stack.enter_context(slow_client(server, "/heedless")).send_text("100000 100")
            await_ends(server, 4, "memory", 1013, "/heedless")
            assert modest.read_frame()[0] == PING
            for _ in range(5):
                assert len(modest.read_frame()[1]) == 100_000
            modest.close()
            eventually(lambda: counted(server, "/heedless")["buffered_bytes"] == 0, "what waited still counts")
