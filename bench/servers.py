"""What the rows measure with: servers that end with their block, and loads that print a line of key=value."""

import contextlib
import pathlib
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

TOP = pathlib.Path(__file__).resolve().parents[1]
LOAD, FLOOR, BYTES, BUS, REDIS = (TOP / "build/bench" / name for name in ("load", "floor", "bytes", "bus", "redis"))
STOP_LIMIT_S = 30


class Failed(Exception):
    """Why a row has no figure."""


def allow_descriptors():
    """As many as the system gives, for servers and loads."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def chosen(parser, what, names, known):
    """Those of these names, or all without any."""
    by_name = {each.name: each for each in known}
    unknown = set(names) - set(by_name)
    if unknown:
        parser.error(f"no {what} {', '.join(unknown)}; {what}s are {', '.join(by_name)}")
    return [by_name[name] for name in names or by_name]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Running:
    """A server process that is ended with the block. Its own pid is `pid`: children count with it."""

    def __init__(self, command, port, ready=None):
        self.port = port
        self.process = subprocess.Popen(list(map(str, command)), stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE if ready else None, text=True)
        self.pid = self.process.pid
        if ready:
            if not any(ready in line for line in self.process.stdout):
                self.process.wait()
                raise Failed(f"{self.process.args[0]} does not serve")
        else:
            self.await_port(port)

    def await_port(self, port):
        end = time.monotonic() + 10
        while True:
            try:
                return socket.create_connection(("127.0.0.1", port)).close()
            except ConnectionRefusedError:
                if time.monotonic() > end or self.process.poll() is not None:
                    self.process.kill()
                    raise Failed(f"{self.process.args[0]} does not serve")
                time.sleep(0.01)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise Failed(f"{self.process.args[0]} did not end within {STOP_LIMIT_S} s")


@contextlib.contextmanager
def certificate():
    """The files of a P-256 certificate and its key, for this run."""
    if not shutil.which("openssl"):
        sys.exit("bench: no openssl command (Debian: openssl)")
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        files = pathlib.Path(folder, "cert.pem"), pathlib.Path(folder, "key.pem")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                        "-subj", "/CN=localhost", "-addext", "basicConstraints=critical,CA:FALSE", "-out", files[0], "-keyout", files[1]], check=True, capture_output=True)
        yield files


@contextlib.contextmanager
def httpd(*words, tls=(), config=""):
    """A server with these words for `standalone` and these directives; `tls` is a certificate and its key, or nothing. It has two files."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        pages = pathlib.Path(folder, "www")
        pages.mkdir()
        pathlib.Path(pages, "empty.txt").touch()
        pathlib.Path(pages, "small.txt").write_text("x" * 100 + "\n", encoding="ascii")
        file = pathlib.Path(folder, "bench.conf")
        file.write_text(config, encoding="ascii")
        pathlib.Path(folder).chmod(0o755)
        port = free_port()
        if tls:
            # mod_ssl warns when the system's OpenSSL is not the one it was compiled with.
            words = *words, "--tls", "--cert", tls[0], "--key", tls[1], "--log-level", "warn ssl:error"
        with Running([TOP / "standalone", "--port", port, "--document-root", pages, "--config", file, *words], port, "Ctrl-C") as server:
            yield server


def floor(*words, tls=()):
    """One of the floor's servers: `words` are those before and behind its port, of which the first may be a mode."""
    port = free_port()
    mode = [word for word in words if isinstance(word, str)]
    return Running([FLOOR, *mode, port, *words[len(mode):], *tls], port)


def load(*words, options=(), program=LOAD):
    """What one run has measured. `options` are those of `load`."""
    command = [program, *options, *words]
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    if result.returncode:
        raise Failed(f"{program.name} {' '.join(map(str, words))}: {result.stderr.strip()}")
    return figures(result.stdout)


def figures(output):
    pairs = dict(re.findall(r"(\w+)=(\S+)", output))
    return {key: value if key == "cipher" else float(value) for key, value in pairs.items()}


@contextlib.contextmanager
def talking(*words):
    """A load that runs until its standard input ends."""
    process = subprocess.Popen([str(word) for word in (LOAD, *words)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield process
        process.stdin.close()
        if process.wait(STOP_LIMIT_S):
            raise Failed(f"load {' '.join(map(str, words))}: ended with status {process.returncode}")
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def held(port, connections):
    """WebSockets that do nothing, open until the block ends."""
    with talking("hold", port, "/echo", connections) as process:
        if not process.stdout.readline().startswith("connections="):
            raise Failed("idle connections could not be opened")
        yield


@contextlib.contextmanager
def subscribed(server, mode, path, subscribers, *words, children=1):
    """Subscribers of a topic; a function that measures once."""
    with talking("--children", children, mode, server.port, path, subscribers, *words, server.pid) as process:
        def measure():
            process.stdin.write("\n")
            process.stdin.flush()
            line = process.stdout.readline()
            if not line:
                raise Failed(f"{mode} has measured nothing")
            return figures(line)

        yield measure


@contextlib.contextmanager
def redis_server():
    """The socket of a Redis that keeps nothing on disk. redis-check-rdb is the server by another name."""
    program = next((found for found in map(shutil.which, ("redis-server", "valkey-server", "redis-check-rdb")) if found), None)
    if not program or not shutil.which("redis-benchmark") or not shutil.which("redis-cli"):
        raise Failed("no Redis, or no redis-benchmark (Debian: redis-tools)")
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        path = pathlib.Path(folder, "socket")
        pathlib.Path(folder, "conf").write_text(f'port 0\nunixsocket {path}\nsave ""\nappendonly no\ndir {folder}\nlogfile log\n', encoding="ascii")
        process = subprocess.Popen(["redis-server", f"{folder}/conf"], executable=program, stdin=subprocess.DEVNULL)
        try:
            while not path.exists():
                if process.poll() is not None:
                    raise Failed("Redis does not start")
                time.sleep(0.01)
            yield path
        finally:
            process.terminate()
            process.wait(STOP_LIMIT_S)
