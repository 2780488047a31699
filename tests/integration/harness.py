"""A real httpd on a free port with a configuration of its own, and a WebSocket client that sends any bytes it is told to.

Waits are for events, and LIMIT_S is reached only when they never come. That something does not happen can only be seen by
waiting: send_until_blocked takes a way that is full for 0.2 s for blocked, and test_moorings waits 3 s to see that no time limit
ends a connection.
"""

import base64
import collections
import hashlib
import itertools
import os
import pathlib
import re
import select
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import tempfile
import time

import sanitizer

TOP = pathlib.Path(__file__).resolve().parents[2]
BUILD = TOP / "build"
BUILT = BUILD / sanitizer.NAME  # module and handlers
LIMIT_S = 30
KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # of RFC 6455 section 1.3, as is the answer
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10

ECHO = """
<Location /echo>
    WebSocketHandler echo
</Location>
"""

# What httpd logs when all is well.
EXPECTED_LOG = [
    r"AH00489:", r"AH00494:", r"AH00292:", r"AH00094:", r"AH00163:",  # configured
    r"AH00491:", r"AH00493:", r"AH00492:", r"AH00296:", r"AH00297:", r"AH00298:", r"AH00170:", r"AH00171:", r"AH00169:", r"AH00173:",  # stops and restarts
    r"AH00295: caught SIGTERM",
    r"AH01882:",  # the system's libssl is not the one that mod_ssl was compiled against
    r"room for about \d+ WebSockets: \d+ in each of up to \d+ child processes",
    r"AH00558:",  # no ServerName of the machine
    r"held up its event loop",  # by a machine that stood still; what tests this looks for the line itself
]


def configured(name):
    for line in (BUILD / "config.mk").read_text().splitlines():
        if line.startswith(name + " = "):
            return line.split(" = ", 1)[1]
    raise KeyError(name)


HTTPD = configured("HTTPD")
MODULES = pathlib.Path(subprocess.check_output([configured("APXS"), "-q", "LIBEXECDIR"], text=True).strip())


# Below the ports that clients get from the system, and each process that runs tests has its own.
PORTS = itertools.cycle(range(12000 + 2500 * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]),
                              14500 + 2500 * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])))


def free_port(host="127.0.0.1"):
    for port in PORTS:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            try:
                probe.bind((host, port))
                return port
            except OSError:
                pass  # somebody else's, or still in TIME_WAIT


def eventually(condition, what, limit_s=LIMIT_S):
    end = time.monotonic() + limit_s
    while True:
        result = condition()
        if result:
            return result
        assert time.monotonic() < end, what
        time.sleep(0.01)


GONE = (FileNotFoundError, ProcessLookupError)  # of /proc, where a process or thread ended meanwhile


def listing(folder):
    try:
        return list(pathlib.Path(folder).iterdir())
    except GONE:
        return []


def threads_sleep(pids):
    """Whether no thread of the processes runs. Told to stop, the threaded MPMs look at the sockets of their worker threads without a
    lock, and httpd itself logs errors or crashes when one of them lets its connection go in that moment (2.4.71, with or without this
    module). So wait for this before a stop that must go well."""
    for pid in pids:
        for task in listing(f"/proc/{pid}/task"):
            try:
                if (task / "stat").read_text().rsplit(")", 1)[1].split()[0] == "R":
                    return False
            except GONE:
                pass
    return True


TcpSocket = collections.namedtuple("TcpSocket", "port peer_port listens queued inode")


def tcp_sockets(table="tcp"):
    """All of the system's; `queued` are the bytes to be acknowledged or to be read. Those without a descriptor have inode 0."""
    for line in pathlib.Path("/proc/net", table).read_text().splitlines()[1:]:
        _, local, peer, state, queues, _, _, _, _, inode, *_ = line.split()
        port, peer_port = (int(address.split(":")[1], 16) for address in [local, peer])
        yield TcpSocket(port, peer_port, state == "0A", sum(int(queue, 16) for queue in queues.split(":")), int(inode))


def make_certificate(folder):
    cert, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                    "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
                    "-addext", "basicConstraints=critical,CA:FALSE", "-keyout", key, "-out", cert],
                   check=True, capture_output=True)
    key.chmod(0o600)
    return cert, key


def password_file(**users):
    """For AuthUserFile."""
    return "".join(f"{user}:{{SHA}}{base64.b64encode(hashlib.sha1(word.encode()).digest()).decode()}\n" for user, word in users.items())


RESIDENT = "WebSocketDetach off\nWebSocketMaxResident 64\n"


