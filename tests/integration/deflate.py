"""A client's side of permessage-deflate (RFC 7692), by zlib."""

import itertools
import zlib

from harness import BINARY, Client, frame

RSV1 = 4  # among the reserved bits of a frame: its message is compressed
OFFER = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"  # as browsers do
END_OF_FLUSH = b"\0\0\xff\xff"  # which a sender leaves out, section 7.2.1


def next_payload(compressor, message, end=zlib.Z_SYNC_FLUSH):
    out = compressor.compress(message) + compressor.flush(end)
    return out[:-len(END_OF_FLUSH)] if end == zlib.Z_SYNC_FLUSH else out


def deflated(message, end=zlib.Z_SYNC_FLUSH, **how):
    """The payload of a message that refers to none before it; with Z_FINISH its last block is marked so."""
    return next_payload(zlib.compressobj(**{"level": 9, "wbits": -15, **how}), message, end)


def inflated(payload):
    return zlib.decompressobj(-15).decompress(payload + END_OF_FLUSH)


def parameters(extension):
    name, *rest = [word.strip() for word in extension.split(";")]
    assert name == "permessage-deflate"
    return dict(word.partition("=")[::2] for word in rest)


class Deflate:
    """What the client keeps for the messages of a connection, as the server's answer says."""

    def __init__(self, answer, levels=(6,)):
        """The levels are those of the client's contexts, by turns."""
        agreed = parameters(answer)
        self.compressor = self.inflater = None
        self.levels = itertools.cycle(levels)
        self.client_takeover = "client_no_context_takeover" not in agreed
        self.server_takeover = "server_no_context_takeover" not in agreed
        self.client_bits = int(agreed.get("client_max_window_bits", 15))
        self.server_bits = int(agreed.get("server_max_window_bits", 15))

    def deflate(self, message):
        if not (self.compressor and self.client_takeover):
            self.compressor = zlib.compressobj(next(self.levels), wbits=-self.client_bits)
        return next_payload(self.compressor, message)

    def inflate(self, payload, step=None):
        """With a small step zlib notices a reference past the window, which it lets pass within a piece of output."""
        if not (self.inflater and self.server_takeover):
            self.inflater = zlib.decompressobj(-self.server_bits)
        payload += END_OF_FLUSH
        step = step or len(payload)
        return b"".join(self.inflater.decompress(payload[start:start + step]) for start in range(0, len(payload), step))


class Deflating(Client):
    """A WebSocket that has agreed on permessage-deflate."""

    def __init__(self, server, path="/echo"):
        super().__init__(server.connect(), path, OFFER)
        self.deflate = Deflate(self.headers["sec-websocket-extensions"])

    def read_message(self):
        first, payload = self.read_any_frame()
        if first >> 4 == 8 | RSV1:
            payload = self.deflate.inflate(payload)
        return first & 15, payload

    def exchange(self, message, opcode=BINARY):
        """An echo of a message that refers to none before it."""
        self.send(frame(opcode, deflated(message), rsv=RSV1))
        assert self.read_message() == (opcode, message)
