"""What handlers can do, as their clients see it: on the loop and on workers, detached and resident."""

import re
import signal
import threading
import time

import pytest

from harness import (BINARY, CLOSE, LIMIT_S, PING, PONG, TEXT, UPGRADE, Client, Server, close_payload, eventually, frame, password_file, read_response,
                     request, said)

CONFIG = """
<Location /sdk>
    WebSocketHandler "HANDLERS/sdk.so"
    WORKERS
</Location>
"""


def config(handlers, workers):
    return CONFIG.replace("HANDLERS", str(handlers)).replace("WORKERS", f"WebSocketWorkers {workers}")


@pytest.fixture(scope="module", params=["tcp", "resident-tls", "tcp-workers", "resident-workers"])
def server(request, handlers):
    mooring, _, workers = request.param.partition("-workers") if "workers" in request.param else (request.param, "", "")
    running = Server(config(handlers, 4 if "workers" in request.param else 0), mooring=mooring, log_level="warn websocket:info")
    running.workers = "workers" in request.param
    running.expect(r"websocket:info.*/sdk\.so: (closed|sent)")
    with running:
        yield running
        running.await_idle()


def logged(server, pattern):
    return re.findall(pattern, server.error_log())


def announce(server, *patterns):
    server.expect(*(rf"websocket:error\].*/sdk\.so: /sdk: {pattern}" for pattern in patterns))


def test_the_handler_sees_the_whole_request(server):
    server.expect("refused with 403: by the handler")
    with server.connect() as connection:
        connection.sendall(request("/sdk/a%20room?q=caf%c3%a9+au%20lait&q=2", *UPGRADE, "X-Describe: yes", "X-Two: 1", "X-Two: 2",
                                   "Cookie: a=b; session=\"s 1\"; session=2", "Sec-WebSocket-Extensions: foo; bar=1"))
        status, headers, body = read_response(connection)
        assert status == 403 and headers["content-type"] == "text/plain; charset=utf-8"
        assert headers["set-cookie"] == "one=1, two=2; HttpOnly"
        lines = body.decode().split("\n")
        assert lines[:8] == ["GET /sdk/a%20room?q=caf%c3%a9+au%20lait&q=2", "/sdk/a room", "/a room", "q=caf%c3%a9+au%20lait&q=2", "none",
                             '"foo; bar=1"', '"\"s 1\""', '"café au lait"']
        assert {"X-Describe=yes"} < set(lines) and any(line.startswith("X-Two=1") for line in lines)
        # The connection goes on with HTTP.
        connection.sendall(request("/index.html"))
        assert read_response(connection)[0] == 200


def test_an_exception_for_one_of_the_headers_is_the_handshakes(server):
    server.expect("exception in handshake: thrown for a header$", "refused with 500: by the handler")
    status, _, _ = server.http("/sdk", *UPGRADE, "X-Describe: yes", "X-Throw: yes")
    assert status == 500


def test_a_handshake_that_blocks_holds_up_no_connection(server, name):
    go = server.folder / f"go-{name}"
    with server.websocket("/sdk") as other, server.connect() as connection:
        connection.sendall(request(f"/sdk?await={go}", *UPGRADE))
        for _ in range(3):
            assert said(other, "still served") == "still served"
        go.touch()
        with Client(connection) as client:
            assert said(client, "at last") == "at last"
            client.close()
        other.close()


def test_the_user_and_how_it_was_authenticated_are_known(handlers):
    users = 'AuthType Basic\nAuthName sdk\nAuthUserFile users\nRequire valid-user\n</Location>'
    server = Server(config(handlers, 0).replace("</Location>", users), modules=["auth_basic", "authn_file", "authz_user"], log_level="warn websocket:info")
    server.expect(r"websocket:info.*/sdk\.so: closed")
    (server.folder / "users").write_text(password_file(alice="open sesame"))
    with server, server.websocket("/sdk", "Authorization: Basic YWxpY2U6b3BlbiBzZXNhbWU=") as client:
        facts = said(client, "facts").split("\n")
        assert (facts[3], facts[13]) == ('"alice"', '"Basic"')
        client.close()
        server.await_idle()


def test_headers_that_the_handler_adds_are_in_the_101(server):
    with server.websocket("/sdk") as client:
        assert client.headers["set-cookie"] == "one=1, two=2; HttpOnly"
        client.close()


