"""SetHandler websocket-publish: plain HTTP requests publish to topics, tell of them, and clear their histories."""

import json
import os
import pathlib
import resource
import signal
import urllib.parse

import pytest

from documented import block_below
from h2_client import Connection
from harness import BINARY, BUILT, TEXT, Server, eventually, read_response, request
from publishing import PUBLISH, Publisher, await_subscribed, http_request, listen

MIB = 1 << 20


@pytest.fixture(scope="module")
def server(handlers):
    """One for all tests that use topics of their own and leave it as it was."""
    with Server(PUBLISH.format(handlers)) as server:
        yield server


@pytest.fixture
def publisher(server):
    with Publisher(server) as publisher:
        yield publisher


# --- Publishing ---

@pytest.mark.parametrize("mooring", ["tcp", "tls", "resident"])
def test_what_is_posted_reaches_the_subscribers(mpm, mooring, handlers):
    with Server(PUBLISH.format(handlers), mpm=mpm, mooring=mooring) as server, Publisher(server) as publisher:
        before = publisher.post("news", "nobody hears it")
        assert before == {"topic": "news", "id": before["id"], "subscribers": 0} and before["id"] > 1_700_000_000_000_000
        with listen(server, "news") as one, listen(server, "news") as two, listen(server, "other") as other:
            after = publisher.post("news", "all hear it", "Content-Type: text/plain")
            assert after["subscribers"] == 2 and after["id"] > before["id"]
            assert one.read_frame() == two.read_frame() == (TEXT, b"all hear it")
            publisher.post("other", "only here")
            assert other.read_frame() == (TEXT, b"only here")


def test_the_ready_made_handler_gets_it_too():
    config = PUBLISH.format(BUILT / "handlers").replace("listen.so", "topics.so")
    with Server(config) as server, Publisher(server) as publisher, server.websocket("/listen/a/b") as client:
        eventually(lambda: publisher.state("a/b")["subscribers"] == 1, "nobody subscribes")
        publisher.post("a/b", "Grüße")
        assert client.read_frame() == (TEXT, "Grüße".encode())


def test_a_server_without_any_websocket_publishes(mpm):
    config = PUBLISH[:PUBLISH.index('<Location "/listen">')]
    with Server(config, mpm=mpm) as server, Publisher(server) as publisher:
        said = publisher.post("news", "for later")
        assert publisher.state("news") == {"topic": "news", "subscribers": 0, "last_id": said["id"], "kept": 1}


def test_over_http2(handlers):
    with Server("Protocols h2 http/1.1\n" + PUBLISH.format(handlers), tls=True, modules=["http2"]) as server, \
            Connection(server) as connection, listen(server, "news") as client:
        def post(path, body, *headers):
            stream = connection.request((":method", "POST"), (":scheme", "https"), (":authority", "localhost"), (":path", path),
                                        ("content-type", "text/plain"), *headers, end=False)
            connection.h2.send_data(stream.id, body, end_stream=True)
            connection.flush()
            assert connection.pump_until(lambda: stream.over)
            return int(stream.headers[":status"]), json.loads(bytes(stream.data))
        status, said = post("/publish/news", b"over HTTP/2")
        assert (status, said["subscribers"]) == (200, 1)
        assert client.read_frame() == (TEXT, b"over HTTP/2")
        assert post("/publish", b"without a topic")[0] == 400
        assert post("/publish/news", b"from a page", ("origin", "https://evil.example"))[0] == 403
        assert post("/publish/news", b"still there")[0] == 200


@pytest.mark.parametrize("topic", [
    'quo"te', "back\\slash", "new\nline", "tab\there", "\x01\x1f\x7f", "</script>", "Grüße, 世界 🎈", "a b+c", "a?b#c&d=e", "x" * 255, "é" * 127,
    "'; DROP TABLE", "%41", "{user}", "*", "photo.gz", "page.html.de"])
def test_any_text_is_a_topic(server, publisher, topic):
    with listen(server, urllib.parse.quote(topic)) as client:
        said = publisher.post(urllib.parse.quote(topic), "by the path")
        assert (said["topic"], said["subscribers"]) == (topic, 1)
        status, said = publisher.ask("POST", "/publish?topic=" + urllib.parse.quote_plus(topic), body="by the query")
        assert (status, said["topic"], said["subscribers"]) == (200, topic, 1)
        assert publisher.state(urllib.parse.quote(topic))["topic"] == topic
        assert [client.read_frame()[1] for _ in range(2)] == [b"by the path", b"by the query"]


