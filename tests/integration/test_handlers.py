"""Handlers as their clients and the log see them, on both moorings: detached over plain TCP, resident over TLS."""

import base64
import re
import ssl

import pytest

from harness import BINARY, CLOSE, PING, PONG, TEXT, UPGRADE, Server, close_payload, eventually, frame, password_file, read_response, request, said

CONFIG = """
<Location /minimal>
    WebSocketHandler minimal
</Location>
<Location /echo>
    WebSocketHandler echo
</Location>
<Location /report>
    WebSocketHandler "HANDLERS/report.so"
    WebSocketParam colour "dark red"
    WebSocketParam size 7
</Location>
<Location /private>
    AuthType Basic
    AuthName private
    AuthUserFile users
    Require valid-user
    WebSocketHandler "HANDLERS/report.so"
</Location>
<Location /throws>
    WebSocketHandler "HANDLERS/wrong.so" throws
</Location>
"""


@pytest.fixture(scope="module", params=["tcp", "resident-tls"])
def server(request, handlers):
    running = Server(CONFIG.replace("HANDLERS", str(handlers)), modules=["auth_basic", "authn_file", "authz_user"],
                     mooring=request.param, log_level="warn websocket:info")
    (running.folder / "users").write_text(password_file(ann="secret"))
    running.expect(r"websocket:info.*/report\.so: .*: (open|message .*|asked to close: .*|close .*)$",
                   r"websocket:info.*WS301: \[client 127\.0\.0\.1, connection [0-9a-f]{16}\] .*/report\.so: /report: closed with 100\d: .* \(RFC 6455 section \d+")
    with running:
        yield running
        running.await_idle()
        running.stop()
        check_events(running)


def events(server, name):
    """What the report handler logged of the connection with this query, in its order."""
    return re.findall(rf"\[websocket:info\].*/report\.so: {re.escape(name)}: (.*)", server.error_log())


def check_events(server):
    """Of every connection that the handler knew: open is first, close last, and each is there once."""
    names = set(re.findall(r"/report\.so: (\S+): open$", server.error_log(), re.M))
    assert names
    for name in names:
        kinds = [event.split()[0] for event in events(server, name)]
        assert (kinds[0], kinds[-1]) == ("open", "close"), (name, kinds)
        assert (kinds.count("open"), kinds.count("close")) == (1, 1), (name, kinds)


@pytest.fixture
def name(request):
    """Of a connection: stands in the log once."""
    return re.sub(r"\W+", "-", request.node.name).strip("-")


def closed(server, name):
    """How the handler was told of the end, once it was."""
    return eventually(lambda: [event[len("close "):] for event in events(server, name) if re.match(r"close \d", event)],
                      f"{name} is not closed")[0]


def logged(server, pattern):
    return len(re.findall(pattern, server.error_log(), re.M))


# --- what ships ---

def test_minimal_greets_and_counts(server):
    with server.websocket("/minimal") as client:
        assert client.read_frame() == (TEXT, b"hello")
        for message, opcode in [("", TEXT), ("four", TEXT), ("Grü", TEXT), (b"\0" * 70000, BINARY)]:
            client.send(frame(opcode, message))
            size = len(message.encode() if isinstance(message, str) else message)
            assert client.read_frame() == (TEXT, b"%d bytes" % size)
        client.close(1000, "bye")


# --- the order of events ---

def test_messages_come_between_open_and_close(server, name):
    with server.websocket(f"/report?{name}") as client:
        client.send(frame(TEXT, "one") + frame(TEXT, "tw", fin=False) + frame(PING, b"p") + frame(0, "o") + frame(TEXT, "three"))
        assert [client.read_frame() for _ in range(4)] == [(TEXT, b"got one"), (PONG, b"p"), (TEXT, b"got two"), (TEXT, b"got three")]
        client.close(4321, "grüße")
    assert closed(server, name) == r'4321 "gr\xc3\xbc\xc3\x9fe" clean after 3'  # as httpd writes its log
    assert [event for event in events(server, name) if not event.startswith("close")] == ["open", "message one", "message two", "message three"]


def test_messages_before_the_answer_was_read_come_after_open(server, name):
    with server.websocket(f"/report?{name}", early=frame(TEXT, "early") + frame(CLOSE, close_payload(1000))) as client:
        assert client.read_frame() == (TEXT, b"got early")
        assert client.read_close() == (1000, "")
    assert closed(server, name) == '1000 "" clean after 1'


