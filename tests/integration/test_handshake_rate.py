"""WebSocketHandshakeRate: how often a client may ask for a WebSocket."""

import collections
import concurrent.futures
import re
import threading
import time

import pytest

from admission import attempt, location, opened
from harness import Server, eventually


class Handshakes:
    """Opening handshakes of a client, and how many were let through of those that a limit allows by now."""

    def __init__(self, rate, burst):
        self.rate, self.burst, self.begin, self.passed = rate, burst, time.monotonic(), 0

    def until_refused(self, server, *where, status=101, **how):
        """Retry-After of the first that is."""
        while True:
            got, headers, connection = attempt(server, *where, **how)
            if connection:
                connection.close()
            if got == 429:
                return int(headers["retry-after"])
            assert got == status
            self.passed += 1
            self.check()

    def check(self):
        assert self.passed <= self.burst + (time.monotonic() - self.begin) * self.rate + 1


def test_handshakes_of_an_address_come_in_bursts_and_then_at_their_rate(mpm):
    with Server(location("/echo", "WebSocketHandshakeRate 1 6"), mpm=mpm) as server:
        server.expect(r"\[client 127\.0\.0\.1:\d+\] WS208: opening handshakes come too fast: WebSocketHandshakeRate 1 6 is exceeded \(\d+ refused by this child so far\)")
        handshakes = Handshakes(1, 6)
        for _ in range(2):
            retry_s = handshakes.until_refused(server)
            assert handshakes.passed >= 6 and retry_s == 1
            opened(server, source="127.0.0.2").close()
            assert server.http("/index.html")[0] == 200
            threading.Event().wait(retry_s)  # what it says is what is tested
            opened(server).close()
            handshakes.passed += 1
        assert "WebSocketHandshakeRate 1 6 is exceeded" in server.error_log()


@pytest.mark.parametrize("status, headers", [(403, ["Origin: http://evil.example"]), (400, ["Sec-WebSocket-Key: twice"])],
                         ids=["origin", "malformed"])
def test_handshakes_that_fail_count_too(status, headers):
    with Server(location("/echo", "WebSocketHandshakeRate 1 4")) as server:
        server.expect(r"WebSocketHandshakeRate 1 4 is exceeded")
        handshakes = Handshakes(1, 4)
        handshakes.until_refused(server, "/echo", *headers, status=status)
        assert handshakes.passed >= 4


def test_those_that_a_handler_rejects_count_too(handlers):
    config = f'<Location /reject>\nWebSocketHandler "{handlers}/report.so"\nWebSocketHandshakeRate 1 4\n</Location>\n'
    with Server(config) as server:
        server.expect(r"WebSocketHandshakeRate 1 4 is exceeded")
        handshakes = Handshakes(1, 4)
        handshakes.until_refused(server, "/reject", "X-Status: 404", status=404)
        assert handshakes.passed >= 4


def test_those_that_another_limit_refuses_count_too():
    with Server(location("/echo", "WebSocketHandshakeRate 1 9", "WebSocketMaxPerAddress 1")) as server:
        server.expect(r"WebSocketHandshakeRate 1 9 is exceeded", r"WebSocketMaxPerAddress 1 is reached")
        with opened(server):
            def refused_by_rate():
                _, headers, _ = attempt(server)
                return headers["retry-after"] == "1"
            eventually(refused_by_rate, "only the other limit refuses")
        for each in ["WebSocketHandshakeRate 1 9 is exceeded", "WebSocketMaxPerAddress 1 is reached"]:
            assert each in server.error_log(), "one line keeps the other from the log"


def test_a_flood_of_handshakes_is_held_to_the_rate_over_all_children(mpm):
    rate, burst = 5, 10
    with Server(location("/echo", f"WebSocketHandshakeRate {rate} {burst}"), mpm=mpm, threads=3) as server:
        server.expect(rf"WebSocketHandshakeRate {rate} {burst} is exceeded")
        handshakes = Handshakes(rate, burst)
        def one(_):
            status, _, connection = attempt(server)
            if connection:
                connection.close()
            return status
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            got = collections.Counter(pool.map(one, range(200)))
        handshakes.passed = got[101]
        handshakes.check()
        assert got[101] >= burst and got[101] + got[429] == 200
        lines = re.findall(r"WebSocketHandshakeRate \d+ \d+ is exceeded", server.error_log())
        seconds = time.monotonic() - handshakes.begin
        assert len(lines) <= 70 * (1 + seconds / 10), "a line for each refusal"
        server.await_idle()


def test_locations_with_the_same_rate_share_it_and_others_do_not():
    config = "WebSocketHandshakeRate 1 5\n" + location("/one") + location("/two") + location("/other", "WebSocketHandshakeRate 1 6") + location(
        "/free", "WebSocketHandshakeRate 0")
    with Server(config) as server:
        server.expect(r"WebSocketHandshakeRate 1 [56] is exceeded")
        handshakes = Handshakes(1, 5)
        while handshakes.passed < 40:  # so that the second location is at its limit by the first
            handshakes.until_refused(server, "/one")
            if attempt(server, "/two")[0] == 429:
                break
            handshakes.passed += 1
        else:
            raise AssertionError("each location has a rate of its own")
        for path in ["/other", "/free", "/free"]:
            opened(server, path).close()
        server.await_idle()
