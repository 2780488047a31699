"""What the tutorial and the recipes of docs/handlers.md do: their code, taken from there, in a real httpd."""

import base64
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile

import pytest

from documented import block_below, compiled
from harness import (BINARY, CLOSE, CONTINUATION, LIMIT_S, PING, PONG, TEXT, TOP, UPGRADE, Server, close_payload, eventually, frame, listing,
                     password_file, read_response, request, said)

PERIOD_MS = 1500  # of the heartbeat


def location(path, heading, *lines):
    return "\n".join([f'<Location "{path}">', f'WebSocketHandler "{compiled(block_below(heading))}"', *lines, "</Location>", ""])


@pytest.fixture(scope="module")
def folder():
    """One that httpd's children may write to."""
    made = pathlib.Path(tempfile.mkdtemp(prefix="mod_websocket-test."))
    made.chmod(0o777)
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="module")
def server(folder):
    config = "".join([
        location("/everybody", "Publish to everybody"),
        location("/news", "Publish from a background thread"),
        location("/room", "Send to all"),
        location("/members", "Refuse, or let in by a cookie", "WebSocketParam secret swordfish"),
        location("/greeter", "State of a connection"),
        location("/heartbeat", "Heartbeat", f"WebSocketParam every-ms {PERIOD_MS}"),
        location("/upload", "Large uploads", f"WebSocketParam folder {folder}", "WebSocketMaxMessage 1000000000"),
        location("/lines", "Big answers"),
        location("/limited", "Rate limit", "WebSocketParam messages 3", "WebSocketParam period-ms 200"),
        location("/library", "Blocking work", f"WebSocketParam folder {folder}"),
        location("/answers", "Threads of other libraries"),
        location("/clock", "A handler in C", 'WebSocketParam greeting "Good day"'),
        location("/length", "A handler in C").replace('.so"', '.so" length_handler'),
    ])
    with Server(config, log_level="warn websocket:info") as running:
        running.expect(r" left with \d+, ", r"opening handshake refused with 403: by the handler")
        yield running


def logged(server, pattern):
    return eventually(lambda: re.search(pattern, server.error_log()), f"not logged: {pattern}")


def refusal(server, path, *headers):
    with server.connect() as connection:
        connection.sendall(request(path, *UPGRADE, *headers))
        return read_response(connection)


def with_small_buffer(client):
    """Keeps the system from taking much of what the server sends, whatever its settings."""
    client.connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
    return client


# --- The tutorial ---

def price(client):
    opcode, payload = client.read_frame()
    assert opcode == TEXT
    return json.loads(payload)["price"]


def test_step_1_answers():
    with Server(location("/ticker", "Step 1: answer")) as server, server.websocket("/ticker") as client:
        client.echo()


@pytest.mark.parametrize("heading", ["Step 2: push", "Step 3: slow clients", "Step 4: one feed for all"])
def test_steps_2_to_4_push_rising_prices_to_each_client(heading):
    with Server(location("/ticker", heading)) as server:
        with server.websocket("/ticker") as one, server.websocket("/ticker") as other:
            for client in [one, other]:
                prices = [price(client) for _ in range(5)]
                assert prices == sorted(set(prices))
            one.reset()
            assert price(other) > prices[-1]


@pytest.fixture
def ticker():
    config = location("/ticker", "Step 5: stop cleanly", "WebSocketParam every-ms 1", "WebSocketParam symbols 3000")
    with Server(config, log_level="warn websocket:info") as running:
        running.expect(r"127\.0\.0\.1 does not keep up with tick \d+$")
        yield running


def tick(client):
    opcode, payload = client.read_frame()
    assert opcode == TEXT
    return json.loads(payload)["tick"], len(payload)


def threads(server):
    return sum(len(listing(f"/proc/{pid}/task")) for pid in server.children())


