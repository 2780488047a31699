"""What holds whatever one client does: the others are served meanwhile, the next request is answered, no child goes, and descriptors and
memory come back."""

import contextlib
import pathlib
import re
import resource
import threading

import sanitizer
from harness import BINARY, Server, eventually, read_response

# Of all processes of httpd together.
KEPT_KB = 2048  # more than before, when the client is gone
PEAK_KB = 8192  # more than before, at the worst moment

WORKERS = 4
LIMIT_BYTES = 1 << 20  # WebSocketMaxMessage's default


def memory_kb(pids):
    """What each page costs is shared out among the processes that have it. Without pages of files: what those cost depends on how many
    other servers run."""
    return sum(int(re.search(r"Pss_Anon:\s+(\d+)", pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text())[1]) for pid in pids)


def status_kb(pid, name):
    return int(re.search(name + r":\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text())[1])


class Memory:
    """Of all processes of a server, from now on."""

    def __init__(self, server):
        self.pids = [server.process.pid, *server.children()]
        for pid in self.pids:
            pathlib.Path(f"/proc/{pid}/clear_refs").write_text("5")  # a new peak begins
        self.at_start_kb = {pid: status_kb(pid, "VmRSS") for pid in self.pids}
        self.shared_out_kb = memory_kb(self.pids)

    def peak_kb(self):
        return sum(status_kb(pid, "VmHWM") - self.at_start_kb[pid] for pid in self.pids)

    def grown_kb(self):
        return memory_kb(self.pids) - self.shared_out_kb


class Bystander(threading.Thread):
    """A client that echoes all the time."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.client = server.websocket()
        self.over, self.failure, self.echoes = threading.Event(), None, 0
        self.start()

    def run(self):
        try:
            while True:
                self.client.echo(f"echo {self.echoes}")
                self.echoes += 1
                if self.over.wait(0.002):
                    return
        except Exception as failure:  # for the thread of the test
            self.failure = failure

    def leave(self):
        self.over.set()
        self.join()
        if self.failure:
            raise AssertionError(f"the bystander's echo {self.echoes} went wrong") from self.failure
        self.client.echo("to the end")
        self.client.close()


@contextlib.contextmanager
def unharmed(server, peak_kb=PEAK_KB, kept_kb=KEPT_KB):
    """The server is what it was when this ends, and a bystander has echoed inside. /echo is a WebSocket there."""
    server.await_idle()
    server.settle()
    children, descriptors, memory = server.children(), server.descriptors_by_child(), Memory(server)
    bystander = Bystander(server)
    try:
        yield bystander
        assert server.http("/index.html")[0] == 200
        with server.websocket() as newcomer:
            newcomer.echo()
            newcomer.close()
        bystander.leave()
    finally:
        bystander.over.set()
    server.await_idle()
    assert server.children() == children, "a child is gone"
    eventually(lambda: all(count <= descriptors[pid] for pid, count in server.descriptors_by_child().items()), "descriptors leak")
    if not sanitizer.NAME:  # they keep what is freed
        assert memory.peak_kb() < peak_kb, f"{memory.peak_kb()} KB more at the peak"
        assert memory.grown_kb() < kept_kb, f"{memory.grown_kb()} KB more when all were gone"


@contextlib.contextmanager
def serving(config, **how):
    """A server with one child, all threads of which have worked."""
    with Server(f"MaxRequestWorkers {WORKERS}\nMaxMemFree 64\n" + config, threads=WORKERS, log_level="warn websocket:info", **how) as server:
        server.expect(r"AH00484:", r"AH10159:", r"AH00286:")  # as many clients as workers
        server.expect(r"websocket:info.* opening handshake refused with ", r"websocket:info.*WS301: \[client 127\.0\.0\.1, .*: closed with 100[2789]: ")
        for _ in range(3):
            all_workers_serve(server)
        with server.websocket() as client:
            client.echo("x" * 1000)
            client.echo(b"x" * LIMIT_BYTES, BINARY)
            client.close()
        yield server
        server.await_idle()


def all_workers_serve(server):
    """As many requests at once as there are workers: each is begun before any is ended."""
    connections = server.begin_requests(WORKERS)
    for connection in connections:
        connection.sendall(b"x\r\n\r\n")
    for connection in connections:
        assert read_response(connection)[0] == 200
        connection.close()


def make_room(count):
    """Descriptors for as many clients; httpd inherits the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count + 500:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 2 * count + 500), hard))
