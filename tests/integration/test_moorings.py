"""Which connections leave their thread, and which stay because a filter of httpd's has to see their bytes."""

import os
import re

import pytest

from harness import ECHO, PING, PONG, Server, frame

STAYS = r"connection stays on its thread"


@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
def test_filters_that_only_watch_http_let_a_connection_go(tls):
    config = """
RequestReadTimeout header=5,MinRate=500 body=5,MinRate=500
RemoteIPHeader X-Forwarded-For
RemoteIPTrustedProxy 127.0.0.1
Protocols h2 h2c http/1.1
""" + ECHO
    modules = ["logio", "remoteip", "headers", "setenvif", "deflate", "ssl", "socache_shmcb", "http2"]
    with Server(config, tls=tls, modules=modules, log_level="warn websocket:debug") as server:
        if not tls:
            server.expect(r"AH01873:")  # mod_ssl, which serves nothing here, has no session cache
        with server.websocket("/echo", "X-Forwarded-For: 192.0.2.7") as client:
            client.echo()
            client.close()
        assert "192.0.2.7 101" in server.access_log()


@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
def test_a_filter_that_wants_every_byte_keeps_connections_and_is_named_once_in_a_child(tls):
    with Server("DumpIOInput On\n" + ECHO, tls=tls, modules=["dumpio"], log_level="warn websocket:debug dumpio:trace7") as server:
        server.expect(STAYS + r": dumpio_in", r"mod_dumpio:")
        for _ in range(3):
            with server.websocket(early=frame(PING, b"early")) as client:
                assert client.read_frame() == (PONG, b"early")
                client.echo()
                client.echo(b"x" * 1_000_000, 2)
                client.close()
        said = re.findall(r"\[websocket:(\w+)\].*stays on its thread: dumpio_in", server.error_log())
        assert sorted(said) == ["debug", "debug", "notice"]


@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
def test_limits_on_the_time_of_http_do_not_cut_a_resident_connection(tls):
    config = "RequestReadTimeout header=1 body=1,MinRate=10000\nTimeout 1\nKeepAliveTimeout 1\nWebSocketDetach off\n" + ECHO
    with Server(config, tls=tls) as server:
        with server.websocket() as client:
            client.connection.settimeout(3)
            with pytest.raises(TimeoutError):
                client.connection.recv(1)  # longer than any of the timeouts
            client.echo("still there")
            client.close()


def test_detaching_can_be_switched_off_for_a_location():
    config = """
<Location /stays>
    WebSocketHandler echo
    WebSocketDetach off
</Location>
""" + ECHO
    with Server(config, log_level="warn websocket:debug") as server:
        server.expect(STAYS + ": WebSocketDetach off")
        for path, lines in [("/echo", 0), ("/stays", 1)]:
            with server.websocket(path) as client:
                client.echo()
                client.close()
            assert len(re.findall("WebSocketDetach off", server.error_log())) == lines


def test_tls_whose_keys_are_logged_stays_with_mod_ssl():
    server = Server(ECHO, tls=True)
    server.environment = {**(server.environment or os.environ), "SSLKEYLOGFILE": str(server.folder / "keys")}
    with server:
        server.expect(STAYS, r"AH10227:")
        with server.websocket() as client:
            client.echo()
            client.close()
        assert "stays on its thread: mod_ssl logs keys (SSLKEYLOGFILE)" in server.error_log()
