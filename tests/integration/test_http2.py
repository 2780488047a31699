"""WebSockets over HTTP/2 (RFC 8441): the resident mooring behind mod_http2, frame by frame. Chromium's part is in test_browser.py."""

import re
import signal
import socket
import ssl

import pytest

from h2_client import Connection, WebSocket
from harness import BINARY, CLOSE, ECHO, PING, PONG, TEXT, Client, Server, close_payload, eventually, frame

HTTP2 = """
Protocols h2 http/1.1
H2WebSockets on
"""
# A stream's window that any longer message outgrows. None at all from the start would be no choice: mod_http2
# does not even send the answer while all streams of a connection are without a window.
NARROW = 1000


@pytest.fixture(params=["event", "worker"])
def mpm(request):
    return request.param


def http2_server(mpm, config="", **more):
    return Server(HTTP2 + ECHO + config, mpm=mpm, tls=True, modules=["http2"], **more)


def reporting_server(handlers, mpm, config="", **more):
    server = http2_server(mpm, f"<Location /report>\nWebSocketHandler {handlers}/report.so\n</Location>\n" + config,
                          log_level="warn websocket:info", **more)
    server.expect(r"websocket:info.*report\.so: ")
    return server


def reported(server, name):
    """What happened to the connection of that name, in order."""
    return re.findall(rf"report\.so: {name}: (.*)", server.error_log())


def await_report(server, name, what):
    eventually(lambda: what in reported(server, name), f"no “{what}” in {reported(server, name)}")


def exchange(client):
    client.send_text("word")
    assert client.read_frame() == (TEXT, b"got word")


# --- messages ---

def test_messages_of_every_size_come_back(mpm):
    with http2_server(mpm) as server, Connection(server) as connection:
        assert connection.websockets_offered
        with connection.websocket() as client:
            for size in [0, 1, 125, 126, 32763, 32764, 32765, 65535, 65536, 1_000_000]:
                client.echo(b"x" * size, BINARY)
            client.echo("Grüße, 世界")
            client.close(3001, "done")
        assert connection.get().status() == 200


def test_data_frames_may_cut_websocket_frames_anywhere(mpm):
    with http2_server(mpm) as server, Connection(server) as connection, connection.websocket() as client:
        for byte in frame(TEXT, "one byte at a time"):
            client.send(bytes([byte]))
        assert client.read_frame() == (TEXT, b"one byte at a time")
        client.send(b"".join(frame(TEXT, str(number)) for number in range(100)))
        assert [client.read_frame() for _ in range(100)] == [(TEXT, str(number).encode()) for number in range(100)]
        client.close()


def test_a_ping_between_fragments_is_answered_first(mpm):
    with http2_server(mpm) as server, Connection(server) as connection, connection.websocket() as client:
        client.send(frame(TEXT, "frag", fin=False))
        client.send(frame(PING, "ping"))
        assert client.read_frame() == (PONG, b"ping")
        client.send(frame(0, "men", fin=False))
        client.send(frame(0, "t"))
        assert client.read_frame() == (TEXT, b"fragment")
        client.close()


def test_http1_goes_on_beside_it(mpm):
    with http2_server(mpm) as server, Connection(server) as connection, connection.websocket() as two, server.websocket() as one:
        for client in [one, two]:
            client.echo()
            client.close()


# --- ends ---

def test_close_codes_of_either_side_arrive(mpm, handlers):
    with reporting_server(handlers, mpm, "WebSocketMaxMessage 1000\n") as server, Connection(server) as connection:
        server.expect(r"closed with 1007", r"closed with 1009", r"closed with 1002")
        with connection.websocket("/report?client") as client:
            client.close(3001, "enough")
        await_report(server, "client", 'close 3001 "enough" clean after 0')
        with connection.websocket("/report?server") as client:
            client.send_text("close 4002 bye")
            assert client.read_frame() == (TEXT, b"before")
            assert client.read_close() == (4002, "bye")
            client.send(frame(CLOSE, close_payload(4002)))
            client.read_end()
        await_report(server, "server", 'close 4002 "" clean after 1')
        for bad, code in [(frame(TEXT, b"\xff"), 1007), (frame(BINARY, b"x" * 1001), 1009), (frame(3), 1002)]:
            with connection.websocket(f"/report?bad{code}") as client:
                client.send(bad)
                assert client.read_close()[0] == code
                client.read_end()
        assert connection.get().status() == 200


