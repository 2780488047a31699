"""Every MPM over plain TCP, TLS 1.2 and TLS 1.3: messages, ends and slow clients. One server per cell serves all of its tests, and at
its end no child is gone and no descriptor is left."""

import contextlib
import functools
import os
import pathlib
import re
import select
import socket
import ssl
import time

import pytest

from harness import (BINARY, CLOSE, ECHO, GONE, LIMIT_S, PING, PONG, TEXT, Client, Server, close_payload, eventually, frame, listing,
                     read_response, request)
from tls_support import TlsClient, cut_off

MPMS = ["event", "worker", "prefork"]
TRANSPORTS = {"plain": None, "tls1.2": ssl.TLSVersion.TLSv1_2, "tls1.3": ssl.TLSVersion.TLSv1_3}
WORKERS = 4
BIG = 16 << 20

# Buffers of the system that do not grow: what a client does not read soon has to wait in the server.
CONFIG = f"""
MaxRequestWorkers {WORKERS}
KeepAliveTimeout 120
SendBufferSize 262144
ReceiveBufferSize 262144
<Location /echo>
    WebSocketHandler echo
    WebSocketMaxMessage {BIG}
</Location>
<Location /report>
    WebSocketHandler "HANDLERS/report.so"
</Location>
"""


class Cell(Server):
    def __init__(self, mpm, transport, handlers):
        children = "StartServers 4\n" if mpm == "prefork" else ""
        super().__init__(children + CONFIG.replace("HANDLERS", str(handlers)), mpm=mpm, tls=transport != "plain", threads=WORKERS,
                         log_level="warn websocket:info")
        self.version = TRANSPORTS[transport]
        self.expect(r"websocket:info.*/report\.so: .*: (open|message .*|asked to close: .*|close .*)$",
                    r"AH00484:", r"AH10159:", r"AH00286:", r"AH00161:")  # as many clients as workers

    @functools.cached_property
    def context(self):
        context = ssl.create_default_context(cafile=str(self.cert))
        context.minimum_version = context.maximum_version = self.version
        context.options &= ~getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)  # Python sets it
        return context

    def connect(self, plain=False, tls_version=None, receive_bytes=None):
        """An end of the stream without TLS's own is an error to this one."""
        connection = socket.socket()
        connection.settimeout(LIMIT_S)
        if receive_bytes:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        connection.connect(("127.0.0.1", self.port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.tls and not plain:
            connection = self.context.wrap_socket(connection, server_hostname="localhost", suppress_ragged_eofs=False)
        return connection

    def half_closing(self, path="/echo"):
        """A client that can end its sending and read on."""
        return Client(TlsClient(self.port, self.version) if self.tls else self.connect(), path)

    def sockets(self):
        """Of each child, those it has open."""
        counts = {}
        for pid in self.children():
            counts[pid] = 0
            for link in listing(f"/proc/{pid}/fd"):
                with contextlib.suppress(*GONE):
                    counts[pid] += os.readlink(link).startswith("socket:")
        return counts

    def note_what_is_there(self):
        count = WORKERS if self.mpm == "prefork" else 1
        eventually(lambda: len(self.children()) == count, "children are missing")
        self.await_idle()
        self.settle()
        self.at_start = self.sockets()

    def await_nobody(self):
        """Until every child is as it was before anyone came: none is gone, no socket is left."""
        def alone():
            assert set(self.children()) == set(self.at_start), "a child is gone"
            return self.sockets() == self.at_start
        eventually(alone, "sockets stay open")


@pytest.fixture(scope="module", params=MPMS)
def mpm(request):
    return request.param


@pytest.fixture(scope="module", params=TRANSPORTS)
def cell(request, mpm, handlers):
    with Cell(mpm, request.param, handlers) as running:
        running.note_what_is_there()
        yield running
        running.await_nobody()


def all_workers_serve(server):
    """As many requests at once as there are workers, none of which lets go of its connection; on worker and prefork each keeps one busy."""
    connections = []
    try:
        for _ in range(WORKERS):
            connection = server.connect()
            connections.append(connection)
            connection.sendall(request("/index.html"))
            assert read_response(connection)[0] == 200
    finally:
        for connection in connections:
            connection.close()


# --- slow clients; first, as what others leave in the heap would hide what these take ---

@functools.cache
def numbered(messages):
    return b"".join(frame(BINARY, bytes([number]) * (1 << 20)) for number in range(messages))


def slow_readers_are_not_read_and_delay_nobody(server, stalled_s=0):
    counts = [64] + [16] * (WORKERS + 1)  # messages of 1 MiB
    with contextlib.ExitStack() as stack:
        other = stack.enter_context(server.websocket())
        readers = [stack.enter_context(Client(server.connect(receive_bytes=64 * 1024), "/echo")) for _ in counts]
        for pid in server.children():
            pathlib.Path(f"/proc/{pid}/clear_refs").write_text("5")  # a new peak of memory begins
        before_kb = server.peak_memory_kb()
        for reader, count in zip(readers, counts):
            reader.start_sending(numbered(count))
            reader.send_until_blocked()
            assert reader.unsent, f"{count} MiB fit between two ends"
        end = time.monotonic() + stalled_s
        while True:
            other.echo("x" * 1000)
            all_workers_serve(server)
            if time.monotonic() >= end:
                break
        # For each: the high-water mark, a message in each direction, buffers.
        grown_kb = server.peak_memory_kb() - before_kb
        assert grown_kb < len(readers) * 6 * 1024, f"{grown_kb} KB more for {sum(counts)} MiB"
        for reader, count in zip(readers, counts):
            for number in range(count):
                opcode, payload = reader.read_frame()
                assert opcode == BINARY and payload == bytes([number]) * (1 << 20), f"message {number} is another"
            reader.close()
        other.close()
    server.await_nobody()


def test_slow_readers_are_not_read_and_delay_nobody(cell):
    slow_readers_are_not_read_and_delay_nobody(cell)


# --- messages ---

def test_messages_of_every_length_form_come_back(cell):
    with cell.websocket() as client:
        for size in [0, 1, 125, 126, 65535, 65536, 1 << 20]:
            client.echo("t" * size)
            client.echo(os.urandom(size), BINARY)
        client.close()


def test_a_big_message_is_echoed_while_the_next_is_sent(cell):
    first, second = os.urandom(BIG), os.urandom(BIG)
    with cell.websocket() as client:
        client.start_sending(frame(BINARY, first) + frame(BINARY, second))
        for payload in [first, second]:
            opcode, echo = client.read_frame()
            assert opcode == BINARY and echo == payload
        client.close()


def test_a_fragmented_message_comes_back_whole(cell):
    parts = [os.urandom(size) for size in [1, 0, 125, 70_000, 200_000]]
    with cell.websocket() as client:
        for number, part in enumerate(parts):
            client.send(frame(0 if number else BINARY, part, fin=number == len(parts) - 1))
            if number == 2:
                client.send(frame(PING, "between"))
                assert client.read_frame() == (PONG, b"between")
        assert client.read_frame() == (BINARY, b"".join(parts))
        client.close()


def test_frames_in_one_segment_with_the_request_are_served(cell):
    half = frame(TEXT, "in two parts")
    with cell.websocket(early=frame(TEXT, "early") + frame(BINARY, b"x" * 5000) + frame(PING, b"p") + half[:7]) as client:
        assert client.read_frame() == (TEXT, b"early")
        assert client.read_frame() == (BINARY, b"x" * 5000)
        assert client.read_frame() == (PONG, b"p")
        client.send(half[7:])
        assert client.read_frame() == (TEXT, b"in two parts")
        client.close()


@pytest.mark.parametrize("size", [100_000, 3_000_000])
def test_a_message_sent_with_the_request_comes_back_however_long(cell, size):
    payload = os.urandom(size)
    with cell.websocket(early=frame(BINARY, payload)) as client:
        opcode, echo = client.read_frame()
        assert opcode == BINARY and echo == payload
        client.close()


def test_the_closing_handshake_ends_on_an_end_of_the_stream(cell):
    with cell.websocket() as client:
        client.echo()
        client.close(3001, "enough")
    with cell.websocket("/report?by-the-server") as client:
        client.send_text("close 4001 enough")
        assert client.read_frame() == (TEXT, b"before")
        assert client.read_close() == (4001, "enough")
        client.send(frame(CLOSE, close_payload(4001)))
        client.read_end()
    cell.await_nobody()


# --- ends ---

@pytest.mark.parametrize("size", [0, 300_000, 1 << 20, 6 << 20])
def test_a_client_that_ends_its_sending_still_gets_what_waits(cell, size):
    with cell.half_closing() as client:
        payload = os.urandom(size)
        client.send(frame(BINARY, payload))
        if cell.tls:
            client.connection.end_sending()
        else:
            client.connection.shutdown(socket.SHUT_WR)
        opcode, echo = client.read_frame()
        assert opcode == BINARY and echo == payload
        client.read_end()
        cell.await_nobody()


def at_once(client):
    pass


def in_mid_frame(client):
    client.send(frame(BINARY, b"x" * 50_000)[:20_000])


def in_mid_message(client):
    client.send(frame(TEXT, "first part", fin=False))


def with_much_to_send(client):
    client.start_sending(frame(TEXT, "x" * 1_000_000) * 16)
    client.send_until_blocked()
    assert client.unsent, "all of it went"


def after_the_close_of_the_server(client):
    client.send_text("close 4001 bye")
    assert client.read_frame() == (TEXT, b"before")
    assert client.read_close() == (4001, "bye")


def while_closing(client):
    client.send(frame(CLOSE, close_payload(1000)))


def when_closed(client):
    client.send(frame(CLOSE, close_payload(1000)))
    assert client.read_close() == (1000, "")


@pytest.mark.parametrize("bring_to", [at_once, in_mid_frame, in_mid_message, with_much_to_send, after_the_close_of_the_server, while_closing,
                                      when_closed], ids=lambda function: function.__name__.replace("_", "-"))
def test_a_reset_harms_nobody_and_leaves_nothing(cell, name, bring_to):
    with cell.websocket() as other:
        with Client(cell.connect(receive_bytes=64 * 1024), "/report?" + name) as client:
            bring_to(client)
            client.reset()
        told, = cell.told_of_end(name)
        # The client's close frame may be lost to its reset.
        expected = r'1000 "" clean' if bring_to == when_closed else r'1000 "" clean|1006 "" unclean' if bring_to == while_closing else r'1006 "" unclean'
        assert re.match(rf"({expected}) after \d+$", told), told
        other.echo()
        with cell.websocket() as newcomer:
            newcomer.echo()
            newcomer.close()
        assert cell.http("/index.html")[0] == 200
        other.close()
    cell.await_nobody()


@pytest.mark.parametrize("last", ["whole", "frame", "message"])
def test_an_end_of_tcp_alone_is_no_clean_close(cell, name, last):
    with cell.websocket("/report?" + name) as client:
        client.send_text("hello")
        assert client.read_frame() == (TEXT, b"got hello")
        client.send({"whole": b"", "frame": frame(TEXT, "cut off")[:8], "message": frame(TEXT, "part", fin=False)}[last])
        cut_off(client.connection)
    assert cell.told_of_end(name) == ['1006 "" unclean after 1']
    cell.await_nobody()


# --- many clients ---

def test_more_clients_than_workers_echo_and_hold_none(cell):
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(cell.websocket()) for _ in range(2 * WORKERS)]
        for number, client in enumerate(clients):
            client.send_text(f"message {number}")
        for number, client in enumerate(clients):
            assert client.read_frame() == (TEXT, f"message {number}".encode())
        all_workers_serve(cell)
        for client in clients:
            client.echo("still there")
            client.close()
    cell.await_nobody()


@pytest.mark.soak
def test_slow_readers_delay_nobody_for_ten_seconds(cell):
    slow_readers_are_not_read_and_delay_nobody(cell, 10)


# --- httpd's own limits ---

def test_time_limits_of_http_do_not_cut_an_open_socket():
    config = "Timeout 1\nKeepAliveTimeout 1\nRequestReadTimeout header=1 body=1,MinRate=10000\n" + ECHO
    half = frame(TEXT, "a slow one")
    with contextlib.ExitStack() as stack:
        clients = []
        for mpm in MPMS:
            for tls in [False, True]:
                server = stack.enter_context(Server(config, mpm=mpm, tls=tls))
                for version in [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3] if tls else [None]:
                    for sent in [0, 8]:
                        client = stack.enter_context(server.websocket(tls_version=version))
                        client.echo()
                        client.send(half[:sent])
                        clients.append((client, sent))
        assert not select.select([client.connection for client, _ in clients], [], [], 3)[0], "something came"  # longer than any limit
        for client, sent in clients:
            client.send(half[sent:])
            assert client.read_frame() == (TEXT, b"a slow one")
            client.close()
