"""The status page in a browser."""

import subprocess

import pytest

from harness import BUILD, Server, password_file
from test_browser import LIMIT_S, kill, node, restart

HOSTILE = "<img src=x onerror=alert(1)>"
SHOTS = BUILD / "screenshots"
CONFIG = """
<Location /echo>
    WebSocketHandler echo
</Location>
<Location /chat>
    WebSocketHandler echo
</Location>
<Location /status>
    SetHandler websocket-status
</Location>
<Location /any/path/admin>
    SetHandler websocket-status
</Location>
<LocationMatch "^/(chat|any)">
    AuthType Basic
    AuthName "the private part"
    AuthUserFile users
    Require valid-user
</LocationMatch>
"""


@pytest.fixture
def server():
    with Server(CONFIG, modules=["auth_basic", "authn_file", "authz_user"]) as server:
        server.expect(r"WS704: user \"ada\" has closed")
        (server.folder / "users").write_text(password_file(**{"ada": "word", HOSTILE: "word"}))
        yield server


def urls(server):
    at = f"127.0.0.1:{server.port}"
    return {"status": f"http://{at}/status", "admin": f"http://{at}/any/path/admin", "echo": f"ws://{at}/echo", "shots": SHOTS}


@pytest.mark.parametrize("script, words", [("status", ["status", "echo"]), ("status_pictures", ["status", "echo", "shots"]),
                                           ("status_admin", ["admin", "echo", "shots"])])
def test_the_page_shows_what_clients_do(server, script, words):
    test = node(f"{script}.mjs", *[urls(server)[word] for word in words])
    test.communicate(timeout=LIMIT_S)
    assert test.returncode == 0


def test_the_page_outlasts_restarts_and_the_death_of_the_server(server):
    words = {"restart": restart, "kill": kill, "start": Server.__enter__}
    with node("status_outages.mjs", urls(server)["status"], urls(server)["echo"], stdin=subprocess.PIPE) as test:
        try:
            for word in test.stdout:
                words[word.strip()](server)
                print("done", file=test.stdin, flush=True)
        except BaseException:
            test.kill()
            raise
    assert test.returncode == 0
