"""Plugins written for apache-websocket: on the thread that brought the connection, and with `WebSocketDetach on` detached, with workers."""

import re
import signal

import pytest

from h2_client import Connection
from harness import BINARY, CLOSE, ECHO, PING, PONG, TEXT, UPGRADE, Server, close_payload, eventually, frame, request, reset, said, tcp_sockets, threads_sleep

STAYS = "connection stays on its thread: a plugin of apache-websocket may need it"
DISCONNECTED = r"(counter|flood|talk): disconnected"
MOORINGS = {"own thread": "", "detached": "WebSocketDetach on\n"}


def location(name, more=""):
    return f'<Location /{name}>\n    SetHandler websocket-handler\n    WebSocketHandler "PLUGINS/{name}.so" {name}_init\n    {more}\n</Location>\n'


ALL = "".join(location(name) for name in ["echo", "counter", "flood", "talk", "block"])


def serve(plugins, config=ALL, **options):
    server = Server(config.replace("PLUGINS", str(plugins)), **options)
    server.expect(DISCONNECTED)
    return server


def disconnected(server, name):
    """What the plugin said when its connection with this name ended, once it did."""
    return eventually(lambda: re.findall(rf"disconnected ({re.escape(name)}\b.*)", server.error_log()), f"{name} is not disconnected")


@pytest.fixture(scope="module", params=MOORINGS)
def server(request, plugins):
    config = MOORINGS[request.param] + "WebSocketMaxResident 20\n" + ALL
    with serve(plugins, config, log_level="warn websocket:debug") as running:
        running.expect(r"websocket:(debug|info)")
        running.own_thread = request.param == "own thread"
        yield running
        running.await_idle()
        assert running.own_thread or STAYS not in running.error_log()
        assert not re.search("notice.*stays on its thread", running.error_log())


# --- every MPM ---

@pytest.mark.parametrize("mooring", MOORINGS)
def test_echo_on_every_mpm(plugins, mpm, mooring):
    with serve(plugins, MOORINGS[mooring] + ALL, mpm=mpm) as server:
        with server.websocket() as client:
            client.echo()
            client.echo("")
            client.echo(b"\0\xff" * 50_000, BINARY)
            client.send(frame(PING, b"p"))
            assert client.read_frame() == (PONG, b"p")
            client.close(1000, "bye")


@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
def test_threads_of_plugins_send_on_every_mpm(plugins, mpm, name, tls):
    with serve(plugins, mpm=mpm, tls=tls) as server:
        with server.websocket(f"/counter?{name}") as client:
            assert [client.read_frame() for _ in range(50)] == [(TEXT, b"%d" % number) for number in range(50)]
            client.send_text("reset")
            while client.read_frame() != (TEXT, b"0"):
                pass
            client.send(frame(CLOSE, close_payload(1000)))
            while client.read_frame()[0] != CLOSE:
                pass
        assert disconnected(server, name) == [name]


@pytest.mark.parametrize("mooring", MOORINGS)
def test_all_that_many_threads_send_arrives_in_the_order_of_each(plugins, mpm, name, mooring):
    with serve(plugins, MOORINGS[mooring] + ALL, mpm=mpm) as server:
        with server.websocket(f"/flood?{name},8,500,1000") as client:
            client.send_text("and an answer")
            seen, answers = [0] * 8, 0
            for _ in range(8 * 500 + 1):
                opcode, payload = client.read_frame()
                assert opcode == TEXT
                if payload == b"and an answer":
                    answers += 1
                    continue
                thread, number, rest = payload.decode().split(" ")
                assert int(number) == seen[int(thread)] and set(rest) == {"x"} and len(payload) == 1000
                seen[int(thread)] += 1
            assert seen == [500] * 8 and answers == 1
            client.close()
        assert disconnected(server, name) == [name]


# --- the opening handshake ---

def test_a_plugin_refuses_with_403(server, name):
    status, headers, _ = server.http(f"/talk?{name}", *UPGRADE, "X-Refuse: 1")
    assert status == 403 and "x-plugin" not in headers
    assert name not in server.error_log().replace(f"GET /talk?{name}", "").split("disconnected")[-1]


