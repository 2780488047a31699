"""WebSockets over HTTP/2 (RFC 8441): the resident mooring behind mod_http2."""

import subprocess

import pytest

from harness import TOP, Server

CONFIG = """
Protocols h2 http/1.1
H2WebSockets on
<Location /echo>
    WebSocketHandler echo
</Location>
"""


@pytest.mark.parametrize("mpm", ["event", "worker"])
def test_an_http2_stream_echoes_and_closes(mpm):
    with Server(CONFIG, mpm=mpm, tls=True, modules=["http2"]) as server:
        subprocess.run(["node", TOP / "tests/integration/h2_peer.mjs", str(server.port), "/echo"], check=True, timeout=60)
        with server.websocket() as client:  # HTTP/1.1 beside it
            client.echo()
            client.close()
