"""Clients of topics: bare ones, and those that speak the subprotocol topics.v1."""

import contextlib
import json

from harness import TEXT

OFFER = "Sec-WebSocket-Protocol: topics.v1"


class Talk:
    """A client of topics.v1."""

    def __init__(self, client):
        self.client = client

    def say(self, **envelope):
        self.client.send_text(json.dumps(envelope))

    def hear(self):
        opcode, payload = self.client.read_frame()
        assert opcode == TEXT, (opcode, payload[:80])
        return json.loads(payload)

    def hear_until(self, **expected):
        """What comes, up to and with the first that has these members."""
        heard = []
        while not heard or not expected.items() <= heard[-1].items():
            heard.append(self.hear())
        return heard

    def ask(self, **envelope):
        self.say(**envelope)
        return self.hear()

    def subscribe(self, topic, **how):
        """The id, where nothing of the history comes first."""
        answer = self.ask(type="subscribe", topic=topic, **how)
        assert (answer["type"], answer["topic"]) == ("subscribed", topic), answer
        return answer["id"]

    def publish(self, topic, data, **how):
        """The id, where nothing else is heard meanwhile."""
        answer = self.ask(type="publish", topic=topic, data=data, ref=0, **how)
        assert (answer["type"], answer["topic"], answer["ref"]) == ("published", topic, 0), answer
        return answer["id"]

    def close(self):
        self.client.close()


@contextlib.contextmanager
def talking(server, path, *headers):
    with server.websocket(path, OFFER, *headers) as client:
        assert client.headers["sec-websocket-protocol"] == "topics.v1"
        yield Talk(client)


def messages(heard):
    """Their data, in the order in which they came."""
    return [each["data"] for each in heard if each["type"] == "message"]
