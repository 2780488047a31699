"""Python's package websockets, a client written elsewhere, with and without TLS."""

import asyncio
import os
import signal
import ssl

import pytest
import websockets

from harness import ECHO, LIMIT_S, Server

LIMIT_BYTES = 1 << 20  # WebSocketMaxMessage's default


@pytest.fixture(scope="module", params=["tcp", "tls"])
def tls(request):
    return request.param == "tls"


@pytest.fixture(scope="module")
def server(tls):
    with Server(ECHO, tls=tls) as running:
        yield running
        running.await_idle()


def connect(server, **options):
    if server.tls:
        options["ssl"] = ssl.create_default_context(cafile=str(server.cert))
    return websockets.connect(f"{'wss' if server.tls else 'ws'}://localhost:{server.port}/echo", host="127.0.0.1",
                              open_timeout=LIMIT_S, close_timeout=LIMIT_S, **options)


def run(exchange):
    asyncio.run(asyncio.wait_for(exchange, 2 * LIMIT_S))


async def end_of(client, message=None):
    """The code and the reason of the close frame that came; it may come while the message is being sent."""
    with pytest.raises(websockets.ConnectionClosed) as ended:
        if message is not None:
            await client.send(message)
        await client.recv()
    return ended.value.rcvd.code, ended.value.rcvd.reason


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536, LIMIT_BYTES])
def test_text_and_binary_of_every_length_form_come_back(server, size):
    async def exchange():
        async with connect(server) as client:
            text = "€" * (size // 3) + "t" * (size % 3)
            for message in [text, os.urandom(size)]:
                await client.send(message)
                assert await client.recv() == message
    run(exchange())


def test_fragments_come_back_as_one_message(server):
    async def exchange():
        async with connect(server) as client:
            for fragments in [["Grü", "", "ße", " 🌍"], [b"\x00", b"\xff" * 70_000, b""]]:
                await client.send(fragments)
                assert await client.recv() == fragments[0][:0].join(fragments)
    run(exchange())


def test_a_ping_is_answered_with_its_payload(server):
    async def exchange():
        async with connect(server) as client:
            for payload in [b"", b"payload", b"p" * 125]:
                await (await client.ping(payload))  # the pong with the same payload
            await client.send("still open")
            assert await client.recv() == "still open"
    run(exchange())


def test_the_subprotocol_of_the_handler_is_chosen_from_those_offered(server):
    async def exchange():
        for offered, chosen in [(["other", "echo"], "echo"), (["other"], None), (None, None)]:
            async with connect(server, subprotocols=offered) as client:
                assert client.subprotocol == chosen
    run(exchange())


def test_a_close_comes_back_with_its_code_and_reason(server):
    async def exchange():
        for code, reason in [(1000, ""), (1001, "gone"), (3000, "Grüße"), (4999, "r" * 123)]:
            async with connect(server) as client:
                await client.close(code, reason)
                assert await end_of(client) == (code, reason)
    run(exchange())


def test_a_message_over_the_limit_closes_with_1009(server):
    async def exchange():
        async with connect(server) as client:
            assert (await end_of(client, b"x" * (LIMIT_BYTES + 1)))[0] == 1009
    run(exchange())


def test_a_page_of_another_origin_is_refused_with_403(server):
    server.expect(r"opening handshake refused with 403: origin http://evil\.example may not connect here")

    async def exchange():
        with pytest.raises(websockets.InvalidStatusCode) as refusal:
            await connect(server, origin="http://evil.example")
        assert refusal.value.status_code == 403
        async with connect(server, origin=f"{'https' if server.tls else 'http'}://localhost:{server.port}") as client:
            await client.send("our own page")
            assert await client.recv() == "our own page"
    run(exchange())


def test_a_stop_of_the_server_closes_with_1001(tls):
    with Server(ECHO, tls=tls) as server:
        async def exchange():
            async with connect(server) as client:
                await client.send("hello")
                assert await client.recv() == "hello"
                server.settle()
                server.process.send_signal(signal.SIGTERM)
                assert (await end_of(client))[0] == 1001
        run(exchange())
        server.stop()
