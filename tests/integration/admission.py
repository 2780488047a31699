"""Opening handshakes from any address of this machine, some of which are refused for a limit."""

from harness import UPGRADE, eventually, read_head, request


def location(path, *lines):
    return "\n".join([f"<Location {path}>", "WebSocketHandler echo", *lines, "</Location>", ""])


def attempt(server, path="/echo", *headers, connection=None, **how):
    """An opening handshake: status, headers, and the connection if it has become a WebSocket."""
    connection = connection or server.connect(**how)
    connection.sendall(request(path, *UPGRADE, *headers))
    status, answer = read_head(connection)
    if status == 101:
        return status, answer, connection
    connection.close()
    return status, answer, None


def opened(server, *where, **how):
    status, _, connection = attempt(server, *where, **how)
    assert status == 101, status
    return connection


def assert_full(server, *where, status=429, **how):
    got, headers, _ = attempt(server, *where, **how)
    assert (got, headers["retry-after"]) == (status, "10")


def eventually_opened(server, *where, **how):
    """A place that somebody has left, once the server knows of it."""
    return eventually(lambda: attempt(server, *where, **how)[2], "the place stays taken")
