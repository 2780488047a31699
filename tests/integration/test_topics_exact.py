"""Each subscriber gets each publication once and in its publisher's order: over children, when one is killed, and over graceful restarts."""

import contextlib
import json
import os
import select
import signal

import pytest

from crowd import Crowd, Publishers
from harness import CLOSE, LIMIT_S, TEXT, Client, Server, eventually
from redis_support import Redis

# Publishers' sockets do not get what they publish: they are at another location. All is kept, so that nothing is a gap.
CONFIG = """
StartServers {children}
WebSocketThreads 2
WebSocketMaxTopics 10000
WebSocketTopicHistory count=1000000 bytes=64M memory=512M
WebSocketBus local size=4M
<Location /in>
    WebSocketHandler topics
    WebSocketParam publish on
    WebSocketParam subscribe off
</Location>
<Location /out>
    WebSocketHandler topics
    WebSocketParam history 1000000
</Location>
<Location /state>
    SetHandler websocket-publish
    Require all granted
</Location>
"""
CHILDREN = 3


def config(children=CHILDREN):
    return CONFIG.format(children=children)


def subscribed(server, topics):
    return sum(json.loads(server.http(f"/state?topic={topic}")[2])["subscribers"] for topic in topics)


def children_of(server, members):
    return {member: server.child_of(member) for member in members}


def spread(server, crowd, count, topics):
    """So many subscribers of the topics in turn, and of more than one child."""
    # Some threads are busy, so that not all connections go to one child.
    held = [] if server.mpm == "prefork" else server.begin_requests(4)
    members = [crowd.join(server, f"/out/{topics[number % len(topics)]}", topics[number % len(topics)]) for number in range(count)]
    for each in held:
        each.close()
    assert len(set(children_of(server, members).values())) > 1, "all are in one child"


