"""The console and the chat page in a browser, a page opened from disk, and a WebSocket client written elsewhere, against `standalone`."""

import os
import select
import shutil
import signal
import subprocess
import time

import pytest

from harness import BUILD, TOP, Server, free_port

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


def node(script, *words, stdin=subprocess.DEVNULL):
    return subprocess.Popen(["node", TOP / "tests/browser" / script, *map(str, words)], cwd=TOP, stdin=stdin,
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


HTTP2 = """
Protocols h2 http/1.1
H2WebSockets on
LogFormat "%H %>s %U %{H2_STREAM_TAG}e" streams
CustomLog "streams.log" streams
<Location /echo>
    WebSocketHandler echo
</Location>
<Location /report>
    WebSocketHandler HANDLERS/report.so
</Location>
"""


@pytest.mark.parametrize("mpm", ["event", "worker"])
def test_page_and_websockets_share_an_http2_connection(mpm, handlers):
    with Server(HTTP2.replace("HANDLERS", str(handlers)), mpm=mpm, tls=True, modules=["http2"]) as server:
        test = node("h2.mjs", f"https://127.0.0.1:{server.port}/")
        test.communicate(timeout=LIMIT_S)
        assert test.returncode == 0
        server.await_idle()
        lines = [line.split() for line in (server.folder / "streams.log").read_text().splitlines() if "favicon" not in line]
        requests = sorted(" ".join(words) for *words, _ in lines)
        assert requests == sorted(2 * ["HTTP/2.0 200 /index.html", *5 * ["HTTP/2.0 101 /echo"], "HTTP/2.0 101 /report"])
        assert len({tag.rsplit("-", 1)[0] for *_, tag in lines}) == 1, lines  # process, connection, stream


CHAT = """
DirectoryIndex index.html
AddType text/css .css
AddType text/javascript .js
AddType image/svg+xml .svg
<Location /chat>
    WebSocketHandler topics
    WebSocketParam publish on
    WebSocketParam history 50
</Location>
"""


def kill(server):
    os.killpg(server.process.pid, signal.SIGKILL)
    server.process.wait(LIMIT_S)
    (server.folder / "httpd.pid").unlink()


def restart(server):
    children = server.children()
    server.process.send_signal(signal.SIGUSR1)
    server.await_new_children(children)


@pytest.fixture
def chat():
    with Server(CHAT) as server:
        shutil.copytree(TOP / "www", server.folder / "www", dirs_exist_ok=True)
        yield server


@pytest.mark.parametrize("words", [["chat.mjs"], ["chat_pictures.mjs", BUILD / "screenshots"]], ids=["chat", "chat_pictures"])
def test_people_chat(chat, words):
    script, *shots = words
    test = node(script, f"http://127.0.0.1:{chat.port}/", *shots)
    test.communicate(timeout=LIMIT_S)
    assert test.returncode == 0


def test_the_chat_outlasts_restarts_and_the_death_of_the_server(chat):
    words = {"restart": restart, "kill": kill, "start": Server.__enter__}
    with node("chat_outages.mjs", f"http://127.0.0.1:{chat.port}/", BUILD / "screenshots", stdin=subprocess.PIPE) as test:
        try:
            for word in test.stdout:
                words[word.strip()](chat)
                print("done", file=test.stdin, flush=True)
        except BaseException:
            test.kill()
            raise
    assert test.returncode == 0
