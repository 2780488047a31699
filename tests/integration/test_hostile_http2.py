"""HTTP/2 that means harm, or bad luck: the stream gets its answer, and neither the others on its connection nor anybody else feels it."""

import time

import h2.errors
import pytest

from h2_client import Connection, WebSocket
from harness import BINARY, ECHO, TEXT, frame
from hostile import serving

CONFIG = """
Protocols h2 http/1.1
H2WebSockets on
KeepAliveTimeout 120
WebSocketMaxResident 64
""" + ECHO
ALL = {":method": "CONNECT", ":protocol": "websocket", ":scheme": "https", ":authority": "localhost", ":path": "/echo"}
NARROW = 1000  # bytes; the window of a stream, used up by the answer to any longer message
KEPT_KB = 4 * 1024  # mod_http2's threads keep what they have grown to

pytestmark = [pytest.mark.usefixtures("unharmed"), pytest.mark.memory(kept_kb=KEPT_KB)]


@pytest.fixture(scope="module")
def server():
    with serving(CONFIG, tls=True, modules=["http2"]) as running:
        running.expect(r"http2:info")
        with Connection(running) as connection, connection.websocket() as client:
            client.echo(b"x" * (1 << 20), BINARY)  # what is made once is there
            client.close()
        yield running


@pytest.fixture
def connection(server):
    with Connection(server) as made:
        yield made


@pytest.fixture
def beside(connection):
    """Another WebSocket on the same connection, which is well to the end."""
    with connection.websocket() as client:
        client.echo("before")
        yield client
        client.echo("after")
        client.close()
        assert connection.get().status() == 200


# --- openings that are none ---

@pytest.mark.parametrize("path, how, status", [
    ("/nothing", {}, 404),
    ("/index.html", {}, 502),  # mod_http2's answer where a CONNECT becomes no WebSocket
    ("/echo", dict(protocol="connect-udp"), 501), ("/echo", dict(protocol="WebSocket2"), 501), ("/index.html", dict(protocol="webtransport"), 501),
    ("/echo", dict(version="12"), 426), ("/echo", dict(version=None), 426),
])
def test_an_opening_of_what_is_no_websocket_is_refused_and_the_connection_lives(connection, beside, path, how, status):
    assert connection.connect(path, **how).status() == status


def test_the_transfer_coding_that_mod_http2_makes_up_is_no_body(connection, beside):
    stream = connection.connect()  # to the module a request with "Transfer-Encoding: chunked"
    assert stream.status() == 200
    client = WebSocket(stream)
    client.echo()
    client.close()


@pytest.mark.parametrize("missing", [[":scheme"], [":path"], [":authority"], [":scheme", ":path"], [":protocol"], [":method"]], ids=" ".join)
def test_an_opening_with_a_pseudo_header_missing_is_refused_and_the_connection_lives(connection, beside, missing):
    connection.h2.config.validate_outbound_headers = False
    fields = [(name, value) for name, value in ALL.items() if name not in missing] + [("sec-websocket-version", "13")]
    stream = connection.request(*fields, end=False)
    connection.pump_until(lambda: stream.headers or stream.over)
    # A malformed request is an error of its stream (RFC 9113 section 8.1.1), with or without an answer.
    assert stream.reset_code == h2.errors.ErrorCodes.PROTOCOL_ERROR or 400 <= stream.status() <= 501, (stream.headers, stream.reset_code)
    assert not connection.ended


# --- streams that are taken back ---

def answers(connection):
    """Whether the server has taken in all that was sent; else it has ended the connection."""
    before = connection.pongs
    try:
        connection.h2.ping(b"anything")
        connection.flush()
        return connection.pump_until(lambda: connection.pongs > before)
    except OSError:
        return False


def test_1000_sockets_taken_back_before_any_data_cost_their_own_connections_at_most(server):
    taken_back = connections = 0
    while taken_back < 1000:  # mod_http2 ends a connection on which this happens often
        with Connection(server) as connection:
            connections += 1
            for _ in range(100):
                connection.connect().reset()
                taken_back += 1
                if not answers(connection):
                    break
    print(f"{taken_back} taken back on {connections} connections")


def test_goaway_inside_a_message_lets_it_come_to_its_end(connection):
    with connection.websocket() as client, connection.websocket() as other:
        whole = frame(BINARY, b"x" * 30_000)
        client.send(whole[:10_000])
        goaway(connection)
        other.echo()
        client.send(whole[10_000:])
        assert client.read_frame() == (BINARY, b"x" * 30_000)
        client.close()
        other.close()


def goaway(connection):
    """As h2 sends nothing behind its own, the bytes: no stream of the server's is known, no error (RFC 9113 section 6.8)."""
    connection.socket.sendall(b"\0\0\x08\x07\0\0\0\0\0" + b"\0\0\0\0" + b"\0\0\0\0")


# --- flow control, and many at once ---

def a_closed_window_holds_its_own_socket_only(server, seconds):
    with Connection(server, window=NARROW) as connection, connection.websocket() as other:
        held = WebSocket(connection.connect(paced=True))
        held.send(frame(TEXT, b"x" * 500_000))
        connection.pump_until(lambda: len(held.connection.data) == NARROW)
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s:
            other.echo("y" * 5000)
            assert connection.get().status() == 200
        assert len(held.connection.data) == NARROW, "more came than the window lets through"
        held.connection.open_window()
        assert held.read_frame() == (TEXT, b"x" * 500_000)
        held.close()
        other.close()


def test_a_closed_window_holds_its_own_socket_only(server):
    a_closed_window_holds_its_own_socket_only(server, 1)


@pytest.mark.soak
def test_a_window_closed_for_10_s_holds_its_own_socket_only(server):
    a_closed_window_holds_its_own_socket_only(server, 10)


def test_nine_sockets_asked_for_at_once_on_a_new_connection_are_all_served(connection):
    waiting = [connection.connect() for _ in range(9)]
    while waiting:  # mod_http2 begins with six at a time
        connection.pump_until(lambda: any(stream.headers for stream in waiting))
        stream = next(stream for stream in waiting if stream.headers)
        waiting.remove(stream)
        client = WebSocket(stream)
        client.echo()
        client.close()
