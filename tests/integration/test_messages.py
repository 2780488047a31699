"""What lines of the logs say of whom they are: the client, and the connection's id."""

import re
import signal
import time

import pytest

from harness import ECHO, Server, eventually

LOGGED = r"""
LogFormat "%>s %U %{websocket-id}n" ids
CustomLog "ids.log" ids
"""


@pytest.fixture(params=["tcp", "tls", "resident", "resident-tls"])
def server(request):
    with Server(ECHO + LOGGED, mooring=request.param, log_level="warn websocket:debug") as running:
        running.expect(r"WS203: connection stays on its thread: WebSocketDetach off$")
        running.is_detached = not request.param.startswith("resident")
        yield running


def ids(server, count):
    """Of the connections in the access log, once there are so many."""
    def logged():
        found = re.findall(r"^101 /echo (.*)$", (server.folder / "ids.log").read_text(), re.M)
        return len(found) == count and found
    return eventually(logged, f"not {count} lines")


def test_the_access_log_has_the_id_that_the_error_log_has(server):
    with server.websocket() as client:
        if server.is_detached:
            ids(server, 1)
        client.close()
    with server.websocket() as client:
        client.close()
    logged = ids(server, 2)
    assert all(re.fullmatch("[0-9a-f]{16}", each) for each in logged)
    said = re.findall(r"\[websocket:debug\].*\[client 127\.0\.0\.1:\d+\] WS207: becomes connection (\S+)$", server.error_log(), re.M)
    assert sorted(said) == sorted(logged)


def test_a_request_that_is_refused_has_no_id(server):
    server.expect(r"WS201: opening handshake refused with 426: ")
    assert server.http("/echo")[0] == 426
    assert eventually(lambda: re.findall("^426 /echo (.*)$", (server.folder / "ids.log").read_text(), re.M), "not logged") == ["-"]


def test_a_line_about_a_connection_names_client_and_id(server):
    server.expect(r"WS301:")
    with server.websocket() as client:
        client.send(b"\x83\x80\0\0\0\0")  # of no type that there is
        assert client.read_close()[0] == 1002
    [logged] = ids(server, 1)
    assert re.search(rf"\[websocket:info\].* WS301: \[client 127\.0\.0\.1, connection {logged}\] \S+/echo\.so: /echo: closed with 1002: ", server.error_log())


@pytest.mark.parametrize("mpm", ["event", "prefork"])
@pytest.mark.parametrize("restart", [signal.SIGUSR1, signal.SIGHUP])
def test_no_id_is_given_twice(mpm, restart):
    begin_us = time.time() * 1e6
    # A resident connection has a process of prefork for itself.
    with Server(ECHO + LOGGED, mpm=mpm, mooring="resident") as server:
        clients = [server.websocket() for _ in range(8)]
        assert mpm == "event" or len({server.child_of(client) for client in clients}) == 8
        old = server.children()
        for client in clients:
            client.close()
        server.await_idle()
        server.process.send_signal(restart)
        server.await_new_children(old)
        server.await_gone(old)
        for _ in range(8):
            with server.websocket() as client:
                client.close()
        given = [int(each, 16) for each in ids(server, 16)]
        assert len(set(given)) == 16
        assert max(given[:8]) < min(given[8:])
        # Of a machine that was started again: behind all that came before.
        assert begin_us < min(given) and max(given) < time.time() * 1e6
