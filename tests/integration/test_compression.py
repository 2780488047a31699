"""permessage-deflate (RFC 7692) as clients and admins see it; tests/unit has its rules."""

import asyncio
import json
import os
import random

import pytest
import websockets
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

from deflate import OFFER, RSV1, deflated, inflated
from harness import BINARY, CONTINUATION, ECHO, LIMIT_S, TEXT, UPGRADE, Server, frame

DEFAULT = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
CONFIG = ECHO + """
<Location /off>
    WebSocketHandler echo
    WebSocketCompression off
</Location>
<Location /takeover>
    WebSocketHandler echo
    WebSocketCompression on takeover=on
</Location>
<Location /narrow>
    WebSocketHandler echo
    WebSocketCompression on level=9 window=9 takeover=on min-size=1
</Location>
<Location /narrow/inner>
    WebSocketMaxMessage 1000
</Location>
<Location /all>
    WebSocketHandler echo
    WebSocketCompression on level=1 min-size=0
</Location>
"""


def some_json(size):
    chooser = random.Random(size)
    rows = []
    while len(json.dumps(rows)) < size:
        rows.append({"id": chooser.randrange(10**6), "name": chooser.choice(["straße", "日本", "plain"]), "open": chooser.random() < 0.5})
    return json.dumps(rows, ensure_ascii=False)


@pytest.fixture(scope="module")
def server(request):
    with Server(CONFIG) as running:
        yield running
        running.await_idle()


@pytest.mark.parametrize("path, offer, answer", [
    ("/echo", "permessage-deflate", DEFAULT),
    ("/echo", "permessage-deflate; client_max_window_bits", DEFAULT),
    ("/echo", "permessage-deflate; server_max_window_bits=10", DEFAULT + "; server_max_window_bits=10"),
    ("/echo", "permessage-deflate; server_max_window_bits=8; client_max_window_bits=\"9\"",
     DEFAULT + "; server_max_window_bits=8; client_max_window_bits=9"),
    ("/echo", "permessage-deflate; unknown, x-webkit-deflate-frame, permessage-deflate", DEFAULT),
    ("/off", "permessage-deflate", None),
    ("/takeover", "permessage-deflate; client_max_window_bits", "permessage-deflate"),
    ("/takeover", "permessage-deflate; server_no_context_takeover", "permessage-deflate; server_no_context_takeover"),
    ("/narrow", "permessage-deflate; client_max_window_bits", "permessage-deflate; server_max_window_bits=9; client_max_window_bits=9"),
    ("/narrow", "permessage-deflate", "permessage-deflate; server_max_window_bits=9"),
])
def test_an_offer_is_answered_as_the_location_says(server, path, offer, answer):
    with server.websocket(path, f"Sec-WebSocket-Extensions: {offer}") as client:
        assert client.headers.get("sec-websocket-extensions") == answer
        client.close()


def test_offers_in_several_header_lines_are_one_list(server):
    lines = ["permessage-deflate; server_max_window_bits=7", "other; x=1, permessage-deflate; server_max_window_bits=11", "permessage-deflate"]
    with server.websocket("/echo", *[f"Sec-WebSocket-Extensions: {line}" for line in lines]) as client:
        assert client.headers["sec-websocket-extensions"] == DEFAULT + "; server_max_window_bits=11"
        client.close()


def test_without_an_offer_nothing_is_compressed(server):
    with server.websocket("/all") as client:
        assert "sec-websocket-extensions" not in client.headers
        client.send_text("x" * 5000)
        assert client.read_any_frame()[0] == 0x81
        client.send(frame(TEXT, deflated(b"Hello"), rsv=RSV1))
        assert client.read_close()[0] == 1002


@pytest.mark.parametrize("path, size, compressed", [("/echo", 255, False), ("/echo", 256, True), ("/all", 30, True), ("/all", 0, False), ("/off", 5000, False)])
def test_what_is_long_enough_and_gets_smaller_is_compressed(server, path, size, compressed):
    message = (b"ab" * size)[:size]
    with server.websocket(path, OFFER) as client:
        client.send(frame(TEXT, message))
        first, payload = client.read_any_frame()
        assert first == (0xc1 if compressed else 0x81)
        assert (inflated(payload) if compressed else payload) == message
        noise = os.urandom(1000)
        client.send(frame(BINARY, noise))
        assert client.read_any_frame() == (0x82, noise)
        client.close()