def play(servers, subscribers, topics, publishers, publications):
    """Publishes so many in all, over topics and publishers in turn; every subscriber has to get those of its topic."""
    crowd = Crowd()
    for server in servers:
        spread(server, crowd, subscribers // len(servers), topics)
        eventually(lambda: subscribed(server, topics) == subscribers // len(servers), "not all have subscribed")
    publishing = Publishers(servers, lambda topic: f"/in?topic={topic}", topics, [f"p{number}" for number in range(publishers)])
    keys = list(publishing.sockets)
    for number in range(publications):
        while not publishing.publish(keys[number % len(keys)]):
            crowd.read(0.01)
        if number % 50 == 0:
            crowd.read()
    due = sum(publishing.number[key] for member in crowd.members for key in keys if key[1] == member.topic)
    crowd.read_until(lambda: crowd.got == due, f"{crowd.got} of {due} came")
    for member in crowd.members:
        assert member.closed is None
        assert member.last == {name.encode(): count for (name, topic), count in publishing.number.items() if topic == member.topic}
    publishing.close()
    crowd.close()


def test_everybody_gets_every_publication_once_and_in_order(mpm):
    with Server(config(), mpm=mpm, threads=8) as server:
        play([server], subscribers=200, topics=[f"t{number}" for number in range(10)], publishers=8, publications=4000)


@pytest.mark.soak
def test_a_hundred_thousand_publications_from_eight_publishers_to_a_thousand_subscribers():
    with Server(config(), threads=25) as server:
        play([server], subscribers=1000, topics=[f"t{number}" for number in range(50)], publishers=8, publications=100_000)


def two_servers(redis, threads):
    return [Server(config().replace("WebSocketBus local", f"WebSocketBus redis+unix:{redis.socket}"), threads=threads) for _ in range(2)]


def test_two_servers_and_their_children_get_every_publication_once_and_in_order():
    with Redis() as redis, contextlib.ExitStack() as stack:
        servers = [stack.enter_context(server) for server in two_servers(redis, 8)]
        play(servers, subscribers=200, topics=[f"t{number}" for number in range(10)], publishers=8, publications=2000)


@pytest.mark.soak
def test_a_hundred_thousand_publications_through_two_servers():
    with Redis() as redis, contextlib.ExitStack() as stack:
        servers = [stack.enter_context(server) for server in two_servers(redis, 25)]
        play(servers, subscribers=1000, topics=[f"t{number}" for number in range(50)], publishers=8, publications=100_000)


def test_a_child_that_is_killed_in_mid_stream_harms_only_its_own(mpm):
    with Server(config(), mpm=mpm, threads=8) as server:
        server.expect(r"AH00052: child pid \d+ exit signal Killed \(9\)")
        crowd = Crowd()
        spread(server, crowd, 60, ["t"])
        publishing = Publishers([server], lambda topic: f"/in?topic={topic}", ["t"], [f"p{number}" for number in range(6)])
        keys = list(publishing.sockets)
        publisher_children = {key: server.child_of(type("", (), {"connection": publishing.sockets[key]})) for key in keys}
        victims = set(children_of(server, crowd.members).values())
        victim = next((pid for pid in victims if pid != publisher_children[keys[0]]), None)
        assert victim
        doomed = {member for member, pid in children_of(server, crowd.members).items() if pid == victim}
        dying = [key for key in keys if publisher_children[key] == victim]
        living = [key for key in keys if key not in dying]
        for number in range(1500):
            key = keys[number % len(keys)] if number < 700 else living[number % len(living)]
            if number == 700:
                os.kill(victim, signal.SIGKILL)
            while not publishing.publish(key):
                crowd.read(0.01)
            crowd.read()
        survivors = [member for member in crowd.members if member not in doomed]
        assert survivors
        crowd.read_until(lambda: all(member.last[key[0].encode()] == publishing.number[key] for member in survivors for key in living),
                         "survivors miss something")
        # Of those that died with their child, all survivors have got the same.
        for key in dying:
            assert len({member.last[key[0].encode()] for member in survivors}) == 1
        assert all(member.closed is None for member in survivors)
        # A new child serves the topic as any other.
        eventually(lambda: victim not in server.children(), "the dead child stays")
        late = crowd.join(server, "/out/t", "t")
        crowd.read_until(lambda: late.last == survivors[0].last, "who comes late does not get the history")
        publishing.close()
        crowd.close()


class Resuming:
    """A client of topics.v1 that comes back after each close and goes on from where it was."""

    def __init__(self, server):
        self.server, self.got, self.last_id, self.closes = server, [], 0, 0
        self.client = None

    def connect(self, **how):
        self.client = Client(self.server.connect(), "/out", "Sec-WebSocket-Protocol: topics.v1")
        self.client.send_text(json.dumps({"type": "subscribe", "topic": "t", **how}))

    def read(self):
        opcode, payload = self.client.read_frame()
        if opcode == CLOSE:
            self.closes += 1
            self.client.connection.close()
            return self.connect(since=self.last_id)
        assert opcode == TEXT
        message = json.loads(payload)
        assert message["type"] in ("subscribed", "message"), message
        assert message["id"] >= self.last_id, message
        self.last_id = message["id"]
        if message["type"] == "message":
            self.got.append(message["data"])
        return None


def test_a_graceful_restart_in_mid_stream_loses_and_doubles_nothing(mpm):
    with Server(config(children=2) + "WebSocketDrainTimeout 500ms\n", mpm=mpm, threads=8) as server:
        readers = [Resuming(server) for _ in range(10)]
        for reader in readers:
            reader.connect(last=0)
            reader.read()
        publisher, number = None, 0
        for restarts in range(2):
            old = set(server.children())
            restarted = False
            while len([reader for reader in readers if reader.closes > restarts]) < len(readers):
                if publisher is None:
                    publisher = Client(server.connect(), "/in", "Sec-WebSocket-Protocol: topics.v1")
                publisher.send_text(json.dumps({"type": "publish", "topic": "t", "data": str(number), "ref": number}))
                opcode, payload = publisher.read_frame()
                if opcode == CLOSE:  # it was not published
                    publisher.connection.close()
                    publisher = None
                else:
                    assert json.loads(payload)["ref"] == number, payload
                    number += 1
                if number % 20 == 10 and not restarted:
                    server.process.send_signal(signal.SIGUSR1)
                    restarted = True
                for reader in readers:
                    while select.select([reader.client.connection], [], [], 0)[0]:
                        reader.read()
            server.await_new_children(old)
        for reader in readers:
            while len(reader.got) < number:
                assert select.select([reader.client.connection], [], [], LIMIT_S)[0], "something does not come"
                reader.read()
            assert reader.got == [str(each) for each in range(number)]
