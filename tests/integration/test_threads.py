"""WebSocketThreads: several event loops, each a thread, share the detached connections of a child."""

import re
import signal

import pytest

from harness import CLOSE, ECHO, GONE, TEXT, Server, close_payload, eventually, frame, listing

LOOPS, CLIENTS = 4, 64


def sleeps(server):
    """Of each thread of each child, as (child, thread): how often it has gone to sleep so far."""
    found = {}
    for pid in server.children():
        for task in listing(f"/proc/{pid}/task"):
            try:
                status = (task / "status").read_text()
            except GONE:
                continue
            found[pid, int(task.name)] = int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", status, re.M)[1])
    return found


def all_echo(clients, word):
    for number, client in enumerate(clients):
        client.send_text(f"{word} {number}")
    for number, client in enumerate(clients):
        assert client.read_frame() == (TEXT, f"{word} {number}".encode())


@pytest.mark.parametrize("mpm", ["event", "prefork"])
def test_many_clients_share_all_loops_and_a_stop_tells_them_all(mpm):
    with Server(f"WebSocketThreads {LOOPS}\n" + ECHO, mpm=mpm) as server:
        assert server.http("/index.html")[0] == 200
        server.settle()
        httpds = sleeps(server).keys()
        clients = [server.websocket() for _ in range(CLIENTS)]
        all_echo(clients, "first")
        server.settle()
        before = {thread: count for thread, count in sleeps(server).items()
                  if thread not in httpds and thread[0] != thread[1]}
        # prefork spreads the connections over its children; some child then has more of them than loops.
        serving = {pid for pid, _ in before}
        assert serving
        assert {pid: sum(child == pid for child, _ in before) for pid in serving} == {pid: LOOPS for pid in serving}

        all_echo(clients, "second")

        def every_loop_of_a_child_has_worked():
            now = sleeps(server)
            return any(all(now[pid, thread] > count for (pid, thread), count in before.items() if pid == child) for child in serving)
        eventually(every_loop_of_a_child_has_worked, "some loops serve nobody")

        server.settle()
        server.process.send_signal(signal.SIGTERM)
        for client in clients:
            assert client.read_close()[0] == 1001
            client.send(frame(CLOSE, close_payload(1001)))
        for client in clients:
            client.read_end()
            client.connection.close()
        server.stop()
