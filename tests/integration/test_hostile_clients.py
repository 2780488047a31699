"""Clients that stall, flood and vanish, handlers that do wrong, and resources that run out: nobody else feels it, and all is well when
it is over."""

import contextlib
import select
import signal
import socket

import pytest

from harness import (BINARY, CLOSE, ECHO, LIMIT_S, PING, PONG, TEXT, UPGRADE, Client, Server, close_payload, eventually, frame, read_response,
                     request, reset, said, tcp_sockets)
from hostile import WORKERS, all_workers_serve, make_room, serving, unharmed

CONFIG = ECHO + """
SendBufferSize 65536
ReceiveBufferSize 65536
<Location /report>
    WebSocketHandler "HANDLERS/report.so"
</Location>
<Location /misuses>
    WebSocketHandler "HANDLERS/wrong.so" misuses
</Location>
<Location /throws>
    WebSocketHandler "HANDLERS/wrong.so" throws
</Location>
<Location /pinged>
    WebSocketHandler echo
    WebSocketRateLimit control=off
</Location>
"""
HIGH_WATER_KB = 1024
CONNECTION_KB = 128  # more than a connection, what is read at a time and the pieces of its queue take


@pytest.fixture(scope="module")
def server(handlers):
    with serving(CONFIG.replace("HANDLERS", str(handlers))) as running:
        running.expect(r"websocket:info.*/report\.so: ", r"websocket:notice.*/report\.so: waits for ")
        yield running


usual = pytest.mark.usefixtures("unharmed")


def with_small_buffers(server, path="/echo"):
    connection = socket.socket()
    connection.settimeout(LIMIT_S)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32 * 1024)
    connection.connect(("127.0.0.1", server.port))
    return Client(connection, path)


# --- clients that do not read ---

READERS, MESSAGE_KB = 2 * WORKERS, 64
READER_KB = HIGH_WATER_KB + 2 * MESSAGE_KB + CONNECTION_KB  # a message past the mark, and one that arrives


@usual
@pytest.mark.memory(peak_kb=READERS * READER_KB, kept_kb=READERS * READER_KB)
def test_clients_that_never_read_hold_no_thread_and_no_more_than_the_high_water_mark(server):
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(with_small_buffers(server)) for _ in range(READERS)]
        for client in clients:
            client.start_sending(frame(BINARY, b"x" * MESSAGE_KB * 1024) * 128)
            client.send_until_blocked()
            assert client.unsent, "8 MiB fit between two ends"
        all_workers_serve(server)


def flood_with_pings(server, count):
    """The answers come in order, and some may stand for those before."""
    batch, last = 10_000, -1
    with with_small_buffers(server, "/pinged") as client:
        for start in range(0, count, batch):
            client.start_sending(b"".join(frame(PING, b"%08d" % number) for number in range(start, start + batch)))
            while last < start + batch - 1:
                opcode, payload = client.read_frame()
                assert opcode == PONG and last < int(payload) < start + batch
                last = int(payload)
        client.close()


@usual
def test_50000_pings_are_answered(server):
    flood_with_pings(server, 50_000)


@usual
@pytest.mark.soak
def test_a_million_pings_are_answered(server):
    flood_with_pings(server, 1_000_000)


@usual
@pytest.mark.memory(peak_kb=HIGH_WATER_KB + 2 * CONNECTION_KB, kept_kb=HIGH_WATER_KB + 2 * CONNECTION_KB)
def test_pings_whose_answers_nobody_reads_stop_at_the_high_water_mark(server):
    with with_small_buffers(server, "/pinged") as client:
        client.start_sending(frame(PING, b"p" * 125) * 50_000)
        client.send_until_blocked()
        assert client.unsent, "6 MB fit between two ends"


# --- clients that do not leave ---

def held(server, clients):
    """How many of these connections the server still has a descriptor for."""
    ports = {client.connection.getsockname()[1] for client in clients}
    return sum(each.port == server.port and each.peer_port in ports and each.inode != 0 for each in tcp_sockets())


def after_its_close_frame(client):
    client.send(frame(CLOSE, close_payload(1000)))


def after_the_close_frame_of_the_server(client):
    client.send_text("close 4001 bye")


def half_closed_before_the_closing_handshake(client):
    client.connection.shutdown(socket.SHUT_WR)


def half_closed_during_the_closing_handshake(client):
    client.send_text("close 4001 bye")
    assert client.read_frame() == (TEXT, b"before")
    assert client.read_close() == (4001, "bye")
    client.connection.shutdown(socket.SHUT_WR)


def half_closed_after_the_closing_handshake(client):
    client.send(frame(CLOSE, close_payload(1000)))
    assert client.read_close() == (1000, "")
    client.connection.shutdown(socket.SHUT_WR)


def half_closed_inside_a_frame(client):
    client.send(frame(TEXT, "cut off")[:8])
    client.connection.shutdown(socket.SHUT_WR)


