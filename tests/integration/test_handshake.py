"""The opening handshake as clients may and may not send it, and its place among httpd's other modules."""

import base64
import contextlib
import re

import pytest

from harness import ACCEPT, TEXT, Client, Server, eventually, frame, free_port, password_file, read_head, read_response, request, said
from opening import answer, connected, logged, opening, refused

CONFIG = """
<Location /echo>
    WebSocketHandler echo
</Location>

# --- origins
<Location /any>
    WebSocketHandler echo
    WebSocketOrigin any
</Location>
<Location /listed>
    WebSocketHandler echo
    WebSocketOrigin https://app.example *.example.net site.example:8443 http://[::1]:8000
</Location>
<Location /listed-and-same>
    WebSocketHandler echo
    WebSocketOrigin same app.example
</Location>
<Location /null>
    WebSocketHandler echo
    WebSocketOrigin null
</Location>

# --- access
<Location /private>
    AuthType Basic
    AuthName "the private part"
    AuthUserFile users
    Require user ann
    WebSocketHandler "HANDLERS/report.so"
</Location>
<Location /denied>
    Require all denied
    WebSocketHandler echo
</Location>

# --- rewriting and redirecting
RewriteEngine On
RewriteRule ^/rewritten/(.*)$ /report/$1?by=server [PT]
<Directory "FOLDER/www">
    RewriteEngine On
    RewriteRule ^by-directory/(.*)$ /report/$1?by=directory
    RewriteRule ^sent-away$ /index.html
    RewriteRule ^forbidden$ - [F]
</Directory>
<LocationMatch "^/(sent-away|forbidden)$">
    WebSocketHandler echo
</LocationMatch>
Redirect /redirected /echo

# --- headers
<Location /headers>
    WebSocketHandler echo
    Header set X-Set "one"
    Header append X-Set "two"
    Header always set X-Always "yes"
    Header set Sec-WebSocket-Accept "wrong"
    Header set Connection "wrong"
</Location>

# --- sections
<LocationMatch "^/rooms/[0-9]+$">
    WebSocketHandler "HANDLERS/report.so"
</LocationMatch>
<Directory "FOLDER/www/in-directory">
    WebSocketHandler "HANDLERS/report.so"
</Directory>
<Files "socket-*">
    WebSocketHandler "HANDLERS/report.so"
</Files>
<If "%{QUERY_STRING} == 'socket'">
    WebSocketHandler "HANDLERS/report.so"
</If>

# --- beside files and other modules
<Location /page>
    WebSocketHandler "HANDLERS/report.so"
</Location>
<LocationMatch "^/exactly/$">
    WebSocketHandler "HANDLERS/report.so"
</LocationMatch>
<Location /page.html>
    WebSocketHandler "HANDLERS/report.so"
</Location>
<Location /fallback>
    FallbackResource /index.html
</Location>
<Location /fallback/socket>
    WebSocketHandler "HANDLERS/report.so"
</Location>
<Location /report>
    WebSocketHandler "HANDLERS/report.so"
</Location>
<Location /own-426>
    WebSocketHandler echo
    ErrorDocument 426 "our own words"
</Location>
ErrorDocument 410 /echo
Redirect gone /gone
Alias /alias "FOLDER/elsewhere"
<Directory "FOLDER/elsewhere">
    Require all granted
</Directory>
<Location /alias/socket>
    WebSocketHandler "HANDLERS/report.so"
</Location>
ProxyPass /proxied/ http://127.0.0.1:HOSTS/ disablereuse=On
<Location /proxied/socket>
    WebSocketHandler "HANDLERS/report.so"
</Location>

# --- virtual hosts
Listen 127.0.0.1:HOSTS
<VirtualHost 127.0.0.1:HOSTS>
    ServerName one.example
    DocumentRoot "FOLDER/www"
    <Location /chat>
        WebSocketHandler minimal
    </Location>
</VirtualHost>
<VirtualHost 127.0.0.1:HOSTS>
    ServerName two.example
    ServerAlias *.two.example
    DocumentRoot "FOLDER/www"
    WebSocketOrigin http://one.example:HOSTS
    <Location /chat>
        WebSocketHandler echo
    </Location>
</VirtualHost>
<VirtualHost 127.0.0.1:HOSTS>
    ServerName three.example
    DocumentRoot "FOLDER/www"
</VirtualHost>
"""
MODULES = ["auth_basic", "authn_file", "authz_user", "rewrite", "headers", "proxy", "proxy_http"]
PASSWORD = "Authorization: Basic " + base64.b64encode(b"ann:secret").decode()


