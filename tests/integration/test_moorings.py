"""Which connections leave their thread, and which stay because a filter of httpd's has to see their bytes."""

import signal
import subprocess

import pytest

from harness import CLOSE, ECHO, PING, PONG, TOP, Server, frame

STAYS = r"connection stays on its thread"


def test_filters_that_only_watch_http_let_a_connection_go():
    config = """
RequestReadTimeout header=5,MinRate=500 body=5,MinRate=500
RemoteIPHeader X-Forwarded-For
RemoteIPTrustedProxy 127.0.0.1
Protocols h2c http/1.1
""" + ECHO
    with Server(config, modules=["logio", "remoteip", "headers", "setenvif", "deflate", "ssl", "socache_shmcb", "http2"], log_level="warn websocket:debug") as server:
        server.expect(r"AH01873:")  # mod_ssl, which serves nothing here, has no session cache
        with server.websocket("/echo", "X-Forwarded-For: 192.0.2.7") as client:
            client.echo()
            client.close()
        assert "192.0.2.7 101" in server.access_log()


def test_a_filter_that_wants_every_byte_keeps_a_connection():
    with Server("DumpIOInput On\n" + ECHO, modules=["dumpio"], log_level="warn websocket:debug dumpio:trace7") as server:
        server.expect(STAYS + r": dumpio_in", r"mod_dumpio:")
        with server.websocket(early=frame(PING, b"early")) as client:
            assert client.read_frame() == (PONG, b"early")
            client.echo()
            client.echo(b"x" * 1_000_000, 2)
            client.close()
        assert "stays on its thread: dumpio_in" in server.error_log()


def test_tls_keeps_a_connection_and_limits_on_reading_http_do_not_cut_it():
    config = "RequestReadTimeout header=1 body=1,MinRate=10000\nTimeout 1\nKeepAliveTimeout 1\n" + ECHO
    with Server(config, tls=True, log_level="warn websocket:debug") as server:
        server.expect(STAYS)
        with server.websocket() as client:
            client.connection.settimeout(3)
            with pytest.raises(TimeoutError):
                client.connection.recv(1)  # longer than any of the timeouts
            client.echo("still there")
            client.close()


@pytest.mark.parametrize("how, last_words", [(signal.SIGUSR1, "closed 1001\n"), (signal.SIGTERM, "")])  # stop cuts HTTP/2 off
def test_an_open_http2_stream_does_not_hold_the_server(how, last_words):
    config = "Protocols h2 http/1.1\nH2WebSockets on\n" + ECHO
    with Server(config, tls=True, modules=["http2"]) as server:
        peer = subprocess.Popen(["node", TOP / "tests/integration/h2_peer.mjs", str(server.port), "/echo", "stay"], stdout=subprocess.PIPE, text=True)
        try:
            assert peer.stdout.readline() == "open\n"
            server.settle()
            server.process.send_signal(how)
            assert peer.stdout.readline() == last_words
            peer.wait(30)
        finally:
            peer.kill()
