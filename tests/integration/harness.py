"""A real httpd on a free port with a configuration of its own. Its clients are those of ws_client, which tests take from here too.

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
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time

import sanitizer
from ws_client import (ACCEPT, BINARY, CLOSE, CONTINUATION, KEY, LIMIT_S, PING, PONG, TEXT, UPGRADE, Client, close_payload, frame,  # noqa: F401
                       read_head, read_response, request, reset, said)

TOP = pathlib.Path(__file__).resolve().parents[2]
BUILD = TOP / "build"
BUILT = BUILD / sanitizer.NAME  # module and handlers

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
    r"WS207:",  # which connection a request becomes, at level debug
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


Thread = collections.namedtuple("Thread", "state switches")


def threads(pids):
    """Of all threads of the processes, by their folder in /proc: the state's letter, and how often it has been given the processor."""
    found = {}
    for pid in pids:
        for task in listing(f"/proc/{pid}/task"):
            try:
                status = (task / "status").read_text()
            except GONE:
                continue
            found[task] = Thread(re.search(r"^State:\s+(\w)", status, re.M)[1], re.findall(r"ctxt_switches:\s+(\d+)", status))
    return found


def threads_sleep(pids):
    return not any(each.state == "R" for each in threads(pids).values())


QUIET_S = 0.02
PATIENCE_S = 2


def await_quiet(pids):
    """Until no thread of the processes, which the function names, has run for some time; of a server that is never so quiet, until none
    runs. Told to stop, the threaded MPMs look at the sockets of their worker threads without a lock, and httpd itself logs errors or
    crashes when one of them lets its connection go in that moment (2.4.71, with or without this module). So wait for this before a stop
    that must go well. A single look is not enough: what lets a connection go may wait for the system or a lock just then."""
    begun = since = time.monotonic()
    before = None

    def quiet():
        nonlocal before, since
        seen = threads(pids())
        now = time.monotonic()
        if seen != before:
            before, since = seen, now
        states = {each.state for each in seen.values()}
        return "R" not in states and (now - begun > PATIENCE_S or "D" not in states and now - since > QUIET_S)
    eventually(quiet, "the server is never idle")


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
        # All children that it starts with: one that came later would be taken for one of a new generation.
        if not (self.folder / "httpd.pid").exists() or len(self.children()) < self.start_servers():
            return False
        try:
            self.connect(plain=True).close()
            return True
        except OSError:
            return False

    def start_servers(self):
        return int(re.findall(r"^StartServers (\d+)$", self.config_file.read_text(), re.M)[-1])

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
        """Until the children are quiet."""
        await_quiet(self.children)

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

    def connect(self, plain=False, tls_version=None, client_certificate=False, source=None):
        """Source: the client's address, such as 127.0.0.2."""
        connection = socket.create_connection(("127.0.0.1", self.port), LIMIT_S, source and (source, 0))
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
