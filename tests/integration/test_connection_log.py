"""WebSocketLog: what its lines say, that none is lost or mixed with another, and what happens where they cannot be written."""

import base64
import concurrent.futures
import contextlib
import datetime
import json
import os
import re
import signal
import socket
import subprocess

import pytest

from h2_client import Connection
from harness import BINARY, CLOSE, ECHO, PING, PONG, TEXT, Client, Server, close_payload, eventually, frame, free_port, password_file, reset
from status_support import CONFIG as WITH_STATUS
from status_support import read_json

END_ONLY = ["closed", "duration_seconds", "code", "reason", "clean", "cause", "messages", "bytes", "most_buffered_bytes", "round_trip_seconds"]
FIELDS = ["event", "id", "unique_id", "opened", "address", "user", "server", "location", "path", "subprotocol", "extensions", "tls",
          "mooring", *END_ONLY]


def lines(server, name="ws.log"):
    """Each parsed; every line there is ends, and is valid."""
    file = server.folder / name
    data = file.read_bytes() if file.exists() else b""
    assert not data or data.endswith(b"\n"), data[-100:]
    assert all(len(line) < 4096 for line in data.split(b"\n"))
    return [json.loads(line) for line in data.decode().splitlines()]


def await_lines(server, count, name="ws.log"):
    eventually(lambda: len(lines(server, name)) >= count, f"no {count} lines")
    found = lines(server, name)
    assert len(found) == count, found
    return found


def lost(server):
    return read_json(server)["log_lines_lost"]


def signalled(server, how=signal.SIGUSR1):
    """The children that have to go."""
    old = server.children()
    server.settle()
    server.process.send_signal(how)
    return old


def restart(server, how=signal.SIGUSR1):
    old = signalled(server, how)
    server.await_new_children(old)
    return old


def moment(text):
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", text)
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


# --- what a line says ---

KINDS = {"tcp": "plain", "tls": "tls", "resident": "resident", "resident-tls": "resident", "http2": "resident"}

PROTECTED = """
LogFormat "%{websocket-id}n %{UNIQUE_ID}e %>s %{websocket-code}n %{websocket-received}n %{websocket-sent}n" about
CustomLog about.log about
WebSocketLog ws.log start
<Location /report>
    WebSocketHandler HANDLERS/report.so
    AuthType Basic
    AuthName all
    AuthUserFile users
    Require valid-user
</Location>
"""
AUTHORIZED = "Basic dGltOnBhc3M="  # tim:pass
OFFERED = ["chat, other", "chat", "permessage-deflate", AUTHORIZED]


@contextlib.contextmanager
def protected_client(server, mooring, path):
    names = ["Sec-WebSocket-Protocol", "X-Choose", "Sec-WebSocket-Extensions", "Authorization"]
    if mooring == "http2":
        with Connection(server) as connection, connection.websocket(path, *((n.lower(), v) for n, v in zip(names, OFFERED))) as client:
            yield client
    else:
        with server.websocket(path, *(f"{n}: {v}" for n, v in zip(names, OFFERED))) as client:
            yield client


@pytest.mark.parametrize("mooring", KINDS)
def test_every_field_of_a_known_exchange(mooring, handlers):
    http2 = mooring == "http2"
    config = PROTECTED.replace("HANDLERS", str(handlers)) + ("Protocols h2 http/1.1\nH2WebSockets on\n" if http2 else "")
    with Server(config, mooring="tls" if http2 else mooring,
                modules=["auth_basic", "authn_file", "authz_user", "unique_id"] + ["http2"] * http2) as server:
        (server.folder / "users").write_text(password_file(tim="pass"))
        begun = datetime.datetime.now().timestamp()
        with protected_client(server, mooring, "/report/a%20room?x=1") as client:
            [start] = await_lines(server, 1)
            assert list(start) == [field for field in FIELDS if field not in END_ONLY]
            for text in ["one", "twelve"]:
                client.send_text(text)
                assert client.read_frame() == (TEXT, b"got " + text.encode())
            client.send(frame(CLOSE, close_payload(4321, "bye “all”")))
            assert client.read_close() == (4321, "bye “all”")
        _, line = await_lines(server, 2)
        ended = datetime.datetime.now().timestamp()
        assert list(line) == FIELDS
        opened, closed, took = moment(line.pop("opened")), moment(line.pop("closed")), line.pop("duration_seconds")
        assert begun - 0.001 <= opened <= closed <= ended
        assert 0 <= took <= ended - begun and abs(took - (closed - opened)) < 0.1
        assert re.fullmatch("[0-9a-f]{16}", line["id"])
        extensions = line.pop("extensions")
        assert extensions == client.headers["sec-websocket-extensions"] and extensions.startswith("permessage-deflate")
        tls = line.pop("tls")
        assert tls is None if mooring in ["tcp", "resident"] else re.fullmatch(r"TLSv1\.[23]", tls)
        named = {key: line.pop(key) for key in ["id", "unique_id"]}
        assert line == {
            "event": "end", "address": "127.0.0.1", "user": "tim", "server": f"localhost:{server.port}", "location": "/report",
            "path": "/report/a room", "subprotocol": "chat", "mooring": KINDS[mooring], "code": 4321, "reason": "bye “all”", "clean": True,
            "cause": "client", "messages": {"received": 2, "sent": 2}, "bytes": {"received": 9, "sent": 17}, "most_buffered_bytes": 0,
            "round_trip_seconds": None}
        assert {key: start[key] for key in named} == named
        # The access log has the same; of the end it knows where the connection kept its thread.
        known = "4321 2 2" if KINDS[mooring] == "resident" else "- - -"
        status = "200" if http2 else "101"
        about = eventually(lambda: re.findall(rf"^{named['id']} (.*)$", (server.folder / "about.log").read_text(), re.M), "no line")
        assert about == [f"{named['unique_id']} {status} {known}"] or http2 and about == [f"{named['unique_id']} 101 {known}"]


