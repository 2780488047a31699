"""What tests of publishing over HTTP share: locations to publish and to listen, and the clients of both."""

import json

from harness import TEXT, read_response, request

PUBLISH = """
<Location "/publish">
    SetHandler websocket-publish
    Require ip 127.0.0.1
</Location>
<Location "/listen">
    WebSocketHandler "{}/listen.so"
</Location>
"""


def http_request(method, path, *headers, body=b""):
    body = body.encode() if isinstance(body, str) else body
    length = [f"Content-Length: {len(body)}"] if body or method == "POST" else []
    return request(path, *length, *headers, method=method) + body


class Publisher:
    """Requests on one connection, one after the other."""

    def __init__(self, server):
        self.connection = server.connect()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.connection.close()

    def answer(self, method="POST"):
        """Status and what the JSON says."""
        status, headers, body = read_response(self.connection, method)
        assert headers.get("cache-control") == "no-store", (status, headers, body)
        if status == 204 or method == "HEAD":
            assert not body
            return status, headers
        assert headers["content-type"] == "application/json"
        return status, json.loads(body)

    def ask(self, method, path, *headers, body=b""):
        self.connection.sendall(http_request(method, path, *headers, body=body))
        return self.answer(method)

    def post(self, topic, body, *headers, query=""):
        status, said = self.ask("POST", f"/publish/{topic}{query}", *headers, body=body)
        assert status == 200, said
        return said

    def state(self, topic):
        status, said = self.ask("GET", f"/publish/{topic}")
        assert status == 200
        return said


def listen(server, topic, query="", **tls):
    """A client that has subscribed, and gets what is published from now on."""
    client = server.websocket(f"/listen/{topic}{query}", **tls)
    if not query:
        await_subscribed(client)
    return client


def await_subscribed(client):
    """What came before."""
    came = []
    while True:
        opcode, payload = client.read_frame()
        if opcode == TEXT and payload.startswith(b"subscribed "):
            return came
        came.append(payload)