def after_breaking_a_rule(client):
    client.send(frame(3, "x"))


def after_breaking_a_rule_with_more_behind(client):
    client.send(frame(3, "x") + b"\xff" * 10_000)


@usual
def test_clients_that_hold_the_connection_when_it_is_over_are_let_go(server):
    ways = [after_its_close_frame, after_the_close_frame_of_the_server, half_closed_before_the_closing_handshake,
            half_closed_during_the_closing_handshake, half_closed_after_the_closing_handshake, half_closed_inside_a_frame,
            after_breaking_a_rule, after_breaking_a_rule_with_more_behind]
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(server.websocket(f"/report?holds-{way.__name__}")) for way in ways]
        assert held(server, clients) == len(clients)
        for way, client in zip(ways, clients):
            way(client)
        # 5 s for the client's close frame and 2 s for its end of stream; LIMIT_S bounds what the machine adds.
        eventually(lambda: held(server, clients) == 0, "connections stay")
        for way in ways:
            assert len(server.told_of_end(f"holds-{way.__name__}")) == 1


# --- clients that vanish ---

@pytest.fixture
def waiting(server, name):
    """A file that callbacks of the handler wait for, and until one does; then all go on."""
    go = server.folder / f"www/{name}"

    def until_it_waits(reached=lambda: f"waits for {go}" in server.error_log()):
        eventually(reached, "no callback waits")
    yield go, until_it_waits
    go.touch()


def let_go(file):
    file.touch()
    file.chmod(0o644)


@usual
def test_a_reset_while_the_handshake_runs_harms_nobody(server, waiting):
    go, until_it_waits = waiting
    connection = server.connect()
    connection.sendall(request("/report?reset-in-handshake", *UPGRADE, f"X-Wait: {go}"))
    until_it_waits()
    reset(connection)
    let_go(go)


@usual
@pytest.mark.parametrize("callback", ["open", "message", "close"])
def test_a_reset_while_a_callback_runs_harms_nobody(server, waiting, name, callback):
    go, until_it_waits = waiting
    query = name if callback == "message" else f"wait-in-{callback}={go}"
    with server.websocket("/report?" + query) as client:
        if callback == "message":
            client.send_text(f"wait {go}")
        if callback == "close":
            client.send(frame(CLOSE, close_payload(1000)))
        until_it_waits()
        client.reset()
    let_go(go)
    assert len(server.told_of_end(query)) == 1


@usual
def test_resets_right_behind_the_request_harm_nobody(server):
    for number in range(100):
        connection = server.connect()
        connection.sendall(request("/echo", *UPGRADE) + frame(TEXT, "x" * 100 * number))
        reset(connection)


@usual
@pytest.mark.memory(peak_kb=READERS * READER_KB, kept_kb=READERS * READER_KB)
def test_resets_while_the_server_sends_to_many_cost_the_others_nothing(server):
    messages = [bytes([number]) * MESSAGE_KB * 1024 for number in range(128)]
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(with_small_buffers(server)) for _ in range(READERS)]
        for client in clients:
            client.start_sending(b"".join(frame(BINARY, message) for message in messages))
            client.send_until_blocked()
            assert client.unsent
        for client in clients[::2]:
            client.reset()
        for client in clients[1::2]:
            for message in messages:
                assert client.read_frame() == (BINARY, message)
            client.close()


# --- handlers ---

@usual
@pytest.mark.parametrize("call", ["length without data", "length below zero", "text cut in a character", "no such type", "no such flag",
                                  "reason without data", "reason too long"])
def test_a_handler_that_sends_what_cannot_be_is_told_so_and_the_connection_lives(server, call):
    server.expect(r"websocket:error.*wrong\.so: /misuses: (send|close)\(\) refused: ")
    with server.websocket("/misuses") as client:
        assert said(client, call) == "-2"
        assert said(client, "nothing wrong") == "0"
        client.close()


@usual
def test_a_handler_that_closes_twice_and_sends_behind_sends_one_close_frame(server):
    server.expect(r"websocket:info.*wrong\.so: close again -1, send -1$")
    with server.websocket("/misuses") as client:
        client.send_text("close twice")
        assert client.read_close() == (4001, "")
        client.send(frame(CLOSE, close_payload(4001)))
        client.read_end()
    assert "close again -1, send -1" in server.error_log()


@usual
@pytest.mark.parametrize("path", ["/report?throws", "/throws", "/report?throw-in-open", "/report?throw-in-close"])
def test_a_handler_that_throws_costs_its_connection(server, path):
    server.expect(r"websocket:error.*(report|wrong)\.so: (/throws: )?exception (in|left) (open|message|close): thrown")
    with server.websocket(path) as client:
        if path.endswith("close"):
            return client.close()
        if not path.endswith("open"):
            client.send_text("throw")
        assert client.read_close()[0] == 1011
        client.send(frame(CLOSE, close_payload(1011)))
        client.read_end()