@pytest.mark.parametrize("path", [
    "/publish", "/publish/", "/publish?topic=", "/publish?topic=%ff", "/publish/%ff", "/publish/" + "x" * 256, "/publish/" + "%C3%A9" * 128,
    "/publish?topic=" + "x" * 256, "/publish?topic=a&topic=b", "/publish/a?topic=a", "/publish?topic=%zz", "/publish?topic=%00", "/publish/a?transient=yes"])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_a_wrong_topic_is_400(server, path, method):
    with Publisher(server) as publisher:
        status, said = publisher.ask(method, path, body="x")
        assert status == 400 and said.keys() == {"error"} and 10 < len(said["error"]) < 100


def test_slashes_in_topics():
    config = PUBLISH[:PUBLISH.index('<Location "/listen">')]
    for setting, path, topic in [("Off", "a/b", "a/b"), ("On", "a%2Fb", "a/b"), ("NoDecode", "a%2Fb", "a%2Fb"), ("Off", "a//b", "a/b")]:
        with Server(f"AllowEncodedSlashes {setting}\n" + config) as server, Publisher(server) as publisher:
            assert publisher.state(path)["topic"] == topic
            status, said = publisher.ask("GET", "/publish?topic=/a%2F/b")
            assert (status, said["topic"]) == (200, "/a//b")
            if setting == "Off":
                assert server.http("/publish/a%2Fb")[0] == 404


@pytest.mark.parametrize("section, path, topic", [
    ('Location "/"', "/a/b", "a/b"), ('Location "/pub/"', "/pub/a", "a"), ('Location "/pub/x"', "/pub/x/a", "a"),
    ('Location ~ "^/pub/"', "/pub/x?topic=a", "a"), ('LocationMatch "^/pub/"', "/pub/x?topic=a", "a"), ('Directory "{www}/pub"', "/pub/x?topic=a", "a"),
    ('Files "x"', "/pub/x?topic=a", "a"),
    ('Location "/pub"', "/pub?topic=a", "a"), ('Location "/pub/*"', "/pub/x?topic=a", "a")])
def test_where_the_topic_stands(section, path, topic):
    server = Server()
    (server.folder / "www/pub").mkdir()
    (server.folder / "www/pub/x").touch()
    server.replace_config(f"<{section.format(www=server.folder / 'www')}>\nSetHandler websocket-publish\nRequire all granted\n</{section.split()[0]}>")
    with server, Publisher(server) as publisher:
        status, said = publisher.ask("POST", path, body="x")
        assert (status, said.get("topic")) == (200, topic)
        if "?" in path:
            assert publisher.ask("POST", path.partition("?")[0], body="x")[0] == 400


# --- Bodies ---

@pytest.mark.parametrize("content_type, body, kind", [
    ("text/plain", "Grüße", TEXT), ("text/html; charset=utf-8", "x", TEXT), ("Application/JSON", "{}", TEXT), ("application/ld+json;v=1", "{}", TEXT),
    ("application/x-ndjson", "{}\n{}\n", TEXT), ("application/xml", "<a/>", TEXT), ("image/svg+xml", "<a/>", BINARY),
    ("application/atom+xml", "<a/>", TEXT), ("application/octet-stream", "x", BINARY), ("image/png", b"\x89PNG\xff", BINARY),
    (None, "x", TEXT), (None, b"\xff", BINARY), ("application/x-www-form-urlencoded", "a=b%20c", TEXT),
    ("application/x-www-form-urlencoded", b"\xff", BINARY), ("text/plain", "", TEXT), ("application/octet-stream", b"\0\1\2", BINARY)])
def test_the_type_decides_between_text_and_binary(server, publisher, content_type, body, kind):
    body = body.encode() if isinstance(body, str) else body
    with listen(server, "types") as client:
        publisher.post("types", body, *([f"Content-Type: {content_type}"] if content_type else []))
        assert client.read_frame() == (kind, body)


@pytest.mark.parametrize("headers, body", [
    (["Content-Type: text/plain"], b"\xff"), (["Content-Type: application/json"], "ü".encode("latin-1")), (["Content-Encoding: gzip"], b"x"),
    (["Content-Encoding: br, gzip"], b"x")])
def test_what_cannot_be_read_is_415_and_the_connection_lives_on(server, publisher, headers, body):
    status, said = publisher.ask("POST", "/publish/types", *headers, body=body)
    assert status == 415 and said.keys() == {"error"}
    publisher.post("types", "x", "Content-Encoding: identity")