def test_headers_and_subprotocols(server, name):
    with server.websocket(f"/talk?{name}", "Sec-WebSocket-Protocol: chat, superchat", "X-Protocol: superchat", "X-Set: set", "X-Asked: for") as client:
        assert client.headers["sec-websocket-protocol"] == "superchat"
        assert client.headers["x-plugin"] == "set"
        assert said(client, "header") == "for"
        assert said(client, "no header") == "none"
        assert said(client, "protocols") == "chat;superchat;end"
        assert said(client, "too late") == "nothing happened"
        client.close()
    with server.websocket(f"/talk?{name}", "X-Protocol: chat") as client:
        assert "sec-websocket-protocol" not in client.headers
        assert said(client, "protocols") == "end"
        client.close()


def test_a_forged_header_is_left_out(server, name):
    server.expect(r"header_set\(\) refused: ")
    with server.websocket(f"/talk?{name}", "X-Forge: 1") as client:
        assert "x-forged" not in client.headers and "x-split" not in client.headers
        client.echo()
        client.close()


def test_a_plugin_finds_httpds_request_for_as_long_as_it_may(server, name):
    with server.websocket(f"/talk?{name}") as client:
        assert said(client, "address") == ("127.0.0.1 /talk" if server.own_thread else "none")
        client.close()
    assert disconnected(server, name) == [f"{name} after 1, sent 0, " + ("127.0.0.1" if server.own_thread else "no request")]


def test_what_is_sent_during_the_opening_handshake_comes_first(server, name):
    with server.websocket(f"/talk?{name}", "X-Early: 1", early=frame(TEXT, "hello")) as client:
        assert [client.read_frame() for _ in range(3)] == [(TEXT, b"early one"), (TEXT, b"early two"), (TEXT, b"hello")]
        client.close()


def test_a_plugin_can_close_during_the_opening_handshake(server, name):
    with server.websocket(f"/talk?{name}", "X-Early: 1", "X-Early-Close: 1") as client:
        assert [client.read_frame() for _ in range(2)] == [(TEXT, b"early one"), (TEXT, b"early two")]
        assert client.read_close() == (1000, "")
    assert disconnected(server, name)[0].startswith(f"{name} after 0, sent 0")


# --- messages ---

def test_what_is_sent_is_copied(server, name):
    with server.websocket(f"/talk?{name}") as client:
        client.send_text("overwrite")
        assert [client.read_frame() for _ in range(2)] == [(TEXT, b"overwrite"), (TEXT, b"?????????")]
        client.close()


def test_control_frames_of_a_plugin(server, name):
    with server.websocket(f"/talk?{name}") as client:
        client.send_text("ping")
        assert client.read_frame() == (PING, b"ping")
        client.send(frame(PONG, b"ping"))
        client.send_text("pong")
        assert client.read_frame() == (PONG, b"pong")
        client.send_text("nothing")
        assert client.read_frame() == (BINARY, b"")
        client.close()
    assert disconnected(server, name)[0].startswith(f"{name} after 3, ")  # a pong is no message


@pytest.mark.parametrize("word, answer", [("close", (1000, "")), ("close frame", (4200, "bye")), ("empty close frame", (1005, ""))])
def test_a_plugin_closes(server, name, word, answer):
    with server.websocket(f"/talk?{name}") as client:
        client.send_text(word)
        opcode, payload = client.read_frame()
        assert opcode == CLOSE
        assert payload == (b"" if answer[0] == 1005 else close_payload(*answer))
        client.send(frame(CLOSE, payload))
        client.read_end()
    assert disconnected(server, name)[0].startswith(f"{name} after 1, sent 0")
    assert "sent after the close" not in server.error_log()


@pytest.mark.parametrize("word, zeros", [("not utf-8", 2), ("no such type", 1), ("bad close frame", 1)])
def test_what_must_not_be_sent_is_refused_and_logged_once(server, name, word, zeros):
    server.expect(r"send\(\) refused: ")
    before = server.error_log().count("send() refused")
    with server.websocket(f"/talk?{name}") as client:
        client.send_text(word)
        assert [client.read_frame() for _ in range(zeros)] == [(TEXT, b"0")] * zeros
        client.echo()
        client.close()
    assert server.error_log().count("send() refused") == before + 1


def test_a_plugin_may_block_and_what_it_sent_before_has_left(server, name):
    with server.websocket("/block") as blocked, server.websocket("/block") as other:
        blocked.send_text("wait")
        assert blocked.read_frame() == (TEXT, b"waiting")
        other.echo()
        other.send_text("go")
        assert other.read_frame() == (TEXT, b"gone")
        assert blocked.read_frame() == (TEXT, b"done")
        blocked.close()
        other.close()