@pytest.mark.parametrize("payload, told", [
    (close_payload(1000, "done"), '1000 "done" clean after 0'),
    (close_payload(1001), '1001 "" clean after 0'),
    (close_payload(3000, "x" * 123), f'3000 "{"x" * 123}" clean after 0'),
    (b"", '1005 "" clean after 0'),
], ids=["code and reason", "code", "the longest reason", "no code"])
def test_a_clean_close_is_told_with_its_code(server, name, payload, told):
    with server.websocket(f"/report?{name}") as client:
        client.send(frame(CLOSE, payload) + frame(TEXT, "behind the close"))
        assert client.read_frame() == (CLOSE, payload)
        client.read_end()
    assert closed(server, name) == told


@pytest.mark.parametrize("bad, code", [
    (frame(3, "x"), 1002),
    (frame(TEXT, "x", mask=None), 1002),
    (frame(CLOSE, b"\3"), 1002),
    (frame(CLOSE, close_payload(1006)), 1002),
    (frame(TEXT, b"\xff"), 1007),
    (frame(BINARY, b"", length=(1 << 20) + 1), 1009),
], ids=["opcode", "no mask", "half a code", "code", "UTF-8", "size"])
def test_a_broken_rule_is_told_with_its_code(server, name, bad, code):
    with server.websocket(f"/report?{name}") as client:
        client.send(frame(TEXT, "before") + bad + frame(TEXT, "behind"))
        assert client.read_frame() == (TEXT, b"got before")
        reason = client.read_close()
        assert reason[0] == code
        client.read_end()
    assert re.fullmatch(rf'{code} ".*" unclean after 1', closed(server, name))
    assert "message behind" not in events(server, name)
    assert re.search(rf"\[client 127\.0\.0\.1, connection [0-9a-f]{{16}}\] .*: closed with {code}: {re.escape(reason[1])} \(RFC 6455", server.error_log())


def test_a_reset_is_told_as_1006(server, name):
    with server.websocket(f"/report?{name}") as client:
        assert said(client, "hello") == "got hello"
        client.send(frame(TEXT, "never ends", fin=False))
        client.reset()
    assert closed(server, name) == '1006 "" unclean after 1'


def test_an_end_without_close_is_told_as_1006(server, name):
    with server.websocket(f"/report?{name}") as client:
        assert said(client, "hello") == "got hello"
    assert closed(server, name) == '1006 "" unclean after 1'


def test_a_stop_of_the_server_is_told(handlers):
    config = CONFIG.split("<Location /private>")[0].replace("HANDLERS", str(handlers))
    for tls in [False, True]:
        with Server(config, tls=tls, log_level="warn websocket:info") as server:
            server.expect(r"websocket:info.*/report\.so: ")
            with server.websocket("/report?answers") as answers, server.websocket("/report?silent"):
                assert said(answers, "hello") == "got hello"
                server.settle()
                server.process.terminate()
                assert answers.read_close()[0] == 1001
                answers.send(frame(CLOSE, close_payload(1001)))
                answers.read_end()
                server.stop()
            assert closed(server, "answers") == '1001 "" clean after 1'
            assert closed(server, "silent") == '1006 "" unclean after 0'
            assert [len(events(server, name)) for name in ["answers", "silent"]] == [3, 2]


# --- closing from inside ---

def test_the_handler_closes(server, name):
    with server.websocket(f"/report?{name}") as client:
        client.send(frame(TEXT, "close 4000 enough") + frame(TEXT, "dropped") + frame(PING, b"p"))
        assert client.read_frame() == (TEXT, b"before")
        assert client.read_close() == (4000, "enough")
        client.send(frame(TEXT, "dropped too") + frame(CLOSE, close_payload(4000, "well then")))
        client.read_end()
    assert closed(server, name) == '4000 "well then" clean after 1'
    assert events(server, name)[:3] == ["open", "message close 4000 enough", "asked to close: 0, send -1"]
    assert len(events(server, name)) == 4


@pytest.mark.parametrize("told, sent", [("1000 ", (1000, "")), ("0 ", (None, "")), ("1014 gr\xfc\xdfe", (1014, "gr\xfc\xdfe")), ("4999 " + "r" * 123, (4999, "r" * 123))],
                         ids=["code", "no code", "reason", "the longest reason"])
def test_a_handler_may_send_these_codes_and_reasons(server, name, told, sent):
    with server.websocket(f"/report?{name}") as client:
        assert said(client, f"close {told}") == "before"
        assert client.read_close() == sent
        client.send(frame(CLOSE, close_payload(1000)))
        client.read_end()
    assert closed(server, name) == '1000 "" clean after 1'


