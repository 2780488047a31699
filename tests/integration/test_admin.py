"""The connections of all children, listed and closed through SetHandler websocket-status; and who may do that."""

import contextlib
import http.client
import json
import os
import re
import select
import signal
import socket
import subprocess
import threading
import time
import urllib.parse

import pytest

import sanitizer
from admin_support import CONFIG, MODULES, basic, close, complete, configure, get, listed, post
from harness import BINARY, CLOSE, TEXT, Client, Server, close_payload, eventually, frame

NOTICE = r"WS704: user \"\w+\" has closed \d+ connections"
MPMS = ["event", "worker", "prefork"]
KEYS = ["id", "child", "server", "location", "address", "user", "mooring", "opened", "age_seconds", "messages", "bytes", "buffered_bytes"]


def make(mpm="event", extra="", children=3, config=CONFIG, **settings):
    server = Server(mpm=mpm, modules=MODULES, log_level="warn websocket:notice", **settings)
    server.expect(NOTICE)
    return configure(server, extra + (f"\nStartServers {children}\n" if mpm != "prefork" else ""), config)


def fill(server, stack, path="/echo", least=6, children=2):
    """At least so many clients, in at least so many children."""
    clients = []
    while len(clients) < least or len({server.child_of(each) for each in clients}) < children:
        assert len(clients) < 200, "all clients go to the same children"
        clients.append(enter(server, stack, path))
    return clients


def enter(server, stack, *arguments, **more):
    """One that its loop has for sure: it has echoed."""
    client = stack.enter_context(server.websocket(*arguments, **more))
    client.echo("first")
    return client


def resident(server, stack):
    return enter(server, stack, "/still")


@pytest.fixture(scope="module")
def one():
    """A server for what needs no child of its own; each test leaves it without connections."""
    with make() as running:
        yield running


@pytest.fixture
def server(one):
    eventually(lambda: not complete(one), "connections stay")
    return one


# --- Listing ---


@pytest.mark.parametrize("mpm", MPMS)
def test_connections_of_all_children_are_listed(mpm):
    with make(mpm) as server, contextlib.ExitStack() as stack:
        clients = fill(server, stack) + [resident(server, stack)]
        rows = complete(server)
        assert len(rows) == len(clients) and all(list(row) == KEYS for row in rows)
        assert len({row["id"] for row in rows}) == len(rows) and all(re.fullmatch("[0-9a-f]{16}", row["id"]) for row in rows)
        of_children = sorted(server.child_of(each) for each in clients)
        assert sorted(row["child"] for row in rows) == of_children
        for row in rows:
            assert (row["server"], row["address"], row["user"]) == (f"localhost:{server.port}", "127.0.0.1", None)
            assert (row["location"], row["mooring"]) in [("/echo", "plain"), ("/still", "resident")]
            assert abs(time.time() - row["opened"]) < 600 and 0 <= row["age_seconds"] < 600
        for child in set(of_children):
            assert len(complete(server, f"&child={child}")) == of_children.count(child)


def test_tls_is_a_mooring():
    with make(tls=True) as server, contextlib.ExitStack() as stack:
        enter(server, stack)
        resident(server, stack)
        assert sorted(row["mooring"] for row in complete(server)) == ["resident", "tls"]
        assert [row["location"] for row in complete(server, "&mooring=tls")] == ["/echo"]


def test_what_is_counted_is_exact(server):
    with server.websocket() as client:
        for text in ["hello", "", "x" * 1000]:
            client.echo(text)
        client.echo(b"\0" * 7, BINARY)
        row, = complete(server)
        assert (row["messages"], row["bytes"]) == ({"received": 4, "sent": 4}, {"received": 1012, "sent": 1012})
        assert row["buffered_bytes"] == 0


