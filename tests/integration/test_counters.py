"""What is counted of WebSockets, compared with what their clients have sent and got."""

import os
import signal

import pytest

from deflate import RSV1, Deflating, deflated
from harness import BINARY, CLOSE, CONTINUATION, TEXT, Server, close_payload, eventually, frame
from status_support import CONFIG, location, read_json, read_metrics, value

MOORINGS = {"tcp": "plain", "tls": "tls", "resident": "resident", "resident-tls": "resident"}


def counted(server):
    return location(read_json(server), "/echo")


def await_counted(server, **expected):
    """Until the figures of the location are these; what is not named of them is of no interest."""
    last = None

    def is_so():
        nonlocal last
        last = counted(server)
        return all(last[name] == is_ for name, is_ in expected.items())
    try:
        eventually(is_so, "never")
    except AssertionError:
        assert {name: last[name] for name in expected} == expected
        raise
    return last


def with_counts(all_of, **counts):
    assert counts.keys() <= all_of.keys()
    return {**dict.fromkeys(all_of, 0), **counts}


@pytest.mark.parametrize("mooring", MOORINGS)
def test_traffic_is_counted_exactly(mooring):
    with Server(CONFIG, mooring=mooring) as server:
        kind = MOORINGS[mooring]
        empty = counted(server)
        one = with_counts(empty["open"], **{kind: 1})
        with server.websocket() as client:
            for i in range(50):
                client.echo("x" * i)
            for i in range(20):
                client.echo(b"\xff" * 1000, BINARY)
            client.send(frame(TEXT, b"of ", fin=False) + frame(CONTINUATION, b"three ", fin=False) + frame(CONTINUATION, b"parts"))
            assert client.read_frame()[-1] == b"of three parts"
            for i in range(3):
                client.echo_of_ping(b"ping")
            traffic = {"text": 51, "binary": 20}
            volume = {"text": sum(range(50)) + len("of three parts"), "binary": 20_000}
            now = await_counted(server, open=one, opened=one, messages={"received": traffic, "sent": traffic},
                                bytes={"received": volume, "sent": volume}, pings_received=3, buffered_bytes=0)
            assert now["closed"] == empty["closed"]
            assert sum(each["open"] for each in read_json(server)["children"]) == 1
            client.close(1000)
        await_counted(server, open=empty["open"], opened=one,
                      closed={"codes": with_counts(empty["closed"]["codes"], **{"1000": 1}),
                              "causes": with_counts(empty["closed"]["causes"], client=1)})
        samples = read_metrics(server)[1]
        assert value(samples, "messages_total", location="/echo", direction="received", type="text") == 51
        assert value(samples, "message_bytes_total", location="/echo", direction="sent", type="binary") == 20_000
        assert value(samples, "connections_opened_total", mooring=kind) == value(samples, "connections_closed_total", code="1000") == 1
        assert value(samples, "connections") == 0


def test_ends_are_counted_by_code_and_cause():
    with Server(CONFIG + "WebSocketMaxMessage 1000\n") as server:
        ends = counted(server)["closed"]
        for code in [1000, 3000, 3999, 4000, 4321]:
            with server.websocket() as client:
                client.close(code)
        for _ in range(2):
            with server.websocket() as client:
                client.send(frame(3))  # an opcode that is reserved
                assert client.read_close()[0] == 1002
        with server.websocket() as client:
            client.send(frame(TEXT, b"\xff"))
            assert client.read_close()[0] == 1007
        with server.websocket() as client:
            client.send(frame(BINARY, bytes(1001)))
            assert client.read_close()[0] == 1009
        with server.websocket() as client:
            client.send(frame(CLOSE))
            assert client.read_close()[0] is None
        await_counted(server, open=dict.fromkeys(["plain", "tls", "resident"], 0), closed={
            "codes": with_counts(ends["codes"], **{"1000": 1, "3xxx": 2, "4xxx": 2, "1002": 2, "1007": 1, "1009": 1, "1005": 1}),
            "causes": with_counts(ends["causes"], client=6, protocol=3, message_size=1)})


def test_compressed_messages_are_counted_before_and_after():
    with Server(CONFIG) as server:
        with Deflating(server) as client:
            text = b"to and fro " * 1000
            payload = deflated(text)
            client.send(frame(TEXT, payload, rsv=RSV1))
            assert client.read_message() == (TEXT, text)
            await_counted(server, messages={"received": {"text": 1, "binary": 0}, "sent": {"text": 1, "binary": 0}},
                          bytes={"received": {"text": len(text), "binary": 0}, "sent": {"text": len(text), "binary": 0}})
            deflate = counted(server)["deflate"]
            assert deflate["received"]["raw_bytes"] == deflate["sent"]["raw_bytes"] == len(text)
            assert deflate["received"]["wire_bytes"] == len(payload)
            assert 0 < deflate["sent"]["wire_bytes"] < len(text) / 10
            assert deflate["received"]["seconds"] > 0 and deflate["sent"]["seconds"] > 0


def send_many(client, times):
    """Thousands of messages, and their echoes."""
    block, payload = 1000, b"%06d" % times
    for _ in range(times):
        client.send(frame(BINARY, payload) * block)
        assert client.read_exactly(block * (2 + len(payload))) == (b"\x82" + bytes([len(payload)]) + payload) * block


def test_nothing_is_lost_over_kills_and_restarts():
    with Server(CONFIG) as server:
        server.expect("AH00052: child pid")
        codes, causes = (counted(server)["closed"][each] for each in ["codes", "causes"])
        messages = 0

        def talk(count=4):
            nonlocal messages
            clients = [server.websocket() for _ in range(count)]
            for i, client in enumerate(clients):
                send_many(client, 6 + i)
                messages += 1000 * (6 + i)
            return clients

        def check(**more):
            traffic = {"text": 0, "binary": messages}
            volume = {"text": 0, "binary": messages * 6}
            await_counted(server, messages={"received": traffic, "sent": traffic}, bytes={"received": volume, "sent": volume},
                          **{name: dict(plain=count, tls=0, resident=0) for name, count in more.items()})

        clients = talk()
        check(open=4, opened=4)
        killed = server.child_of(clients[0])
        os.kill(killed, signal.SIGKILL)
        server.await_gone([killed])
        server.await_new_children({killed})
        check(open=0, opened=4)  # of the dead nothing is open
        died = {"codes": with_counts(codes, **{"1006": 4}), "causes": with_counts(causes, died=4)}
        assert counted(server)["closed"] == died

        clients = talk()
        before = set(server.children())
        server.process.send_signal(signal.SIGUSR1)
        for client in clients:
            assert client.read_close()[0] == 1001
            client.send(frame(CLOSE, close_payload(1001)))
        server.await_new_children(before)
        server.await_gone(before)
        check(open=0, opened=8)
        assert counted(server)["closed"] == {"codes": with_counts(codes, **{"1006": 4, "1001": 4}), "causes": with_counts(causes, died=4, drain=4)}

        clients = talk(3)
        before = set(server.children())
        server.process.send_signal(signal.SIGHUP)
        for client in clients:
            assert client.read_close()[0] == 1001
        server.await_new_children(before)
        server.await_gone(before)
        check(open=0, opened=11)
        clients = talk()
        check(open=4, opened=15)
        assert messages > 100_000
        assert counted(server)["closed"]["causes"] == with_counts(causes, died=4, drain=4, stop=3)