def test_headers_that_would_break_the_answer_are_refused(server):
    line = r"add_header\(\) refused: the name is no token or one of the server's own headers, or the value has a control character"
    server.expect(rf"/sdk\.so: /sdk: {line}")
    before = len(logged(server, line))
    with server.websocket("/sdk", "X-Bad-Header: yes") as client:
        assert client.headers["upgrade"] == "websocket" and "x-split" not in client.headers
        client.close()
    assert len(logged(server, line)) == before + 3


def test_what_the_handshake_notes_is_known_to_the_connection(server):
    with server.websocket("/sdk/below?note=to+myself") as client:
        facts = said(client, "facts").split("\n")
        assert facts[0] == '"/sdk/below"' and facts[1] == '"note=to+myself"'
        assert facts[11] == '"/below"' and facts[12] == '"127.0.0.1"' and facts[13] == "none" and facts[14] == '"to myself"'
        client.close()


@pytest.mark.parametrize("path, below", [("/sdk", '""'), ("/sdk/", '"/"'), ("/sdk/a/b", '"/a/b"')])
def test_the_path_below_the_location(server, path, below):
    with server.websocket(path) as client:
        assert said(client, "facts").split("\n")[11] == below
        client.close()


def test_timers_come_once_each_with_its_id(server):
    with server.websocket("/sdk") as client:
        client.send_text("timer 3 30 1 5 3 10")
        assert {client.read_frame()[1] for _ in range(2)} == {b"timer 1", b"timer 3"}
        assert said(client, "no more") == "no more"
        client.close()


def test_pings_and_pongs_are_told(server):
    with server.websocket("/sdk") as client:
        client.send_text("ping are you there")
        frames = [client.read_frame() for _ in range(2)]
        assert sorted(frames) == [(TEXT, b"0"), (PING, b"are you there")]
        client.send(frame(PONG, "I am"))
        assert client.read_frame() == (TEXT, b"pong I am")
        client.send(frame(PING, "you?"))
        assert [client.read_frame() for _ in range(2)] == [(PONG, b"you?"), (TEXT, b"ping you?")]
        client.close()


def test_a_client_that_is_paused_is_read_on_once_it_is_resumed(server, name):
    with server.websocket("/sdk") as client:
        client.send(frame(TEXT, f"pause {server.folder}/resume-{name}") + frame(TEXT, "one") + frame(PING, "p") + frame(TEXT, "two"))
        texts = []
        while b"timer 0" not in texts:
            opcode, payload = client.read_frame()
            if opcode == TEXT:
                texts.append(payload)
            if payload == b"paused":
                client.send_text("timer 0 1")  # must wait too
                (server.folder / f"resume-{name}").touch()
        assert texts == [b"paused", b"resumed", b"one", b"ping p", b"two", b"timer 0"]
        client.close()


def test_a_client_that_is_paused_cannot_send_on(server, name):
    messages = 4000
    with server.websocket("/sdk") as client:
        assert said(client, f"pause {server.folder}/resume-{name}") == "paused"
        client.start_sending(b"".join(frame(BINARY, b"m" * 10000) for _ in range(messages)))
        client.send_until_blocked()
        assert client.unsent, "all of 40 MB were read"
        (server.folder / f"resume-{name}").touch()
        assert client.read_frame() == (TEXT, b"resumed")
        for _ in range(messages):
            assert client.read_frame() == (BINARY, b"m" * 10000)
        client.close()


def test_an_abort_ends_the_connection_at_once(server):
    before = len(logged(server, r"closed 1006 \n"))
    client = server.websocket("/sdk")
    client.send(frame(TEXT, "abort") + frame(TEXT, "late"))
    client.await_cut()
    eventually(lambda: len(logged(server, r"closed 1006 \n")) == before + 1, "close is not told")


def test_a_message_in_fragments_lets_others_wait(server):
    with server.websocket("/sdk") as client:
        client.send_text("fragments 3 70000")
        frames = [client.read_any_frame() for _ in range(4)]
        assert [first for first, _ in frames] == [0x01, 0x00, 0x80, 0x81]
        assert [payload for _, payload in frames] == [b"a" * 70000, b"b" * 70000, b"c" * 70000, b"between"]
        client.close()


def test_a_fragment_that_breaks_its_message_is_refused(server):
    announce(server, r"send_fragment\(\) refused: (a text that is not UTF-8|another type than that of the first piece)")
    with server.websocket("/sdk") as client:
        client.send_text("broken-fragment")
        assert [client.read_any_frame() for _ in range(2)] == [(0x01, b"caf\xc3"), (0x80, b"\xa9")]
        results = client.read_frame()[1].split()
        assert results[1:3] == [b"-2", b"-2"] and results[4] == b"-2"
        client.close()


