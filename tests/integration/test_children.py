"""What a child process means to the others: crashes, limits that hold for all of them, new handlers and directives after a restart."""

import os
import select
import shutil
import signal
import subprocess

import pytest

from harness import BUILT, CLOSE, ECHO, LIMIT_S, MODULES, TEXT, UPGRADE, Client, Server, close_payload, eventually, frame, request


def clients_of_two_children(server, mpm):
    """Clients by child, of at least two of them."""
    held = [] if mpm == "prefork" else server.begin_requests(4)
    by_child = {}
    def spread():
        client = server.websocket("/report")
        by_child.setdefault(server.child_of(client), []).append(client)
        return len(by_child) > 1
    eventually(spread, "all connections go to one child")
    for each in held:
        each.close()
    return by_child


REPORT = '<Location /report>\n WebSocketHandler "{}/report.so"\n</Location>\n'


@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
@pytest.mark.parametrize("how", ["kill -9", "a handler that crashes"])
def test_a_child_that_dies_takes_only_its_own_sockets(mpm, tls, how, handlers):
    with Server(REPORT.format(handlers), mpm=mpm, tls=tls, threads=2) as server:
        server.expect(r"AH00052: child pid \d+ exit signal (Segmentation fault \(11\)|Killed \(9\))")
        by_child = clients_of_two_children(server, mpm)
        victim = next(iter(by_child))
        if how == "kill -9":
            os.kill(victim, signal.SIGKILL)
        else:
            by_child[victim][0].send_text("crash")
        for client in by_child.pop(victim):
            client.await_cut()
        eventually(lambda: victim not in server.children() and server.children(), "the dead child stays")
        for clients in by_child.values():
            for client in clients:
                client.send_text("alive")
                assert client.read_frame() == (TEXT, b"got alive")
                client.close()
        with server.websocket("/report") as client:
            client.close()
        assert server.http("/index.html")[0] == 200


def test_a_handler_that_never_returns_does_not_hold_a_stop(mpm, handlers):
    with Server(REPORT.format(handlers), mpm=mpm, log_level="warn websocket:info") as server:
        server.expect(r"report\.so", r"a handler does not return; the child ends without it")
        with server.websocket("/report?stuck") as client:
            client.send_text("block")
            eventually(lambda: "stuck: message block" in server.error_log(), "the message does not arrive")
            server.stop()
            assert "AH00045" not in server.error_log(), "the child had to be killed"


def test_a_graceful_restart_brings_a_new_handler_and_new_directives(mpm, handlers):
    config = """
WebSocketDrainTimeout 30
<Location /live>
    WebSocketHandler "{folder}/live.so"
    WebSocketMaxMessage {limit}
</Location>
"""
    server = Server(mpm=mpm)
    live = server.folder / "live.so"
    shutil.copy(BUILT / "handlers/echo.so", live)
    server.replace_config(config.format(folder=server.folder, limit=1000))
    with server:
        # Enough that one is likely to be closed late in the drain.
        clients = [server.websocket("/live") for _ in range(20)]
        old = set(server.children())
        # Under a new inode, as install does: children have the old one mapped.
        shutil.copy(handlers / "report.so", server.folder / "new.so")
        (server.folder / "new.so").rename(live)
        server.replace_config(config.format(folder=server.folder, limit=2000))
        server.process.send_signal(signal.SIGUSR1)
        server.await_new_children(old)
        eventually(lambda: not set(server.listening_children()) & old, "the old children take new connections")
        with server.websocket("/live") as client:
            client.send_text("x" * 1500)
            assert client.read_frame() == (TEXT, b"got " + b"x" * 1500)
            client.close()
        echoed = 0
        for client in clients:
            client.send_text("old")
            opcode, payload = client.read_frame()
            if opcode == CLOSE:
                continue
            assert (opcode, payload) == (TEXT, b"old")
            client.send_text("y" * 1001)
            opcode, payload = client.read_frame()
            assert opcode == CLOSE and payload[:2] in (b"\x03\xf1", b"\x03\xe9")
            echoed += 1
        assert echoed