def test_filters(server):
    with contextlib.ExitStack() as stack:
        echo, other = fill(server, stack, least=2, children=1)
        private = enter(server, stack, "/private", basic("eve"))
        still = resident(server, stack)
        elsewhere = enter(server, stack, "/room", source="127.0.0.2")
        rows = {row["id"]: row for row in complete(server)}
        assert len(rows) == 5

        def found(**filter):
            return sorted(row["location"] for row in complete(server, "&" + urllib.parse.urlencode(filter)))
        for each, row in rows.items():
            assert complete(server, f"&id={each}")[0]["location"] == row["location"]
        assert found(location="/echo") == ["/echo", "/echo"]
        assert found(location="/echo", server=f"localhost:{server.port}") == ["/echo", "/echo"]
        assert found(server="localhost") == found(location="/ech") == found(location="/echo", mooring="tls") == []
        assert found(address="127.0.0.2") == ["/room"]
        assert found(user="eve") == ["/private"] and found(user="bob") == []
        assert found(user="") == ["/echo", "/echo", "/room", "/still"]
        assert found(mooring="resident") == ["/still"]
        assert found(min_age="0.001") and found(min_age="100000") == []
        assert found(min_buffered="0") and found(min_buffered="1") == []
        assert found(id="0" * 16) == found(child=1) == []
        child = server.child_of(private)
        assert found(child=child, user="eve") == ["/private"]
        assert found(child=server.process.pid) == []  # the parent
        for each in (echo, other, still, elsewhere):
            each.echo()


def test_what_waits_is_found(server):
    with server.websocket() as slow, server.websocket() as other:
        other.echo()
        slow.start_sending(frame(BINARY, bytes(1_000_000)) * 40)
        slow.send_until_blocked()
        row, = eventually(lambda: complete(server, "&min_buffered=100000"), "nothing waits")
        assert row["buffered_bytes"] >= 100000
        assert len(complete(server)) == 2
        slow.reset()


def test_the_list_is_cut_and_the_total_is_not(server):
    with contextlib.ExitStack() as stack:
        count = len(fill(server, stack, least=8))
        for limit in [0, 1, 5]:
            said = listed(server, f"&limit={limit}")
            assert (len(said["connections"]), said["total"]) == (limit, count)
        assert len(complete(server, "&limit=10000")) == count


def test_a_status_feed_is_not_listed(server):
    with Client(server.connect(), "/status", basic("bob")) as feed:
        assert feed.read_frame()[0] == TEXT
        assert complete(server) == []
        assert close(server, {}, all=True) == 0


def test_children_that_drain_are_asked_too():
    with make(extra="\nWebSocketDrainTimeout 60\n") as server, contextlib.ExitStack() as stack:
        clients = fill(server, stack)
        old = set(server.children())
        server.process.send_signal(signal.SIGUSR1)
        server.await_new_children(old)
        new = fill(server, stack, least=2, children=1)
        eventually(lambda: {server.child_of(each) for each in new}.isdisjoint(old) or new.append(stack.enter_context(server.websocket())), "old")
        rows = listed(server)["connections"]
        left = [row for row in rows if row["child"] in old]
        assert left and [row for row in rows if row["child"] not in old]
        # Some may have been drained already.
        chosen = left[0]
        assert close(server, {"id": chosen["id"]}, code=4005, reason="by hand") in (0, 1)
        assert clients and close(server, {}, all=True) >= 1


# --- Closing ---


@pytest.mark.parametrize("mpm", MPMS)
def test_one_is_closed_with_code_and_reason(mpm):
    with make(mpm) as server, contextlib.ExitStack() as stack:
        clients = fill(server, stack) + [resident(server, stack)]
        for index, row in enumerate(complete(server)):
            assert close(server, {"id": row["id"]}, code=4000 + index, reason=f"go {row['id']} ☕") == 1
            eventually(lambda: select.select([each.connection for each in clients], [], [], 0)[0], "nobody is told")
            told = [each for each in clients if select.select([each.connection], [], [], 0)[0]]
            assert len(told) == 1
            client = told[0]
            assert client.read_close() == (4000 + index, f"go {row['id']} ☕")
            assert server.child_of(client) == row["child"]
            client.send(frame(CLOSE, close_payload(4000 + index)))
            client.await_cut()
            clients.remove(client)
        assert not clients
        causes = json.loads(server.http("/status?format=json", basic("bob"))[2])["total"]["closed"]["causes"]
        assert {cause: count for cause, count in causes.items() if count} == {"admin": index + 1}


