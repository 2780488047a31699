"""Limits that are looked at before the 101: by the client's address and by location."""

import collections
import concurrent.futures
import os
import signal
import socket

import pytest

from admission import assert_full, attempt, eventually_opened, location, opened
from h2_client import Connection
from harness import LIMIT_S, Server, eventually, free_port

FORWARDED = "RemoteIPHeader X-Forwarded-For\nRemoteIPInternalProxy 127.0.0.1\n"
Held = collections.namedtuple("Held", "connection")


def occupy(server, mpm):
    """Connections by child, of two children at least."""
    held = [] if mpm == "prefork" else server.begin_requests(4)
    by_child = collections.defaultdict(list)
    def spread():
        connection = opened(server)
        by_child[server.child_of(Held(connection))].append(connection)
        return len(by_child) > 1
    eventually(spread, "all connections go to one child")
    for each in held:
        each.close()
    return by_child


# --- by address ---

@pytest.mark.parametrize("mooring", ["tcp", "tls", "resident"])
def test_an_address_has_so_many_sockets_over_all_children(mpm, mooring):
    with Server(location("/echo", "WebSocketMaxPerAddress 3"), mpm=mpm, mooring=mooring) as server:
        server.expect(r"\[client 127\.0\.0\.1:\d+\] WS204: no room for another WebSocket: WebSocketMaxPerAddress 3 is reached \(\d+ refused by this child so far\)")
        connections = [opened(server) for _ in range(3)]
        for _ in range(5):
            assert_full(server)
        assert "WebSocketMaxPerAddress 3 is reached" in server.error_log()
        others = [opened(server, source="127.0.0.2") for _ in range(3)]
        assert server.http("/index.html")[0] == 200
        connections.pop().close()
        connections.append(eventually_opened(server))
        assert_full(server)
        for each in connections + others:
            each.close()
        server.await_idle()


def test_all_locations_with_the_limit_count_together():
    config = location("/two", "WebSocketMaxPerAddress 2") + location("/four", "WebSocketMaxPerAddress 4") + location("/free")
    with Server(config) as server:
        server.expect(r"WebSocketMaxPerAddress [24] is reached")
        connections = [opened(server, "/free") for _ in range(5)]  # which do not count
        connections += [opened(server, "/four") for _ in range(2)]
        assert_full(server, "/two")
        connections += [opened(server, "/four") for _ in range(2)]
        assert_full(server, "/four")
        connections.append(opened(server, "/free"))


def test_the_limit_is_that_of_the_innermost_scope():
    config = "WebSocketMaxPerAddress 1\n" + location("/echo") + location("/echo/more", "WebSocketMaxPerAddress 2") + location(
        "/echo/any", "WebSocketMaxPerAddress 0")
    with Server(config) as server:
        server.expect(r"WebSocketMaxPerAddress [12] is reached")
        with opened(server, "/echo"):
            assert_full(server, "/echo")
            with opened(server, "/echo/more"), opened(server, "/echo/any"), opened(server, "/echo/any"):
                assert_full(server, "/echo/more")


@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
def test_clients_that_race_get_exactly_what_they_may_have(mpm, tls):
    """From three addresses at once, each more than may be, through children with few threads."""
    most, addresses = 8, ["127.0.0.1", "127.0.0.2", "127.0.0.3"]
    with Server(location("/echo", f"WebSocketMaxPerAddress {most}"), mpm=mpm, tls=tls, threads=3) as server:
        server.expect(rf"WebSocketMaxPerAddress {most} is reached")
        with concurrent.futures.ThreadPoolExecutor(9) as pool:
            tries = list(pool.map(lambda address: (address, *attempt(server, source=address)), addresses * 20))
        got = collections.Counter((address, status) for address, status, *_ in tries)
        assert got == {(address, status): count for address in addresses for status, count in [(101, most), (429, 20 - most)]}
        for *_, connection in tries:
            if connection:
                connection.close()
        # One by one they leave, and all places are free again.
        again = [eventually_opened(server, source="127.0.0.2") for _ in range(most)]
        assert_full(server, source="127.0.0.2")
        for each in again:
            each.close()
        server.await_idle()


