"""A WebSocket client that sends any bytes it is told to, on a connection that somebody else has made."""

import select
import socket
import ssl
import struct

LIMIT_S = 30  # of a wait for what comes for certain
KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # of RFC 6455 section 1.3, as is the answer
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
UPGRADE = ("Upgrade: websocket", "Connection: Upgrade", f"Sec-WebSocket-Key: {KEY}", "Sec-WebSocket-Version: 13")

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


def request(path, *headers, method="GET", version="HTTP/1.1", host=True):
    lines = [f"{method} {path} {version}", *(["Host: localhost"] if host else []), *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1")


def read_head(connection):
    """Byte by byte, so that what follows stays in the connection."""
    data = b""
    while not data.endswith(b"\r\n\r\n"):
        byte = connection.recv(1)
        assert byte, f"connection ended after {data!r}"
        data += byte
    status, *lines = data.decode("latin-1").split("\r\n")[:-2]
    headers = {}
    for line in lines:
        name, value = line.split(":", 1)
        headers[name.lower()] = headers[name.lower()] + ", " + value.strip() if name.lower() in headers else value.strip()
    return int(status.split()[1]), headers


def read_response(connection, method="GET"):
    status, headers = read_head(connection)
    body = b""
    if method != "HEAD" and status not in (101, 204):
        length = int(headers.get("content-length", -1))
        while length < 0 or len(body) < length:
            data = connection.recv(65536 if length < 0 else length - len(body))  # the next answer may follow
            if not data:
                break
            body += data
    return status, headers, body


def frame(opcode, payload=b"", fin=True, rsv=0, mask=b"\x12\x34\x56\x78", length=None):
    """A client's frame. length overrides the one in the header."""
    payload = payload.encode() if isinstance(payload, str) else payload
    size = len(payload) if length is None else length
    first = (0x80 if fin else 0) | rsv << 4 | opcode
    bit = 0x80 if mask is not None else 0
    if size < 126:
        head = struct.pack("!BB", first, bit | size)
    elif size < 65536:
        head = struct.pack("!BBH", first, bit | 126, size)
    else:
        head = struct.pack("!BBQ", first, bit | 127, size)
    if mask is None:
        return head + payload
    key = (mask * (len(payload) // 4 + 1))[:len(payload)]
    masked = (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(len(payload), "big") if payload else b""
    return head + mask + masked


def reset(connection):
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    if isinstance(connection, ssl.SSLSocket):
        socket.socket(fileno=connection.detach()).close()
    else:
        connection.close()


def said(client, text):
    """What a handler answers to a text."""
    client.send_text(text)
    opcode, payload = client.read_frame()
    assert opcode == TEXT
    return payload.decode()


def close_payload(code, reason=""):
    return struct.pack("!H", code) + reason.encode()


class Client:
    """A WebSocket after its opening handshake, frame by frame."""

    def __init__(self, connection, path=None, *headers, early=b""):
        """Without a path the request has been sent already."""
        self.connection = connection
        self.unsent = memoryview(b"")
        if path:
            connection.sendall(request(path, *UPGRADE, *headers) + early)
        status, self.headers = read_head(connection)
        assert status == 101, f"status {status}"
        assert self.headers["sec-websocket-accept"] == ACCEPT

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.connection.close()

    def send(self, data):
        self.connection.sendall(data)

    def send_text(self, text):
        self.send(frame(TEXT, text))

    def start_sending(self, data):
        """Sends this beside whatever is read from now on; one thread, as TLS wants it."""
        self.unsent = memoryview(data)
        self.connection.setblocking(False)

    def send_some(self):
        """False when nothing more goes."""
        try:
            self.unsent = self.unsent[self.connection.send(self.unsent[:16384]):]
        except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
            return False
        if not self.unsent:
            self.connection.settimeout(LIMIT_S)
        return True

    def send_until_blocked(self):
        """Until the way to the server has been full for a while, or all is sent."""
        while self.unsent and (self.send_some() or select.select([], [self.connection], [], 0.2)[1]):
            pass

    def receive(self, size):
        while self.unsent:
            self.send_some()
            try:
                return self.connection.recv(size)
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                ready = select.select([self.connection], [self.connection], [], LIMIT_S)
                assert ready[0] or ready[1], "neither side moves"
        return self.connection.recv(size)

    def read_exactly(self, size):
        data = bytearray()
        while len(data) < size:
            piece = self.receive(size - len(data))
            if not piece:
                raise EOFError(f"{len(data)} of {size} bytes")
            data += piece
        return bytes(data)

    def read_frame(self):
        """Opcode and payload of a frame as a server may send it without an extension."""
        first, payload = self.read_any_frame()
        assert first & 0xF0 == 0x80, f"first byte {first:#x}"
        return first & 15, payload

    def read_any_frame(self):
        """The first byte of a frame, and its payload."""
        first, second = self.read_exactly(2)
        size = second
        if second == 126:
            size, = struct.unpack("!H", self.read_exactly(2))
        elif second == 127:
            size, = struct.unpack("!Q", self.read_exactly(8))
        assert second < 128, "a server's frame is not masked"
        return first, self.read_exactly(size)

    def read_close(self):
        """Code and reason of a close frame that comes next; None without a code."""
        opcode, payload = self.read_frame()
        assert opcode == CLOSE, (opcode, payload[:80])
        return (struct.unpack("!H", payload[:2])[0], payload[2:].decode()) if payload else (None, "")

    def read_end(self):
        """The server's end of the stream comes next."""
        data = self.connection.recv(65536)
        assert data == b"", f"{data[:80]!r}"

    def echo(self, payload="hello", opcode=TEXT):
        self.send(frame(opcode, payload))
        expected = payload.encode() if isinstance(payload, str) else payload
        got = self.read_frame()
        assert got == (opcode, expected), (got[0], got[1][:80])

    def told_to_close(self):
        """Whether a close frame has come; an echo shows that it has not."""
        self.send_text("?")
        return self.read_frame() != (TEXT, b"?")

    def echo_of_ping(self, payload):
        """What was sent before has been read once the pong is there."""
        self.send(frame(PING, payload))
        assert self.read_frame() == (PONG, payload)

    def close(self, code=1000, reason=""):
        self.send(frame(CLOSE, close_payload(code, reason)))
        assert self.read_close() == (code, reason)
        self.read_end()
        self.connection.close()

    def await_cut(self):
        """Until the connection is gone, however."""
        try:
            while self.connection.recv(65536):
                pass
        except (ConnectionError, ssl.SSLError):
            pass
        self.connection.close()

    def stop_sending(self):
        """What has not gone yet never goes."""
        self.unsent = memoryview(b"")
        self.connection.settimeout(LIMIT_S)

    def reset(self):
        reset(self.connection)
