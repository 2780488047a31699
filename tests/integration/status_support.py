"""Reading SetHandler websocket-status."""

import json
import re

CONFIG = """
<Location "/echo">
    WebSocketHandler echo
</Location>
<Location "/status">
    SetHandler websocket-status
    Require all granted
</Location>
"""


def read_json(server, path="/status?format=json"):
    status, headers, body = server.http(path)
    assert status == 200 and headers["content-type"] == "application/json", (status, headers, body)
    return json.loads(body)


def location(status, path):
    found = [each for each in status["locations"] if each["location"] == path]
    assert len(found) == 1, found
    return found[0]


def read_metrics(server, path="/status?format=prometheus"):
    """The body, and its samples: {(name, ((label, value), ...)): number}."""
    status, headers, body = server.http(path)
    assert status == 200 and headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8", (status, headers, body)
    text, samples = body.decode(), {}
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        name, labels, value = re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+)", line).groups()
        key = (name, tuple(sorted(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', labels or ""))))
        assert key not in samples, line
        samples[key] = float(value)
    return text, samples


def value(samples, name, **labels):
    """The sum of all that have these labels."""
    found = [each for (its, has), each in samples.items() if its == "websocket_" + name and labels.items() <= dict(has).items()]
    assert found, (name, labels)
    return sum(found)
