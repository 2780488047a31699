"""Threads, stops and restarts on every MPM and mooring: detached and resident, with and without TLS."""

import signal

import pytest

from harness import CLOSE, ECHO, TEXT, Server, eventually, frame


@pytest.fixture(params=["tcp", "tls", "resident-tls"])
def mooring(request):
    return request.param


def say_goodbye(clients):
    """Each is told that the server goes away, answers, and sees the end of its stream."""
    for client in clients:
        assert client.read_close()[0] == 1001
        client.send(frame(CLOSE, b"\x03\xe9"))
    for client in clients:
        client.read_end()
        client.connection.close()


def test_stop_tells_every_client_and_ends(mpm, mooring):
    with Server(ECHO, mpm=mpm, mooring=mooring) as server:
        clients = [server.websocket() for _ in range(8)]
        for client in clients:
            client.echo()
        server.settle()
        server.process.send_signal(signal.SIGTERM)
        say_goodbye(clients)
        server.stop()


def test_stop_does_not_wait_for_a_client_that_never_answers(mpm, mooring):
    with Server(ECHO, mpm=mpm, mooring=mooring) as server:
        with server.websocket() as silent, server.websocket() as never_reads:
            never_reads.start_sending(frame(TEXT, "x" * 1_000_000) * 30)
            never_reads.send_until_blocked()
            server.stop()  # harness: fails when it takes longer than its limit or a child has to be killed
            assert silent.read_close()[0] == 1001


@pytest.mark.parametrize("how", [signal.SIGUSR1, signal.SIGHUP])
def test_restart_tells_every_client_and_a_new_child_serves(mpm, mooring, how):
    with Server(ECHO, mpm=mpm, mooring=mooring) as server:
        clients = [server.websocket() for _ in range(4)]
        for client in clients:
            client.echo()
        old = set(server.children())
        server.settle()
        server.process.send_signal(how)
        say_goodbye(clients)
        eventually(lambda: not old & set(server.children()) and server.children(), "the old children stay")
        with server.websocket() as client:
            client.echo("from the new child")
            client.close()
        assert server.http("/index.html")[0] == 200


def test_graceful_stop_tells_every_client_and_ends(mpm, mooring):
    with Server(ECHO, mpm=mpm, mooring=mooring) as server:
        clients = [server.websocket() for _ in range(4)]
        server.process.send_signal(signal.SIGWINCH)
        say_goodbye(clients)
        assert server.process.wait(30) == 0


def test_a_detached_connection_holds_no_thread(mpm):
    with Server(ECHO, mpm=mpm, threads=2) as server:
        limit = 64 if mpm == "prefork" else 16  # MaxRequestWorkers
        clients = [server.websocket() for _ in range(2 * limit)]
        for client in clients:
            client.echo()
        assert server.http("/index.html")[0] == 200  # with twice as many WebSockets open as there are threads
        for client in clients:
            client.close()


def test_nothing_is_left_of_connections_that_ended(mpm, mooring):
    with Server(ECHO, mpm=mpm, mooring=mooring) as server:
        with server.websocket() as client:
            client.echo()
            client.close()
        server.children()
        before = server.descriptors_by_child()
        for number in range(60):
            with server.websocket() as client:
                client.echo()
                client.reset() if number % 2 else client.close()
        def settled():
            now = server.descriptors_by_child()
            return all(now[pid] <= before[pid] + 4 for pid in now if pid in before)  # a loop's own: three
        eventually(settled, f"descriptors leak: {before} became {server.descriptors_by_child()}")