def test_a_full_scoreboard_does_not_keep_a_new_generation_from_starting():
    """One child of the old generation makes room for it; the others drain in peace."""
    config = "ServerLimit 3\nStartServers 3\nMaxRequestWorkers 12\nMaxSpareThreads 12\nMinSpareThreads 9\nWebSocketDrainTimeout 10min\n" + ECHO
    with Server(config, threads=4) as server:
        server.expect(r"ServerLimit 3 leaves children that drain no room beside 3 new ones.*set it to 6", r"AH03490: scoreboard is full")
        by_child = {}
        def all_children_have_some():
            client = server.websocket()
            by_child.setdefault(server.child_of(client), []).append(client)
            return len(by_child) == 3
        eventually(all_children_have_some, "some children get no client")
        old = set(server.children())
        server.process.send_signal(signal.SIGUSR1)
        server.await_new_children(old)
        with server.websocket() as client:
            client.echo()
            client.close()
        stay = [child for child in by_child if child in server.children()]
        assert len(stay) == 2
        assert sum(each.told_to_close() for child in stay for each in by_child[child]) <= 2, "not only those whose turn it was"


def test_restarts_survive_a_module_that_moves_in_memory():
    """httpd unloads modules at a restart; nothing that outlives one may point into them."""
    library = subprocess.run(["g++", "-print-file-name=libstdc++.so.6"], check=True, capture_output=True, text=True).stdout.strip()
    # Loaded before the module, it does not keep the module mapped.
    server = Server(first=f"LoadFile {library}\n")
    config = server.config_file.read_text()
    with server:
        for more in [[], ["env"], ["env", "expires"], ["env", "expires", "headers", "rewrite"], ["status"]]:
            before = set(server.children())
            lines = "".join(f'LoadModule {name}_module "{MODULES}/mod_{name}.so"\n' for name in more)
            server.config_file.write_text(config.replace("LoadModule websocket_module", lines + "LoadModule websocket_module") + ECHO)
            server.process.send_signal(signal.SIGUSR1)
            server.await_new_children(before)
            with server.websocket() as client:
                client.echo()
                client.close()


def test_an_opening_handshake_that_a_graceful_restart_overtakes_is_drained(mpm, handlers):
    for detach in ["on", "off"]:
        with Server(f"WebSocketDetach {detach}\n" + REPORT.format(handlers), mpm=mpm) as server:
            server.expect("waits for ")
            go = server.folder / "www/go"
            with server.connect() as connection:
                connection.sendall(request("/report", *UPGRADE, f"X-Wait: {go}"))
                eventually(lambda: "waits for " in server.error_log(), "the handshake does not begin")
                old = set(server.children())
                server.process.send_signal(signal.SIGUSR1)
                server.await_new_children(old)
                go.touch()
                go.chmod(0o644)
                client = Client(connection)
                assert client.read_close()[0] == 1001
                client.connection.close()
            server.await_gone(old)


def test_processes_that_drain_give_up_the_last_place():
    """Each of prefork's counts for MaxRequestWorkers."""
    config = "MaxRequestWorkers 4\nServerLimit 16\nStartServers 4\nWebSocketDrainTimeout 10min\n" + ECHO
    with Server(config, mpm="prefork") as server:
        server.expect(r"AH00161: server reached MaxRequestWorkers")
        clients = []
        def all_children_have_one():
            clients.append(server.websocket())
            return len({server.child_of(client) for client in clients}) == 4
        eventually(all_children_have_one, "some children get no client")
        old = set(server.children())
        server.process.send_signal(signal.SIGUSR1)
        server.await_new_children(old)
        assert server.http("/index.html")[0] == 200


def test_children_that_are_retired_give_up_the_last_place(mpm):
    config = "MaxConnectionsPerChild 6\nServerLimit 2\nMaxRequestWorkers {}\nStartServers 1\n".format(2 if mpm == "prefork" else 8) + ECHO
    with Server(config, mpm=mpm, threads=4) as server:
        server.expect(r"ServerLimit 2 leaves", r"AH03490: scoreboard is full", r"AH00161: server reached MaxRequestWorkers",
                      r"AH00484: server reached MaxRequestWorkers", r"AH00288: scoreboard is full")
        clients = []
        for _ in range(4):  # each child serves a few, and stays for their sake
            clients.append(server.websocket())
            for _ in range(3):
                assert server.http("/index.html")[0] == 200
        cut = [client for client in clients if select.select([client.connection], [], [], 0)[0]]
        assert (cut or mpm == "worker") and len(cut) < len(clients)  # worker gives a place to the next child
        for client in cut:
            assert client.read_close()[0] == 1001


