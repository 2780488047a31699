"""The console page in a browser, a page opened from disk, and a WebSocket client written elsewhere, against `standalone`."""

import os
import select
import signal
import subprocess
import time

import pytest

from harness import TOP, free_port

SHOTS = TOP / "build/tests/screenshots"
LIMIT_S = 120


def wait_for_line(process, word):
    """Reads the process's output until the word has come."""
    seen, end = "", time.monotonic() + LIMIT_S
    while word not in seen:
        assert select.select([process.stdout], [], [], max(0, end - time.monotonic()))[0], f"no {word} in {seen!r}"
        data = os.read(process.stdout.fileno(), 65536)
        assert data, f"ended with {process.wait()} after {seen!r}"
        seen += data.decode()


@pytest.fixture(params=["http", "https"])
def scheme(request):
    return request.param


@pytest.fixture
def server(scheme):
    port = free_port()
    process = subprocess.Popen([TOP / "standalone", "-p", str(port), *(["--tls"] if scheme == "https" else [])],
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True)
    process.port = port
    try:
        wait_for_line(process, "Ctrl-C stops it.")
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(LIMIT_S) == 0


def node(script, *words):
    return subprocess.Popen(["node", TOP / "tests/browser" / script, *map(str, words)], cwd=TOP, stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, text=True)


def test_the_console_page_connects_sends_and_closes(server, scheme):
    test = node("console.mjs", f"{scheme}://127.0.0.1:{server.port}/", SHOTS / scheme)
    test.communicate(timeout=LIMIT_S)
    assert test.returncode == 0


def test_a_client_from_npm_is_served(server, scheme):
    insecure = ["--insecure"] if scheme == "https" else []
    test = node("ws_peer.mjs", f"{scheme.replace('http', 'ws')}://127.0.0.1:{server.port}/echo", *insecure)
    test.communicate(timeout=LIMIT_S)
    assert test.returncode == 0


@pytest.mark.parametrize("scheme", ["http"], indirect=True)
def test_page_from_disk_sees_the_server_go(server):
    test = node("demo.mjs", server.port, SHOTS)
    try:
        wait_for_line(test, "READY")
        server.send_signal(signal.SIGTERM)
        test.communicate(timeout=LIMIT_S)
    finally:
        test.kill()
    assert test.returncode == 0
