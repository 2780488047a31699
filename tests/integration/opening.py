"""Opening handshakes byte by byte, and what the server says to them."""

import contextlib
import re
import socket

from harness import LIMIT_S, UPGRADE, read_response, request


def opening(path="/echo", *more, without=(), **how):
    return request(path, *[line for line in UPGRADE if line.split(":")[0] not in without], *more, **how)


def connected(server, port=None):
    return socket.create_connection(("127.0.0.1", port), LIMIT_S) if port else server.connect()


def answer(server, data, port=None, method="GET"):
    """Status, headers and body of what the server says to these bytes on a new connection."""
    with connected(server, port) as connection:
        connection.sendall(data)
        return read_response(connection, method)


@contextlib.contextmanager
def logged(server, pattern):
    """One line of the error log that is written inside matches."""
    before = len(server.error_log())
    yield
    lines = server.error_log()[before:].splitlines()
    assert [bool(re.search(pattern, line)) for line in lines].count(True) == 1, lines


def refused(server, data, status, reason):
    """The answer is this status, and the log says why."""
    with logged(server, f"opening handshake refused with {status}: {reason}"):
        got, headers, body = answer(server, data)
    assert got == status
    return headers, body


def short(value):
    """As the name of a test."""
    return re.sub(r"[^ -~]", "?", ", ".join(value) if isinstance(value, list) else str(value))[:40]
