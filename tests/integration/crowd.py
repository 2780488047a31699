"""Many subscribers of topics in one thread, which look at every publication: each publisher's come once and in order."""

import collections
import selectors
import socket
import time

from harness import LIMIT_S
from ws_client import CLOSE, TEXT, frame, request, UPGRADE, read_head

SOAK_LIMIT_S = 900


class Member:
    """A subscriber; what it gets are texts "PUBLISHER NUMBER"."""

    def __init__(self, connection, topic):
        self.connection, self.topic = connection, topic
        self.buffer = b""
        self.last = collections.Counter()  # of each publisher, from 1 on
        self.closed = None  # once it is: the code, or 0 without a close frame

    def take(self, data):
        """How many publications these bytes end."""
        buffer = self.buffer + data
        at, count, size = 0, 0, len(buffer)
        while size - at >= 2:
            length = buffer[at + 1]
            assert length < 126, length
            if size - at < 2 + length:
                break
            payload = buffer[at + 2:at + 2 + length]
            if buffer[at] == 0x80 | CLOSE:
                self.closed = int.from_bytes(payload[:2], "big")
            else:
                assert buffer[at] == 0x80 | TEXT, buffer[at:at + 40]
                publisher, number = payload.split(b" ")
                assert int(number) == self.last[publisher] + 1, f"{self.topic}: {payload} after {self.last[publisher]}"
                self.last[publisher] += 1
                count += 1
            at += 2 + length
        self.buffer = buffer[at:]
        return count


class Crowd:
    def __init__(self):
        self.members, self.selector = [], selectors.DefaultSelector()
        self.got = 0

    def join(self, server, path, topic):
        connection = server.connect()
        connection.sendall(request(path, *UPGRADE))
        status, _ = read_head(connection)
        assert status == 101, status
        connection.setblocking(False)
        member = Member(connection, topic)
        self.members.append(member)
        self.selector.register(connection, selectors.EVENT_READ, member)
        return member

    def leave(self, member):
        self.selector.unregister(member.connection)
        member.connection.close()

    def read(self, wait_s=0.0):
        for key, _ in self.selector.select(wait_s):
            member = key.data
            try:
                data = member.connection.recv(1 << 18)
            except ConnectionError:
                data = b""
            if data:
                self.got += member.take(data)
            if not data or member.closed is not None:
                member.closed = member.closed or 0
                self.leave(member)

    def read_until(self, condition, what, limit_s=LIMIT_S):
        """The limit is for a time in which nothing comes."""
        end, before = time.monotonic() + limit_s, -1
        while not condition():
            self.read(0.1)
            if self.got != before:
                end, before = time.monotonic() + limit_s, self.got
            assert time.monotonic() < end, what

    def close(self):
        for member in self.members:
            if member.closed is None:
                self.leave(member)


class Publishers:
    """They publish in turns, through a WebSocket for each topic and publisher, as fast as the server takes it."""

    def __init__(self, servers, path_of, topics, names):
        """Each publisher is at one of the servers."""
        self.sockets = {(name, topic): self.open(servers[number % len(servers)], path_of(topic))
                        for number, name in enumerate(names) for topic in topics}
        self.number = collections.Counter()
        self.unsent = collections.defaultdict(bytes)

    @staticmethod
    def open(server, path):
        connection = server.connect()
        connection.sendall(request(path, *UPGRADE))
        assert read_head(connection)[0] == 101
        connection.setblocking(False)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16384)
        return connection

    def publish(self, key):
        """False while the server does not take what was published before."""
        if not self.unsent[key]:
            self.number[key] += 1
            self.unsent[key] = frame(TEXT, f"{key[0]} {self.number[key]}")
        try:
            sent = self.sockets[key].send(self.unsent[key])
        except BlockingIOError:
            return False
        self.unsent[key] = self.unsent[key][sent:]
        return not self.unsent[key]

    def close(self):
        for connection in self.sockets.values():
            connection.close()
