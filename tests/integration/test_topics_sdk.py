"""Topics by the functions that handlers have for them: on every mooring, on the loop and on workers, compressed and not."""

import itertools
import json
import re

import pytest

from deflate import OFFER, RSV1, inflated
from harness import BINARY, TEXT, Server, eventually

OK, LIMIT, INVALID, WRONG_THREAD = 0, -5, -2, -3

CONFIG = """
<Location /sdk>
    WebSocketHandler "HANDLERS/topics_sdk.so"
    WebSocketWorkers WORKERS
    WebSocketMaxSubscriptions 3
</Location>
"""
NUMBERS = itertools.count(1)
COMPRESSED = RSV1 << 4


def config(handlers, workers=0):
    return CONFIG.replace("HANDLERS", str(handlers)).replace("WORKERS", str(workers))


WAYS = {"tcp": {"mooring": "tcp"}, "tls": {"mooring": "tls"}, "resident": {"mooring": "resident"}, "workers": {"mooring": "tcp"},
        "resident-workers": {"mooring": "resident-tls"}, "prefork": {"mpm": "prefork"}}


@pytest.fixture(scope="module", params=WAYS)
def server(request, handlers):
    running = Server(config(handlers, 4 if "workers" in request.param else 0), **WAYS[request.param])
    running.workers = "workers" in request.param
    with running:
        yield running
        running.await_idle()


@pytest.fixture
def topic():
    """One that no other test uses."""
    return f"sdk-{next(NUMBERS)}"


class Peer:
    """A client of the handler, which knows answers from publications by their first word."""

    def __init__(self, client):
        self.client, self.published, self.told, self.compressed = client, [], [], []

    def read(self):
        first, payload = self.client.read_any_frame()
        if first & COMPRESSED:
            payload = inflated(payload)
        opcode = first & 15
        assert opcode in (TEXT, BINARY), (opcode, payload)
        text = payload.decode() if opcode == TEXT else payload
        if opcode == TEXT and re.match(r"(result|subscribed|gap|done) ", text):
            self.told.append(text)
        else:
            self.published.append(text)
            self.compressed.append(bool(first & COMPRESSED))

    def ask(self, command):
        """The result."""
        self.client.send_text(command)
        return int(self.await_told(r"result (-?\d+)")[1])

    def await_told(self, pattern):
        """Takes it out of what was told."""
        while True:
            for place, text in enumerate(self.told):
                if match := re.fullmatch(pattern, text):
                    del self.told[place]
                    return match
            self.read()

    def await_published(self, *expected):
        while len(self.published) < len(expected):
            self.read()
        assert self.published == list(expected)
        self.published = []

    def subscribe(self, topic, how="", before=""):
        """The id."""
        assert self.ask(f"{before}subscribe {topic} {how}") == OK
        return int(self.await_told(rf"subscribed {topic} 0 (\d+)")[1])


@pytest.fixture
def peer():
    """Makes one on a server; it is gone when the test is."""
    made = []

    def make(server, *headers):
        made.append(Peer(server.websocket("/sdk", *headers)))
        return made[-1]
    yield make
    for each in made:
        each.client.connection.close()


@pytest.fixture
def peers(server, peer):
    """Two, in any children; messages of the first are compressed."""
    return peer(server, OFFER), peer(server)


@pytest.mark.parametrize("where", ["", "elsewhere "])
def test_what_is_published_comes_until_it_has_unsubscribed(server, peers, topic, where):
    one, other = peers
    one.subscribe(topic, before=where)
    other.subscribe(topic, before=where)
    assert other.ask(f"{where}publish {topic} first") == OK
    one.await_published("first")
    assert one.ask(f"{where}unsubscribe {topic}") == OK
    assert one.ask(f"{where}unsubscribe {topic}") == OK
    assert one.ask(f"{where}publish {topic} second") == OK
    other.await_published("first", "second")
    # What one thread publishes comes in its order: had it not gone by, it would be there.
    # By the same way: what a callback does may overtake what a thread did by the handle.
    one.subscribe(topic, before=where)
    other.ask(f"{where}publish {topic} third")
    one.await_published("third")


@pytest.mark.parametrize("where", ["", "elsewhere "])
def test_done_tells_the_id_and_who_got_it(server, peers, topic, where):
    one, other = peers
    assert one.ask(f"{where}publish {topic} done nobody hears it") == OK
    result, first, subscribers = map(int, one.await_told(r"done (-?\d+) (\d+) (\d+)").groups())
    assert (result, subscribers) == (OK, 0)
    for count, each in enumerate(peers, 1):
        each.subscribe(topic)
        assert one.ask(f"{where}publish {topic} done {count}") == OK
        result, second, subscribers = map(int, one.await_told(r"done (-?\d+) (\d+) (\d+)").groups())
        assert (result, subscribers) == (OK, count)
        assert second > first
        first = second
    other.await_published("2")


def test_a_subscription_begins_where_it_is_asked_to(server, peers, topic):
    one, other = peers
    ids = []
    for number in range(6):
        one.ask(f"publish {topic} {'transient ' if number == 3 else ''}done m{number}")
        ids.append(int(one.await_told(r"done 0 (\d+) 0")[1]))
    for how, expected in [("", ""), ("last 2", "45"), ("last 9", "01245"), (f"since {ids[1]}", "245"), (f"since {ids[1]} last 1", "245"),
                          (f"since {ids[5]}", "")]:
        assert other.subscribe(topic, how) == ids[5]
        other.await_published(*(f"m{number}" for number in expected))
        other.ask(f"unsubscribe {topic}")


