"""Many clients on several loops subscribe, publish, unsubscribe and vanish at random, on the loops and on workers."""

import collections
import itertools
import random
import threading

import pytest

import sanitizer
from harness import ECHO, Server
from topics_support import messages, talking

CONFIG = ECHO + """
WebSocketThreads 2
WebSocketTopicHistory count=50
<Location /topics>
    WebSocketHandler topics
    WebSocketParam publish on
    WebSocketParam history 5
</Location>
<Location /workers>
    WebSocketHandler topics
    WebSocketParam publish on
    WebSocketParam history 5
    WebSocketWorkers 3
</Location>
"""
TOPICS = [f"t{number}" for number in range(6)]
CLIENTS, STEPS = (6, 60) if sanitizer.NAME else (8, 150)
NUMBERS = itertools.count(1)


class Wanderer(threading.Thread):
    """A client that does something at random so many times, in a thread, and remembers what it got."""

    def __init__(self, server, seed):
        super().__init__()
        self.server, self.random, self.failure = server, random.Random(seed), None

    def run(self):
        try:
            left = STEPS
            while left > 0:
                left -= self.visit(min(left, self.random.randrange(1, 30)))
        except Exception as failure:  # for the thread of the test
            self.failure = failure

    def visit(self, steps):
        where = self.random.choice(["/topics", "/workers", f"/topics/{self.random.choice(TOPICS)}", f"/workers?topic={self.random.choice(TOPICS)}"])
        with talking(self.server, where) as talk:
            for _ in range(steps):
                self.step(talk)
            if self.random.random() < 0.5:
                talk.say(type="publish", topic="end", data="", ref="end")
                heard = talk.hear_until(type="published", ref="end")
                # On workers the loop may have sent something behind what says that it has unsubscribed.
                self.check(heard, ordered=not where.startswith("/workers"))
            elif self.random.random() < 0.5:
                talk.client.reset()
        return steps

    def step(self, talk):
        topic, kind = self.random.choice(TOPICS), self.random.randrange(8)
        if kind < 3:
            how = self.random.choice([{}, {"last": self.random.randrange(60)}, {"since": 0}, {"since": 1}])
            talk.say(type="subscribe", topic=topic, **how)
        elif kind < 4:
            talk.say(type="unsubscribe", topic=topic)
        else:
            talk.say(type="publish", topic=topic, data=f"{next(NUMBERS)} " + "x" * self.random.choice([0, 10, 3000]),
                     transient=self.random.random() < 0.2)

    @staticmethod
    def check(heard, ordered=True):
        """Between a subscription's begin and its end, ids grow."""
        last = collections.defaultdict(int)
        for each in heard:
            if each["type"] == "message":
                assert each["id"] > last[each["topic"]] or not ordered, each
                last[each["topic"]] = each["id"]
            elif each["type"] == "unsubscribed":
                last[each["topic"]] = 0
            elif each["type"] == "error":
                assert each["message"] == "subscribed to this topic already", each


@pytest.mark.parametrize("mooring", ["tcp", "resident"])
def test_whoever_comes_and_goes_the_others_are_served(mooring):
    with Server(CONFIG, mooring=mooring, threads=40) as server, talking(server, "/topics") as watcher:
        for topic in TOPICS:
            watcher.subscribe(topic)
        wanderers = [Wanderer(server, seed) for seed in range(CLIENTS)]
        for each in wanderers:
            each.start()
        heard = []
        reader = threading.Thread(target=lambda: heard.extend(watcher.hear_until(type="message", data="the end")))
        reader.start()
        for each in wanderers:
            each.join()
        with server.websocket("/topics?topic=" + TOPICS[0]) as last:
            last.send_text("the end")
            reader.join()
        for each in wanderers:
            assert not each.failure, each.failure
        # It has read all the time: it has got all, each once.
        assert not [each for each in heard if each["type"] != "message"]
        Wanderer.check(heard)
        numbers = [int(text.split()[0]) for text in messages(heard)[:-1]]
        assert len(numbers) == len(set(numbers)) > 0
        server.settle()