@pytest.fixture(scope="module")
def server(handlers):
    hosts = free_port()
    running = Server("", modules=MODULES, log_level="warn websocket:info")
    config = CONFIG.replace("HANDLERS", str(handlers)).replace("FOLDER", str(running.folder))
    running.config_file.write_text(running.config_file.read_text() + config.replace("HOSTS", str(hosts)))
    running.hosts = hosts
    (running.folder / "users").write_text(password_file(ann="secret", bob="hidden"))
    www = running.folder / "www"
    for name in ["page/index.html", "exactly/index.html", "page.html", "in-directory/file.html"]:
        (www / name).parent.mkdir(exist_ok=True)
        (www / name).write_text(f"<p>{name}\n")
    (running.folder / "elsewhere").mkdir()
    (running.folder / "elsewhere/socket").write_text("a file of this name\n")
    running.expect(r"websocket:info.* opening handshake refused with 4\d\d: ", r"websocket:info.*report\.so: .*: (open|message|close) ?")
    with running:
        yield running
        running.await_idle()


def facts(client):
    return dict(line.split("=", 1) for line in said(client, "facts").splitlines() if "=" in line)


# --- what a client may send ---

def test_a_good_request_is_answered_in_full(server):
    with server.websocket("/echo") as client:
        assert client.headers["upgrade"] == "websocket"
        assert client.headers["connection"] == "Upgrade"
        assert client.headers["sec-websocket-accept"] == ACCEPT
        for absent in ["content-length", "transfer-encoding", "sec-websocket-protocol", "sec-websocket-extensions"]:
            assert absent not in client.headers
        client.echo()


def test_a_request_may_come_byte_by_byte(server):
    with connected(server) as connection:
        for byte in opening():
            connection.sendall(bytes([byte]))
        assert read_head(connection)[0] == 101


@pytest.mark.parametrize("offered, chosen", [
    (["echo"], "echo"),
    (["chat, echo"], "echo"),
    (["chat", "superchat , echo"], "echo"),
    ([",echo,,"], "echo"),
    (["chat"], None),
    (["Echo"], None),  # RFC 6455 section 4.1: they are compared as they are
    (["echo2, ech"], None),
])
def test_the_offered_subprotocol_that_the_handler_speaks_is_chosen(server, offered, chosen):
    with server.websocket("/echo", *[f"Sec-WebSocket-Protocol: {line}" for line in offered]) as client:
        assert client.headers.get("sec-websocket-protocol") == chosen


def test_requests_may_come_before_the_handshake_on_its_connection(server):
    with connected(server) as connection:
        for _ in range(3):
            connection.sendall(request("/index.html"))
            assert read_response(connection)[2] == b"<p>the site\n"
        connection.sendall(request("/index.html") + opening() + frame(TEXT, "at once"))
        assert read_response(connection)[0] == 200
        assert Client(connection).read_frame() == (TEXT, b"at once")


# --- origins ---

@pytest.mark.parametrize("path, origin, status", [
    ("/any", "https://anything.example:1", 101),
    ("/any", "null", 101),
    ("/null", "null", 101),
    ("/null", "http://localhost", 403),
    ("/listed", "https://app.example", 101),
    ("/listed", "https://APP.example:443", 101),
    ("/listed", "http://app.example", 403),
    ("/listed", "https://app.example:8443", 403),
    ("/listed", "https://a.app.example", 403),
    ("/listed", "http://www.example.net", 101),
    ("/listed", "https://a.b.example.net", 101),
    ("/listed", "https://a.b.example.net:444", 403),
    ("/listed", "http://example.net", 403),
    ("/listed", "http://evilexample.net", 403),
    ("/listed", "http://.example.net", 403),
    ("/listed", "http://site.example:8443", 101),
    ("/listed", "https://site.example:8443", 101),
    ("/listed", "https://site.example", 403),
    ("/listed", "http://[::1]:8000", 101),
    ("/listed", "http://[::1]", 403),
    ("/listed", "http://localhost", 403),
    ("/listed-and-same", "http://localhost", 101),
    ("/listed-and-same", "http://app.example", 101),
    ("/listed-and-same", "https://app.example", 101),
    ("/listed-and-same", "ftp://app.example", 403),
])
def test_only_allowed_origins_may_connect(server, path, origin, status):
    data = opening(path, f"Origin: {origin}")
    if status == 101:
        assert answer(server, data)[0] == 101
    else:
        refused(server, data, 403, f"origin {re.escape(origin)} may not connect here, RFC 6455 section 10.2")


