"""Connections that come, echo once and vanish by a reset, from eight clients at once: nothing crashes, leaks or gets stuck."""

import re
import subprocess

import pytest

import sanitizer
from harness import BUILD, ECHO, Server, eventually
from hostile import memory_kb

MPMS = ["event", "worker", "prefork"]
MOORINGS = ["tcp", "tls", "resident", "resident-tls"]
SHORT_S = 1 if sanitizer.NAME else 2
ROUNDS = 6


def run_clients(server, seconds):
    tls = ["--tls"] if server.tls else []
    result = subprocess.run([BUILD / "bench/load", *tls, "churn", str(server.port), "/echo", "8", str(seconds), str(server.process.pid)],
                            capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return int(re.search(r"connections=(\d+)", result.stdout)[1])


def run_until_memory_stays(server, children, seconds):
    """What is made once, such as the heap of a thread at its first client, is not all there after one round, nor after any time that
    could be named; what leaks grows in every one."""
    count, memory, grown_kb = 0, memory_kb(children), []
    for _ in range(ROUNDS):
        count += run_clients(server, seconds)
        server.await_idle()
        now = memory_kb(children)
        grown_kb.append(now - memory)
        memory = now
        if grown_kb[-1] < 256 * len(children):
            return count
    pytest.fail(f"{grown_kb} KB more after each round, {count} connections in all")


def churn(mpm, mooring, seconds):
    with Server(ECHO, mpm=mpm, mooring=mooring) as server:
        run_clients(server, seconds / 4)
        server.await_idle()
        children, descriptors = server.children(), server.descriptors_by_child()
        if sanitizer.NAME:  # they keep what is freed
            count = run_clients(server, seconds)
        else:
            count = run_until_memory_stays(server, children, seconds)
        assert count > 0
        assert set(children) <= set(server.children()), "a child is gone"
        eventually(lambda: all(server.descriptors_by_child()[pid] <= descriptors[pid] + 4 for pid in children), "descriptors leak")
        assert server.http("/index.html")[0] == 200
        # Workers can still be had at once: as many as there are to begin with.
        clients = [server.connect() for _ in range(10 if mpm == "prefork" else 20)]
        for client in clients:
            client.sendall(b"GET /index.html HTTP/1.1\r\nHost: localhost\r\n\r\n")
        for client in clients:
            assert client.recv(15) == b"HTTP/1.1 200 OK"
            client.close()
        print(f"{mpm}, {mooring}: {count} connections")


@pytest.mark.parametrize("mooring", MOORINGS)
@pytest.mark.parametrize("mpm", MPMS)
def test_connections_that_come_and_vanish_leave_nothing_behind(mpm, mooring):
    churn(mpm, mooring, SHORT_S)


@pytest.mark.soak
@pytest.mark.parametrize("mooring", MOORINGS)
@pytest.mark.parametrize("mpm", MPMS)
def test_connections_that_come_and_vanish_for_a_minute_leave_nothing_behind(mpm, mooring):
    churn(mpm, mooring, 60)