class Server:
    """httpd with `config` behind what it needs to run. A `mooring` is tcp or tls (detached), resident or resident-tls. Use it as a context; `expect` announces error-log lines (as regular
    expressions), any other line at its end is a failure."""

    def __init__(self, config="", mpm="event", modules=(), tls=False, log_level="warn", threads=25, module=None, descriptors=None,
                 mooring=None, first=""):
        if mooring:
            tls = mooring in ("tls", "resident-tls")
            config = (RESIDENT if mooring.startswith("resident") else "") + config
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="mod_websocket-test."))
        self.folder.chmod(0o755)
        self.port = free_port()
        self.tls, self.mpm, self.descriptors = tls, mpm, descriptors
        self.expected = list(EXPECTED_LOG)
        self.process = None
        self.environment = sanitizer.environment(self.folder / "reports")
        (self.folder / "mime.types").write_text("text/html html\n")
        (self.folder / "www").mkdir()
        (self.folder / "www/index.html").write_text("<p>the site\n")
        loaded = ["mpm_" + mpm, "authn_core", "authz_core", "authz_host", "log_config", "mime", "dir", "alias",
                  "reqtimeout", "unixd", *modules]
        if tls:
            loaded += ["ssl", "socache_shmcb"]
            self.cert, key = make_certificate(self.folder)
        lines = [first, f'ServerRoot "{self.folder}"', "ServerName localhost", f"Listen 127.0.0.1:{self.port}",
                 f'PidFile "{self.folder}/httpd.pid"', f'DefaultRuntimeDir "{self.folder}"', f'ErrorLog "{self.folder}/error.log"',
                 f"LogLevel {log_level}", 'Mutex "pthread"', "GracefulShutdownTimeout 5"]
        lines += [f'LoadModule {name}_module "{MODULES}/mod_{name}.so"' for name in dict.fromkeys(loaded)
                  if (MODULES / f"mod_{name}.so").exists()]  # the others are built in
        lines += [f'LoadModule websocket_module "{module or BUILT / "mod_websocket.so"}"', f'WebSocketHandlerPath "{BUILT}/handlers"',
                  "WebSocketDrainTimeout 0"]  # tests of the drain set their own
        if os.getuid() == 0:
            lines += ["User nobody", "Group nogroup"]
        lines += [r'LogFormat "%h %>s %X \"%r\"" plain', f'CustomLog "{self.folder}/access.log" plain']
        if mpm == "prefork":
            lines += ["StartServers 10", "MinSpareServers 1", "MaxSpareServers 64", "MaxRequestWorkers 64"]
        else:
            lines += [f"ThreadsPerChild {threads}", "StartServers 1", "ServerLimit 16", "MinSpareThreads 1", f"MaxSpareThreads {8 * threads}", f"MaxRequestWorkers {8 * threads}"]
        if tls:
            lines += ["SSLEngine on", f'SSLCertificateFile "{self.cert}"', f'SSLCertificateKeyFile "{key}"',
                      f'SSLSessionCache "shmcb:{self.folder}/sessions(512000)"']
        lines += [f'DocumentRoot "{self.folder}/www"', f'<Directory "{self.folder}/www">', "AllowOverride All", "Require all granted", "</Directory>"]
        self.config_file = self.folder / "httpd.conf"
        self.base_config = "\n".join([*lines, ""])
        self.replace_config(config)

    def expect(self, *patterns):
        self.expected += patterns

    def run_httpd(self, *words):
        return subprocess.run([HTTPD, "-f", self.config_file, *words], env=self.environment, capture_output=True, text=True, timeout=LIMIT_S)

    def configtest(self):
        result = self.run_httpd("-t")
        return result.returncode, result.stderr + result.stdout

    def __enter__(self):
        try:
            output = open(self.folder / "output", "w")
            limit = ["prlimit", f"--nofile={self.descriptors}"] if self.descriptors else []
            self.process = subprocess.Popen([*limit, HTTPD, "-f", self.config_file, "-DFOREGROUND"], stdin=subprocess.DEVNULL,
                                            env=self.environment, stdout=output, stderr=output, start_new_session=True)
            eventually(self.serves, "httpd does not serve")
        except BaseException:
            print((self.folder / "output").read_text(), self.error_log(), sanitizer.reports(self.folder / "reports"))
            self.kill()
            raise
        return self

    def serves(self):
        assert self.process.poll() is None, (self.folder / "output").read_text() + self.error_log()
        if not (self.folder / "httpd.pid").exists():
            return False
        try:
            self.connect(plain=True).close()
            return bool(self.children())  # the parent listens before it has any
        except OSError:
            return False

    def __exit__(self, kind, *_):
        try:
            self.stop()
            if kind is None:
                self.check_log()
        finally:
            reports = sanitizer.reports(self.folder / "reports")
            self.kill()
            assert not reports, reports

    def await_new_children(self, *old):
        """Until a child serves that is in none of these generations."""
        eventually(lambda: set(self.listening_children()) - set().union(*old), "no new child")

    def await_gone(self, children):
        eventually(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in children), "the old children stay")

    def settle(self):
        """Until no thread of a child runs; see threads_sleep."""
        eventually(lambda: threads_sleep(self.children()), "the server is never idle")

    def await_idle(self):
        """Until no child has a connection any more; for clients that have just left."""
        def idle():
            connections = {each.inode for each in [*tcp_sockets(), *tcp_sockets("tcp6")] if each.inode and not each.listens}
            return not any(self.has_one_of(pid, connections) for pid in self.children())
        eventually(idle, "connections stay open")

    def stop(self):
        if self.process and self.process.poll() is None:
            self.settle()
            self.process.send_signal(signal.SIGTERM)
        if self.process:
            status = self.process.wait(LIMIT_S)
            assert status == 0, f"httpd ended with {status}"

    def kill(self):
        if self.process:
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def children(self):
        out = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(pid) for pid in out.split()]

    def child_of(self, client):
        """The child that has the client's connection."""
        port = client.connection.getsockname()[1]
        sockets = {each.inode for each in tcp_sockets() if (each.port, each.peer_port) == (self.port, port)}
        return next(pid for pid in self.children() if self.has_one_of(pid, sockets))

    @staticmethod
    def has_one_of(pid, inodes):
        for link in listing(f"/proc/{pid}/fd"):
            try:
                kind, _, inode = os.readlink(link).rstrip("]").partition(":[")
                if kind == "socket" and int(inode) in inodes:
                    return True
            except GONE:
                pass
        return False

    def replace_config(self, config):
        """What stands behind the configuration that every server has; for the next restart."""
        self.config_file.write_text(self.base_config + config + "\n")

    def listening_children(self):
        """Those that take new connections: a child on its way out has closed the listening socket."""
        sockets = {each.inode for each in tcp_sockets() if each.listens and each.port == self.port}
        return [pid for pid in self.children() if self.has_one_of(pid, sockets)]

    def peak_memory_kb(self):
        """The most that any child has had in memory so far; nothing is known of it under a sanitizer, which needs most of it itself."""
        if sanitizer.NAME:
            return 0
        return max(int(re.search(r"VmHWM:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text())[1]) for pid in self.children())

    def descriptors_by_child(self):
        return {pid: len(listing(f"/proc/{pid}/fd")) for pid in self.children()}

    def error_log(self):
        file = self.folder / "error.log"
        return file.read_text(errors="replace") if file.exists() else ""

    def told_of_end(self, name):
        """How the handler `report` was told of the end of the connection with that name, once it was."""
        return eventually(lambda: re.findall(rf"/report\.so: {re.escape(name)}: close (\d.*)", self.error_log()), f"{name} is not closed")

    def access_log(self):
        return (self.folder / "access.log").read_text()

    def check_log(self):
        unexpected = [line for line in self.error_log().splitlines() if not any(re.search(p, line) for p in self.expected)]
        assert not unexpected, "error log: " + "\n".join(unexpected)

    # --- clients ---

    def connect(self, plain=False, tls_version=None, client_certificate=False):
        connection = socket.create_connection(("127.0.0.1", self.port), LIMIT_S)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.tls and not plain:
            context = ssl.create_default_context(cafile=str(self.cert))
            if tls_version:
                context.minimum_version = context.maximum_version = tls_version
            if client_certificate:
                context.load_cert_chain(self.cert, self.folder / "key.pem")  # the server's own will do
            connection = context.wrap_socket(connection, server_hostname="localhost")
        return connection

    def http(self, path="/", *headers, method="GET", version="HTTP/1.1", host=True, body=b""):
        """One request on a new connection: the answer's status, headers and body."""
        with self.connect() as connection:
            connection.sendall(request(path, *headers, method=method, version=version, host=host) + body)
            return read_response(connection, method)

    def begin_requests(self, count):
        """Requests that are being sent, each of which keeps a thread or process of httpd busy: their connections."""
        connections = [self.connect() for _ in range(count)]
        for each in connections:
            each.sendall(b"GET /index.html HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
        return connections

    def websocket(self, path="/echo", *headers, early=b"", **tls):
        """An opening handshake that has succeeded."""
        return Client(self.connect(**tls), path, *headers, early=early)


def request(path, *headers, method="GET", version="HTTP/1.1", host=True):
    lines = [f"{method} {path} {version}", *(["Host: localhost"] if host else []), *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1")


UPGRADE = ("Upgrade: websocket", "Connection: Upgrade", f"Sec-WebSocket-Key: {KEY}", "Sec-WebSocket-Version: 13")


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
    if method != "HEAD" and status != 101:
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
