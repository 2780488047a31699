"""Opening handshakes that mean harm, or bad luck: each gets its answer, and nobody else feels it."""

import base64
import re
import select

import pytest

from harness import KEY, TEXT, UPGRADE, Client, frame, free_port, password_file, read_response, request
from hostile import WORKERS, all_workers_serve, serving
from opening import answer, connected, logged, opening, refused, short

# WIDE lets long headers through to the module, HASTY has no patience with slow ones.
CONFIG = """
LimitRequestFieldSize 8190
Listen 127.0.0.1:WIDE
Listen 127.0.0.1:HASTY
<Location /echo>
    WebSocketHandler echo
</Location>
<Location /private>
    AuthType Basic
    AuthName "the private part"
    AuthUserFile "USERS"
    Require user ann
    WebSocketHandler echo
</Location>
<Location /splits>
    WebSocketHandler "HANDLERS/wrong.so" splits_the_response
</Location>
<VirtualHost 127.0.0.1:WIDE>
    ServerName wide.example
    LimitRequestFieldSize 500000
</VirtualHost>
<VirtualHost 127.0.0.1:HASTY>
    ServerName hasty.example
    RequestReadTimeout header=1 body=1
</VirtualHost>
"""
LONG = 499_000  # bytes of a header; what takes quadratic time for them takes minutes

pytestmark = pytest.mark.usefixtures("unharmed")


@pytest.fixture(scope="module")
def server(handlers, tmp_path_factory):
    users = tmp_path_factory.mktemp("users") / "users"
    users.write_text(password_file(ann="secret"))
    users.chmod(0o644)
    wide, hasty = free_port(), free_port()
    config = CONFIG.replace("HANDLERS", str(handlers)).replace("WIDE", str(wide)).replace("HASTY", str(hasty)).replace("USERS", str(users))
    with serving(config, modules=["auth_basic", "authn_file", "authz_user"]) as running:
        running.wide, running.hasty = wide, hasty
        yield running


def accepted(server, data, port=None):
    """The WebSocket is open and echoes; the headers of the answer."""
    with connected(server, port) as connection:
        connection.sendall(data)
        client = Client(connection)
        client.echo()
        return client.headers


# --- size ---

@pytest.mark.parametrize("data, status", [
    (opening("/echo", *[f"X-{i}: {i}" for i in range(2000)]), 400),
    (opening("/echo", "X-Big: " + "x" * 32768), 400),
    (opening("/echo", "Sec-WebSocket-Protocol:" + " ," * 16384), 400),
    (opening("/echo?" + "x" * 32768), 414),
], ids=["2000-headers", "a-header-of-32-KB", "subprotocols-of-32-KB", "a-request-line-of-32-KB"])
def test_what_is_too_much_for_httpd_is_refused_by_it(server, data, status):
    assert answer(server, data)[0] == status