# --- clients that read slowly, or not at all ---

def bounded(server, before_kb):
    """Of what was sent no more than a little waits in memory."""
    assert server.peak_memory_kb() < before_kb + 24_000 or not before_kb


def test_a_plugin_that_sends_much_in_one_call_waits_for_the_client(server, name):
    before = server.peak_memory_kb()
    with server.websocket(f"/talk?{name}") as client:
        client.send_text("much")
        for _ in range(1024):
            opcode, payload = client.read_frame()
            assert opcode == BINARY and len(payload) == 65536
        assert client.read_frame() == (TEXT, b"all of it")
        client.close()
    bounded(server, before)


def sends_no_more(server, client):
    """Until the way to the client is full and all threads wait."""
    seen = []

    def full():
        queued = sum(each.queued for each in tcp_sockets() if server.port in (each.port, each.peer_port))
        seen.append((queued, threads_sleep(server.children())))
        return len(seen) > 20 and len(set(seen[-20:])) == 1 and seen[-1][0] > 0 and seen[-1][1]
    eventually(full, "the flood never stops")


def test_threads_that_flood_a_client_wait_for_it(server, name):
    before = server.peak_memory_kb()
    with server.websocket(f"/flood?{name},4,400,90000") as client:
        sends_no_more(server, client)
        bounded(server, before)
        seen = [0] * 4
        for _ in range(4 * 400):
            opcode, payload = client.read_frame()
            thread, number, _ = payload.decode().split(" ")
            assert int(number) == seen[int(thread)]
            seen[int(thread)] += 1
        client.echo("they are done")
        client.close()
    assert disconnected(server, name) == [name]


def test_a_client_that_vanishes_while_threads_wait_for_it(server, name):
    with server.websocket(f"/flood?{name},4,0,90000") as client:
        sends_no_more(server, client)
        client.reset()
    assert disconnected(server, name) == [name]


def test_clients_that_vanish_while_threads_send(server, name):
    for turn in range(20):
        client = server.websocket(f"/flood?{name}-{turn},3,0,1000")
        for _ in range(turn):
            client.read_frame()
        client.reset()
    for turn in range(20):
        assert disconnected(server, f"{name}-{turn}") == [f"{name}-{turn}"]


def test_clients_that_vanish_before_they_are_connected(server, name):
    for turn in range(20):
        connection = server.connect()
        connection.sendall(request(f"/flood?{name}-{turn},3,0,1000", *UPGRADE))
        reset(connection)
    server.await_idle()
    with server.websocket() as client:
        client.echo()
        client.close()
    # Each that was connected was disconnected, once.
    names = re.findall(rf"disconnected ({re.escape(name)}-\d+)", server.error_log())
    assert len(names) == len(set(names))


# --- the end of the server ---

@pytest.mark.parametrize("mooring", MOORINGS)
@pytest.mark.parametrize("reads", [True, False], ids=["reading", "not reading"])
def test_a_stop_while_threads_send(plugins, mpm, mooring, reads):
    with serve(plugins, MOORINGS[mooring] + ALL, mpm=mpm) as server:
        clients = [server.websocket(f"/flood?{number},2,0,5000") for number in range(3)]
        if not reads:
            sends_no_more(server, clients[0])
        server.process.send_signal(signal.SIGTERM)
        for client in clients if reads else []:
            client.await_cut()
        assert server.process.wait(30) == 0
        assert sorted(re.findall(r"flood: disconnected (\d)", server.error_log())) == ["0", "1", "2"]


@pytest.mark.parametrize("mooring", MOORINGS)
def test_a_graceful_restart_while_threads_send(plugins, mpm, mooring):
    with serve(plugins, MOORINGS[mooring] + ALL, mpm=mpm) as server:
        clients = [server.websocket(f"/flood?{number},2,0,5000") for number in range(3)]
        old = set(server.children())
        server.process.send_signal(signal.SIGUSR1)
        for client in clients:
            while True:
                opcode, payload = client.read_frame()
                if opcode == CLOSE:
                    break
                assert opcode == TEXT
            assert payload[:2] == close_payload(1001)
            client.send(frame(CLOSE, close_payload(1001)))
            client.await_cut()
        server.await_new_children(old)
        with server.websocket() as client:
            client.echo()
            client.close()
        assert sorted(re.findall(r"flood: disconnected (\d)", server.error_log())) == ["0", "1", "2"]


