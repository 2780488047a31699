"""Many topics, and every id to go on from, over topics.v1."""

import json
import signal

import pytest

from harness import TEXT, Client, Server

CONFIG = """
WebSocketMaxTopics 10000
WebSocketTopicHistory count=20
<Location /topics>
    WebSocketHandler topics
    WebSocketParam publish on
    WebSocketMaxSubscriptions 2500
</Location>
"""


class Talk:
    def __init__(self, server):
        self.client = Client(server.connect(), "/topics", "Sec-WebSocket-Protocol: topics.v1")

    def say(self, *messages):
        for message in messages:
            self.client.send_text(json.dumps(message))

    def hear(self):
        opcode, payload = self.client.read_frame()
        assert opcode == TEXT
        return json.loads(payload)

    def ask(self, **message):
        self.say(message)
        return self.hear()


def test_ten_thousand_topics_and_no_more():
    with Server(CONFIG) as server:
        talks = [Talk(server) for _ in range(4)]
        topics = [[f"topic {number * 2500 + each}" for each in range(2500)] for number in range(4)]
        for talk, names in zip(talks, topics):
            for at in range(0, 2500, 50):  # a few at a time, so that neither side waits for the other
                talk.say(*({"type": "subscribe", "topic": name} for name in names[at:at + 50]))
                assert {talk.hear()["topic"] for _ in range(50)} == set(names[at:at + 50])
        late = Talk(server)
        assert late.ask(type="subscribe", topic="one too many")["code"] == "limit"
        for names in topics:
            for name in names:
                assert late.ask(type="publish", topic=name, data=name, ref=1)["type"] == "published"
        for talk, names in zip(talks, topics):
            for name in names:
                message = talk.hear()
                assert (message["type"], message["topic"], message["data"]) == ("message", name, name)
        talks[0].say({"type": "unsubscribe", "topic": "topic 0"})
        assert talks[0].hear()["type"] == "unsubscribed"
        assert late.ask(type="subscribe", topic="one too many")["type"] == "subscribed"


@pytest.mark.parametrize("restarts", [False, True], ids=["", "after a graceful restart"])
def test_going_on_from_every_id(restarts):
    with Server(CONFIG) as server:
        talk = Talk(server)
        ids = [talk.ask(type="publish", topic="t", data=str(number), ref=number)["id"] for number in range(60)]
        assert ids == sorted(set(ids))
        if restarts:
            old = server.children()
            server.process.send_signal(signal.SIGUSR1)
            server.await_new_children(old)
            server.await_gone(old)
            talk = Talk(server)
        for at, known in enumerate(ids):
            talk.say({"type": "subscribe", "topic": "t", "since": known})
            heard = [talk.hear()]
            while heard[-1]["type"] != "subscribed":
                heard.append(talk.hear())
            first = max(at + 1, 40)  # 20 are kept
            expected = [{"type": "gap", "topic": "t"}] if at + 1 < 40 else []
            expected += [{"type": "message", "topic": "t", "id": ids[each], "data": str(each)} for each in range(first, 60)]
            assert heard == [*expected, {"type": "subscribed", "topic": "t", "id": heard[-1]["id"]}]
            assert heard[-1]["id"] >= ids[-1]
            assert talk.ask(type="unsubscribe", topic="t")["type"] == "unsubscribed"
