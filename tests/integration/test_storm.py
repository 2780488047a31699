"""Restart storms: httpd is restarted gracefully every second while 200 clients echo numbered messages and come back whenever they are
told to go. Every echo is right and in its order, and no WebSocket ends without a close frame."""

import selectors
import signal
import socket
import ssl
import struct
import time

import pytest

import sanitizer
from harness import ACCEPT, CLOSE, ECHO, LIMIT_S, TEXT, UPGRADE, Server, close_payload, eventually, frame, listing, request

CLIENTS, IN_FLIGHT = 200, 4
READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE

CONFIG = """
ServerLimit 64
WebSocketDrainTimeout 2
""" + ECHO


class Ended(Exception):
    """The server's end of the stream, in whatever way."""


class StormClient:
    """One WebSocket after the other. What waits is a generator, and yields what it waits for."""

    def __init__(self, storm, name):
        self.storm, self.name = storm, name
        self.socket, self.doing, self.received = None, "nothing yet", b""
        self.is_open = False
        self.echoes = self.goodbyes = self.cut = 0
        self.moved_s = time.monotonic()

    def live(self):
        while not self.storm.over:
            self.received = b""
            self.socket = socket.socket()
            try:
                try:
                    yield from self.open()
                except Ended as end:
                    self.cut += 1
                    self.storm.cuts.append(f"{self.name} while {self.doing}: {end}")
                    continue
                self.is_open = True
                yield from self.talk()
            finally:
                self.is_open = False
                self.storm.forget(self.socket)
                self.socket.close()

    def open(self):
        self.doing = "connecting"
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.connect_ex(("127.0.0.1", self.storm.server.port))
        yield WRITE
        error = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        assert not error, f"{self.name}: connecting failed with error {error}"
        if self.storm.tls:
            self.doing = "agreeing on TLS"
            self.storm.forget(self.socket)
            self.socket = self.storm.tls.wrap_socket(self.socket, server_hostname="localhost", do_handshake_on_connect=False)
            yield from self.patiently(self.socket.do_handshake)
        self.doing = "opening"
        yield from self.send(request("/echo", *UPGRADE))
        while b"\r\n\r\n" not in self.received:
            yield from self.receive()
        head, self.received = self.received.split(b"\r\n\r\n", 1)
        assert head.startswith(b"HTTP/1.1 101 ") and ACCEPT.encode() in head, f"{self.name}: {head!r}"

    def talk(self):
        """Until the server says goodbye, or until the storm is over."""
        self.doing = "talking"
        sent = answered = 0
        try:
            while answered < sent or not self.storm.over:
                while sent - answered < IN_FLIGHT and not self.storm.over:
                    yield from self.send(frame(TEXT, self.message(sent)))
                    sent += 1
                opcode, payload = yield from self.read_frame()
                if opcode == CLOSE:
                    yield from self.leave(payload)
                    return
                assert (opcode, payload) == (TEXT, self.message(answered)), f"{self.name}: echo {answered} of {sent}: {opcode} {payload[:80]!r}"
                answered += 1
                self.echoes += 1
            self.doing = "closing"
            yield from self.send(frame(CLOSE, close_payload(1000)))
            answer = yield from self.read_frame()
            assert answer == (CLOSE, close_payload(1000)), f"{self.name}: {answer}"
        except Ended as end:
            raise AssertionError(f"{self.name}: ended without a close frame after {answered} echoes of {sent}, {self.doing}: {end}") from end

    def message(self, number):
        size = 20_000 if number % 16 == 15 else 20
        return f"{self.name}, message {number}".encode().ljust(size, b".")

    def leave(self, payload):
        self.doing = "leaving"
        assert struct.unpack("!H", payload[:2]) == (1001,), f"{self.name}: told {payload!r}"
        self.goodbyes += 1
        try:
            yield from self.send(frame(CLOSE, payload))
            while True:
                self.received = b""
                yield from self.receive()
                raise AssertionError(f"{self.name}: {self.received[:80]!r} behind the close frame")
        except Ended:
            pass

    # --- bytes ---

    def patiently(self, call, *arguments):
        while True:
            try:
                return call(*arguments)
            except (BlockingIOError, ssl.SSLWantReadError):
                yield WRITE if call == self.socket.send and not self.storm.tls else READ
            except ssl.SSLWantWriteError:
                yield WRITE
            except OSError as error:
                raise Ended(repr(error)) from error

    def send(self, data):
        """What the server has said last can be read when nothing can be sent any more."""
        while data:
            try:
                data = data[(yield from self.patiently(self.socket.send, data)):]
            except Ended:
                if self.doing in ("talking", "closing"):
                    return
                raise

    def receive(self):
        data = yield from self.patiently(self.socket.recv, 65536)
        if not data:
            raise Ended("end of stream")
        self.received += data

    def read_frame(self):
        need = 2
        while True:
            if len(self.received) >= need:
                first, second = self.received[:2]
                assert first & 0x70 == 0 and first & 0x80 and second < 127, f"{self.name}: {self.received[:2]!r}"
                head = 4 if second == 126 else 2
                if len(self.received) >= head:
                    need = head + (struct.unpack("!H", self.received[2:4])[0] if head == 4 else second)
                    if len(self.received) >= need:
                        payload, self.received = self.received[head:need], self.received[need:]
                        return first & 15, payload
            yield from self.receive()