def test_a_reset_stream_leaves_the_others_alone(mpm, handlers):
    with reporting_server(handlers, mpm) as server, Connection(server) as connection:
        with connection.websocket("/report?gone") as gone, connection.websocket() as other:
            exchange(gone)
            gone.send(frame(TEXT, "half a mess", fin=False))
            gone.reset()
            await_report(server, "gone", 'close 1006 "" unclean after 1')
            other.echo()
            with connection.websocket() as later:
                later.echo()
                later.close()
            other.close()


def test_the_end_of_a_stream_without_a_close_frame_is_unclean(mpm, handlers):
    with reporting_server(handlers, mpm) as server, Connection(server) as connection:
        with connection.websocket("/report?ended") as ended, connection.websocket() as other:
            ended.end()
            ended.read_end()
            await_report(server, "ended", 'close 1006 "" unclean after 0')
            other.echo()
            other.close()


def test_a_connection_that_is_cut_ends_all_its_sockets(mpm, handlers):
    with reporting_server(handlers, mpm) as server:
        with Connection(server) as connection:
            for number in range(5):
                exchange(connection.websocket(f"/report?cut{number}"))
            connection.cut()
        for number in range(5):
            await_report(server, f"cut{number}", 'close 1006 "" unclean after 1')
        server.await_idle()


def test_handshakes_that_are_taken_back_at_once_do_no_harm(mpm, handlers):
    with reporting_server(handlers, mpm) as server:
        for number in range(30):  # a connection each: mod_http2 ends one on which this happens often
            with Connection(server) as connection:
                connection.connect(f"/report?early{number}.").reset()
        server.await_idle()
        for number in range(30):  # those that were opened have been closed
            opened = reported(server, rf"early{number}\.")
            assert opened in ([], ["open", 'close 1006 "" unclean after 0']), opened
        with Connection(server) as connection, connection.websocket() as client:
            client.echo()
            client.close()


# --- the opening handshake ---

def test_subprotocol_and_facts_reach_the_handler(mpm, handlers):
    with reporting_server(handlers, mpm) as server, Connection(server) as connection:
        crumbs = [("cookie", "a=1"), ("cookie", "b=2")]  # as browsers send them over HTTP/2
        client = connection.websocket("/report?facts", ("sec-websocket-protocol", "other, mine"), ("x-choose", "mine"), ("x-kept", "this"),
                                      ("sec-websocket-extensions", "permessage-deflate; client_max_window_bits"), *crumbs)
        assert client.headers["sec-websocket-protocol"] == "mine"
        assert client.headers["sec-websocket-extensions"].startswith("permessage-deflate; ")
        unwanted = {"sec-websocket-accept", "upgrade", "connection", "content-length"}
        assert not unwanted & set(client.headers), client.headers
        client.send_text("facts")
        facts = client.read_frame()[1].decode().splitlines()
        assert facts == ["path=/report", "query=facts", "host=localhost", "user is not there", "address=127.0.0.1", "subprotocol=mine",
                         "cookie=a=1; b=2", "x-kept=this", "x-other is not there"]
        client.close()


def test_refusals_are_answers_and_the_connection_goes_on(mpm, handlers):
    with reporting_server(handlers, mpm) as server, Connection(server) as connection, connection.websocket() as open_already:
        server.expect(r"opening handshake refused with (403|426|418)")
        for expected, stream in [
            (403, connection.connect("/echo", ("origin", "https://elsewhere.example"))),
            (418, connection.connect("/report", ("x-status", "418"))),
            (426, connection.connect("/echo", version="12")),
            (426, connection.connect("/echo", version=None)),
            (404, connection.connect("/nothing")),
            (502, connection.connect("/index.html")),  # mod_http2's answer where a CONNECT becomes no WebSocket
            (501, connection.connect("/echo", protocol="connect-udp")),
            (501, connection.connect("/index.html", protocol="webtransport")),
            (426, connection.get("/echo")),
        ]:
            assert stream.status() == expected, stream.headers
            assert not {"connection", "upgrade"} & set(stream.headers), stream.headers  # RFC 9113 section 8.2.2
            stream.body()
            open_already.echo()
        same_host = connection.websocket("/echo", ("origin", "https://localhost"))
        same_host.close()
        open_already.close()


def test_without_the_switch_it_is_not_offered(mpm):
    with Server("Protocols h2 http/1.1\n" + ECHO, mpm=mpm, tls=True, modules=["http2"]) as server:
        with Connection(server) as connection:
            assert not connection.websockets_offered
            assert connection.get().status() == 200
        with server.websocket() as client:
            client.echo()
            client.close()