def test_an_inner_scope_inherits_compression_and_sets_a_limit_for_what_is_inflated(server):
    with server.websocket("/narrow/inner", OFFER) as client:
        assert client.headers["sec-websocket-extensions"].endswith("client_max_window_bits=9"), "inherited"
        for size, code in [(1000, None), (1001, 1009)]:
            client.send(frame(TEXT, deflated(b"x" * size), rsv=RSV1))
            if code:
                assert client.read_close()[0] == code
            else:
                assert inflated(client.read_any_frame()[1]) == b"x" * size


OFFERS = {"any": {}, "takeover of neither": {"server_no_context_takeover": True, "client_no_context_takeover": True},
          "narrow": {"server_max_window_bits": 9, "client_max_window_bits": 9}, "narrow server": {"server_max_window_bits": 8}}


@pytest.mark.parametrize("path", ["/echo", "/takeover", "/narrow", "/all"])
@pytest.mark.parametrize("offer", OFFERS)
def test_a_client_written_elsewhere_gets_back_what_it_sends(server, path, offer):
    async def exchange():
        factory = ClientPerMessageDeflateFactory(**{"client_max_window_bits": True, **OFFERS[offer]})
        async with websockets.connect(f"ws://127.0.0.1:{server.port}{path}", compression=None, extensions=[factory], open_timeout=LIMIT_S,
                                      close_timeout=LIMIT_S) as client:
            assert client.response_headers["Sec-WebSocket-Extensions"].startswith("permessage-deflate")
            messages = [some_json(size) for size in [10, 300, 1000, 5000, 100_000]] + ["", "x", os.urandom(3000), bytes(200_000)]
            messages += messages[::-1]
            for message in messages:
                await client.send(message if message != messages[3] else [message[:100], message[100:1000], message[1000:]])
                assert await client.recv() == message
    asyncio.run(asyncio.wait_for(exchange(), 2 * LIMIT_S))


@pytest.mark.parametrize("mooring", ["tls", "resident", "resident-tls"])
def test_messages_are_compressed_on_every_mooring(mooring):
    with Server(ECHO, mooring=mooring) as server, server.websocket("/echo", OFFER) as client:
        message = some_json(5000).encode()
        payload = deflated(message)
        client.send(frame(TEXT, payload[:100], rsv=RSV1, fin=False) + frame(CONTINUATION, payload[100:]))
        first, answer = client.read_any_frame()
        assert first == 0xc1 and inflated(answer) == message
        client.close()


def test_many_clients_at_once_do_not_mix_their_messages(server):
    """All of them share what inflates and deflates; their messages arrive in pieces of each other."""
    clients = [server.websocket("/takeover" if number % 2 else "/echo", OFFER) for number in range(20)]
    wires, messages = [], []
    for number, _ in enumerate(clients):
        messages.append(some_json(3000 + number).encode())
        wires.append(frame(TEXT, deflated(messages[-1]), rsv=RSV1))
    step = 97
    for at in range(0, max(map(len, wires)), step):
        for client, wire in zip(clients, wires):
            client.send(wire[at:at + step])
    for client, message in zip(clients, messages):
        assert inflated(client.read_any_frame()[1]) == message
        client.close()


def test_a_handler_sees_what_was_agreed_on_and_decides_per_message(handlers):
    config = f'<Location /report>\nWebSocketHandler "{handlers}/report.so"\nWebSocketCompression on min-size=1\n</Location>'
    with Server(config, log_level="warn websocket:info") as server:
        server.expect(r"report\.so")
        with server.websocket("/report", OFFER) as client:
            client.send(frame(TEXT, deflated(b"extensions"), rsv=RSV1))
            assert inflated(client.read_any_frame()[1]).decode() == DEFAULT
            text = b"uncompressed " + b"x" * 1000
            client.send(frame(TEXT, deflated(text), rsv=RSV1))
            assert client.read_any_frame() == (0x81, text)
            client.send(frame(TEXT, b"x" * 1000))
            assert client.read_any_frame()[0] == 0xc1
            client.close()
        with server.websocket("/report") as client:
            client.send_text("extensions")
            assert client.read_frame() == (TEXT, b"none")
            client.close()


def test_a_refused_handshake_carries_no_extension(server):
    status, headers, _ = server.http("/echo", *UPGRADE[:3], "Sec-WebSocket-Version: 12", OFFER)
    assert status == 426 and "sec-websocket-extensions" not in headers