@pytest.mark.parametrize("mpm", MPMS)
def test_all_of_a_location_are_closed_in_all_children(mpm):
    with make(mpm) as server, contextlib.ExitStack() as stack:
        rooms, others = fill(server, stack, "/room", 20), fill(server, stack, "/echo", 5, 1)
        assert close(server, {"location": "/room"}, code=1012, reason="over") == len(rooms)
        for each in rooms:
            assert each.read_close() == (1012, "over")
            each.send(frame(CLOSE, close_payload(1012)))
            each.read_end()
        for each in others:
            each.echo()
        assert len(complete(server)) == len(others)
        line, = [line for line in server.error_log().splitlines() if "WS704" in line]
        assert "[client 127.0.0.1:" in line and re.search(
            rf'user "bob" has closed {len(rooms)} connections with 1012 and reason "over"; filter {{"location":"/room"}}$', line), line


def test_more_than_go_in_one_turn_are_closed_once(server):
    count = 1300 if not sanitizer.NAME else 700
    with contextlib.ExitStack() as stack:
        clients = [enter(server, stack, "/room") for _ in range(count)]
        assert len(complete(server, "&limit=10000")) == count
        assert close(server, {"location": "/room"}) == count
        assert close(server, {"location": "/room"}) == 0
        for each in clients:
            assert each.read_close() == (1000, "")


def test_all_are_meant_only_if_that_is_said(server):
    with server.websocket() as client:
        client.echo()
        token = listed(server)["token"]
        for body in [{}, {"filter": {}}, {"filter": {}, "all": False}]:
            status, said = post(server, {"token": token, **body})
            assert status == 400 and "all" in said["error"]
        client.echo()
        assert close(server, {}, all=True) == 1
        assert client.read_close() == (1000, "")


# --- Who may ---


def test_nobody_without_a_user():
    open_to_all = CONFIG + '<Location "/open">\nSetHandler websocket-status\nRequire all granted\n</Location>\n'
    bare = '<Location "/bare">\nSetHandler websocket-status\n</Location>\n'
    any_of = ('<Location "/any">\nSetHandler websocket-status\nAuthType Basic\nAuthName x\nAuthUserFile "{folder}/users"\n<RequireAny>\n'
              'Require ip 127.0.0.1\nRequire valid-user\n</RequireAny>\n</Location>\n')
    with make(config=open_to_all + bare + any_of) as server, server.websocket() as client:
        token = listed(server)["token"]
        body = json.dumps({"token": token, "filter": {"location": "/echo"}}).encode()
        for path in ["/open", "/bare", "/any"]:
            for headers in [[], [basic("bob")]]:
                status, sent, answer = server.http(f"{path}?connections", *headers)
                assert (status, sent["content-type"], sent["cache-control"]) == (403, "application/json", "no-store"), (path, status)
                assert b"token" not in answer and b"connections\"" not in answer
                status, _, answer = server.http(f"{path}?close", "Content-Type: application/json", f"Content-Length: {len(body)}", *headers,
                                                method="POST", body=body)
                assert status == 403
        assert get(server, user=None)[0] == 401
        assert post(server, body.decode(), user=None)[0] == 401
        client.echo()


def test_tokens(server):
    with server.websocket() as client:
        token, eves = listed(server)["token"], listed(server, user="eve")["token"]
        assert re.fullmatch("[0-9a-f]{64}", token) and token != eves
        wrong = [{}, *({"token": each} for each in [None, 7, "", eves, token[:-1], token + "0", token.upper(), "0" * 64, [token], "\0"])]
        for each in wrong:
            if each.get("token") == token:
                continue
            status, said = post(server, {**each, "filter": {"location": "/echo"}})
            assert (status, list(said)) == (403, ["error"]), each
        assert post(server, {"token": token, "filter": {"location": "/echo"}}, user="eve")[0] == 403
        client.echo()
        assert post(server, {"token": token, "filter": {"location": "/echo"}}) == (200, {"closed": 1, "incomplete": False, "unanswered": []})


CLOCK = r"""
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
time_t time(time_t* into) {
  long ahead = 0;
  FILE* file = fopen(getenv("CLOCK_AHEAD"), "r");
  if (file) {
    if (fscanf(file, "%ld", &ahead) != 1) ahead = 0;
    fclose(file);
  }
  struct timespec now;
  syscall(SYS_clock_gettime, CLOCK_REALTIME, &now);
  time_t result = now.tv_sec + ahead;
  if (into) *into = result;
  return result;
}
"""