def chunked(*chunks):
    return b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)


def test_chunked_and_slow_bodies(server, publisher):
    with listen(server, "bodies") as client, Publisher(server) as other:
        publisher.connection.sendall(request("/publish/bodies", "Transfer-Encoding: chunked", method="POST"))
        for chunk in [b"one, ", b"two, ", b"x" * 100_000]:
            publisher.connection.sendall(chunked(chunk))
            other.post("bodies", "meanwhile")
            assert client.read_frame() == (TEXT, b"meanwhile")
        publisher.connection.sendall(b"0\r\n\r\n")
        assert publisher.answer()[0] == 200
        assert client.read_frame() == (TEXT, b"one, two, " + b"x" * 100_000)
        half = http_request("POST", "/publish/bodies", body="half and half")
        publisher.connection.sendall(half[:-5])
        other.post("bodies", "meanwhile")
        publisher.connection.sendall(half[-5:])
        assert publisher.answer()[1]["subscribers"] == 1
        assert [client.read_frame()[1] for _ in range(2)] == [b"meanwhile", b"half and half"]


def test_a_body_that_does_not_come_whole_publishes_nothing(server, publisher):
    last = publisher.post("half", "x")["id"]
    with server.connect() as connection:
        connection.sendall(http_request("POST", "/publish/half", body="complete")[:-3])
    with server.connect() as connection:
        connection.sendall(request("/publish/half", "Transfer-Encoding: chunked", method="POST") + b"5\r\nhello\r\nnonsense\r\n")
        assert read_response(connection)[0] == 400
    assert publisher.state("half") == {"topic": "half", "subscribers": 0, "last_id": last, "kept": 1}


def test_a_body_that_is_too_slow_is_408(handlers):
    with Server("RequestReadTimeout body=1\n" + PUBLISH.format(handlers)) as server, Publisher(server) as publisher:
        publisher.connection.sendall(http_request("POST", "/publish/slow", body="complete")[:-3])
        assert publisher.answer()[0] == 408


def test_a_mebibyte_fits_and_not_a_byte_more(server, publisher):
    with listen(server, "big") as client:
        for kind in ["text/plain", "application/octet-stream"]:
            publisher.post("big", b"x" * MIB, f"Content-Type: {kind}")
            assert client.read_frame()[1] == b"x" * MIB
        publisher.connection.sendall(request("/publish/big", f"Content-Length: {MIB + 1}", "Expect: 100-continue", method="POST"))
        assert publisher.answer()[0] == 413  # though nothing of it was sent
        with Publisher(server) as other:
            other.connection.sendall(request("/publish/big", "Transfer-Encoding: chunked", method="POST") + chunked(b"x" * MIB, b"y"))
            assert other.answer()[0] == 413
            assert other.connection.recv(1) == b""
        with Publisher(server) as other:
            other.connection.sendall(request("/publish/big", "Transfer-Encoding: chunked", method="POST") + chunked(b"x" * MIB) + b"0\r\n\r\n")
            assert other.answer()[0] == 200
        assert client.read_frame()[1] == b"x" * MIB


def test_the_limits_of_location_bus_and_httpd():
    config = """
WebSocketBus local size=64K
<Location "/publish">
    SetHandler websocket-publish
    Require all granted
    WebSocketMaxMessage 20000
</Location>
<Location "/publish/small">
    WebSocketMaxMessage 10
</Location>
<Location "/publish/httpd">
    LimitRequestBody 5
</Location>
"""
    with Server(config) as server:
        for topic, size, status in [("small", 10, 200), ("small", 11, 413), ("a", 16384, 200), ("a", 16385, 413), ("a", 20001, 413), ("httpd", 5, 200)]:
            with Publisher(server) as publisher:
                assert publisher.ask("POST", f"/publish/{topic}", body="x" * size)[0] == status, (topic, size)
        with Publisher(server) as publisher:
            publisher.connection.sendall(request("/publish/httpd", "Transfer-Encoding: chunked", method="POST") + chunked(b"x" * 6) + b"0\r\n\r\n")
            assert read_response(publisher.connection)[0] == 413


# --- Other requests ---

def test_get_tells_and_delete_clears(server, publisher):
    assert publisher.state("new") == {"topic": "new", "subscribers": 0, "last_id": 0, "kept": 0}
    last = [publisher.post("new", str(number))["id"] for number in range(3)][-1]
    assert publisher.state("new") == {"topic": "new", "subscribers": 0, "last_id": last, "kept": 3}
    status, headers = publisher.ask("HEAD", "/publish/new")
    assert status == 200 and int(headers["content-length"]) > 40
    assert publisher.ask("DELETE", "/publish/new")[0] == 204
    assert publisher.state("new")["kept"] == 0
    assert publisher.state("new")["last_id"] >= last
    assert publisher.post("new", "x")["id"] > last


