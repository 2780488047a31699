"""Messages and closing on every MPM and mooring: detached and resident, with and without TLS."""

import os

import pytest

from harness import BINARY, CLOSE, ECHO, PING, PONG, TEXT, Server, close_payload, frame


@pytest.fixture(scope="module", params=["tcp", "tls", "resident-tls"])
def server(request, mpm):
    with Server(ECHO, mpm=mpm, mooring=request.param) as running:
        yield running


def test_messages_of_every_length_form_come_back(server):
    with server.websocket() as client:
        for size in [0, 1, 125, 126, 127, 65535, 65536, 1 << 20]:
            client.echo("t" * size)
            client.echo(os.urandom(size), BINARY)
        client.close(1000, "done")


def test_fragments_become_one_message_and_pings_between_them_are_answered(server):
    with server.websocket() as client:
        client.send(frame(TEXT, "Grü".encode()[:3], fin=False) + frame(PING, b"now") + frame(0, "Grü".encode()[3:], fin=False))
        assert client.read_frame() == (PONG, b"now")
        client.send(frame(0, b""))
        assert client.read_frame() == (TEXT, "Grü".encode())


def test_a_thousand_pipelined_messages_come_back_in_order(server):
    with server.websocket() as client:
        messages = [f"message {i}" for i in range(1000)]
        client.send(b"".join(frame(TEXT, message) for message in messages))
        assert [client.read_frame()[1].decode() for _ in messages] == messages


def test_bytes_one_at_a_time_become_messages(server):
    with server.websocket() as client:
        for byte in frame(TEXT, "slow") + frame(PING, b"p"):
            client.send(bytes([byte]))
        assert client.read_frame() == (TEXT, b"slow")
        assert client.read_frame() == (PONG, b"p")


def test_frames_in_the_same_segment_as_the_request_are_served(server):
    with server.websocket(early=frame(TEXT, "early") + frame(BINARY, b"x" * 5000) + frame(PING, b"p")) as client:
        assert client.read_frame() == (TEXT, b"early")
        assert client.read_frame() == (BINARY, b"x" * 5000)
        assert client.read_frame() == (PONG, b"p")
        client.echo("and later")


def test_half_a_frame_behind_the_request_is_kept_for_its_rest(server):
    whole = frame(TEXT, "in two parts")
    with server.websocket(early=whole[:5]) as client:
        client.send(whole[5:])
        assert client.read_frame() == (TEXT, b"in two parts")


def test_the_server_answers_a_close_and_ends_the_stream(server):
    with server.websocket() as client:
        client.close(3001, "enough")
    with server.websocket() as client:
        client.send(frame(CLOSE))
        assert client.read_close() == (None, "")
        client.read_end()


@pytest.mark.parametrize("bad, code", [
    (frame(TEXT, "hi", mask=None), 1002),
    (frame(TEXT, "hi", rsv=4), 1002),
    (frame(3, "hi"), 1002),
    (frame(0, "hi"), 1002),
    (frame(TEXT, b"\xff"), 1007),
    (frame(BINARY, b"", length=(1 << 20) + 1), 1009),
    (frame(BINARY, b"", length=1 << 62), 1009),
    (frame(CLOSE, close_payload(1005)), 1002),
])
def test_a_broken_rule_closes_with_its_code(server, bad, code):
    with server.websocket() as client:
        client.send(frame(TEXT, "before") + bad + frame(TEXT, "after"))
        assert client.read_frame() == (TEXT, b"before")
        assert client.read_close()[0] == code
        client.read_end()


def test_a_big_message_refused_while_it_is_sent_still_gets_its_close_frame(server):
    with server.websocket() as client:
        client.send(frame(BINARY, b"x" * (4 << 20)))
        assert client.read_close()[0] == 1009


def test_a_reset_harms_nobody(server):
    with server.websocket() as other:
        for _ in range(20):
            with server.websocket() as client:
                client.send(frame(TEXT, "x" * 100_000, fin=False)[:50_000])
                client.reset()
        other.echo()


def test_a_client_that_does_not_read_is_not_read_and_gets_everything_later(server):
    messages, size = 48, 1 << 20
    with server.websocket() as client:
        client.echo("x" * size)
        before_kb = server.peak_memory_kb()
        client.start_sending(b"".join(frame(BINARY, bytes([number]) * size) for number in range(messages)))
        client.send_until_blocked()
        for number in range(messages):
            assert client.read_frame() == (BINARY, bytes([number]) * size)
        # The high-water mark, one message in each direction and buffers; 48 MiB were in flight.
        assert server.peak_memory_kb() - before_kb < 12 * 1024


def test_a_client_that_ends_its_stream_still_gets_its_replies(mpm):
    with Server(ECHO, mpm=mpm) as server, server.websocket() as client:
        client.send(frame(BINARY, b"x" * 300_000))
        client.connection.shutdown(1)
        assert client.read_frame() == (BINARY, b"x" * 300_000)
        client.read_end()