def test_tokens_get_old_and_outlive_restarts():
    server = make()
    (server.folder / "clock.c").write_text(CLOCK)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", server.folder / "clock.so", server.folder / "clock.c"], check=True)
    ahead = server.folder / "ahead"
    before = server.environment.get("LD_PRELOAD")
    server.environment |= {"LD_PRELOAD": f"{before + ' ' if before else ''}{server.folder}/clock.so", "CLOCK_AHEAD": str(ahead)}
    with server:
        def is_valid(token):
            status, _ = post(server, {"token": token, "filter": {"location": "/none"}})
            assert status in (200, 403)
            return status == 200
        token = listed(server)["token"]
        assert is_valid(token)
        for signal_ in [signal.SIGUSR1, signal.SIGHUP]:
            old = server.children()
            server.process.send_signal(signal_)
            server.await_new_children(old)
            server.await_gone(old)
            assert is_valid(token)
        ahead.write_text("3600")
        assert is_valid(token)
        newer = listed(server)["token"]
        assert newer != token
        ahead.write_text("7201")
        assert not is_valid(token) and is_valid(newer)
        ahead.write_text("-7201")
        assert not is_valid(token)
    # Another server's, of the same user, is none.
    with make() as other:
        assert post(other, {"token": token, "filter": {"location": "/none"}})[0] == 403


def test_pages_of_other_origins_may_not(server):
    with server.websocket() as client:
        client.echo()
        token = listed(server)["token"]
        body = {"token": token, "filter": {"location": "/echo"}}
        own = "http://localhost"  # by the header Host
        for origin in ["https://evil.example", "null", "https://localhost", f"{own}:{server.port}", own + "/", own + ".", "", f"{own} {own}"]:
            status, said = post(server, body, f"Origin: {origin}")
            assert status == 403 and list(said) == ["error"], origin
            status, said = get(server, "connections", "bob", f"Origin: {origin}")
            assert status == 403 and list(said) == ["error"], origin
        client.echo()


def test_the_own_origin_may(server):
    with server.websocket() as client:
        client.echo()
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        headers = dict([basic("bob").split(": ", 1)]) | {"Host": f"localhost:{server.port}", "Origin": f"http://localhost:{server.port}"}
        connection.request("GET", "/status?connections", headers=headers)
        token = json.load(connection.getresponse())["token"]
        connection.request("POST", "/status?close", json.dumps({"token": token, "filter": {"location": "/echo"}}),
                           headers | {"Content-Type": "application/json; charset=utf-8"})
        answer = connection.getresponse()
        assert (answer.status, json.load(answer)["closed"]) == (200, 1)
        connection.close()
        assert client.read_close() == (1000, "")


def test_methods_and_types(server):
    with server.websocket() as client:
        body = {"token": listed(server)["token"], "filter": {"location": "/echo"}}
        for method in ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"]:
            status, headers, _ = server.http("/status?close", basic("bob"), "Content-Type: application/json", "Content-Length: 0", method=method)
            assert (status, headers["allow"]) == (405, "POST")
        for method in ["POST", "PUT", "DELETE"]:
            status, headers, _ = server.http("/status?connections", basic("bob"), "Content-Length: 0", method=method)
            assert (status, headers["allow"]) == (405, "GET, HEAD")
        for kind in ["application/x-www-form-urlencoded", "text/plain", "multipart/form-data; boundary=x", "application/jsonp", "text/json", None]:
            assert post(server, body, kind=kind)[0] == 415, kind
        client.echo()
        status, headers, answer = server.http("/status?connections", basic("bob"), method="HEAD")
        assert status == 200 and headers["content-type"] == "application/json" and not answer


# --- Hostile and wrong requests ---

WRONG_QUERIES = [
    "id=1", "id=" + "g" * 16, "id=" + "0" * 17, "id=0x00000000000000", "id=-000000000000001", "child=0", "child=-1", "child=x", "child=2147483648", "child=1.5",
    "child=", "mooring=", "mooring=PLAIN", "min_age=-1", "min_age=nan", "min_age=inf", "min_age=1e999", "min_age=1s", "min_age=", "min_buffered=-1",
    "min_buffered=1.5", "min_buffered=9223372036854775808", "limit=10001", "limit=-1", "limit=", "limit=1&limit=2", "location=/a&location=/b",
    "location=" + "x" * 1025, "location=%ff", "location=%zz", "location=%00", "nothing=1", "location", "%6c=1&l=2", "code=1000",
]