def test_what_is_posted_runs_between_the_callbacks(server):
    with server.websocket("/sdk") as client:
        client.send_text("post a note")
        assert [client.read_frame()[1] for _ in range(2)] == [b"posting", b"posted a note"]
        client.close()


def test_an_exception_in_what_is_posted_closes_the_connection(server):
    server.expect(r"/sdk\.so: exception in a posted call: thrown in a post$")
    with server.websocket("/sdk") as client:
        client.send_text("post throw")
        assert client.read_frame()[1] == b"posting"
        assert client.read_close() == (1011, "")


def test_an_exception_closes_the_connection(server):
    server.expect(r"/sdk\.so: exception in message: thrown in message$")
    with server.websocket("/sdk") as client:
        client.send_text("throw")
        assert client.read_close() == (1011, "")


def test_a_thread_sends_by_a_handle(server):
    with server.websocket("/sdk") as client:
        assert said(client, "thread from afar") == "from afar"
        client.close()


def test_another_thread_is_refused_and_named(server):
    line = r"(send|close)\(\) refused: not in a callback of this connection"
    announce(server, line)
    before = len(logged(server, line))
    with server.websocket("/sdk") as client:
        assert said(client, "wrong-thread") == "-3 -3"
        client.close()
    assert len(logged(server, line)) == before + 2


def test_a_connection_that_has_been_closed_is_refused(server):
    announce(server, r"send\(\) refused: not in a callback of this connection")
    before = len(logged(server, "/sdk.so: closed"))
    with server.websocket("/sdk") as client:
        client.close()
    eventually(lambda: len(logged(server, "/sdk.so: closed")) > before, "close is not told")
    with server.websocket("/sdk") as client:
        assert said(client, "closed-one") == "-3"
        client.close()


def test_a_buffer_is_sent_from_a_callback_and_by_a_handle(server):
    with server.websocket("/sdk") as client:
        for text in ["short", "long " * 40000]:
            client.send_text("buffer " + text)
            assert [client.read_frame() for _ in range(2)] == [(TEXT, text.encode())] * 2
        client.close()


def test_drained_follows_when_something_had_to_wait(server):
    with server.websocket("/sdk") as client:
        assert said(client, "drained") == "0"
        before = len(logged(server, "/sdk.so: sent"))
        client.send_text("big 30000000")
        # A client that read meanwhile could take it all.
        eventually(lambda: len(logged(server, "/sdk.so: sent")) > before, "nothing is sent")
        assert client.read_frame()[0] == BINARY
        result = int(client.read_frame()[1])
        assert result == (0 if server.workers else 2)  # a worker has handed it to the loop
        eventually(lambda: int(said(client, "drained")) >= 1, "drained does not come")
        client.close()


def test_workers_leave_the_loop_to_others(handlers):
    server = Server(config(handlers, 3), log_level="warn websocket:info")
    server.expect(r"websocket:info.*/sdk\.so: closed")
    with server, server.websocket("/sdk") as free:
        waiting = [server.websocket("/sdk") for _ in range(2)]
        for client in waiting:
            client.send(frame(TEXT, f"await {server.folder}/go") + frame(TEXT, "behind"))
        assert said(free, "still served") == "still served"
        for client in waiting:
            client.send(frame(PING, "the loop answers"))
            assert client.read_frame() == (PONG, b"the loop answers")
        (server.folder / "go").touch()
        for client in [*waiting, free]:
            if client is not free:
                assert [client.read_frame()[1] for _ in range(3)] == [b"awaited", b"behind", b"ping the loop answers"]
            client.close()
        server.await_idle()


def test_a_client_that_workers_cannot_keep_up_with_is_not_read(handlers):
    server = Server(config(handlers, 1), log_level="warn websocket:info")
    server.expect(r"websocket:info.*/sdk\.so: closed")
    messages = 4000
    with server, server.websocket("/sdk") as client:
        client.send_text(f"await {server.folder}/go")
        client.start_sending(b"".join(frame(BINARY, b"m" * 10000) for _ in range(messages)))
        client.send_until_blocked()
        assert client.unsent, "all of 40 MB were read"
        (server.folder / "go").touch()
        assert client.read_frame() == (TEXT, b"awaited")
        for _ in range(messages):
            assert client.read_frame() == (BINARY, b"m" * 10000)
        client.close()
        server.await_idle()