def test_what_is_not_there_is_null():
    with Server("WebSocketLog ws.log\n" + ECHO) as server:
        with server.websocket() as client:
            client.close()
        [line] = await_lines(server, 1)
        assert [key for key, value in line.items() if value is None] == ["unique_id", "user", "subprotocol", "extensions", "tls",
                                                                         "round_trip_seconds"]
        assert (line["event"], line["reason"], line["code"]) == ("end", "", 1000)


def test_only_the_fields_that_are_asked_for_in_their_order():
    with Server("WebSocketLog ws.log start fields=code,id,event\n" + ECHO) as server:
        with server.websocket() as client:
            client.close()
        start, end = await_lines(server, 2)
        assert (list(start), list(end)) == (["id", "event"], ["code", "id", "event"])
        assert start["id"] == end["id"] and (start["event"], end["event"]) == ("start", "end")


def test_the_longest_wait_and_the_last_round_trip():
    pinged = '<Location /pinged>\nWebSocketHandler echo\nWebSocketPing 100ms 30\n</Location>\n'
    with Server("WebSocketLog ws.log\nSendBufferSize 8192\nWebSocketMaxMessage 4000000\n" + ECHO + pinged) as server:
        with server.websocket("/pinged") as client:
            opcode, payload = client.read_frame()
            assert opcode == PING
            client.send(frame(PONG, payload) + frame(CLOSE))
            eventually(lambda: client.read_frame()[0] == CLOSE, "not closed")
        [line] = await_lines(server, 1)
        assert 0 < line["round_trip_seconds"] < 30
        with server.websocket() as client:
            message = bytes(3_000_000)
            client.start_sending(frame(BINARY, message))
            client.send_until_blocked()
            client.read_exactly(10 + len(message))
            client.send(frame(CLOSE))
        line = await_lines(server, 2)[-1]
        assert line["round_trip_seconds"] is None
        assert 100_000 < line["most_buffered_bytes"] <= len(message) + 10
        assert line["bytes"] == {"received": len(message), "sent": len(message)}


def ended(cause, code, clean, reason=None):
    return lambda line: (line["cause"], line["code"], line["clean"]) == (cause, code, clean) and reason in (None, line["reason"])


def test_how_it_ended(handlers):
    config = f"""
WebSocketLog ws.log
WebSocketMaxMessage 1000
<Location /report>
    WebSocketHandler {handlers}/report.so
</Location>
<Location /idle>
    WebSocketHandler echo
    WebSocketIdleTimeout 100ms
</Location>
<Location /pinged>
    WebSocketHandler echo
    WebSocketPing 100ms 100ms
</Location>
<Location /short>
    WebSocketHandler echo
    WebSocketMaxLifetime 100ms
</Location>
""" + ECHO

    def closed_by_server(path, code, send=b""):
        with server.websocket(path) as client:
            client.send(send)
            assert client.read_close()[0] == code
            client.send(frame(CLOSE, close_payload(code)))

    count = 0

    def expect(*are):
        nonlocal count
        count += 1
        line = await_lines(server, count)[-1]
        assert ended(*are)(line), line

    with Server(config) as server:
        with server.websocket() as client:
            client.send(frame(CLOSE))
            assert client.read_close()[0] is None
        expect("client", 1005, True, "")
        with server.websocket() as client:
            reset(client.connection)
        expect("lost", 1006, False)
        closed_by_server("/report?close-in-open", 4001)
        expect("handler", 4001, True)
        closed_by_server("/echo", 1002, frame(3))
        expect("protocol", 1002, False)
        closed_by_server("/echo", 1009, frame(TEXT, "x" * 1001))
        expect("message_size", 1009, False)
        closed_by_server("/idle", 1001)
        expect("idle", 1001, True)
        closed_by_server("/short", 1001)
        expect("lifetime", 1001, True)
        with server.websocket("/pinged") as client:
            assert client.read_frame()[0] == PING
            expect("ping", 1006, False)
        for how, cause in [(signal.SIGUSR1, "drain"), (signal.SIGHUP, "stop")]:
            with server.websocket() as client:
                old = signalled(server, how)
                assert client.read_close()[0] == 1001
                client.send(frame(CLOSE, close_payload(1001)))
                expect(cause, 1001, True)
            server.await_new_children(old)