def test_publications_come_in_envelopes_to_who_wants_them(server, peers, topic):
    one, other = peers
    one.ask(f"publish {topic} before")
    one.subscribe(topic, "last 1 enveloped")
    other.subscribe(topic)
    other.ask(f"publish {topic} done \"live\"")
    identity = int(other.await_told(r"done 0 (\d+) 2")[1])
    other.ask(f"publish {topic} binary \0\1")
    while len(one.published) < 3:
        one.read()
    before, live, binary = map(json.loads, one.published)
    assert (before["type"], before["topic"], before["data"]) == ("message", topic, "before")
    assert live == {"type": "message", "topic": topic, "id": identity, "data": '"live"'}
    assert (binary["data"], binary["encoding"]) == ("AAE=", "base64")
    other.await_published('"live"', b"\0\1")


def test_no_more_subscriptions_than_the_section_allows(server, peers, topic):
    one, _ = peers
    for name in "abc":
        one.subscribe(topic + name)
    assert one.ask(f"subscribe {topic}a") == OK  # it has that
    for where in ["", "elsewhere "]:
        result = one.ask(f"{where}subscribe {topic}d")
        if result != LIMIT or where or server.workers:
            assert result == OK
            one.await_told(rf"subscribed {topic}d {LIMIT} 0")
    one.ask(f"publish {topic}d nobody hears it")
    one.ask(f"unsubscribe {topic}a")
    one.subscribe(topic + "d")
    one.ask(f"publish {topic}d heard")
    one.await_published("heard")


def test_mistakes_are_answered_and_logged(server, peers, topic):
    server.expect(r"websocket:error\].*topics_sdk\.so: .*refused: ")
    one, _ = peers
    one.client.send_text("mistakes")
    opcode, payload = one.client.read_frame()
    assert payload.decode().split() == [str(INVALID)] * 31
    assert one.ask("wrong-thread") == WRONG_THREAD
    one.subscribe(topic)
    one.ask(f"publish {topic} and it goes on")
    one.await_published("and it goes on")
    for function in ["subscribe", "unsubscribe", "handle_subscribe", "handle_unsubscribe", "publish"]:
        assert re.search(rf"topics_sdk\.so: .*\b{function}\(\) refused: a topic that is not UTF-8 of 1 to 255 bytes", server.error_log()), function


@pytest.mark.parametrize("workers", [0, 4])
def test_a_connection_that_has_closed_subscribes_no_more(handlers, peer, workers):
    with Server(config(handlers, workers)) as server:
        server.expect(r"websocket:error\].*topics_sdk\.so: .*subscribe\(\) refused: not in a callback of this connection")
        staying, leaving = peer(server), peer(server)
        leaving.client.close()
        assert eventually(lambda: staying.ask("closed-one"), "it is not closed") == WRONG_THREAD
        staying.subscribe("a")


def test_compressed_are_those_that_may_be(server, peers, topic):
    one, other = peers
    for each in peers:
        each.subscribe(topic)
    text = "much the same " * 100
    for how in ["", "uncompressed ", "transient ", "transient uncompressed "]:
        assert other.ask(f"publish {topic} {how}{text}") == OK
    one.await_published(*[text] * 4)
    other.await_published(*[text] * 4)
    assert one.compressed == [True, False, True, False]
    assert other.compressed == [False] * 4
    one.ask(f"unsubscribe {topic}")
    one.subscribe(topic, "last 9")
    one.await_published(*[text] * 2)
    assert one.compressed[4:] == [True, False]


def test_a_client_that_does_not_read_is_told_of_the_gap(server, peer, topic):
    """It gets what was on its way, then what the history still has; its topic's others are not held up."""
    slow, quick, publisher = peer(server), peer(server), peer(server)
    slow.subscribe(topic)
    quick.subscribe(topic)
    texts = [f"{number:06} " + "x" * 60_000 for number in range(300)]
    for text in texts:
        assert publisher.ask(f"publish {topic} uncompressed {text}") == OK
        quick.await_published(text)
    assert publisher.ask(f"publish {topic} the end") == OK
    quick.await_published("the end")
    while slow.published[-1:] != ["the end"]:
        slow.read()
    slow.await_told(f"gap {topic}")  # on workers it may come behind what it was about
    assert not slow.told
    came = [int(text[:6]) for text in slow.published[:-1]]
    before = [number for place, number in enumerate(came) if place == number]
    after = came[len(before):]
    assert 0 < len(before) < 250
    assert after and after == list(range(after[0], 300)) and after[0] > len(before)


def test_room_on_the_server_for_topics_and_subscriptions(handlers, peer):
    with Server("WebSocketMaxTopics 2 3\n" + config(handlers)) as server:
        one, other = peer(server), peer(server)
        one.subscribe("a")
        one.subscribe("b")
        assert one.ask("subscribe c") == LIMIT
        other.subscribe("a")
        assert other.ask("subscribe b") == LIMIT
        one.ask("unsubscribe b")
        other.subscribe("b")


def test_a_message_past_a_quarter_of_the_bus_is_not_published(handlers, peer):
    with Server("WebSocketBus local size=64K\n" + config(handlers)) as server:
        one = peer(server)
        one.subscribe("a")
        for where in ["", "elsewhere "]:
            assert one.ask(f"{where}publish a {'x' * 16385}") == LIMIT
            assert one.ask(f"{where}publish a done {'x' * 16385}") == LIMIT
            assert one.ask(f"{where}publish a {'y' * 16384}") == OK
        one.await_published(*["y" * 16384] * 2)
        assert not one.told