def test_a_handler_that_blocks_holds_its_own_loop_only(handlers):
    with serving("WebSocketThreads 2\n" + CONFIG.replace("HANDLERS", str(handlers))) as server:
        server.expect(r"websocket:(info|notice).*/report\.so: ")
        go = server.folder / "www/go"
        with contextlib.ExitStack() as stack:
            # Loops take connections in turn, so every other one is beside the one that blocks.
            def opened(path):
                client = stack.enter_context(server.websocket(path))
                client.echo_of_ping(b"")  # a loop has it, before the next comes
                return client

            blocked, free, behind, too = [opened(path) for path in ["/report?blocks", "/echo", "/echo", "/echo"]]
            blocked.send_text(f"wait {go}")
            eventually(lambda: f"waits for {go}" in server.error_log(), "the handler does not wait")
            behind.send_text("behind")
            for client in [free, too]:
                client.echo()
            all_workers_serve(server)
            assert not select.select([behind.connection, blocked.connection], [], [], 0)[0]
            let_go(go)
            assert behind.read_frame() == (TEXT, b"behind")
            assert blocked.read_frame()[0] == TEXT
            for client in [blocked, free, behind, too]:
                client.close()


# --- more clients than there is room for ---

def flood(limit, count, at_a_time):
    make_room(limit + at_a_time)
    # Of a WebSocket, and of a request that waits beside others.
    kb = 2 * limit + 32 * at_a_time + 4096
    with serving(f"WebSocketMaxConnections {limit}\n" + ECHO) as server, contextlib.ExitStack() as stack:
        server.expect(rf"no room for another WebSocket: WebSocketMaxConnections {limit} is reached")
        with unharmed_but_full(server, kb, stack) as bystander:
            opened, refused = [bystander.client], 0
            for start in range(0, count, at_a_time):
                connections = [server.connect() for _ in range(min(at_a_time, count - start))]
                for connection in connections:
                    connection.sendall(request("/echo", *UPGRADE))
                for connection in connections:
                    status, headers, _ = read_response(connection)
                    if status == 101:
                        opened.append(stack.enter_context(contextlib.closing(connection)))
                        continue
                    assert (status, headers["retry-after"]) == (503, "10")
                    connection.close()
                    refused += 1
            assert (len(opened), refused) == (limit, count - limit + 1)
            assert server.http("/index.html")[0] == 200
            for connection in opened[1:]:
                connection.sendall(frame(TEXT, "in"))
                assert connection.recv(4) == b"\x81\x02in"
            stack.close()


@contextlib.contextmanager
def unharmed_but_full(server, kb, stack):
    """As `unharmed`; the newcomer at its end finds room once those inside have left."""
    with unharmed(server, peak_kb=kb, kept_kb=kb) as bystander:
        yield bystander
        stack.close()
        eventually(lambda: server.http("/echo", *UPGRADE)[0] == 101, "no place is given back")


def test_1000_clients_where_100_may_be_get_503_before_the_101():
    flood(100, 1000, 100)


@pytest.mark.soak
def test_10000_clients_where_1000_may_be_get_503_before_the_101():
    flood(1000, 10_000, 500)


# --- what runs out ---

@pytest.mark.parametrize("mpm", ["event", "worker", "prefork"])
def test_a_full_disk_under_the_log_is_no_end_and_the_log_is_there_again_after_it(mpm, handlers):
    with Server(CONFIG.replace("HANDLERS", str(handlers)), mpm=mpm, log_level="warn websocket:info") as server:
        server.expect(r"websocket:info", r"AH")
        server.replace_config(CONFIG.replace("HANDLERS", str(handlers)) + "ErrorLog /dev/full\nCustomLog /dev/full plain\n")
        before = restart(server)
        with server.websocket("/report?unheard-of") as client, server.websocket() as other:
            for _ in range(100):
                assert said(client, "hello") == "got hello"
                other.echo()
            assert server.http("/echo", "Origin: null", *UPGRADE)[0] == 403  # which is logged
            client.send(frame(3, "x"))
            assert client.read_close()[0] == 1002
            other.close()
        assert "unheard-of" not in server.error_log()
        assert set(before) <= set(server.children()), "a child is gone"
        server.replace_config(CONFIG.replace("HANDLERS", str(handlers)))
        restart(server)
        with server.websocket("/report?heard-of") as client:
            client.close()
        assert server.told_of_end("heard-of") == ['1000 "" clean after 0']


def restart(server):
    """Gracefully; the children that serve then."""
    eventually(lambda: len(server.children()) == (10 if server.mpm == "prefork" else 1), "children are missing")
    old = server.children()
    server.settle()
    server.process.send_signal(signal.SIGUSR1)
    server.await_new_children(old)
    server.await_gone(old)
    return server.children()