@pytest.mark.parametrize("host, origin, status", [
    ("one.example:PORT", "http://one.example:PORT", 101),
    ("one.example:PORT", "http://one.example", 403),  # another port
    ("one.example:PORT", "http://two.example:PORT", 403),
    ("two.example:PORT", "http://one.example:PORT", 101),
    ("two.example:PORT", "http://two.example:PORT", 403),  # its host lists another only
    ("a.two.example:PORT", "http://one.example:PORT", 101),
])
def test_each_virtual_host_has_its_own_origins(server, host, origin, status):
    lines = [line.replace("PORT", str(server.hosts)) for line in [f"Host: {host}", f"Origin: {origin}"]]
    assert answer(server, opening("/chat", *lines, host=False), port=server.hosts)[0] == status


def test_the_host_of_an_absolute_url_is_the_origin_to_compare_with(server):
    assert answer(server, opening("http://other.example:81/echo", "Origin: http://other.example:81"))[0] == 101
    assert answer(server, opening("http://other.example:81/echo", "Origin: http://localhost"))[0] == 403


def test_the_same_origin_over_tls_is_https():
    with Server("<Location /echo>\nWebSocketHandler echo\n</Location>", tls=True) as server:
        for origin, status in [("https://localhost", 101), ("https://localhost:443", 101), ("http://localhost", 403), ("http://localhost:443", 403)]:
            assert answer(server, opening("/echo", f"Origin: {origin}"))[0] == status
        server.await_idle()


# --- access ---

def test_authentication_comes_first(server):
    server.expect(r"AH01617: user ann: authentication failure", r"AH01631: user bob: authorization failure", r"AH01618: user eve not found")
    status, headers, _ = answer(server, opening("/private"))
    assert (status, headers["www-authenticate"]) == (401, 'Basic realm="the private part"')
    for credentials in [b"ann:wrong", b"bob:hidden", b"eve:secret"]:
        assert answer(server, opening("/private", "Authorization: Basic " + base64.b64encode(credentials).decode()))[0] == 401
    with server.websocket("/private", PASSWORD) as client:
        assert facts(client)["user"] == "ann"


def test_a_bad_handshake_learns_nothing_before_its_authentication(server):
    assert answer(server, opening("/private", without=["Sec-WebSocket-Key"]))[0] == 401
    assert answer(server, request("/private"))[0] == 401


def test_authorization_comes_first(server):
    server.expect(r"AH01630: client denied by server configuration: .*/denied")
    assert answer(server, opening("/denied"))[0] == 403
    assert answer(server, request("/denied"))[0] == 403


# --- rewriting ---

def test_a_request_may_be_rewritten_to_a_websocket(server):
    for by, path in [("server", "/rewritten/room?ignored"), ("directory", "/by-directory/room")]:
        with server.websocket(path) as client:
            got = facts(client)
            assert (got["path"], got["query"]) == ("/report/room", f"by={by}")


def test_a_request_may_be_rewritten_away_from_a_websocket(server):
    status, _, body = answer(server, opening("/sent-away"))
    assert (status, body) == (200, b"<p>the site\n")
    assert answer(server, opening("/forbidden"))[0] == 403
    status, headers, _ = answer(server, opening("/redirected"))
    assert (status, headers["location"]) == (302, "http://localhost/echo")


# --- mod_headers ---

@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
def test_header_directives_apply_to_the_101(server, tls):
    config = CONFIG[CONFIG.index("<Location /headers>"):CONFIG.index("# --- sections")]
    with Server(config, modules=["headers"], tls=True) if tls else contextlib.nullcontext(server) as server:
        with server.websocket("/headers") as client:
            assert client.headers["x-set"] == "one, two"
            assert client.headers["x-always"] == "yes"
            assert client.headers["connection"] == "Upgrade"
            client.close()
        server.await_idle()


def test_header_always_applies_to_a_refusal(server):
    headers, _ = refused(server, opening("/headers", without=["Sec-WebSocket-Version"]), 426, "no Sec-WebSocket-Version")
    assert headers["x-always"] == "yes"
    assert "x-set" not in headers


# --- virtual hosts and sections ---

def test_hosts_of_one_address_have_handlers_of_their_own_on_one_path(server):
    def said_at(host, data):
        with connected(server, server.hosts) as connection:
            connection.sendall(opening("/chat", f"Host: {host}", host=False) + data)
            return Client(connection).read_frame()

    assert said_at("one.example", b"") == (TEXT, b"hello")
    for host in ["two.example", "any.two.example", "TWO.example:80"]:
        assert said_at(host, frame(TEXT, "hi")) == (TEXT, b"hi")
    status, _, _ = answer(server, opening("/chat", "Host: three.example", host=False), port=server.hosts)
    assert status == 404