def test_a_handler_that_blocks_its_loop_is_named(handlers):
    line = r"/sdk\.so: /sdk: held up its event loop, and all other connections there, for \d+ ms"
    server = Server(config(handlers, 0), log_level="warn websocket:info")
    server.expect(r"websocket:info.*/sdk\.so: closed", line)
    with server, server.websocket("/sdk") as client:
        begin = time.monotonic()
        for _ in range(3):
            assert said(client, "sleep") == "sleep"
        eventually(lambda: logged(server, line), "it is not named")
        client.close()
        server.await_idle()
        assert len(logged(server, line)) <= 1 + (time.monotonic() - begin) // 10, "more often than every 10 s"


def test_a_handler_that_still_blocks_its_loop_is_named_when_the_next_client_comes(handlers):
    line = r"/sdk\.so: /sdk: held up its event loop, and all other connections there, for \d+ ms and still does"
    server = Server(config(handlers, 0), log_level="warn websocket:info")
    server.expect(r"websocket:info.*/sdk\.so: closed", line)
    with server, server.websocket("/sdk") as client:
        client.send_text(f"await {server.folder}/go")
        others = []
        while not logged(server, line):  # until it has been blocked for long enough
            others.append(server.websocket("/sdk"))
        (server.folder / "go").touch()
        assert client.read_frame() == (TEXT, b"awaited")
        for each in [client, *others]:
            each.close()
        server.await_idle()


def test_a_callback_on_a_worker_that_never_returns_does_not_hold_a_stop(mpm, handlers):
    server = Server(config(handlers, 2), mpm=mpm, log_level="warn websocket:info")
    server.expect(r"websocket:info.*/sdk\.so: closed", r"/sdk\.so: /sdk: a callback on a worker does not return",
                  "a handler does not return; the child ends without it")
    with server, server.websocket("/sdk") as client:
        client.send(frame(TEXT, f"await {server.folder}/never") + frame(TEXT, "behind"))
        client.echo_of_ping(b"it has been read")
        server.stop()
        if mpm != "prefork":  # which ends in a signal handler
            assert logged(server, "/sdk: a callback on a worker does not return")


@pytest.mark.parametrize("workers", [0, 4])
@pytest.mark.parametrize("mooring", ["tcp", "tls", "resident"])
def test_32_threads_send_while_the_client_disconnects(handlers, mooring, workers):
    server = Server(config(handlers, workers).replace("</Location>", "WebSocketParam threads 32\n</Location>"), mooring=mooring, log_level="warn websocket:info")
    server.expect(r"websocket:info.*/sdk\.so: closed")

    def visit(number):
        for turn in range(4):
            client = server.websocket("/sdk")
            for _ in range(20 * turn):
                assert re.fullmatch(rb"from \d+", client.read_frame()[1])
            if (number + turn) % 3 == 0:
                client.reset()
            elif (number + turn) % 3 == 1:
                client.send(frame(CLOSE, close_payload(1000)))
                while client.read_frame()[0] != CLOSE:
                    pass
                client.connection.close()
            else:
                client.connection.close()

    with server:
        failures = []

        def guarded(number):
            try:
                visit(number)
            except BaseException as error:
                failures.append(error)

        visitors = [threading.Thread(target=guarded, args=[number]) for number in range(3)]
        for visitor in visitors:
            visitor.start()
        for visitor in visitors:
            visitor.join()
        assert not failures, failures
        server.await_idle()
        eventually(lambda: len(logged(server, "/sdk.so: closed")) == 12, "not all closes were told")


@pytest.mark.parametrize("workers", [0, 4])
def test_a_stop_ends_threads_that_send(handlers, workers):
    server = Server(config(handlers, workers).replace("</Location>", "WebSocketParam threads 8\n</Location>"), log_level="warn websocket:info")
    server.expect(r"websocket:info.*/sdk\.so: closed")
    with server:
        clients = [server.websocket("/sdk") for _ in range(3)]
        for client in clients:
            assert client.read_frame()[1].startswith(b"from ")
        server.process.send_signal(signal.SIGTERM)  # the threads never sleep, as Server.stop wants it
        for client in clients:
            while client.read_frame()[0] != CLOSE:
                pass
            client.send(frame(CLOSE, close_payload(1001)))
        assert server.process.wait(LIMIT_S) == 0
        assert len(logged(server, "/sdk.so: closed")) == 3