def test_what_clients_and_users_say_cannot_break_a_line():
    user = b'bob" \\ \x7f\xff\xc3\xbc'
    config = """
WebSocketLog ws.log start
<Location /echo>
    WebSocketHandler echo
    AuthType Basic
    AuthName all
    AuthUserFile users
    Require valid-user
</Location>
"""
    with Server(config, modules=["auth_basic", "authn_file", "authz_user"]) as server:
        (server.folder / "users").write_bytes(password_file(X="pass").encode().replace(b"X", user, 1))
        word = base64.b64encode(user + b":pass").decode()
        with server.websocket('/echo/%22%0a%01%ff%c3%bc%ed%a0%80"\\', f"Authorization: Basic {word}") as client:
            reason = '"},\n\t\x00{"a":1'
            client.close(3000, reason)
        for line in await_lines(server, 2):
            assert line["user"] == 'bob" \\ \x7f\ufffdü'
            assert line["path"].endswith('/echo/"\n\x01\ufffdü\ufffd\ufffd\ufffd"\\')
        assert line["reason"] == reason


def test_a_line_that_would_be_too_long_loses_the_end_of_long_texts():
    with Server("WebSocketLog ws.log\n" + ECHO) as server:
        path = "/echo/" + "%01%22ü".encode().decode("latin-1") * 700
        with server.websocket(path) as client:
            client.close(1000, "done")
        with server.websocket("/echo/" + "x" * 2000) as client:
            client.close()
        long, fits = await_lines(server, 2)
        assert long["path"].startswith('/echo/\x01"ü\x01"ü') and long["path"].endswith("…") and len(long["path"]) > 100
        assert (long["reason"], long["location"], long["code"]) == ("done", "/echo", 1000)
        assert fits["path"] == "/echo/" + "x" * 2000


def test_virtual_hosts_have_their_own_the_main_servers_or_none():
    own, silent, same = (free_port() for _ in range(3))
    config = "WebSocketLog ws.log\n" + ECHO + "".join(f"Listen 127.0.0.1:{port}\n<VirtualHost 127.0.0.1:{port}>\n{line}\n</VirtualHost>\n" for port, line in [
        (own, "WebSocketLog own.log fields=server"), (silent, "WebSocketLog off"), (same, "ServerName same")])
    with Server(config) as server:
        for port in [own, silent, same, server.port]:
            with Client(socket.create_connection(("127.0.0.1", port)), "/echo") as client:
                client.close()
        assert await_lines(server, 1, "own.log") == [{"server": f"localhost:{own}"}]
        assert sorted(line["server"].split(":")[0] for line in await_lines(server, 2)) == ["localhost", "same"]


def test_without_the_directive_resident_connections_still_leave_notes():
    with Server(ECHO + 'LogFormat "%{websocket-code}n %{websocket-received}n %{websocket-sent}n" about\nCustomLog about.log about\n',
                mooring="resident") as server:
        with server.websocket() as client:
            client.echo()
            client.echo()
            client.close(3456)
        with server.websocket() as client:
            reset(client.connection)
        eventually(lambda: "3456 2 2\n" in (server.folder / "about.log").read_text(), "no notes")
        eventually(lambda: "1006 0 0\n" in (server.folder / "about.log").read_text(), "no notes")


# --- writing ---

