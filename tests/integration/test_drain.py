"""How children leave: a drain on a graceful restart or stop, no close at all when the parent just has no more use for a child."""

import select
import signal

import pytest

from harness import CLOSE, ECHO, TEXT, Server, close_payload, eventually, frame


@pytest.fixture(params=["tcp", "tls", "resident"])
def mooring(request):
    return request.param


def first_to_be_closed(clients):
    """The one whose close frame comes first, answered."""
    ready = select.select([client.connection for client in clients], [], [], 30)[0]
    assert ready, "no close frame comes"
    return next(client for client in clients if client.connection in ready)


def say_goodbye(client, code):
    assert client.read_close() == (code, "")
    client.send(frame(CLOSE, close_payload(code)))
    client.read_end()
    client.connection.close()


def test_graceful_restart_spreads_closes_while_a_new_child_serves(mpm, mooring):
    with Server("WebSocketDrainTimeout 2\nWebSocketDrainCode 1012\n" + ECHO, mpm=mpm, mooring=mooring) as server:
        clients = [server.websocket() for _ in range(20)]
        old = set(server.children())
        server.process.send_signal(signal.SIGUSR1)
        first = first_to_be_closed(clients)
        say_goodbye(first, 1012)
        clients.remove(first)
        left = [client for client in clients if not client.told_to_close()]
        assert left, "all are closed at once"
        server.await_new_children(old)
        with server.websocket() as client:
            client.echo()
            for each in left:
                say_goodbye(each, 1012)
            server.await_gone(old)
            client.echo("not drained")
            client.close()


@pytest.mark.parametrize("mpm", ["event", "worker"])  # with all in one child and loop
def test_a_drain_lets_the_message_that_is_arriving_come_to_its_end(mpm):
    with Server("WebSocketDrainTimeout 4\n" + ECHO, mpm=mpm, mooring="tcp") as server:
        others = [server.websocket() for _ in range(8)]
        with server.websocket() as client:
            client.send(frame(TEXT, "first half, ", fin=False))
            client.echo_of_ping(b"it has been read")
            server.process.send_signal(signal.SIGUSR1)
            # The latest has its turn first.
            say_goodbye(first_to_be_closed(others), 1001)
            client.send(frame(0, "second half"))
            assert client.read_frame() == (TEXT, b"first half, second half")
            say_goodbye(client, 1001)


RETIRE = {"event": "MaxSpareThreads 4\n", "worker": "MaxSpareThreads 4\n", "prefork": "MaxSpareServers 2\n"}


@pytest.mark.parametrize("mpm, tls", [("event", True), ("worker", False), ("prefork", False)])
def test_children_that_the_parent_retires_serve_on(mpm, tls):
    status = "<Location /status>\n SetHandler server-status\n</Location>\n"
    with Server(RETIRE[mpm] + status + ECHO, mpm=mpm, tls=tls, threads=2, modules=["status"]) as server:
        # Load makes children, which take WebSockets and then are too many.
        requests = server.begin_requests(8)
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
        assert any(server.child_of(client) not in server.listening_children() for client in clients), "no retired child has a client"
        for _ in range(3):
            for number, client in enumerate(clients):
                client.echo(f"served on {number}")
        for client in clients:
            client.close()
        eventually(lambda: len(server.children()) < len(holders), "the retired children stay")


@pytest.mark.parametrize("mooring", ["tcp", "resident"])
def test_a_child_that_has_served_its_share_of_connections_serves_on(mpm, mooring):
    with Server("MaxConnectionsPerChild 8\n" + ECHO, mpm=mpm, mooring=mooring, threads=4) as server:
        clients = [server.websocket() for _ in range(6)]
        first = set(server.children())
        # The event MPM forgets the connection after which it retires a child if all of the child's threads are only about to be idle
        # again. The client is reset then, with or without this module, or waits for as long as WebSockets keep the child (2.4.71).
        server.settle()
        for _ in range(120):
            assert server.http("/index.html")[0] == 200
        eventually(lambda: set(server.children()) - first, "no child follows")
        for client in clients:
            client.echo("served on")
        # A stop reaches them too.
        server.settle()
        server.process.send_signal(signal.SIGTERM)
        for client in clients:
            assert client.read_close()[0] == 1001
            client.connection.close()
        assert server.process.wait(30) == 0