def test_a_client_that_does_not_read_costs_the_others_and_the_memory_nothing(ticker):
    with ticker.websocket("/ticker") as fast, with_small_buffer(ticker.websocket("/ticker")) as slow:
        tick(fast)
        before_kb, read, last = ticker.peak_memory_kb(), 0, 0
        while read < 96 << 20:  # what the slow one would have to get
            number, size = tick(fast)
            assert number > last
            read, last = read + size, number
        assert ticker.peak_memory_kb() - before_kb < 32 << 10
        logged(ticker, "does not keep up")
        number = tick(slow)[0]
        while number < last:  # an old price comes only as far as it was on its way
            before, number = number, tick(slow)[0]
        assert number > before + 1


def test_the_feed_ends_with_the_last_client_and_starts_with_the_next(ticker):
    with ticker.websocket("/ticker") as first:
        tick(first)
        with ticker.websocket("/ticker") as second:
            tick(second)
            ticking = threads(ticker)
        tick(first)
    eventually(lambda: threads(ticker) == ticking - 1, "the feed does not end")
    with ticker.websocket("/ticker") as third:
        tick(third)
        eventually(lambda: threads(ticker) == ticking, "the feed does not start again")


def test_a_stop_of_the_server_ends_the_feed(ticker):
    with ticker.websocket("/ticker") as client:
        tick(client)
        ticker.process.terminate()
        while True:
            opcode, payload = client.read_frame()
            if opcode == CLOSE:
                break
        assert payload == close_payload(1001)
        client.send(frame(CLOSE, payload))
        client.read_end()
    ticker.stop()