def test_a_killed_child_gives_its_places_back_and_no_others(mpm):
    most = 40
    with Server(location("/echo", f"WebSocketMaxPerAddress {most}"), mpm=mpm, threads=2) as server:
        server.expect(r"AH00052: child pid \d+ exit signal Killed", rf"WebSocketMaxPerAddress {most} is reached")
        by_child = occupy(server, mpm)
        others = [opened(server) for _ in range(most - sum(map(len, by_child.values())))]
        for each in others:
            by_child[server.child_of(Held(each))].append(each)
        assert_full(server)
        victim = next(iter(by_child))
        os.kill(victim, signal.SIGKILL)
        freed = len(by_child.pop(victim))
        eventually(lambda: victim not in server.children(), "the dead child stays")
        again = [eventually_opened(server) for _ in range(freed)]
        assert_full(server)
        for each in again + sum(by_child.values(), []):
            each.close()
        server.await_idle()


def test_sockets_of_children_that_drain_still_count(mpm):
    with Server("WebSocketDrainTimeout 24h\n" + location("/echo", "WebSocketMaxPerAddress 4"), mpm=mpm) as server:
        server.expect(r"WebSocketMaxPerAddress 4 is reached")
        clients = [server.websocket() for _ in range(4)]
        old = set(server.children())
        server.process.send_signal(signal.SIGUSR1)
        server.await_new_children(old)
        eventually(lambda: not set(server.listening_children()) & old, "the old children take new connections")
        closed = [client.told_to_close() for client in clients]  # one may have had its turn at once
        assert sum(closed) <= 1
        fresh = [eventually_opened(server) for _ in range(sum(closed))]
        assert_full(server)
        clients[closed.index(False)].connection.close()
        fresh.append(eventually_opened(server))
        assert_full(server)


def test_limits_come_and_go_with_restarts_and_nothing_is_counted_for_ever(mpm):
    limited, free = location("/echo", "WebSocketMaxPerAddress 2"), location("/echo")
    with Server(limited, mpm=mpm) as server:
        server.expect(r"WebSocketMaxPerAddress 2 is reached")
        def restart(config):
            old = set(server.children())
            server.replace_config(config)
            server.process.send_signal(signal.SIGUSR1)
            server.await_gone(old)
            server.await_new_children(old)
        first = [opened(server), opened(server)]
        assert_full(server)
        restart(free)  # and all of the drain is over
        for each in first + [opened(server) for _ in range(5)]:
            each.close()
        restart(limited)
        second = [opened(server), opened(server)]
        assert_full(server)
        for each in second:
            each.close()
        server.await_idle()


def test_mod_remoteip_says_whose_address_counts():
    config = FORWARDED + location("/echo", "WebSocketMaxPerAddress 1")
    with Server(config, modules=["remoteip"]) as server:
        server.expect(r"WebSocketMaxPerAddress 1 is reached")
        held = []
        for first, second, same in [
                ("203.0.113.1", "203.0.113.1", True), ("203.0.113.2", "203.0.113.3", False),
                ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", True), ("2001:db8:0:2::1", "2001:db8:0:3::1", False),
                ("203.0.113.4", "::ffff:203.0.113.4", True)]:
            held.append(opened(server, "/echo", "X-Forwarded-For: " + first))
            status, _, connection = attempt(server, "/echo", "X-Forwarded-For: " + second)
            assert status == (429 if same else 101), (first, second)
            held.append(connection)


def test_an_ipv6_client_has_its_own_count():
    port = free_port("::1")
    with Server(f"Listen [::1]:{port}\n" + location("/echo", "WebSocketMaxPerAddress 1", "WebSocketHandshakeRate 1 1000")) as server:
        server.expect(r"\[client ::1:\d+\] WS204: no room for another WebSocket: WebSocketMaxPerAddress 1 is reached")
        def there():
            return socket.create_connection(("::1", port), LIMIT_S)
        with opened(server), opened(server, connection=there()):
            assert_full(server, connection=there())


def test_streams_of_http2_count_too():
    config = "Protocols h2 http/1.1\nH2WebSockets on\n" + location("/echo", "WebSocketMaxPerAddress 2")
    with Server(config, tls=True, modules=["http2"]) as server, Connection(server) as connection:
        server.expect(r"WebSocketMaxPerAddress 2 is reached")
        client = connection.websocket()
        with opened(server):
            stream = connection.connect()
            assert (stream.status(), stream.headers["retry-after"]) == (429, "10")
            assert_full(server)
            client.echo()
            client.close()
            eventually_opened(server).close()