def test_what_is_transient_is_not_kept(server, publisher):
    with listen(server, "transient") as client:
        publisher.post("transient", "kept")
        publisher.post("transient", "not kept", query="?transient=1")
        publisher.post("transient", "kept", query="?transient=0")
        assert [client.read_frame()[1] for _ in range(3)] == [b"kept", b"not kept", b"kept"]
    assert publisher.state("transient")["kept"] == 2
    with listen(server, "transient", "?last=10") as client:
        assert await_subscribed(client) == [b"kept", b"kept"]


@pytest.mark.parametrize("method", ["PUT", "OPTIONS", "PATCH", "PROPFIND", "FOO"])
def test_other_methods_are_405_and_the_connection_lives_on(server, publisher, method):
    publisher.connection.sendall(request("/publish/a", "Content-Length: 5", method=method) + b"hello")
    status, headers, body = read_response(publisher.connection)
    assert status == 405 and headers["allow"] == "GET, HEAD, POST, DELETE" and "error" in json.loads(body)
    publisher.post("a", "x")


# --- Pages of other origins ---

def test_pages_of_other_origins_may_not(server, publisher):
    for origin in ["https://evil.example", "null", f"https://localhost:{server.port}", "nonsense"]:
        for method in ["POST", "DELETE", "GET"]:
            status, said = publisher.ask(method, "/publish/origins", f"Origin: {origin}", body="x")
            assert status == 403 and "origin" in said["error"], origin
    host = f"127.0.0.1:{server.port}"
    publisher.connection.sendall(request("/publish/origins", f"Host: {host}", f"Origin: http://{host}", "Content-Length: 1", method="POST", host=False) + b"x")
    assert publisher.answer()[0] == 200


def test_the_locations_origins_count(handlers):
    config = PUBLISH.format(handlers).replace("Require ip 127.0.0.1", "Require ip 127.0.0.1\nWebSocketOrigin *.example.org")
    with Server(config) as server, Publisher(server) as publisher:
        publisher.post("a", "x", "Origin: https://www.example.org")
        assert publisher.ask("POST", "/publish/a", "Origin: https://example.com", body="x")[0] == 403


# --- The order, and counts ---

def test_each_publishers_order_is_kept(handlers):
    """Of a hundred at a time."""
    with Server(PUBLISH.format(handlers), threads=50) as server, listen(server, "order") as client:
        publishers = [Publisher(server) for _ in range(100)]
        # All of a connection's at once: httpd closes one on which it waits for the next while all of its threads are busy.
        for who, publisher in enumerate(publishers):
            publisher.connection.sendall(b"".join(http_request("POST", "/publish/order", body=f"{who} {number}") for number in range(10)))
        ids = [[publisher.answer()[1]["id"] for _ in range(10)] for publisher in publishers]
        came = [tuple(map(int, client.read_frame()[1].split())) for _ in range(1000)]
        assert sorted(came) == [(who, number) for who in range(100) for number in range(10)]
        for who in range(100):
            assert [number for each, number in came if each == who] == list(range(10))
        by_id = sorted((number, who) for who, numbers in enumerate(ids) for number in numbers)
        assert len({number for number, _ in by_id}) == 1000
        assert [who for _, who in by_id] == [who for who, _ in came]


def test_counts_are_exact_over_children_and_after_the_death_of_one(mpm, handlers):
    with Server(PUBLISH.format(handlers), mpm=mpm, threads=2) as server:
        server.expect(r"AH00052: child pid \d+ exit signal Killed \(9\)")
        held = [] if mpm == "prefork" else server.begin_requests(4)
        by_child = {}
        def spread():
            client = listen(server, "counts")
            by_child.setdefault(server.child_of(client), []).append(client)
            return len(by_child) > 1
        eventually(spread, "all connections go to one child")
        for each in held:
            each.close()
        with Publisher(server) as publisher:
            everybody = [client for clients in by_child.values() for client in clients]
            assert publisher.post("counts", "to all")["subscribers"] == len(everybody)
            for client in everybody:
                assert client.read_frame() == (TEXT, b"to all")
            everybody.pop().close()
            eventually(lambda: publisher.state("counts")["subscribers"] == len(everybody), "the count stays")
        victim = next(child for child, clients in by_child.items() if any(client in everybody for client in clients))
        os.kill(victim, signal.SIGKILL)
        left = [client for child, clients in by_child.items() if child != victim for client in clients if client in everybody]
        def corrected():
            try:
                with Publisher(server) as publisher:
                    return publisher.state("counts")["subscribers"] == len(left)
            except (AssertionError, ConnectionError):
                return False  # of the child that died
        eventually(corrected, "the dead child's subscribers still count")
        with Publisher(server) as publisher:
            assert publisher.post("counts", "to the rest")["subscribers"] == len(left)
            for client in left:
                assert client.read_frame() == (TEXT, b"to the rest")