def test_lines_of_many_threads_and_children_do_not_mix():
    clients, each = 8, 250
    with Server("WebSocketLog ws.log start\nWebSocketThreads 2\nStartServers 3\nMinSpareThreads 25\n" + ECHO) as server:
        def come_and_go(number):
            for i in range(each):
                with server.websocket(f"/echo/{number}/{i}?" + "x" * (i % 100)) as client:
                    client.close(3000 + i)
        with concurrent.futures.ThreadPoolExecutor(clients) as pool:
            list(pool.map(come_and_go, range(clients)))
        found = await_lines(server, 2 * clients * each)
        for event in ["start", "end"]:
            assert {line["path"] for line in found if line["event"] == event} == {f"/echo/{n}/{i}" for n in range(clients) for i in range(each)}
        assert all(line["code"] == 3000 + int(line["path"].split("/")[-1]) for line in found if line["event"] == "end")
        assert len({line["id"] for line in found}) == clients * each


def program_of(server):
    """Those of httpd's own processes that are a log's program, by their number."""
    found = []
    for pid in server.children():
        with contextlib.suppress(OSError):
            if open(f"/proc/{pid}/comm").read().strip() in ["tee", "cat", "sleep"]:
                found.append(pid)
    return found


@pytest.mark.parametrize("program", ["|/usr/bin/tee -a FOLDER/ws.log", "||/usr/bin/tee -a FOLDER/ws.log", "|$exec cat >> FOLDER/ws.log"])
def test_a_program_gets_the_lines_also_while_children_drain(program):
    server = Server(ECHO)
    server.replace_config(ECHO + f'WebSocketLog "{program.replace("FOLDER", str(server.folder))}" start\nWebSocketDrainTimeout 0\n')
    with server:
        with server.websocket() as client:
            client.close()
        await_lines(server, 2)
        with server.websocket() as client:
            running = program_of(server)
            assert len(running) == 1
            restart(server)
            with server.websocket() as other:  # of the new generation
                other.close()
            assert client.read_close()[0] == 1001
            client.send(frame(CLOSE, close_payload(1001)))
        causes = [line["cause"] for line in await_lines(server, 6) if line["event"] == "end"]
        assert sorted(causes) == ["client", "client", "drain"]
        assert program_of(server) == running


def test_a_program_that_dies_is_started_again():
    server = Server(ECHO)
    server.expect("AH00106: piped log program '/usr/bin/tee")
    server.replace_config(ECHO + f'WebSocketLog "|/usr/bin/tee -a {server.folder}/ws.log"\n')
    with server:
        [running] = eventually(lambda: program_of(server), "it does not start")
        os.kill(running, signal.SIGKILL)
        eventually(lambda: program_of(server) not in ([], [running]), "it stays away")
        with server.websocket() as client:
            client.close()
        await_lines(server, 1)


def test_after_a_restart_that_is_not_graceful_there_is_one_program():
    server = Server(ECHO)
    server.replace_config(ECHO + f'WebSocketLog "|/usr/bin/tee -a {server.folder}/ws.log"\n')
    with server:
        old = eventually(lambda: program_of(server), "it does not start")
        restart(server, signal.SIGHUP)
        eventually(lambda: len(program_of(server)) == 1 and program_of(server) != old, "the program stays, or does not come")
        with server.websocket() as client:
            client.close()
        await_lines(server, 1)


@pytest.mark.parametrize("mooring", ["tcp", "resident"])
def test_a_program_that_does_not_read_costs_lines_and_nothing_else(mooring):
    with Server('WebSocketLog "|/bin/sleep 1000"\n' + WITH_STATUS, mooring=mooring) as server:
        server.expect(r'websocket:warn.*WS711: a line of WebSocketLog "\|/bin/sleep 1000" is lost: it is not read fast enough')
        with server.websocket() as bystander:
            for _ in range(300):
                with server.websocket("/echo/" + "x" * 3500) as client:
                    client.echo()
                    client.close()
                bystander.echo()
            assert 15 < eventually(lambda: lost(server), "none is lost") < 300
            assert server.error_log().count("WS711") >= 1
            bystander.close()


def test_rotation_by_renaming_and_a_graceful_restart():
    with Server("WebSocketLog ws.log\n" + ECHO) as server:
        with server.websocket() as client:
            (server.folder / "ws.log").rename(server.folder / "ws.log.1")
            old = restart(server)
            with server.websocket() as other:
                other.close(3001)
            assert client.read_close()[0] == 1001
            client.send(frame(CLOSE, close_payload(1001)))
        server.await_gone(old)
        assert [line["cause"] for line in await_lines(server, 1, "ws.log.1")] == ["drain"]
        assert [line["code"] for line in await_lines(server, 1)] == [3001]
        assert (server.folder / "ws.log").stat().st_mode & 0o777 == 0o644


def test_rotation_by_copying_and_truncating():
    with Server("WebSocketLog ws.log\n" + ECHO) as server:
        for code in [3001, 3002]:
            with server.websocket() as client:
                client.close(code)
            assert [line["code"] for line in await_lines(server, 1)] == [code]
            os.truncate(server.folder / "ws.log", 0)