@pytest.mark.parametrize("mooring", ["tcp", "resident"])
def test_graceful_stop_drains_within_its_time(mpm, mooring):
    config = "WebSocketDrainTimeout 10min\nGracefulShutdownTimeout 3\n"
    with Server(config + ECHO, mpm=mpm, mooring=mooring) as server:
        clients = [server.websocket() for _ in range(6)]
        server.process.send_signal(signal.SIGWINCH)
        for client in clients:
            assert client.read_close()[0] == 1001
            client.send(frame(CLOSE, close_payload(1001)))
            client.read_end()
        assert server.process.wait(LIMIT_S) == 0


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGHUP])
def test_a_stop_or_restart_ends_a_drain(mpm, how):
    with Server("WebSocketDrainTimeout 24h\nWebSocketDrainCode 1012\n" + ECHO, mpm=mpm) as server:
        clients = [server.websocket() for _ in range(6)]
        for client in clients:
            client.echo()  # a loop has it: one that came to a loop that drains would be closed at once
        old = set(server.children())
        server.process.send_signal(signal.SIGUSR1)
        server.await_new_children(old)
        between = set(server.children())
        server.settle()
        server.process.send_signal(how)
        codes = []
        for client in clients:
            codes.append(client.read_close()[0])
            client.connection.close()
        # The first in a drain's row may have had its turn before, at any moment of some hours.
        assert sorted(codes) in ([1001] * 6, [1001] * 5 + [1012]), codes
        server.await_gone(old)
        if how == signal.SIGTERM:
            assert server.process.wait(LIMIT_S) == 0
        else:
            server.await_new_children(old, between)


def test_sockets_that_hold_threads_leave_room_for_http(mpm):
    limit = 4
    config = f"WebSocketDetach off\nWebSocketMaxResident {limit}\n"
    with Server(config + ECHO, mpm=mpm, threads=8) as server:
        server.expect(r"no room for another WebSocket: WebSocketMaxResident 4 is reached \(\d+ refused by this child so far\)")
        clients = [server.websocket() for _ in range(limit)]
        # All are in one child on the threaded MPMs, which have one; on prefork the limit is for all.
        status, headers, _ = server.http("/echo", *UPGRADE)
        assert (status, headers["retry-after"]) == (503, "10")
        assert "WebSocketMaxResident 4 is reached (1 refused" in server.error_log()
        assert server.http("/index.html")[0] == 200
        clients.pop().close()
        def another_fits():
            status = server.http("/echo", *UPGRADE)[0]
            return status == 101
        eventually(another_fits, "a place that was given back is not given out")
        for client in clients:
            client.echo()
            client.close()


def test_half_of_the_threads_are_kept_for_http_by_default():
    with Server("WebSocketDetach off\n" + ECHO, threads=6) as server:
        server.expect(r"WebSocketMaxResident 3 is reached")
        clients = [server.websocket() for _ in range(3)]
        assert server.http("/echo", *UPGRADE)[0] == 503
        for client in clients:
            client.close()


def test_the_number_of_sockets_is_limited_over_all_children(mpm):
    with Server("WebSocketMaxConnections 6\n" + ECHO, mpm=mpm) as server:
        server.expect(r"no room for another WebSocket: WebSocketMaxConnections 6 is reached")
        clients = [server.websocket() for _ in range(6)]
        assert server.http("/echo", *UPGRADE)[0] == 503
        # A child that is killed gives its places back.
        victim = server.child_of(clients[0])
        server.expect(r"AH00052: child pid \d+ exit signal Killed")
        os.kill(victim, signal.SIGKILL)
        clients[0].await_cut()
        def fits():
            status = server.http("/echo", *UPGRADE)[0]
            return status == 101
        eventually(fits, "the places of a dead child stay taken")


def test_startup_says_how_many_sockets_there_can_be():
    with Server("WebSocketMaxConnections 100000\nThreadsPerChild 4\nMaxRequestWorkers 8\nServerLimit 4\n" + ECHO, descriptors=400) as server:
        server.expect(r"WebSocketMaxConnections 100000 cannot be reached: the descriptor limit has room for \d+")
        # 400 less a reserve of 64 and two for each of four threads, times two children.
        assert "room for about 656 WebSockets: 328 in each of up to 2 child processes" in server.error_log()
        assert "has room for 656" in server.error_log()