class Storm:
    """All clients, in one thread."""

    def __init__(self, server, count):
        self.server, self.over = server, False
        self.tls = ssl.create_default_context(cafile=str(server.cert)) if server.tls else None
        self.selector = selectors.DefaultSelector()
        self.cuts = []  # connections that ended before they were open
        self.clients = [StormClient(self, f"client {number}") for number in range(count)]
        self.waiting = {client: client.live() for client in self.clients}
        self.watched = {}  # by client: the socket and what it is watched for
        for client in self.clients:
            self.resume(client)

    def resume(self, client):
        client.moved_s = time.monotonic()
        try:
            events = next(self.waiting[client])
        except StopIteration:
            del self.waiting[client]
            return
        if self.watched.get(client.socket) == events:
            return
        if client.socket in self.watched:
            self.selector.modify(client.socket, events, client)
        else:
            self.selector.register(client.socket, events, client)
        self.watched[client.socket] = events

    def forget(self, connection):
        if self.watched.pop(connection, None):
            self.selector.unregister(connection)

    def run(self, until, what):
        end_s = time.monotonic() + LIMIT_S
        while not until():
            assert time.monotonic() < end_s, f"{what}, and clients go on"
            for key, _ in self.selector.select(0.1):
                self.resume(key.data)
            now_s = time.monotonic()
            for client in self.waiting:
                assert now_s - client.moved_s < LIMIT_S, f"{client.name} hangs, {client.doing}"

    def close(self):
        for life in self.waiting.values():
            life.close()
        self.selector.close()


def descriptors(pid):
    return len(listing(f"/proc/{pid}/fd"))


def storm(mpm, tls, seconds):
    with Server(CONFIG, mpm=mpm, tls=tls) as server:
        if mpm == "worker":  # httpd forgets a generation once the last of its children has given its slot away
            server.expect(r"AH00546: no record of generation \d+ of exiting child")
        with server.websocket() as client:
            client.echo()
            client.close()
        server.await_idle()
        parent, child = descriptors(server.process.pid), max(server.descriptors_by_child().values())
        storm = Storm(server, CLIENTS)
        try:
            storm.run(lambda: all(client.is_open for client in storm.clients), "some are never open")
            restarts, end_s = 0, time.monotonic() + seconds
            while time.monotonic() < end_s:
                old = set(server.children())
                server.process.send_signal(signal.SIGUSR1)
                restarts += 1
                next_s = time.monotonic() + 1
                storm.run(lambda: time.monotonic() >= next_s, "a second does not pass")
            storm.run(lambda: not old & set(server.children()), "old children stay")
            storm.over = True
            storm.run(lambda: not storm.waiting, "some never leave")
        finally:
            storm.close()
        print(f"{mpm}: {restarts} restarts, {sum(c.echoes for c in storm.clients)} echoes, {sum(c.goodbyes for c in storm.clients)} goodbyes")
        # One that is cut before it is open has lost nothing and tries again; few may be. It was seen of TLS handshakes, two at a time,
        # in one of some thirty storms.
        goodbyes = sum(client.goodbyes for client in storm.clients)
        assert len(storm.cuts) <= 4 + goodbyes // 200, f"{len(storm.cuts)} connections were cut before they were open: {storm.cuts[:5]}"
        assert all(client.goodbyes for client in storm.clients)
        server.await_idle()
        eventually(lambda: descriptors(server.process.pid) <= parent, "the parent leaks descriptors")
        eventually(lambda: max(server.descriptors_by_child().values()) <= child + 4, "a child leaks descriptors")
        assert server.http("/index.html")[0] == 200


@pytest.mark.parametrize("mpm, tls", [("event", False), ("event", True), ("worker", True), ("prefork", False)])
def test_restarts_in_a_row_cost_no_client_more_than_a_reconnect(mpm, tls):
    storm(mpm, tls, 3 if sanitizer.NAME else 6)


@pytest.mark.soak
@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
@pytest.mark.parametrize("mpm", ["event", "worker", "prefork"])
def test_half_a_minute_of_restarts_costs_no_client_more_than_a_reconnect(mpm, tls):
    storm(mpm, tls, 30)