@pytest.mark.parametrize("mpm", ["event", "prefork"])
def test_a_full_disk_costs_lines_and_nothing_else(mpm):
    with Server("WebSocketLog /dev/full start\n" + WITH_STATUS, mpm=mpm) as server:
        server.expect(r'websocket:warn.*WS711: a line of WebSocketLog "/dev/full" is lost: No space left on device')
        children = server.children()
        for _ in range(20):
            with server.websocket() as client:
                client.echo()
                client.close()
        eventually(lambda: lost(server) == 40, "not every lost line is counted")
        assert set(children) <= set(server.children()), "a child is gone"
        assert 1 <= server.error_log().count("WS711") <= len(children), "a line for each that is lost"


def test_a_line_that_fits_in_part_takes_no_other_with_it():
    """By the limit on the size of files, which ends a process that does not ignore its signal."""
    server = Server("WebSocketLog ws.log\n" + WITH_STATUS)
    server.expect(r'websocket:warn.*WS711: a line of WebSocketLog "\S+/ws.log" is lost: (No space left on device|File too large)')
    limit, room = 1_000_000, 100
    before = b"{}\n" * ((limit - room) // 3)
    with server:
        file = server.folder / "ws.log"
        file.write_bytes(before)
        subprocess.run(["prlimit", "--pid", str(server.process.pid), f"--fsize={limit}:"], check=True)
        server.await_gone(restart(server))
        for gone in [1, 2]:
            with server.websocket() as client:
                client.close()
            eventually(lambda: lost(server) == gone, "not counted")
        torn = file.read_bytes()[len(before):]
        assert len(torn) == limit - len(before) and torn.startswith(b'{"event":"end"')
        file.write_bytes(torn)  # now there is room again
        with server.websocket() as client:
            client.close(3003)
        eventually(lambda: b'"code":3003' in file.read_bytes(), "no line")
        first, second, nothing = file.read_bytes().split(b"\n")
        assert first == torn and json.loads(second)["code"] == 3003 and not nothing


# --- the configuration test ---

@pytest.mark.parametrize("line, complaint", [
    ("WebSocketLog", 'WebSocketLog needs a file, "|program" or off, and behind it, where wanted, start and fields=NAME,NAME'),
    ("WebSocketLog missing/ws.log", r'WebSocketLog: "\S+/missing/ws.log": there is no folder "\S+/missing/": make it'),
    ("WebSocketLog www", r'WebSocketLog: "\S+/www" is a folder: name a file'),
    ("WebSocketLog ws.log begin", 'WebSocketLog: "begin" is neither start nor fields=NAME,NAME'),
    ("WebSocketLog ws.log fields=id,colour", 'WebSocketLog: fields=: "colour" is none of ' + ", ".join(FIELDS)),
    ("WebSocketLog ws.log fields=id,,code", 'WebSocketLog: fields=: "" is none of event, '),
    ("WebSocketLog ws.log fields=id,code,id", 'WebSocketLog: fields=: "id" is there twice; each once of event, '),
    ("WebSocketLog ws.log\nWebSocketLog other.log", "WebSocketLog: this server has one already"),
    ('WebSocketLog "|"', r'WebSocketLog: "\|": behind \| goes a program\'s path, from / on'),
    ('WebSocketLog "|cat"', r'WebSocketLog: "\|cat": behind \| goes a program\'s path, from / on'),
    ('WebSocketLog "|/nowhere/cat -u"', r'WebSocketLog: "\|/nowhere/cat -u": there is no program "/nowhere/cat"'),
    ("<Location />\nWebSocketLog ws.log\n</Location>", "WebSocketLog not allowed in <Location> context"),
])
def test_what_is_wrong_is_said_in_a_line(line, complaint):
    server = Server(line)
    try:
        status, said = server.configtest()
        assert status and re.search(complaint, said), said
        assert len([each for each in said.splitlines() if "WebSocketLog" in each]) == 1, said
    finally:
        server.kill()


def test_a_log_that_cannot_be_opened_keeps_httpd_from_starting():
    server = Server(ECHO)
    os.mkfifo(server.folder / "fifo")
    server.replace_config("WebSocketLog fifo\n" + ECHO)
    try:
        assert server.configtest()[0] == 0
        assert server.run_httpd("-DFOREGROUND").returncode == 1
        assert re.search(r'^WS710: WebSocketLog: cannot open "\S+/fifo": No such device or address$', server.error_log(), re.M)
    finally:
        server.kill()