def test_a_section_of_the_main_server_serves_its_virtual_hosts_too(server):
    assert answer(server, opening("/echo"), port=server.hosts)[0] == 101


@pytest.mark.parametrize("path, query", [
    ("/rooms/17", ""), ("/in-directory/socket", ""), ("/in-directory", ""), ("/socket-1", ""), ("/anything", "socket"), ("/", "socket"),
    ("/in-directory/file.html", ""), ("/report/%C3%A9%20x", "a=%20b")])
def test_a_handler_may_stand_in_any_section(server, path, query):
    with server.websocket(path + "?" + query) as client:
        got = facts(client)
        assert (got["path"], got["query"]) == (path.replace("%C3%A9%20", "é "), query)


@pytest.mark.parametrize("path, status", [("/rooms/x", 404), ("/rooms/1/2", 404), ("/index.html", 200), ("/?sockets", 200), ("/page.htm", 404)])
def test_elsewhere_a_request_for_a_websocket_is_one_like_any_other(server, path, status):
    assert answer(server, opening(path))[0] == status


# --- beside the rest of the site ---

def test_a_plain_request_where_only_a_websocket_is_gets_426(server):
    with logged(server, "refused with 426: a plain request where only a WebSocket is"):
        status, headers, body = server.http("/echo")
    assert status == 426
    assert (headers["upgrade"], headers["connection"], headers["sec-websocket-version"]) == ("websocket", "Upgrade", "13")
    assert body.startswith(b"<!DOCTYPE html>")
    assert server.http("/echo", "Upgrade: h2c", "Connection: Upgrade")[0] == 426
    assert server.http("/echo", method="HEAD")[0] == 426
    assert server.http("/own-426")[::2] == (426, b"our own words")


@pytest.mark.parametrize("method, nothing, file", [("POST", 404, 200), ("OPTIONS", 200, 200), ("DELETE", 405, 405), ("PUT", 405, 405)])
def test_other_methods_are_httpds(server, method, nothing, file):
    assert server.http("/echo", method=method)[0] == nothing
    assert server.http("/page.html", method=method)[0] == file


@pytest.mark.parametrize("path, status, body", [
    ("/page/", 200, b"<p>page/index.html\n"), ("/page", 301, b""), ("/page.html", 200, b"<p>page.html\n"),
    ("/exactly/", 200, b"<p>exactly/index.html\n"), ("/fallback/socket", 200, b"<p>the site\n"), ("/alias/socket", 200, b"a file of this name\n"),
    ("/in-directory/file.html", 200, b"<p>in-directory/file.html\n"), ("/proxied/socket", 404, b"")])
def test_files_and_a_websocket_live_under_one_name(server, path, status, body):
    got, _, content = server.http(path)
    assert got == status
    assert content.startswith(body)
    with server.websocket(path) as client:  # no redirect to the directory, its index or the fallback
        assert facts(client)["path"] == path


def test_everything_else_is_served_as_before(server):
    assert server.http("/")[::2] == (200, b"<p>the site\n")
    assert server.http("/index.html", "Upgrade: websocket", "Connection: Upgrade")[::2] == (200, b"<p>the site\n")
    assert server.http("/nothing")[0] == 404
    assert server.http("/proxied/index.html")[::2] == (200, b"<p>the site\n")
    assert server.http("/private/")[0] == 401


def test_an_error_document_is_no_websocket(server):
    status, _, _ = answer(server, opening("/gone"))
    assert status == 410


def test_the_access_log_has_the_status(server):
    with server.websocket("/report/for-the-access-log") as client:
        said(client, "hello")
        eventually(lambda: '127.0.0.1 101 X "GET /report/for-the-access-log HTTP/1.1"\n' in server.access_log(), "not logged")
    answer(server, opening("/report/refused-in-the-access-log", without=["Sec-WebSocket-Key"]))
    eventually(lambda: ' 400 - "GET /report/refused-in-the-access-log HTTP/1.1"\n' in server.access_log(), "not logged")


def test_the_access_log_has_the_status_of_a_resident_connection():
    with Server("<Location /echo>\nWebSocketHandler echo\n</Location>", tls=True) as server:
        with server.websocket() as client:
            client.close()
        eventually(lambda: re.search(r'^127.0.0.1 101 . "GET /echo HTTP/1.1"$', server.access_log(), re.M), "not logged")
        server.await_idle()