@pytest.mark.parametrize("query", WRONG_QUERIES)
def test_wrong_filters_are_told(server, query):
    status, said = get(server, f"connections&{query}")
    assert status == 400 and list(said) == ["error"] and len(said["error"]) < 300, (status, said)
    assert get(server, "connections=1")[0] == get(server, "connections=")[0] == 400


@pytest.mark.parametrize("query", ["%00", "connection", "connectionsx", "closed"])
def test_what_is_neither_is_the_status(server, query):
    assert server.http(f"/status?{query}", basic("bob"))[1]["content-type"].startswith("text/html")


def bodies(token):
    def with_token(**more):
        return json.dumps({"token": token, "filter": {"location": "/echo"}, **more})
    yield from ["", "{", "[]", "7", "null", '"x"', "\xff", "{}}", '{"token":}', "[" * 16000, '{"a":' * 3000, "{'token':1}", "token=" + token]
    yield json.dumps({"token": token, "filter": {"location": "/echo"}})[:-1] + ',"token":"%s"}' % token  # twice
    yield '{"token":"%s","filter":{"location":"/x","location":"/echo"}}' % token
    for filter in [None, [], "x", 7, {"location": None}, {"location": 7}, {"location": ["/echo"]}, {"location": {"/echo": 1}}, {"where": "/echo"}, {"id": 7},
                   {"child": True}, {"child": 1e3}, {"child": -1}, {"child": 1 << 70}, {"min_age": True}, {"min_age": -0.1}, {"min_buffered": 0.5},
                   {"limit": 1, "location": "/echo"}, {"location": "x" * 1025}, {"mooring": "tcp"}]:
        yield with_token(filter=filter)
    for code in [None, "x", 0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65536, 66536, -1, 1000.5, True]:
        yield with_token(code=code)
    for reason in [None, 7, ["x"], "x" * 124, "☕" * 42]:
        yield with_token(reason=reason)
    for more in [{"all": 1}, {"all": "true"}, {"limit": 1}, {"Code": 1000}]:
        yield with_token(**more)


def test_wrong_bodies_are_told(server):
    with server.websocket() as client:
        for body in bodies(listed(server)["token"]):
            status, said = post(server, body)
            assert status == 400 and list(said) == ["error"] and len(said["error"]) < 1000, (status, said, body[:100])
        client.echo()
        token = listed(server)["token"]
        for size in [16 * 1024 + 1, 1 << 20]:
            assert post(server, json.dumps({"token": token, "filter": {"location": "/echo"}}).ljust(size))[0] == 413
        assert post(server, json.dumps({"token": token, "filter": {"location": "/echo"}}), query="close&all=true")[0] == 400
        client.echo()


def test_reasons_go_as_they_are_and_the_log_stays_one_line(server):
    for code, reason in [(1000, "x" * 123), (4999, "☕" * 41), (3000, 'a"\\\n[crit] b\u2028\u0085'), (1014, "")]:
        with server.websocket() as client:
            client.echo()
            assert close(server, {"location": "/echo"}, code=code, reason=reason) == 1
            assert client.read_close() == (code, reason)
    assert "\n[crit]" not in server.error_log()
    # Of filters and users too.
    assert close(server, {"location": "\n[crit] x\u0000"}) == 0
    assert "\n[crit]" not in server.error_log()


# --- Children that cannot answer ---


def test_a_stopped_child_is_left_out_and_named():
    with make() as server, contextlib.ExitStack() as stack:
        clients = fill(server, stack)
        stopped = server.child_of(clients[0])
        here = [each for each in clients if server.child_of(each) != stopped]
        # The request must go to another child.
        with contextlib.ExitStack() as kept:
            asking = eventually(lambda: asker_elsewhere(server, kept, stopped), "no child but the one")
            os.kill(stopped, signal.SIGSTOP)
            try:
                said = ask(asking)
            finally:
                os.kill(stopped, signal.SIGCONT)
        assert (said["incomplete"], said["unanswered"], said["total"]) == (True, [stopped], len(here))
        assert {row["child"] for row in said["connections"]} == {server.child_of(each) for each in here}
        eventually(lambda: len(listed(server)["connections"]) == len(clients), "it is not asked again")


