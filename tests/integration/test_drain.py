"""How children leave: a drain on a graceful restart or stop, no close at all when the parent just has no more use for a child."""

import os
import select
import signal
import time

import pytest

from harness import CLOSE, ECHO, TEXT, Server, close_payload, eventually, frame


@pytest.fixture(params=["event", "worker", "prefork"])
def mpm(request):
    return request.param


@pytest.fixture(params=["tcp", "tls", "resident"])
def mooring(request):
    return request.param


def order_of_closes(clients, code):
    """Answers the server's close frames as they come; the seconds from one to the next."""
    waiting, times = list(clients), []
    while waiting:
        ready = select.select([client.connection for client in waiting], [], [], 30)[0]
        assert ready, "no close frame comes"
        for client in [each for each in waiting if each.connection in ready]:
            assert client.read_close() == (code, "")
            times.append(time.monotonic())
            client.send(frame(CLOSE, close_payload(code)))
            client.read_end()
            client.connection.close()
            waiting.remove(client)
    return [later - earlier for earlier, later in zip(times, times[1:])]


def old_children_are_gone(server, old):
    eventually(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in old), "the old children stay")


def test_graceful_restart_spreads_closes_while_a_new_child_serves(mpm, mooring):
    with Server("WebSocketDrainTimeout 3\nWebSocketDrainCode 1012\n" + ECHO, mpm=mpm, mooring=mooring) as server:
        clients = [server.websocket() for _ in range(8)]
        old = set(server.children())
        server.process.send_signal(signal.SIGUSR1)
        eventually(lambda: set(server.children()) - old, "no new child")
        with server.websocket() as client:  # of a new child, at once
            client.echo()
            pauses = order_of_closes(clients, 1012)
            assert sum(pauses) > 1, pauses  # not all at once
            old_children_are_gone(server, old)
            client.echo("not drained")
            client.close()


def test_a_drain_lets_the_message_that_is_arriving_come_to_its_end(mpm):
    with Server("WebSocketDrainTimeout 10\n" + ECHO, mpm=mpm, mooring="tcp") as server:
        with server.websocket() as client:
            client.send(frame(TEXT, "first half, ", fin=False))
            client.echo_of_ping(b"it has been read")
            old = set(server.children())
            server.process.send_signal(signal.SIGUSR1)
            eventually(lambda: set(server.children()) - old, "no new child")
            client.send(frame(0, "second half"))
            assert client.read_frame() == (TEXT, b"first half, second half")
            assert client.read_close() == (1001, "")
            client.send(frame(CLOSE, close_payload(1001)))
            client.read_end()


def busy_threads(server, count):
    """Requests that are being sent, each of which keeps a thread or process of httpd busy."""
    requests = [server.connect() for _ in range(count)]
    for each in requests:
        each.sendall(b"GET /index.html HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
    return requests


RETIRE = {"event": "MaxSpareThreads 4\n", "worker": "MaxSpareThreads 4\n", "prefork": "MaxSpareServers 2\n"}


@pytest.mark.parametrize("mpm, tls", [("event", False), ("event", True), ("worker", False), ("prefork", False)])
def test_children_that_the_parent_retires_serve_on(mpm, tls):
    status = "<Location /status>\n SetHandler server-status\n</Location>\n"
    with Server(RETIRE[mpm] + status + ECHO, mpm=mpm, tls=tls, threads=2, modules=["status"]) as server:
        # Load makes children, which take WebSockets and then are too many.
        requests = busy_threads(server, 8)
        eventually(lambda: len(server.children()) >= 4, "load makes no children")
        clients = [server.websocket() for _ in range(12)]
        for each in requests:
            each.close()
        holders = set(server.children())
        eventually(lambda: len(set(server.listening_children()) & holders) <= 2, "nobody is retired")
        def all_are_known_to_leave():
            scoreboard = server.http("/status?auto")[2].decode().split("Scoreboard: ")[1].split()[0]
            return scoreboard.count("G") == len(set(server.children()) - set(server.listening_children())) > 0
        if mpm == "prefork":  # which would otherwise take them for free, and start no others
            eventually(all_are_known_to_leave, "httpd counts children that leave as free")
        for _ in range(3):
            for number, client in enumerate(clients):
                client.echo(f"served on {number}")
        for client in clients:
            client.close()
        eventually(lambda: len(server.children()) < len(holders), "the retired children stay")


def test_a_child_that_has_served_its_share_of_connections_serves_on(mpm, mooring):
    with Server("MaxConnectionsPerChild 8\n" + ECHO, mpm=mpm, mooring=mooring, threads=4) as server:
        clients = [server.websocket() for _ in range(6)]
        first = set(server.children())
        for _ in range(120):
            assert server.http("/index.html")[0] == 200
        eventually(lambda: set(server.children()) - first, "no child follows")
        for client in clients:
            client.echo("served on")
        # A stop reaches them too.
        server.process.send_signal(signal.SIGTERM)
        for client in clients:
            assert client.read_close()[0] == 1001
            client.connection.close()
        assert server.process.wait(30) == 0