def test_prefork_speaks_http1_only():
    with http2_server("prefork") as server:
        server.expect(r"AH10034:")  # says so at start
        context = ssl.create_default_context(cafile=str(server.cert))
        context.set_alpn_protocols(["h2", "http/1.1"])
        connection = context.wrap_socket(socket.create_connection(("127.0.0.1", server.port)), server_hostname="localhost")
        assert connection.selected_alpn_protocol() == "http/1.1"
        with Client(connection, "/echo") as client:
            client.echo()
            client.close()


# --- many, and what bounds them ---

def test_more_sockets_than_one_connection_may_have_in_progress_are_served_in_turn(mpm):
    with http2_server(mpm) as server, Connection(server) as connection:
        waiting, served = [connection.connect() for _ in range(9)], []
        page = connection.get()
        connection.pump_until(lambda: sum(bool(stream.headers) for stream in waiting) >= 6)
        closed = 0
        while closed < 9:
            connection.pump_until(lambda: not waiting or any(stream.headers for stream in waiting))
            served += [WebSocket(stream) for stream in waiting if stream.headers]
            waiting = [stream for stream in waiting if not stream.headers]
            for client in served:
                client.echo()
            if not closed:
                assert len(served) == 6 and not page.headers  # mod_http2's limit at the start
            served.pop(0).close()
            closed += 1
        assert page.status() == 200
        with Connection(server) as other:
            assert other.get().status() == 200


def test_sockets_hold_threads_of_http2_and_http1_goes_on(mpm):
    config = "H2MinWorkers 1\nH2MaxWorkers 2\n"
    with http2_server(mpm, config) as server, Connection(server) as one, Connection(server) as two, Connection(server) as three:
        first, second = one.websocket(), two.websocket()
        page = three.get()
        three.round_trip()
        assert server.http("/index.html")[0] == 200
        with server.websocket() as client:
            client.echo()
            client.close()
        first.echo()
        second.echo()
        assert not page.headers  # both threads are taken
        first.close()
        assert page.status() == 200
        second.close()


def test_past_the_limit_of_resident_websockets_it_is_503(mpm):
    with http2_server(mpm, "WebSocketMaxResident 2\n") as server, Connection(server) as connection:
        server.expect(r"WebSocketMaxResident")
        clients = [connection.websocket(), connection.websocket()]
        refused = connection.connect()
        assert refused.status() == 503 and refused.headers["retry-after"] == "10"
        assert connection.get().status() == 200
        clients.pop().close()
        clients.append(connection.websocket())
        for client in clients:
            client.echo()
            client.close()


def test_pages_and_sockets_share_a_connection(mpm):
    with http2_server(mpm) as server, Connection(server) as connection:
        clients = [connection.websocket() for _ in range(3)]
        for _ in range(20):
            page = connection.get()
            for client in clients:
                client.echo()
            assert page.status() == 200 and page.body() == b"<p>the site\n"
        for client in clients:
            client.close()


def test_idle_sockets_are_not_cut(mpm):
    with http2_server(mpm, "Timeout 1\nH2StreamTimeout 1\nKeepAliveTimeout 1\n") as server, Connection(server) as connection:
        client = connection.websocket()
        connection.socket.settimeout(3)
        with pytest.raises(TimeoutError):
            client.connection.recv(1)  # longer than any of the timeouts
        client.echo("still there")
        client.close()


# --- flow control ---

def narrow(connection, path="/echo"):
    """A WebSocket that the server has more for than it may send."""
    client = WebSocket(connection.connect(path, paced=True))
    client.send(frame(TEXT, b"x" * 500_000))
    connection.pump_until(lambda: len(client.connection.data) == NARROW)
    return client


def test_a_closed_window_holds_one_stream_only(mpm):
    with http2_server(mpm) as server, Connection(server, window=NARROW) as connection, connection.websocket() as other:
        held = narrow(connection)
        other.echo("y" * 100_000)
        assert connection.get().body() == b"<p>the site\n"
        with Connection(server) as second, second.websocket() as client:
            client.echo()
            client.close()
        held.connection.open_window()
        assert held.read_frame() == (TEXT, b"x" * 500_000)
        held.close()
        other.close()


def test_a_window_that_opens_by_and_by_lets_all_through_in_order(mpm):
    with http2_server(mpm) as server, Connection(server, window=NARROW) as connection:
        client = WebSocket(connection.connect(paced=True))
        messages = [bytes([number]) * size for number, size in enumerate([200_000, 9_000, 9_000, 9_000])]
        client.send(b"".join(frame(BINARY, message) for message in messages))
        for received in range(NARROW, sum(map(len, messages)), NARROW):
            connection.pump_until(lambda: len(client.connection.data) >= received)
            client.connection.grant(NARROW)
            connection.flush()
        client.connection.open_window()
        for message in messages:
            assert client.read_frame() == (BINARY, message)
        client.close()