@pytest.mark.parametrize("told", ["999 ", "1004 ", "1005 ", "1006 ", "1015 ", "1016 ", "2999 ", "5000 ", "65535 ", "1000 " + "r" * 124, "0 reason"], ids=lambda told: told[:8].strip())
def test_a_handler_may_not_send_these_codes_and_reasons(server, name, told):
    server.expect(r"/report\.so: /report: close\(\) refused: a (code that may not be sent|reason of more than 123 bytes)")
    with server.websocket(f"/report?{name}") as client:
        assert said(client, f"close {told}") == "before"
        assert client.read_frame() == (TEXT, b"behind")
        client.close()
    assert "asked to close: -2, send 0" in events(server, name)


def test_a_handler_may_close_in_open(server):
    name = "close-in-open"
    with server.websocket(f"/report?{name}", early=frame(TEXT, "dropped")) as client:
        assert client.read_close() == (4001, "not today")
        client.send(frame(CLOSE, close_payload(4001)))
        client.read_end()
    assert closed(server, name) == '4001 "" clean after 0'


def test_a_client_that_does_not_answer_the_handlers_close_but_ends_is_told_of(server, name):
    with server.websocket(f"/report?{name}") as client:
        assert said(client, "close 1000 ") == "before"
        assert client.read_close() == (1000, "")
    assert closed(server, name) == '1006 "" unclean after 1'


# --- exceptions ---

@pytest.mark.parametrize("command, line", [("throw", "exception in message: thrown in message"), ("throw no exception", "exception in message")], ids=["std::exception", "int"])
def test_an_exception_in_message_closes_with_1011(server, name, handlers, command, line):
    pattern = rf"\[websocket:error\].* {re.escape(str(handlers))}/report\.so: {line}$"
    server.expect(pattern)
    before = logged(server, pattern)
    with server.websocket(f"/report?{name}") as client, server.websocket("/echo") as other:
        client.send(frame(TEXT, command) + frame(TEXT, "dropped"))
        assert client.read_close() == (1011, "")
        client.send(frame(CLOSE, close_payload(1011)))
        client.read_end()
        other.echo()
    assert closed(server, name) == '1011 "" clean after 1'
    assert logged(server, pattern) == before + 1


def test_an_exception_in_open_closes_with_1011(server):
    server.expect(r"/report\.so: exception in open: thrown in open$")
    with server.websocket("/report?throw-in-open", early=frame(TEXT, "dropped")) as client:
        assert client.read_close() == (1011, "")
        client.send(frame(CLOSE, close_payload(1011)))
        client.read_end()
    assert closed(server, "throw-in-open") == '1011 "" clean after 0'


def test_an_exception_in_close_harms_nobody(server):
    server.expect(r"/report\.so: exception in close: thrown in close$")
    with server.websocket("/report?throw-in-close") as client:
        client.close(1000, "bye")
    assert closed(server, "throw-in-close") == '1000 "bye" clean after 0'
    eventually(lambda: logged(server, "exception in close: thrown in close$") == 1, "not logged")


def test_an_exception_in_handshake_is_a_500(server):
    server.expect(r"/report\.so: exception in handshake: in the handshake$", r"opening handshake refused with 500: by the handler")
    assert answer(server, "X-Throw: in the handshake")[0] == 500
    assert logged(server, "exception in handshake: in the handshake$") == 1


def test_exceptions_through_the_abi_are_caught(server, handlers):
    server.expect(rf"{handlers}/wrong\.so: /throws: exception left (handshake|message): thrown through the ABI$", r"opening handshake refused with 500: by the handler")
    with server.websocket("/throws") as client:
        client.send_text("go")
        assert client.read_close() == (1011, "")
        client.send(frame(CLOSE))
        client.read_end()
    assert logged(server, "exception left message") == 1
    assert answer(server, "X-Throw: yes", path="/throws")[0] == 500
    assert logged(server, "exception left handshake") == 1


# --- the handshake ---

def answer(server, *headers, path="/report?refused"):
    with server.connect() as connection:
        connection.sendall(request(path, *UPGRADE, *headers))
        return read_response(connection)


@pytest.mark.parametrize("status", [300, 302, 399, 400, 401, 403, 404, 409, 426, 429, 499, 500, 503, 599])
def test_a_handler_rejects_with_a_status(server, status):
    line = f"opening handshake refused with {status}: by the handler"
    server.expect(line)
    got, headers, _ = answer(server, f"X-Status: {status}")
    assert got == status
    assert "sec-websocket-accept" not in headers
    assert logged(server, line) >= 1
    assert events(server, "refused") == []


@pytest.mark.parametrize("status", [-1, 1, 100, 101, 200, 204, 299, 600, 1000, 2147483647])
def test_a_status_that_is_no_rejection_becomes_500(server, status):
    line = rf"\[websocket:error\].*/report\.so: /report: handshake returned {status}, which is neither 0 nor a status from 300 to 599$"
    server.expect(line, r"opening handshake refused with 500: by the handler")
    assert answer(server, f"X-Status: {status}")[0] == 500
    assert logged(server, line) == 1


