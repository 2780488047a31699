"""What must not happen when a resource is short or a client is slow."""

import signal
import socket
import threading

import pytest

from harness import BINARY, CLOSE, ECHO, PONG, TEXT, UPGRADE, Client, Server, close_payload, eventually, frame, read_response, request


@pytest.mark.parametrize("mpm", ["event", "worker", "prefork"])
def test_without_descriptors_newcomers_get_503_and_all_else_goes_on(mpm):
    with Server(ECHO, mpm=mpm, descriptors=160) as server:
        server.expect("no room for another WebSocket: the limit on open files is reached")
        children = set(server.children())
        clients, refused = [], 0
        while refused < 20:
            connection = server.connect()
            connection.sendall(request("/echo", *UPGRADE))
            status, headers, _ = read_response(connection)
            if status == 101:
                clients.append(connection)
                assert len(clients) < 5000
                continue
            connection.close()
            assert (status, headers["retry-after"]) == (503, "10")
            refused += 1
            assert server.http("/index.html")[0] == 200
        for connection in clients:
            connection.sendall(frame(TEXT, "still there"))
            assert connection.recv(100) == b"\x81\x0bstill there"
        assert children <= set(server.children()), "a child has given up"
        for connection in clients:
            connection.close()
        server.await_idle()
        with server.websocket() as client:  # it was only for a while
            client.echo()


@pytest.mark.parametrize("mpm", ["event", "worker", "prefork"])
def test_without_memory_for_a_thread_newcomers_get_503_until_there_is_some(mpm, handlers):
    """The first WebSocket of a child starts its loop, whose stack does not fit."""
    with Server(f'<Location /cramped>\nWebSocketHandler "{handlers}/cramped.so"\n</Location>\n', mpm=mpm) as server:
        server.expect(r"websocket:error.*WS205: no room for another WebSocket: \S.* \(\d+ refused by this child so far\)")
        children = server.children()
        for _ in range(20):
            status, headers, _ = server.http("/cramped", *UPGRADE, "X-Room: 1000000")
            assert (status, headers["retry-after"]) == (503, "10")
            assert server.http("/index.html")[0] == 200
        assert 1 <= server.error_log().count("no room for another WebSocket") <= len(children), "a line for each refusal"
        assert set(children) <= set(server.children()), "a child has given up"
        with server.websocket("/cramped", "X-Room: any") as client:
            client.echo()


def test_a_steady_reader_gets_all_that_was_sent_before_the_close_however_long_it_takes():
    size = 3_000_000
    with Server("WebSocketMaxMessage 4000000\nSendBufferSize 65536\n" + ECHO) as server:
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32768)
        connection.settimeout(30)
        connection.connect(("127.0.0.1", server.port))
        with Client(connection, "/echo") as client:
            client.send(frame(BINARY, b"x" * size) + frame(CLOSE, close_payload(1000, "bye")))
            pause = threading.Event()  # never set: the slowness is what is tested, longer than the 5 s of a closing handshake
            rest = 10 + size + 7
            while rest:
                piece = connection.recv(min(rest, 25_000))
                assert piece, f"{rest} bytes were cut off"
                rest -= len(piece)
                last = piece
                pause.wait(0.055)
            assert last.endswith(b"\x88\x05\x03\xe8bye")
            client.read_end()


@pytest.mark.parametrize("mpm", ["worker", "prefork"])
def test_a_client_that_never_got_its_101_has_no_websocket(mpm):
    config = "SendBufferSize 4096\nTimeout 1\n<Location /minimal>\nWebSocketHandler minimal\n</Location>\n"
    with Server(config, mpm=mpm) as server:
        (server.folder / "www/large").write_bytes(b"A" * 40_000)
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            connection.settimeout(30)
            connection.connect(("127.0.0.1", server.port))
            connection.sendall(request("/large") + request("/minimal", *UPGRADE))
            eventually(lambda: "GET /minimal" in server.access_log(), "the request is not over")
            received = b""
            while piece := connection.recv(65536):
                received += piece
        assert b"hello" not in received  # what the handler greets with


@pytest.mark.parametrize("mpm", ["event", "worker", "prefork"])
def test_a_client_that_goes_on_sending_does_not_hold_a_stop(mpm):
    with Server(ECHO, mpm=mpm, mooring="resident-tls") as server:
        with server.websocket() as client:
            client.echo()
            server.settle()
            server.process.send_signal(signal.SIGTERM)
            try:
                while True:
                    client.send(frame(PONG, b"x"))
                    threading.Event().wait(0.1)
            except OSError:
                pass  # the connection is gone
        server.process.wait(30)
        assert "AH00045" not in server.error_log(), "the child had to be killed"