# --- by location ---

@pytest.mark.parametrize("mooring", ["tcp", "tls", "resident"])
def test_a_location_has_so_many_sockets_over_all_children(mpm, mooring):
    with Server(location("/echo", "WebSocketMaxPerLocation 3") + location("/other", "WebSocketMaxPerLocation 1"), mpm=mpm, mooring=mooring) as server:
        server.expect(r"no room for another WebSocket: WebSocketMaxPerLocation [13] is reached \(\d+ refused by this child so far\)")
        connections = [opened(server, source=f"127.0.0.{number}") for number in range(2, 5)]
        assert_full(server, "/echo", status=503)
        assert_full(server, "/echo/below", status=503)
        assert "WebSocketMaxPerLocation 3 is reached" in server.error_log()
        connections.append(opened(server, "/other"))
        assert_full(server, "/other", status=503)
        connections.pop(0).close()
        connections.append(eventually_opened(server))
        assert_full(server, status=503)
        for each in connections:
            each.close()
        server.await_idle()


def test_a_limit_for_all_locations_is_that_of_each():
    other_port = free_port()
    config = "WebSocketMaxPerLocation 1\n" + location("/one") + location("/two") + location("/three", "WebSocketMaxPerLocation 2") + location(
        "/four", "WebSocketMaxPerLocation 0") + f"Listen 127.0.0.1:{other_port}\n<VirtualHost 127.0.0.1:{other_port}>\nServerName other\n{location('/one')}</VirtualHost>\n"
    with Server(config) as server:
        server.expect(r"WebSocketMaxPerLocation [12] is reached")
        def there():
            return socket.create_connection(("127.0.0.1", other_port), LIMIT_S)
        with opened(server, "/one"), opened(server, "/two"), opened(server, "/three"), opened(server, "/four"), \
                opened(server, "/three"), opened(server, "/four"), opened(server, "/one", connection=there()):
            for path in ["/one", "/two", "/three"]:
                assert_full(server, path, status=503)
            assert_full(server, "/one", status=503, connection=there())
            opened(server, "/four").close()


def test_newcomers_that_race_for_a_location_get_exactly_its_places(mpm):
    most = 10
    with Server(location("/echo", f"WebSocketMaxPerLocation {most}", "WebSocketMaxPerAddress 6"), mpm=mpm, threads=3) as server:
        server.expect(rf"WebSocketMaxPerLocation {most} is reached", r"WebSocketMaxPerAddress 6 is reached")
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            tries = list(pool.map(lambda source: (source, *attempt(server, source=source)), ["127.0.0.1", "127.0.0.2"] * 20))
        got = collections.Counter((source, status) for source, status, *_ in tries)
        assert got["127.0.0.1", 101] + got["127.0.0.2", 101] == most
        assert max(got["127.0.0.1", 101], got["127.0.0.2", 101]) <= 6
        for *_, connection in tries:
            if connection:
                connection.close()
        server.await_idle()
        # A place that a location did not have was none of the address's either.
        again = [eventually_opened(server) for _ in range(6)]
        assert_full(server)
        for each in again:
            each.close()


def test_a_killed_child_gives_places_of_a_location_back(mpm):
    most = 40
    with Server(location("/echo", f"WebSocketMaxPerLocation {most}"), mpm=mpm, threads=2) as server:
        server.expect(r"AH00052: child pid \d+ exit signal Killed", rf"WebSocketMaxPerLocation {most} is reached")
        by_child = occupy(server, mpm)
        for _ in range(most - sum(map(len, by_child.values()))):
            each = opened(server)
            by_child[server.child_of(Held(each))].append(each)
        assert_full(server, status=503)
        victim = next(iter(by_child))
        os.kill(victim, signal.SIGKILL)
        eventually(lambda: victim not in server.children(), "the dead child stays")
        again = [eventually_opened(server) for _ in by_child.pop(victim)]
        assert_full(server, status=503)
        for each in again + sum(by_child.values(), []):
            each.close()
        server.await_idle()
