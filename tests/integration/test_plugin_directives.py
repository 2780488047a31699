"""The directives of apache-websocket, which are taken with the meaning that they had there."""

import pytest

from harness import BINARY, CLOSE, TEXT, UPGRADE, Server, close_payload, frame

PAGES = {"same": "http://localhost", "listed": "https://www.example.org", "with port": "http://example.net:8080", "other": "https://evil.example", "none": None,
         "sandboxed": "null"}


def location(name, *lines):
    return f"<Location /{name}>\n    SetHandler websocket-handler\n    WebSocketHandler echo\n    " + "\n    ".join(lines) + "\n</Location>\n"


LIST = ["WebSocketTrustedOrigin https://www.example.org https://other.example.org", "WebSocketTrustedOrigin http://example.net:8080"]


def may_connect(server, path, page):
    origin = PAGES[page] and PAGES[page].replace("//localhost", f"//localhost:{server.port}")
    status, *_ = server.http(path, *UPGRADE, f"Host: localhost:{server.port}", *([f"Origin: {origin}"] if origin else []), host=False)
    assert status in (101, 403)
    return status == 101


@pytest.mark.parametrize("lines, pages", [
    ([], ["none", "same"]),
    (["WebSocketOriginCheck Same"], ["none", "same"]),
    (["WebSocketOriginCheck off"], list(PAGES)),
    (["WebSocketOriginCheck Trusted", *LIST], ["none", "listed", "with port"]),
    ([*LIST, "WebSocketOriginCheck trusted"], ["none", "listed", "with port"]),  # in any order
    (["WebSocketOriginCheck Trusted"], ["none"]),
    (["WebSocketOriginCheck Trusted", "WebSocketTrustedOrigin null"], ["none", "sandboxed"]),
    (["WebSocketOriginCheck Same", *LIST], ["none", "same"]),  # a list is for Trusted
    (["WebSocketOriginCheck Trusted", *LIST, "WebSocketOrigin any"], list(PAGES)),  # the later one counts
    (["WebSocketOrigin any", "WebSocketOriginCheck Same"], ["none", "same"]),
], ids=["default", "Same", "Off", "Trusted", "list first", "no list", "null", "list without Trusted", "WebSocketOrigin behind", "WebSocketOrigin before"])
def test_who_may_connect(lines, pages):
    with Server(location("ws", *lines)) as server:
        assert [page for page in PAGES if may_connect(server, "/ws", page)] == [page for page in PAGES if page in pages]


def test_sections_inherit_and_replace_checks():
    outer = "WebSocketOriginCheck Trusted\n" + "\n".join(LIST) + "\n"
    with Server(outer + location("inherits") + location("off", "WebSocketOriginCheck Off") + location("own", "WebSocketOrigin same")
                + location("list", "WebSocketTrustedOrigin https://evil.example")) as server:
        for path, pages in [("inherits", ["listed", "with port", "none"]), ("off", list(PAGES)), ("own", ["same", "none"]), ("list", ["other", "none"])]:
            assert {page for page in PAGES if may_connect(server, f"/{path}", page)} == set(pages), path


@pytest.mark.parametrize("name", ["WebSocketMaxMessageSize", "MaxMessageSize", "WebSocketMaxMessage"])
def test_the_longest_message(name):
    with Server(location("echo", f"{name} 1000")) as server:
        with server.websocket() as client:
            client.echo(b"x" * 1000, BINARY)
            client.send(frame(BINARY, b"x" * 1001))
            assert client.read_close()[0] == 1009
        with server.websocket() as client:
            client.echo()
            client.close()


@pytest.mark.parametrize("lines, answer", [([], 1002), (["WebSocketAllowReservedStatusCodes Off"], 1002), (["WebSocketAllowReservedStatusCodes On"], 2000)],
                         ids=["default", "Off", "On"])
def test_close_codes_that_are_reserved(lines, answer):
    with Server(location("echo", *lines)) as server:
        with server.websocket() as client:
            client.send(frame(CLOSE, close_payload(2000)))
            assert client.read_close()[0] == answer
        with server.websocket() as client:  # this one is never allowed
            client.send(frame(CLOSE, close_payload(1005)))
            assert client.read_close()[0] == 1002


@pytest.mark.parametrize("line, complaint", [
    ("WebSocketOriginCheck Maybe", 'WebSocketOriginCheck: "Maybe" is none of Off, Same, Trusted'),
    ("WebSocketTrustedOrigin www.example.org", 'WebSocketTrustedOrigin: "www.example.org" is not SCHEME://HOST[:PORT], such as https://www.example.org'),
    ("WebSocketTrustedOrigin any", 'WebSocketTrustedOrigin: "any" is not SCHEME://HOST'),
    ("WebSocketTrustedOrigin https://*.example.org", 'WebSocketTrustedOrigin: "https://*.example.org" is not SCHEME://HOST'),
    ("WebSocketMaxMessageSize 0", 'WebSocketMaxMessageSize: "0" is not a number of bytes above 0'),
    ("MaxMessageSize much", 'MaxMessageSize: "much" is not a number of bytes above 0'),
    ("WebSocketAllowReservedStatusCodes Perhaps", "WebSocketAllowReservedStatusCodes must be On or Off"),
])
def test_complaints(line, complaint):
    server = Server(location("ws", line))
    try:
        status, output = server.configtest()
        assert status != 0 and complaint in output
        assert len([each for each in output.splitlines() if "WebSocket" in each or "MaxMessage" in each]) == 1
    finally:
        server.kill()


def test_the_handler_that_sethandler_names():
    config = location("ws") + "<Location /nothing>\nSetHandler websocket-handler\n</Location>\n"
    with Server(config) as server:
        assert server.http("/ws")[0] == 426
        assert server.http("/nothing")[0] == 404
        assert server.http("/nothing", *UPGRADE)[0] == 404
        with server.websocket("/ws") as client:
            client.send_text("a")
            assert client.read_frame() == (TEXT, b"a")
            client.close()
