"""An HTTP/2 client whose every frame and window is the test's to decide, and WebSockets on its streams (RFC 8441)."""

import socket
import ssl

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings

from harness import LIMIT_S, Client, reset

WINDOW_BYTES = 65535
GOAWAY = 7


class Connection:
    """One HTTP/2 connection over TLS; one thread. It reads when a stream waits for something, and hands what comes to the stream
    that it is for. `window` is what each stream may get before the client grants more."""

    def __init__(self, server, window=WINDOW_BYTES):
        context = ssl.create_default_context(cafile=str(server.cert))
        context.set_alpn_protocols(["h2"])
        raw = socket.create_connection(("127.0.0.1", server.port), LIMIT_S)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = context.wrap_socket(raw, server_hostname="localhost")
        assert self.socket.selected_alpn_protocol() == "h2"
        self.unread = b""
        self.streams, self.ended, self.last_stream, self.pongs = {}, False, None, 0
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
        self.h2.local_settings = h2.settings.Settings(client=True, initial_values={
            h2.settings.SettingCodes.ENABLE_PUSH: 0, h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window})
        self.h2.initiate_connection()
        self.has_settings = False
        self.flush()
        self.pump_until(lambda: self.has_settings)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def cut(self):
        """Without a word, and with a reset."""
        reset(self.socket)

    def flush(self):
        self.socket.sendall(self.h2.data_to_send())

    def pump(self):
        """Waits for bytes from the server and deals them out. False at their end."""
        try:
            data = self.socket.recv(65536)
        except ConnectionResetError:
            data = b""
        if not data:
            self.ended = True
            return False
        for event in self.h2.receive_data(self.without_goaway(data)):
            if isinstance(event, h2.events.RemoteSettingsChanged):
                self.has_settings = True
            elif isinstance(event, h2.events.PingAckReceived):
                self.pongs += 1
            elif getattr(event, "stream_id", 0) in self.streams:
                self.streams[event.stream_id].take(event)
        self.flush()
        return True

    def without_goaway(self, data):
        """Whole frames, but not those that announce the end: the streams below go on (RFC 9113 section 6.8), which h2 does not
        allow for."""
        self.unread += data
        kept = b""
        while len(self.unread) >= 9:
            size, kind = 9 + int.from_bytes(self.unread[:3], "big"), self.unread[3]
            if len(self.unread) < size:
                break
            frame, self.unread = self.unread[:size], self.unread[size:]
            if kind == GOAWAY:
                self.last_stream = int.from_bytes(frame[9:13], "big")
            else:
                kept += frame
        return kept

    def pump_until(self, condition):
        """Whether the condition came true before the connection ended."""
        while not condition():
            if not self.pump():
                return condition()
        return True

    def round_trip(self):
        """Returns when the server has taken in all that was sent so far."""
        before = self.pongs
        self.h2.ping(b"anything")
        self.flush()
        assert self.pump_until(lambda: self.pongs > before), "the connection ended"

    @property
    def websockets_offered(self):
        return self.h2.remote_settings.enable_connect_protocol == 1

    def request(self, *headers, end=True, paced=False):
        stream = Stream(self, self.h2.get_next_available_stream_id(), paced)
        self.streams[stream.id] = stream
        self.h2.send_headers(stream.id, headers, end_stream=end)
        self.flush()
        return stream

    def get(self, path="/index.html"):
        return self.request((":method", "GET"), (":scheme", "https"), (":authority", "localhost"), (":path", path))

    def connect(self, path="/echo", *headers, protocol="websocket", version="13", paced=False):
        """An extended CONNECT, without waiting for the answer."""
        if version:
            headers = (("sec-websocket-version", version), *headers)
        return self.request((":method", "CONNECT"), (":protocol", protocol), (":scheme", "https"), (":authority", "localhost"),
                            (":path", path), *headers, end=False, paced=paced)

    def websocket(self, path="/echo", *headers):
        """A WebSocket whose opening handshake has succeeded."""
        return WebSocket(self.connect(path, *headers))


class Stream:
    """As a socket, as far as Client uses one."""

    def __init__(self, connection, number, paced):
        self.connection, self.id, self.paced = connection, number, paced
        self.headers, self.data, self.ended, self.reset_code = None, bytearray(), False, None

    def take(self, event):
        if isinstance(event, h2.events.ResponseReceived):
            self.headers = dict(event.headers)
        elif isinstance(event, h2.events.DataReceived):
            self.data += event.data
            size = event.flow_controlled_length
            if size:
                self.connection.h2.increment_flow_control_window(size)
                if not self.paced:
                    self.grant(size)
        elif isinstance(event, h2.events.StreamEnded):
            self.ended = True
        elif isinstance(event, h2.events.StreamReset):
            self.reset_code = int(event.error_code)

    @property
    def over(self):
        return self.ended or self.reset_code is not None

    def grant(self, size):
        """Lets the server send that much more. Leaves with the next flush."""
        try:
            self.connection.h2.increment_flow_control_window(size, self.id)
        except h2.exceptions.StreamClosedError:
            pass  # its end came in the same read

    def open_window(self):
        """From now on the server gets back what it used, and once as much as any stream starts with."""
        self.paced = False
        self.grant(WINDOW_BYTES)
        self.connection.flush()

    def status(self):
        assert self.connection.pump_until(lambda: self.headers or self.over) and self.headers, f"stream {self.id} was not answered"
        return int(self.headers[":status"])

    def body(self):
        """Of an answer, to its end."""
        assert self.connection.pump_until(lambda: self.over), f"stream {self.id} did not end"
        return bytes(self.data)

    def sendall(self, data):
        data, connection = memoryview(bytes(data)), self.connection
        while data:
            size = min(len(data), connection.h2.local_flow_control_window(self.id), connection.h2.max_outbound_frame_size)
            if size:
                connection.h2.send_data(self.id, data[:size].tobytes())
                connection.flush()
                data = data[size:]
            else:
                assert connection.pump() and not self.over, "the server takes no more"

    def recv(self, size):
        """Empty at the end of the stream, however that comes."""
        self.connection.pump_until(lambda: self.data or self.over)
        data = bytes(self.data[:size])
        del self.data[:size]
        return data

    def close(self):
        pass

    def end(self):
        """No more comes from the client; no close frame either."""
        self.connection.h2.end_stream(self.id)
        self.connection.flush()

    def reset(self):
        self.connection.h2.reset_stream(self.id, h2.errors.ErrorCodes.CANCEL)
        self.connection.flush()


class WebSocket(Client):
    """harness.Client on a stream."""

    def __init__(self, stream):
        self.connection, self.unsent = stream, memoryview(b"")
        assert stream.status() == 200, f"status {stream.status()}"
        self.headers = stream.headers

    def end(self):
        self.connection.end()

    def reset(self):
        self.connection.reset()