def test_a_graceful_restart_keeps_history_and_ids(mpm, handlers):
    with Server(PUBLISH.format(handlers), mpm=mpm) as server:
        with Publisher(server) as publisher:
            first, last = [publisher.post("kept", text)["id"] for text in ["one", "two"]]
        old = set(server.children())
        server.process.send_signal(signal.SIGUSR1)
        server.await_new_children(old)
        server.await_gone(old)
        with Publisher(server) as publisher:
            assert publisher.state("kept") == {"topic": "kept", "subscribers": 0, "last_id": last, "kept": 2}
            with listen(server, "kept", f"?since={first}") as client:
                assert await_subscribed(client) == [b"two"]
                third = publisher.post("kept", "three")["id"]
                assert third > last and client.read_frame() == (TEXT, b"three")
            with listen(server, "kept", f"?since={last}&enveloped=1") as client:
                assert [json.loads(text) for text in await_subscribed(client)] == [
                    {"type": "message", "topic": "kept", "id": third, "data": "three"}]


def test_a_graceful_restart_opens_and_closes_it(mpm):
    config = '<Location "/publish">\nSetHandler websocket-publish\nRequire ip 127.0.0.1\n</Location>'
    with Server(mpm=mpm) as server:
        assert server.http("/publish/a")[0] == 404
        for said, status in [(config, 200), ("", 404), (config, 200)]:
            old = set(server.children())
            server.replace_config(said)
            server.process.send_signal(signal.SIGUSR1)
            server.await_new_children(old)
            server.await_gone(old)
            assert server.http("/publish/a")[0] == status


def test_publishing_and_websockets_on_different_virtual_hosts(handlers):
    server = Server()
    listener = f'<Location "/listen">\nWebSocketHandler "{handlers}/listen.so"\n</Location>'
    publish = '<Location "/publish">\nSetHandler websocket-publish\nRequire ip 127.0.0.1\n</Location>'
    server.replace_config(f"<VirtualHost *:{server.port}>\nServerName localhost\n{listener}\n</VirtualHost>\n"
                          f"<VirtualHost *:{server.port}>\nServerName intern\n{publish}\n</VirtualHost>")
    with server, listen(server, "a") as client:
        status, _, body = server.http("/publish/a", "Host: intern", "Content-Length: 2", method="POST", host=False, body=b"hi")
        assert status == 200 and json.loads(body)["subscribers"] == 1
        assert client.read_frame() == (TEXT, b"hi")


def test_without_memory_for_topics_it_is_503(mpm):
    config = 'WebSocketTopicHistory memory=64G\n<Location "/publish">\nSetHandler websocket-publish\nRequire ip 127.0.0.1\n</Location>'
    with Server(mpm=mpm) as server:
        server.expect(r"no memory of \d+ bytes for topics: nothing can be published")
        used = int(pathlib.Path(f"/proc/{server.process.pid}/statm").read_text().split()[0]) * resource.getpagesize()
        resource.prlimit(server.process.pid, resource.RLIMIT_AS, (used + (4 << 30),) * 2)
        old = set(server.children())
        server.replace_config(config)
        server.process.send_signal(signal.SIGUSR1)
        server.await_new_children(old)
        server.await_gone(old)
        for method in ["GET", "POST", "DELETE"]:
            with Publisher(server) as publisher:
                assert publisher.ask(method, "/publish/a", body="x") == (503, {"error": "the server has no memory for topics"})


def test_the_documented_client_publishes(server):
    code = block_below("Examples", "python", page="docs/publish.md").text
    client = {"__name__": "documented"}
    exec(code, client)
    with listen(server, "a%20b") as listener:
        assert client["publish"]("a b", {"text": "Hello"}, f"http://127.0.0.1:{server.port}/publish/")["subscribers"] == 1
        assert listener.read_frame() == (TEXT, b'{"text": "Hello"}')
