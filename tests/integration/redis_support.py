"""A Redis of a test's own, and what speaks through it: clients of the handler `bus`."""

import json
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

from harness import LIMIT_S, eventually, frame
from ws_client import TEXT


def program():
    """The server, or what is the server when it is called so."""
    for name in ["redis-server", "valkey-server", "redis-check-rdb"]:
        if shutil.which(name):
            return shutil.which(name)
    raise FileNotFoundError("redis-server; tools/need test installs it")


def script(name):
    """The script of that name in redis_scripts.h."""
    source = (pathlib.Path(__file__).parents[2] / "src/pubsub/redis_scripts.h").read_text()
    return re.search(name + r' = R"lua\((.*?)\)lua"', source, re.DOTALL)[1]


class Redis:
    """On a socket in a folder of its own, and on a port if one is given."""

    def __init__(self, port=0, password="", appendonly=False, config=()):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="mod_websocket-redis."))
        self.folder.chmod(0o755)  # httpd's children are of another user
        self.socket, self.port, self.password, self.process = self.folder / "socket", port, password, None
        lines = [f"port {port}", "bind 127.0.0.1", f"unixsocket {self.socket}", "unixsocketperm 777", 'save ""', f"dir {self.folder}",
                 f"appendonly {'yes' if appendonly else 'no'}", "appendfsync always", "logfile log", *config]
        if password:
            lines.append(f"requirepass {password}")
        (self.folder / "conf").write_text("\n".join([*lines, ""]))

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self):
        self.process = subprocess.Popen(["redis-server", self.folder / "conf"], executable=program(), stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        eventually(self.answers, "Redis does not start")

    def answers(self):
        assert self.process.poll() is None, (self.folder / "log").read_text()
        try:
            return self.command("PING") == "PONG"
        except (OSError, RuntimeError):  # it is not there, or loads its data
            return False

    def stop(self, how=signal.SIGKILL):
        if self.process:
            if self.process.poll() is None:
                self.process.send_signal(signal.SIGCONT)
                self.process.send_signal(how)
            self.process.wait(LIMIT_S)
            self.process = None
            self.socket.unlink(missing_ok=True)

    def freeze(self):
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.process.send_signal(signal.SIGCONT)

    def command(self, *words):
        """One command on a connection of its own: its answer."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(LIMIT_S)
            connection.connect(str(self.socket))
            file = connection.makefile("rwb")
            for command in [["AUTH", self.password]] * bool(self.password) + [list(words)]:
                encoded = [word if isinstance(word, bytes) else str(word).encode() for word in command]
                file.write(b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in encoded))
                file.flush()
                answer = self.read(file)
            return answer

    def read(self, file):
        line = file.readline()
        if not line:
            raise ConnectionError("Redis has closed the connection")
        kind, rest = line[:1], line[1:-2]
        if kind == b"+":
            return rest.decode()
        if kind == b"-":
            raise RuntimeError(rest.decode())
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return file.read(int(rest) + 2)[:-2] if int(rest) >= 0 else None
        return [self.read(file) for _ in range(int(rest))]

    def url(self, query=""):
        return f"redis+unix://{f':{self.password}@' if self.password else ''}{self.socket}{query}"

    def await_subscriptions(self, topic, servers, prefix="websocket:"):
        """Until so many child processes have subscribed to the topic."""
        channel = f"{prefix}{{{topic}}}:c"
        eventually(lambda: self.command("PUBSUB", "NUMSUB", channel)[1] == servers, "no subscription in Redis")


class Speaker:
    """A client of the handler bus."""

    def __init__(self, server, path="/bus"):
        self.client = server.websocket(path)
        self.behind = []  # what came and was not wanted yet

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.client.connection.close()

    def say(self, verb, a, b, topic, data="", opcode=TEXT):
        name = topic.encode()
        payload = f"{verb} {a} {b} {len(name)} ".encode() + name + data.encode()
        self.client.send(frame(opcode, payload))

    def receive(self):
        opcode, payload = self.client.read_frame()
        assert opcode == TEXT
        return json.loads(payload)

    def next(self, kind):
        """The next of that type; the others stay, in their order."""
        for i, told in enumerate(self.behind):
            if told["type"] == kind:
                return self.behind.pop(i)
        while True:
            told = self.receive()
            if told["type"] == kind:
                return told
            self.behind.append(told)

    def subscribe(self, topic, since=0, last=0):
        """The id from which to resume; messages of the history wait to be taken."""
        self.say("subscribe", since, last, topic)
        told = self.next("subscribed")
        assert told["result"] == 0
        return told["id"]

    def publish(self, topic, data, transient=False):
        self.say("publish", int(transient), 0, topic, data)
        return self.next("published")

    def post(self, topic, data, transient=False, binary=False):
        self.say("post", int(transient), int(binary), topic, data)

    def messages(self, count):
        return [self.next("message") for _ in range(count)]

    def data(self, count):
        return [told["data"] for told in self.messages(count)]

    def until(self, data):
        """All that comes up to this."""
        taken = []
        while not taken or taken[-1] != data:
            taken.append(self.next("message")["data"])
        return taken


LOCAL_ONLY = 3  # WS_LOCAL_ONLY


def publish_until(speaker, topic, done, what, limit_s=LIMIT_S):
    """Publishes numbered probes until one of them turns out so."""
    end = time.monotonic() + limit_s
    while True:
        told = speaker.publish(topic, "probe", transient=True)
        if done(told):
            return told
        assert time.monotonic() < end, what
        time.sleep(0.02)