def asker_elsewhere(server, stack, child):
    """A connection to another child on which a request has been answered."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.connect()
    stack.callback(connection.close)
    connection.request("GET", "/index.html")
    connection.getresponse().read()

    class Its:
        connection = None
    Its.connection = connection.sock
    return connection if server.child_of(Its) != child else None


def ask(connection):
    connection.request("GET", "/status?connections", headers=dict([basic("bob").split(": ", 1)]))
    answer = connection.getresponse()
    assert answer.status == 200
    return json.load(answer)


def test_a_killed_child_is_forgotten():
    with make() as server, contextlib.ExitStack() as stack:
        clients = fill(server, stack)
        killed = server.child_of(clients[0])
        left = [each for each in clients if server.child_of(each) != killed]
        server.expect("AH00051", "AH00052", "exit signal Killed")
        os.kill(killed, signal.SIGKILL)
        eventually(lambda: killed not in server.children(), "it stays")
        said = eventually(lambda: (said := listed(server))["unanswered"] == [] and said, "it is asked")
        assert (said["total"], said["incomplete"]) == (len(left), False)


def test_strangers_get_no_answer(server):
    """The socket's name is no secret; who asks has to be of the server."""
    names = re.findall(r"@(mod_websocket-1-\S+)", open("/proc/net/unix").read())
    assert len([name for name in names if int(name.rsplit("-", 1)[1]) in server.children()]) == len(server.children())
    for name in names:
        if int(name.rsplit("-", 1)[1]) not in server.children():
            continue
        with socket.socket(socket.AF_UNIX) as stranger:
            stranger.settimeout(30)
            stranger.connect("\0" + name)
            with contextlib.suppress(ConnectionError):
                stranger.sendall(b'{"closes":false,"filter":{},"limit":10,"code":1000,"reason":""}')
                stranger.shutdown(socket.SHUT_WR)
                assert stranger.recv(1000) == b""
    assert complete(server) == []


def test_without_a_status_there_is_no_thread_and_no_socket():
    with Server('<Location "/echo">\nWebSocketHandler echo\n</Location>\n') as server, server.websocket():
        names = re.findall(r"@mod_websocket-1-\S+-(\d+)", open("/proc/net/unix").read())
        assert not set(map(int, names)) & set(server.children())


@pytest.mark.parametrize("mpm", ["event", "prefork"])
def test_churn_while_listing_and_closing(mpm):
    with make(mpm) as server, contextlib.ExitStack() as stack:
        stay = fill(server, stack, "/room")
        over = threading.Event()
        failures = []

        def come_and_go():
            try:
                while not over.is_set():
                    with server.websocket("/echo") as client:
                        client.send_text("x")
                        client.read_frame()
            except Exception as error:  # noqa: BLE001
                failures.append(error)
        threads = [threading.Thread(target=come_and_go) for _ in range(4)]
        for each in threads:
            each.start()
        try:
            closed = 0
            for _ in range(10):
                assert len(complete_rooms(server)) == len(stay)
                closed += close(server, {"location": "/echo"}, code=4001)
        finally:
            over.set()
            for each in threads:
                each.join()
        assert not failures, failures
        for each in stay:
            each.echo()
        eventually(lambda: len(complete(server)) == len(stay), "connections stay listed")


def complete_rooms(server):
    return [row for row in listed(server, "&limit=10000")["connections"] if row["location"] == "/room"]


@pytest.mark.parametrize("mpm", MPMS)
def test_children_end_well_while_they_are_asked(mpm):
    with make(mpm) as server, contextlib.ExitStack() as stack:
        fill(server, stack)
        for how in [signal.SIGUSR1, signal.SIGHUP]:
            old = server.children()
            server.process.send_signal(how)
            for _ in range(5):
                with contextlib.suppress(OSError, AssertionError):  # a child that stops may not answer
                    server.http("/status?connections", basic("bob"))
            server.await_new_children(old)
            server.await_gone(old)
        fill(server, stack)
        complete(server)