def test_the_slow_client_of_the_tutorial_connects(ticker, tmp_path):
    (tmp_path / "slow.py").write_text(block_below("Step 5: stop cleanly", "python").text)
    process = subprocess.Popen([sys.executable, "-u", tmp_path / "slow.py", f"ws://127.0.0.1:{ticker.port}/ticker"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "connected, and not reading\n"
        logged(ticker, "does not keep up")
    finally:
        process.kill()
        process.communicate()


# --- The recipes ---

def test_what_is_published_everybody_hears(server):
    members = []
    for number in range(3):
        members.append(server.websocket("/everybody"))
        assert [members[-1].read_frame()[1] for _ in range(number)] == [f"hello {i}".encode() for i in range(number)]
        members[-1].send_text(f"hello {number}")
        assert [each.read_frame() for each in members] == [(TEXT, f"hello {number}".encode())] * len(members)
    for each in members:
        each.close()


def test_a_thread_publishes_while_there_are_clients(server):
    for _ in range(3):
        with server.websocket("/news") as one, server.websocket("/news") as other:
            for client in [one, other]:
                first, second = (int(client.read_frame()[1].removeprefix(b"reading ")) for _ in range(2))
                assert second == first + 1


def test_what_one_says_all_hear(server):
    members = []
    for number in range(3):  # who hears itself is in the room
        members.append(server.websocket("/room"))
        members[-1].send_text(f"hello {number}")
        assert [each.read_frame() for each in members] == [(TEXT, f"hello {number}".encode())] * len(members)
    members.pop().close()
    members[0].send(frame(BINARY, b"\xff"))
    assert [each.read_frame() for each in members] == [(BINARY, b"\xff")] * 2


def test_who_reads_too_slowly_leaves_the_room(server):
    with server.websocket("/room") as talker, with_small_buffer(server.websocket("/room")) as slow:
        for _ in range(400):  # 24 MB, more than the system takes
            talker.echo(b"x" * 60_000, BINARY)
        opcode, got = BINARY, 0
        while opcode == BINARY:
            try:
                opcode, payload = slow.read_frame()
            except (EOFError, ConnectionResetError):
                break  # it has not read the rest in time either
            got += opcode == BINARY
        assert got < 400
        assert opcode == BINARY or payload == close_payload(1013, "reads too slowly")
        talker.echo()


def test_who_has_no_session_is_refused_with_a_json_body(server):
    for cookies in [[], ["Cookie: session=ann:wrong"], ["Cookie: other=ann:swordfish"]]:
        status, headers, body = refusal(server, "/members", *cookies)
        assert (status, headers["content-type"], headers["cache-control"]) == (403, "application/json", "no-store")
        assert json.loads(body) == {"error": "log in first"}


def test_who_has_a_session_is_let_in(server):
    with server.websocket("/members", "Cookie: a=b; session=ann:swordfish") as client:
        assert client.read_frame() == (TEXT, b"Welcome, ann")


def test_the_user_and_the_certificate_are_known(folder):
    users = folder / "users"
    users.write_text(password_file(ann="secret"))
    config = "SSLVerifyClient optional_no_ca\n" + location("/whoami", "User and client certificate", "AuthType Basic", "AuthName members",
                                                          f"AuthUserFile {users}", "Require valid-user")
    with Server(config, tls=True, modules=["auth_basic", "authn_file", "authz_user"]) as server:
        password = base64.b64encode(b"ann:secret").decode()
        with server.websocket("/whoami", f"Authorization: Basic {password}", client_certificate=True) as client:
            assert client.read_frame() == (TEXT, b"user ann, certificate CN=localhost, from 127.0.0.1")
        with server.websocket("/whoami", f"Authorization: Basic {password}") as client:
            assert client.read_frame() == (TEXT, b"user ann, certificate nobody, from 127.0.0.1")
        assert refusal(server, "/whoami")[0] == 401


def test_each_connection_has_its_state(server):
    with server.websocket("/greeter?ann", "User-Agent: test") as ann, server.websocket("/greeter") as other:
        assert [said(ann, "x"), said(other, "x"), said(ann, "x")] == ["ann has sent 1", "stranger has sent 1", "ann has sent 2"]
        ann.close(1000)
        other.close(1001)
    logged(server, r"\.so: ann left with 1000, by test\n")
    logged(server, r"\.so: stranger left with 1001, by something\n")


def test_who_answers_pings_stays_and_who_does_not_goes(server):
    with server.websocket("/heartbeat") as alive, server.websocket("/heartbeat") as silent:
        assert silent.read_frame() == (PING, b"")
        for _ in range(2):
            assert alive.read_frame() == (PING, b"")
            alive.send(frame(PONG))
        silent.await_cut()
        alive.echo()


def test_an_upload_becomes_a_file_however_large(server, folder):
    content = os.urandom(1 << 20) * 8
    before_kb = server.peak_memory_kb()
    with server.websocket("/upload") as client:
        for opcode, fin, part in [(BINARY, False, content[:3_000_000]), (CONTINUATION, True, content[3_000_000:])]:
            client.send(frame(opcode, part, fin=fin))
        opcode, path = client.read_frame()
        assert (opcode, pathlib.Path(path.decode()).read_bytes()) == (TEXT, content)
        second = said(client, "short")
        assert pathlib.Path(second).read_text() == "short"
        assert second != path.decode()
    assert server.peak_memory_kb() - before_kb < 4 << 10


def test_an_upload_that_is_cut_off_leaves_no_file(server, folder):
    before = set(folder.iterdir())
    with server.websocket("/upload") as client:
        client.send(frame(BINARY, b"x" * 100_000, fin=False))
        eventually(lambda: set(folder.iterdir()) - before, "no file is begun")
        client.reset()
    eventually(lambda: set(folder.iterdir()) == before, "the file stays")


def test_a_big_answer_takes_no_memory_and_holds_nobody_up(server):
    lines = 3_000_000
    before_kb = server.peak_memory_kb()
    with with_small_buffer(server.websocket("/lines")) as client, server.websocket("/lines") as other:
        client.send_text(str(lines))
        first, text = client.read_any_frame()
        assert first == TEXT  # no last fragment
        for _ in range(400):  # in as many turns of the loop all would be sent, if sending did not wait for the client
            assert said(other, "2") == "line 1\nline 2\n"
        parts = [text]
        while not first & 0x80:
            first, text = client.read_any_frame()
            assert first & 15 == CONTINUATION
            parts.append(text)
        assert b"".join(parts).split(b"\n") == [b"line %d" % number for number in range(1, lines + 1)] + [b""]
        assert said(client, "1") == "line 1\n"
        client.send_text("no number")
        assert client.read_close() == (1008, "one number, please")
    assert server.peak_memory_kb() - before_kb < 8 << 10


def test_more_messages_than_allowed_wait_and_none_is_lost(server):
    with server.websocket("/limited") as client:
        client.send(b"".join(frame(TEXT, str(number)) for number in range(7)))
        got = [client.read_frame()[1].decode() for _ in range(9)]
        assert got == ["0", "1", "2", "enough for now", "3", "4", "5", "enough for now", "6"]


def test_a_look_up_that_blocks_holds_up_nobody_else(server, folder):
    os.mkfifo(folder / "slow")
    (folder / "slow").chmod(0o666)
    (folder / "fast").write_bytes(b"at once")
    try:
        with server.websocket("/library") as slow, server.websocket("/library") as fast, server.websocket("/answers") as elsewhere:
            slow.send_text("slow")
            fast.send_text("fast")
            assert fast.read_frame() == (BINARY, b"at once")
            assert said(elsewhere, "x") == "1: the answer to x"
            (folder / "slow").write_bytes(b"at last")  # waits for who reads
            assert slow.read_frame() == (BINARY, b"at last")
            fast.send_text("../etc/passwd")
            assert fast.read_close() == (1008, "a to z only")
    finally:
        (folder / "slow").unlink()


def test_a_call_from_another_thread_is_a_callback_of_the_connection(server):
    with server.websocket("/answers") as client, server.websocket("/answers") as gone:
        gone.send_text("?")
        gone.reset()
        assert [said(client, word) for word in ["a", "b"]] == ["1: the answer to a", "2: the answer to b"]


def test_the_handler_in_c(server):
    assert refusal(server, "/clock?refuse=1")[::2] == (403, b"no\n")
    with server.websocket("/clock", "Sec-WebSocket-Protocol: other, clock", "User-Agent: by hand") as client:
        assert client.headers["sec-websocket-protocol"] == "clock"
        assert [client.read_frame()[1] for _ in range(3)] == [b"Good day", b"1 s", b"2 s"]
        client.send_text("echo")
        while client.read_frame() != (TEXT, b"echo"):
            pass
        client.reset()
    logged(server, r"\.so: by hand left with 1006, without a word\n")


def test_the_second_handler_in_the_file(server):
    with server.websocket("/length") as client:
        client.send(frame(BINARY, b"x" * 100_000, fin=False) + frame(CONTINUATION, b"x" * 100_000, fin=False) + frame(CONTINUATION, b"x"))
        assert client.read_frame() == (TEXT, b"200001")
        assert said(client, "") == "0"


def test_the_plugin_and_the_handler_it_becomes_do_the_same():
    plugin, handler = (compiled(block_below("Going on to a handler", language, page="docs/migrating-from-apache-websocket.md")) for language in ["c", "c++"])
    config = "".join(f'<Location "/{path}">\nWebSocketHandler "{which}"\n</Location>\n' for path, which in [("plugin", f'{plugin}" "name_init'), ("handler", handler)])
    with Server(config) as server:
        for path in ["/plugin", "/handler"]:
            assert refusal(server, path)[0] == 403
            with server.websocket(path, "X-Name: alice") as client:
                assert said(client, "four") == "alice sent 4 bytes"
                client.close()


def test_the_test_of_a_handler_passes_and_fails_with_the_handler(tmp_path):
    (tmp_path / "test_mine.py").write_text(block_below("Testing a handler", "python").text)

    def run(heading):
        shutil.copy(compiled(block_below(heading)), tmp_path / "mine.so")
        return subprocess.run([sys.executable, tmp_path / "test_mine.py"], env={**os.environ, "STANDALONE": str(TOP / "standalone")},
                              capture_output=True, text=True, timeout=4 * LIMIT_S, check=False)
    passed = run("Step 1: answer")
    assert (passed.returncode, passed.stdout) == (0, "passed\n"), passed.stderr
    assert run("Step 2: push").returncode != 0