def test_a_rejected_connection_goes_on_with_http(server):
    server.expect(r"opening handshake refused with 403: by the handler")
    with server.connect() as connection:
        connection.sendall(request("/report", *UPGRADE, "X-Status: 403"))
        assert read_response(connection)[0] == 403
        connection.sendall(request("/index.html"))
        assert read_response(connection)[0] == 200


@pytest.mark.parametrize("offered, asked, chosen", [("a, b, c", "b", "b"), ("a", "a", "a"), ("a, b", "A", None), ("a, b", "", None), ("a, b", "a, b", None)])
def test_the_handler_chooses_a_subprotocol_that_is_offered(server, name, offered, asked, chosen):
    server.expect(r"/report\.so: subprotocol .* was not offered$")
    with server.websocket(f"/report?{name}", f"Sec-WebSocket-Protocol: {offered}", f"X-Choose: {asked}") as client:
        assert client.headers.get("sec-websocket-protocol") == chosen
        assert (f"subprotocol={chosen}" if chosen else "subprotocol is not there") in said(client, "facts").splitlines()
    closed(server, name)


def test_a_handler_sees_the_facts_of_a_connection(server, name):
    with server.websocket(f"/report/a%20room/%C3%A9?{name}", "Cookie: a=1", "X-Kept: one", "x-kept: two", "X-Other: not kept") as client:
        assert said(client, "facts").splitlines() == [
            "path=/report/a room/\xe9", f"query={name}", "host=localhost", "user is not there", "address=127.0.0.1",
            "subprotocol is not there", "cookie=a=1", "x-kept=one, two", "x-other is not there"]
    closed(server, name)


def test_facts_that_are_not_there_are_empty(server):
    with server.websocket("/report", "Cookie:") as client:
        facts = said(client, "facts").splitlines()
        assert "query=" in facts and "cookie=" in facts and "x-kept is not there" in facts


def test_the_user_is_a_fact(server, name):
    password = base64.b64encode(b"ann:secret").decode()
    with server.websocket(f"/private?{name}", f"Authorization: Basic {password}") as client:
        assert "user=ann" in said(client, "facts").splitlines()
    closed(server, name)


def test_facts_of_many_connections_at_once_are_kept_apart(server, name):
    clients = [server.websocket(f"/report/{number}?{name}-{number}", f"Cookie: {number}" + "c" * 100 * number) for number in range(10)]
    for number, client in enumerate(clients):
        facts = said(client, "facts").splitlines()
        assert f"path=/report/{number}" in facts and f"query={name}-{number}" in facts and f"cookie={number}" + "c" * 100 * number in facts
    for number, client in enumerate(clients):
        client.close()
        assert closed(server, f"{name}-{number}") == '1000 "" clean after 1'


# --- state ---

def test_each_connection_has_its_own_pointer(server, name):
    clients = [server.websocket(f"/report?{name}-{number}") for number in range(3)]
    for number, client in enumerate(clients):
        for count in range(1, number + 2):
            assert said(client, "count") == str(count)
    for number, client in enumerate(clients):
        assert said(client, "count") == str(number + 2)
        client.close()
        assert closed(server, f"{name}-{number}") == f'1000 "" clean after {number + 2}'


def test_parameters_reach_the_constructor(server, name):
    with server.websocket(f"/report?{name}") as client:
        assert said(client, "params") == "colour=dark red\nsize=7\n"
    closed(server, name)


@pytest.mark.parametrize("detach", ["on", "off"])
def test_facts_of_tls_outlive_the_request(handlers, detach):
    config = f"""
WebSocketDetach {detach}
SSLVerifyClient optional_no_ca
<Location /report>
    WebSocketHandler "{handlers}/report.so"
</Location>
"""
    with Server(config, tls=True) as server:
        with server.websocket("/report", tls_version=ssl.TLSVersion.TLSv1_2) as client:
            client.send_text("tls")
            cipher = client.connection.cipher()[0]
            assert client.read_frame() == (TEXT, f"TLSv1.2\n{cipher}\nlocalhost\nnothing\n".encode())
        with server.websocket("/report", client_certificate=True) as client:
            client.send_text("tls")
            assert client.read_frame() == (TEXT, b"TLSv1.3\nTLS_AES_256_GCM_SHA384\nlocalhost\nCN=localhost\n")


def test_without_tls_there_are_no_facts_of_it(handlers):
    with Server(f'<Location /report>\n WebSocketHandler "{handlers}/report.so"\n</Location>') as server:
        with server.websocket("/report") as client:
            client.send_text("tls")
            assert client.read_frame() == (TEXT, b"nothing\n" * 4)