@pytest.mark.memory(peak_kb=24 * LONG // 1024, kept_kb=4 * LONG // 1024)  # httpd itself reads it into growing memory
@pytest.mark.parametrize("header, status", [
    ("Sec-WebSocket-Protocol:" + " ," * (LONG // 2), 400),
    ("Sec-WebSocket-Protocol: echo" + " ,echo" * (LONG // 6 - 10), 101),
    ("Sec-WebSocket-Extensions:" + " ,;" * (LONG // 3), 101),
    ('Sec-WebSocket-Extensions: a; b="' + "\\c" * (LONG // 2 - 20), 101),
    ("Connection:" + " ," * (LONG // 2) + "upgrade", 101),
    ("Upgrade:" + " ," * (LONG // 2) + "websocket", 101),
    ("Origin: http://" + "x" * LONG, 403),
    ("Origin: " + "http://" * (LONG // 7), 403),
    ("Sec-WebSocket-Key: " + "a" * LONG, 400),
], ids=short)
def test_a_long_header_takes_linear_time_where_httpd_lets_it_through(server, header, status):
    data = opening("/echo", header, without=[header.split(":")[0]])
    if status == 101:
        assert "sec-websocket-extensions" not in accepted(server, data, server.wide)
    else:
        assert answer(server, data, server.wide)[0] == status


# --- subprotocols and extensions ---

@pytest.mark.parametrize("offered", ["", ",", " , \t, ,", "a b", "chat; x", "chat, (", "caf\xe9", '"chat"', "chat, \x80", "a/b", "chat=1"])
def test_subprotocols_that_are_no_tokens_are_refused(server, offered):
    refused(server, opening("/echo", f"Sec-WebSocket-Protocol: {offered}"), 400, "Sec-WebSocket-Protocol is not a list of tokens")


@pytest.mark.parametrize("character", ["\0", "\r", "\n", "\r\n", "\x01", "\x7f"])
def test_control_characters_in_a_header_are_refused(server, character):
    assert answer(server, opening("/echo", f"Sec-WebSocket-Protocol: ch{character}at"))[0] == 400  # httpd's own


@pytest.mark.parametrize("offer", [
    "constructor", "x-webkit-deflate-frame", ",;", "", ";", "permessage-deflate;;", "permessage-deflate; =",
    "permessage-deflate; unknown", "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
    "permessage-deflate; server_max_window_bits",
    *[f"permessage-deflate; server_max_window_bits={bits}" for bits in ["7", "16", "015", "-1", "99999999999", '"7"', '"16"', '"']],
    *[f"permessage-deflate; client_max_window_bits={bits}" for bits in ["7", "16", "015", "-1", "99999999999", '"7"', '"16"', '"']],
    'a; b="' + "\\c" * 4000, 'a; b="' + "c" * 8000, "a; b=\"\\", "a" + ";b" * 4000, ", " * 4000, "caf\xe9; \x80=1",
], ids=short)
def test_an_extension_that_cannot_be_had_is_declined(server, offer):
    assert "sec-websocket-extensions" not in accepted(server, opening("/echo", f"Sec-WebSocket-Extensions: {offer}"))


@pytest.mark.parametrize("side", ["server", "client"])
@pytest.mark.parametrize("bits", ["8", "9", "15", '"10"'])
def test_a_window_in_range_is_agreed_on(server, side, bits):
    headers = accepted(server, opening("/echo", f"Sec-WebSocket-Extensions: permessage-deflate; {side}_max_window_bits={bits}"))
    assert f"{side}_max_window_bits={bits.strip(chr(34))}" in headers["sec-websocket-extensions"].split("; ")


@pytest.mark.parametrize("bad", ["constructor", "permessage-deflate; unknown", "permessage-deflate; server_max_window_bits=7", "permessage-deflate;;"])
def test_an_offer_behind_one_that_is_declined_is_agreed_on(server, bad):
    headers = accepted(server, opening("/echo", f"Sec-WebSocket-Extensions: {bad}, permessage-deflate"))
    assert headers["sec-websocket-extensions"].split("; ")[0] == "permessage-deflate"


@pytest.mark.parametrize("path", ["/splits", "/splits?after-a-good-one"])
def test_a_line_break_in_what_a_handler_answers_is_an_error_of_the_handler(server, path):
    server.expect(r"wrong\.so: /splits: handshake chose a subprotocol with a line break or another control character")
    with logged(server, r"\[websocket:error\].*wrong\.so: /splits: handshake chose a subprotocol with a line break"):
        status, headers, _ = answer(server, opening(path, "Sec-WebSocket-Protocol: chat"))
    assert status == 500
    assert not {"x-split", "sec-websocket-protocol", "upgrade"} & set(headers)


# --- the request itself ---

@pytest.mark.parametrize("body", ["Content-Length", "Transfer-Encoding", "both", "unsent"])
def test_a_body_is_refused_and_what_is_in_it_is_no_request(server, body):
    hidden = request("/index.html")
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(hidden), hidden)
    lines = {"Content-Length": [f"Content-Length: {len(hidden)}"], "Transfer-Encoding": ["Transfer-Encoding: chunked"],
             "both": ["Content-Length: 4", "Transfer-Encoding: chunked"], "unsent": [f"Content-Length: {len(hidden)}"]}[body]
    sent = {"Content-Length": hidden, "Transfer-Encoding": chunked, "both": chunked, "unsent": b""}[body]
    with connected(server) as connection, logged(server, "refused with 400: opening handshake with a body"):
        connection.sendall(opening("/echo", *lines) + sent)
        status, headers, _ = read_response(connection)
        assert (status, headers["connection"]) == (400, "close")
        assert connection.recv(1) == b""


@pytest.mark.parametrize("how, reason", [
    (dict(method="POST"), "method is not GET"),
    (dict(method="HEAD"), "method is not GET"),
    (dict(method="OPTIONS"), "method is not GET"),
    (dict(version="HTTP/1.0"), "HTTP version below 1.1"),
    (dict(version="HTTP/1.0", host=False), "HTTP version below 1.1"),
], ids=str)
def test_another_method_or_version_is_refused(server, how, reason):
    with logged(server, f"refused with 400: {reason}, RFC 6455 section 4.2.1"):
        assert answer(server, opening(**how), method=how.get("method", "GET"))[0] == 400


def test_a_request_without_host_is_refused(server):
    assert answer(server, opening(host=False))[0] == 400  # httpd's own


@pytest.mark.parametrize("lines", [[], ["Connection: close"], ["Connection: keep-alive, upgrades"], ["Connection: Up grade"]], ids=short)
def test_a_connection_header_without_upgrade_is_refused(server, lines):
    refused(server, opening("/echo", *lines, without=["Connection"]), 400, 'Connection header without "upgrade"')


def encoded(size):
    return base64.b64encode(b"k" * size).decode()


@pytest.mark.parametrize("key", [
    encoded(15), encoded(17), encoded(18), encoded(0), encoded(160), KEY[:-1], KEY + "=", KEY[:-2], "=" * 24,
    KEY[:10] + "-" + KEY[11:], KEY[:10] + "\xe9" + KEY[11:], KEY[:10] + " " + KEY[11:],
    "dGhlIHNhbXBsZSBub25jZR==",  # bits that 16 bytes do not have
], ids=short)
def test_a_key_that_is_not_16_bytes_is_refused(server, key):
    refused(server, opening("/echo", f"Sec-WebSocket-Key: {key}", without=["Sec-WebSocket-Key"]), 400, "Sec-WebSocket-Key is not 16 bytes in base64")


def test_no_key_is_refused(server):
    refused(server, opening(without=["Sec-WebSocket-Key"]), 400, "no Sec-WebSocket-Key header")


def test_two_keys_are_refused(server):
    refused(server, opening("/echo", UPGRADE[2]), 400, "Sec-WebSocket-Key is not")


@pytest.mark.parametrize("versions", [["12"], ["013"], ["256"], ["13, 13"], ["13", "13"], ["8"], ["+13"], ["1 3"], ["13.0"], [""], ["9" * 4000]], ids=short)
def test_another_version_is_told_which_one_is_spoken(server, versions):
    lines = [f"Sec-WebSocket-Version: {version}" for version in versions]
    headers, _ = refused(server, opening("/echo", *lines, without=["Sec-WebSocket-Version"]), 426, "Sec-WebSocket-Version is not 13")
    assert headers["sec-websocket-version"] == "13"


def test_a_request_without_version_is_told_which_one_is_spoken(server):
    headers, _ = refused(server, opening(without=["Sec-WebSocket-Version"]), 426, "no Sec-WebSocket-Version header")
    assert headers["sec-websocket-version"] == "13"
    assert headers["upgrade"] == "websocket"


@pytest.mark.parametrize("without, lines", [
    ("Upgrade", ["Upgrade: WEBSOCKET"]),
    ("Upgrade", ["Upgrade: h2c, websocket"]),
    ("Upgrade", ["Upgrade: h2c", "Upgrade: websocket"]),
    ("Upgrade", ["Upgrade: \t websocket \t,"]),
    ("Connection", ["Connection: keep-alive, Upgrade"]),
    ("Connection", ["Connection: upgrade"]),
    ("Connection", ["Connection: keep-alive", "Connection: Upgrade"]),
    ("Connection", ["Connection: close,upgrade"]),
    ("Sec-WebSocket-Key", [f"SEC-WEBSOCKET-KEY:{KEY}"]),
    ("Sec-WebSocket-Key", [f"sec-websocket-key: \t{KEY}  "]),
    ("", ["Content-Length: 0"]),
    ("", ["Origin: http://localhost"]),
    ("", ["X-Other: " + "x" * 8000]),
    ("", [f"X-{i}: {i}" for i in range(80)]),
], ids=short)
def test_a_good_request_has_many_forms(server, without, lines):
    accepted(server, opening("/echo", *lines, without=without))


# --- what comes behind it ---

def test_the_request_behind_a_refused_one_is_checked_like_any_other(server):
    with connected(server) as connection:
        connection.sendall(opening("/echo", without=["Sec-WebSocket-Version"]) + request("/private/") + opening("/private") + opening("/echo"))
        assert read_response(connection)[0] == 426
        assert read_response(connection)[0] == 401
        assert read_response(connection)[0] == 401
        assert read_response(connection)[0] == 101


def test_frames_with_the_request_and_at_once_behind_the_101_arrive_in_order(server):
    for number in range(50):
        with connected(server) as connection:
            connection.sendall(opening() + frame(TEXT, f"{number} a") + frame(TEXT, f"{number} b"))
            client = Client(connection)
            client.send(frame(TEXT, f"{number} c") + frame(TEXT, f"{number} d"))
            assert [client.read_frame() for _ in range(4)] == [(TEXT, b"%d %c" % (number, letter)) for letter in b"abcd"]


# --- origins ---

@pytest.mark.parametrize("origin, status", [
    ("http://localhost", 101),
    ("HTTP://LocalHost", 101),
    ("http://localhost:80", 101),
    ("http://localhost:81", 403),
    ("https://localhost", 403),
    ("http://other.example", 403),
    ("http://localhost.evil.example", 403),
    ("http://evillocalhost", 403),
    ("http://local", 403),
    ("http://localhost/", 403),
    ("http://localhost@evil.example", 403),
    ("http://evil.example#localhost", 403),
    ("http://localhost:", 403),
    ("http://localhost:080x", 403),
    ("localhost", 403),
    ("file://", 403),
    ("null", 403),
    ("", 403),
])
def test_only_the_very_same_origin_may_connect(server, origin, status):
    data = opening("/echo", f"Origin: {origin}")
    if status == 101:
        accepted(server, data)
    else:
        refused(server, data, 403, f"origin {re.escape(origin)} may not connect here, RFC 6455 section 10.2")


@pytest.mark.parametrize("second", ["http://localhost", "http://evil.example"])
def test_two_origins_are_none_that_may_connect(server, second):
    refused(server, opening("/echo", "Origin: http://localhost", f"Origin: {second}"), 403, "origin http://localhost, ")


def test_an_origin_cannot_forge_a_line_of_the_log(server):
    refused(server, opening("/echo", "Origin: http://\xe9\"\\"), 403, r'origin http://\\xe9"\\\\ may not')


# --- slowness ---

def send_slowly(connections, data, meanwhile=lambda: None):
    """A byte a second to each, until all is sent or there are answers."""
    for byte in data:
        for connection in connections:
            connection.sendall(bytes([byte]))
        meanwhile()
        if select.select(connections, [], [], 1)[0]:
            return


def test_headers_a_byte_a_second_get_408(server):
    connections = [connected(server, server.hasty) for _ in range(WORKERS)]
    line, headers = opening().split(b"\r\n", 1)
    for connection in connections:
        connection.sendall(line + b"\r\n")
    send_slowly(connections, headers)
    for connection in connections:
        assert read_response(connection)[0] == 408
        assert connection.recv(1) == b""
        connection.close()


def test_frames_a_byte_a_second_hold_no_thread(server):
    clients, data = [], frame(TEXT, "slow")
    for _ in range(3 * WORKERS):
        connection = connected(server, server.hasty)
        connection.sendall(opening())
        clients.append(Client(connection))
        clients[-1].send(data[:-3])
    send_slowly([client.connection for client in clients], data[-3:], meanwhile=lambda: all_workers_serve(server))
    for client in clients:
        assert client.read_frame() == (TEXT, b"slow")
        client.connection.close()