def send_too_much(server, name):
    """A client that reads nothing while the plugin sends, in one call, more than there is room for."""
    client = server.websocket(f"/talk?{name}")
    client.send_text("much")
    sends_no_more(server, client)
    return client


def test_a_stop_while_a_callback_waits_for_a_client(plugins, mpm, name):
    with serve(plugins, mpm=mpm) as server:
        server.expect("talk: not all was sent")
        client = send_too_much(server, name)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 0
        assert "not all was sent" in server.error_log() and len(disconnected(server, name)) == 1
        client.connection.close()


@pytest.mark.parametrize("mpm", ["event", "prefork"])
def test_a_graceful_restart_waits_for_a_client_only_if_it_reads(plugins, mpm, name):
    with serve(plugins, mpm=mpm) as server:
        server.expect("talk: not all was sent")
        client = send_too_much(server, name)
        old = server.children()
        server.process.send_signal(signal.SIGUSR1)
        server.await_gone(old)
        assert "not all was sent" in server.error_log() and len(disconnected(server, name)) == 1
        client.connection.close()


@pytest.mark.parametrize("mooring", MOORINGS)
def test_plugins_over_http2(plugins, name, mooring):
    with serve(plugins, MOORINGS[mooring] + "Protocols h2 http/1.1\nH2WebSockets on\n" + ALL, modules=["http2"], tls=True) as server:
        with Connection(server) as connection:
            with connection.websocket(f"/flood?{name},2,100,1000") as client:
                for _ in range(200):
                    assert client.read_frame()[0] == TEXT
                client.echo()
                client.close()
            assert disconnected(server, name) == [name]
            with connection.websocket(f"/talk?{name}-2") as client:
                assert said(client, "address") == ("none" if MOORINGS[mooring] else "127.0.0.1 /talk")
                client.close()
            assert len(disconnected(server, f"{name}-2")) == 1


# --- the configuration ---

def test_plugins_hold_threads_of_which_there_is_a_limit(plugins):
    with serve(plugins, "WebSocketMaxResident 2\n" + ALL + ECHO.replace("/echo", "/native")) as server:
        server.expect(r"WebSocketMaxResident 2.* is reached")
        clients = [server.websocket(), server.websocket()]
        assert server.http("/echo", *UPGRADE)[0] == 503
        with server.websocket("/native") as native:
            native.echo()
            native.close()
        for client in clients:
            client.close()


def test_detaching_is_for_the_location_that_says_so(plugins):
    config = location("echo", "WebSocketDetach on") + location("talk")
    with serve(plugins, config, log_level="warn websocket:debug") as server:
        server.expect(r"websocket:debug")
        for path, stays in [("/echo", 0), ("/talk", 1)]:
            with server.websocket(path) as client:
                client.echo()
                client.close()
            assert server.error_log().count(STAYS) == stays


@pytest.mark.parametrize("symbol, reason", [
    ("small_init", "has a table of version 0, as plugins of apache-websocket do, but not of 40 bytes as theirs; a handler's says WS_ABI_VERSION"),
    ("deaf_init", "is a plugin of apache-websocket without on_message"),
    ("next_init", "speaks handler ABI 7, this server 1 to 2"),
    ("null_init", "null_init returned no handler"),
    ("no_init", "is no handler: it exports no function no_init"),
])
def test_a_wrong_plugin_fails_the_configuration_test(plugins, symbol, reason):
    server = serve(plugins, f'<Location /wrong>\nWebSocketHandler "PLUGINS/wrong.so" {symbol}\n</Location>\n')
    try:
        status, output = server.configtest()
        assert status != 0 and f"wrong.so: {reason}" in output
    finally:
        server.kill()


def test_a_detached_plugin_needs_workers(plugins):
    server = serve(plugins, location("echo", "WebSocketDetach on\nWebSocketWorkers 0"))
    try:
        status, output = server.configtest()
        assert status != 0 and "is a plugin of apache-websocket, which may block, so WebSocketWorkers must be 1 or more for it" in output
    finally:
        server.kill()


def test_workers_mean_nothing_to_a_plugin_on_its_own_thread(plugins):
    with serve(plugins, "WebSocketWorkers 0\n" + ALL) as server:
        with server.websocket() as client:
            client.echo()
            client.close()