def test_a_window_that_stays_closed_costs_the_socket(mpm, handlers):
    with reporting_server(handlers, mpm, "H2StreamTimeout 1\n") as server:
        with Connection(server, window=NARROW) as connection, connection.websocket() as other:
            narrow(connection, "/report?held")
            await_report(server, "held", 'close 1006 "" unclean after 1')
            other.echo()
            other.close()


# --- stops and restarts ---

DRAIN_AT_ONCE = "WebSocketDrainTimeout 0\n"


def await_new_children(server, old):
    eventually(lambda: server.children() and not set(old) & set(server.children()), "the old children stay")


def test_graceful_restart_tells_every_socket_and_a_new_child_serves(mpm):
    with http2_server(mpm, "KeepAliveTimeout 1\n" + DRAIN_AT_ONCE) as server, Connection(server) as connection:
        clients = [connection.websocket() for _ in range(4)]
        for client in clients:
            client.echo()
        old = server.children()
        server.settle()
        server.process.send_signal(signal.SIGUSR1)
        for client in clients:
            assert client.read_close()[0] == 1001
            client.send(frame(CLOSE, close_payload(1001)))
        for client in clients:
            client.read_end()
            assert client.connection.ended
        assert connection.pump_until(lambda: connection.ended)
        assert connection.last_stream is not None  # it was announced
        connection.socket.close()
        await_new_children(server, old)
        with Connection(server) as fresh, fresh.websocket() as client:
            client.echo("from the new child")
            client.close()


def test_graceful_stop_tells_every_socket_and_ends(mpm):
    with http2_server(mpm, "KeepAliveTimeout 1\nGracefulShutdownTimeout 0\n" + DRAIN_AT_ONCE) as server, Connection(server) as connection:
        clients = [connection.websocket() for _ in range(4)]
        for client in clients:
            client.echo()
        server.settle()
        server.process.send_signal(signal.SIGWINCH)
        for client in clients:
            assert client.read_close()[0] == 1001
            client.send(frame(CLOSE, close_payload(1001)))
        for client in clients:
            client.read_end()
        connection.socket.close()
        assert server.process.wait(30) == 0


def test_a_child_that_retires_serves_its_sockets_on(mpm):
    with http2_server(mpm, "MaxConnectionsPerChild 20\nKeepAliveTimeout 1\n" + DRAIN_AT_ONCE) as server, Connection(server) as connection:
        client, old = connection.websocket(), server.children()
        assert len(old) == 1
        for _ in range(30):
            assert server.http("/index.html")[0] == 200
        assert connection.pump_until(lambda: connection.last_stream is not None)  # no new streams on this connection
        eventually(lambda: set(server.children()) - set(old), "no new child")
        client.echo("still there")
        client.close()
        connection.socket.close()
        await_new_children(server, old)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGHUP], ids=["stop", "restart"])
def test_stop_and_restart_cut_sockets_off(mpm, how, handlers):
    """httpd closes the connection below before any module hears of it."""
    with reporting_server(handlers, mpm) as server, Connection(server) as connection:
        exchange(connection.websocket("/report?one"))
        exchange(connection.websocket("/report?two"))
        old = server.children()
        server.settle()
        server.process.send_signal(how)
        assert connection.pump_until(lambda: connection.ended)
        for name in ["one", "two"]:
            await_report(server, name, 'close 1006 "" unclean after 1')
        if how == signal.SIGTERM:
            assert server.process.wait(30) == 0
        else:
            await_new_children(server, old)
            with Connection(server) as fresh, fresh.websocket() as client:
                client.echo()
                client.close()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGUSR1, signal.SIGWINCH], ids=["stop", "graceful", "graceful-stop"])
def test_a_closed_window_does_not_hold_the_server(mpm, how):
    # For longer than Timeout, that is: the thread that waits for the window is mod_http2's to wake.
    with http2_server(mpm, "Timeout 1\nKeepAliveTimeout 1\n" + DRAIN_AT_ONCE) as server, Connection(server, window=NARROW) as connection:
        narrow(connection)
        old = server.children()
        server.settle()
        server.process.send_signal(how)
        if how == signal.SIGUSR1:
            await_new_children(server, old)
            with Connection(server) as fresh, fresh.websocket() as client:
                client.echo()
                client.close()
        else:
            assert server.process.wait(30) == 0
