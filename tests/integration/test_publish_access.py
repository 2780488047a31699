"""Publishing over HTTP is closed unless a Require was written for it."""

import re

import pytest

from harness import Server, password_file, read_response
from publishing import Publisher, http_request

OPEN = "SetHandler websocket-publish\nRequire all granted"
CLOSED = r"publishing refused with 403: "


def location(path, *lines):
    return "\n".join([f'<Location "{path}">', *lines, "</Location>", ""])


def directory(*lines):
    return "\n".join(['<Directory "{www}">', *lines, "</Directory>", ""])


def status_of(config, method="POST", path="/publish/a", htaccess=None, modules=(), mpm="event"):
    """Of one request; and what the log says of it."""
    server = Server(mpm=mpm, modules=["access_compat", *modules])
    server.replace_config(config.replace("{www}", str(server.folder / "www")))
    if htaccess:
        (server.folder / "www/.htaccess").write_text(htaccess)
    with server:
        server.expect(CLOSED, r"AH01630:", r"AH01797:")
        with server.connect() as connection:
            connection.sendall(http_request(method, path, body=b"x" if method == "POST" else b""))
            status, _, body = read_response(connection, method)
        if status == 403 and b"error" in body:
            assert b"Require" not in body, "the client is told of the configuration"
        return status, server.error_log()


# Each with a DocumentRoot that grants to all.
CLOSED_BY = {
    "nothing": location("/publish", "SetHandler websocket-publish"),
    "a Require of an enclosing Location": location("/", "Require all granted") + location("/publish", "SetHandler websocket-publish"),
    "a Require of an enclosing Directory": directory("Require all granted") + location("/publish", "SetHandler websocket-publish"),
    "a Require merged before": location("/publish", "Require all granted") + location("/publish/a", "SetHandler websocket-publish"),
    "a Require for other methods": location("/publish", "SetHandler websocket-publish", "<Limit GET DELETE>", "Require all granted", "</Limit>"),
    "a Require for all but this method": location("/publish", "SetHandler websocket-publish", "<LimitExcept POST>", "Require all denied", "</LimitExcept>"),
    "AuthMerging Or": location("/publish", "SetHandler websocket-publish", "AuthMerging Or", "Require ip 192.0.2.1"),
    "AuthMerging Off later": location("/publish", OPEN) + location("/publish/a", "AuthMerging Off"),
    "AuthMerging Or, and another section later": location("/publish", "SetHandler websocket-publish", "AuthMerging Or", "Require ip 192.0.2.1")
        + location("/publish/a", "WebSocketMaxMessage 1000"),
    "Satisfy Any": location("/publish", "SetHandler websocket-publish", "Require ip 192.0.2.1", "Satisfy Any"),
    "Satisfy Any outside": directory("Satisfy Any") + location("/publish", "SetHandler websocket-publish", "Require ip 192.0.2.1"),
    "AddHandler": "AddHandler websocket-publish .pub\n",
    "an expression": location("/publish", 'SetHandler "websocket-%{tolower:PUBLISH}"', "Require all granted"),
    "RewriteRule": "RewriteEngine on\nRewriteRule ^/publish - [H=websocket-publish]\n" + location("/publish", "Require all granted"),
    "a later SetHandler": location("/publish", OPEN) + location("/publish/a", "SetHandler websocket-publish"),
}


@pytest.mark.parametrize("how", CLOSED_BY)
def test_closed(how):
    status, log = status_of(CLOSED_BY[how], path="/a.pub" if how == "AddHandler" else "/publish/a", modules=["rewrite"])
    assert status == 403
    assert len(re.findall(CLOSED, log)) == 1


OPENED_BY = {
    "Require all granted": location("/publish", OPEN),
    "Require ip": location("/publish", "SetHandler websocket-publish", "Require ip 127.0.0.1"),
    "Require before SetHandler in the section": location("/publish", "Require ip 127.0.0.1", "SetHandler websocket-publish"),
    "a Require merged later": location("/publish", "SetHandler websocket-publish") + location("/publish/a", "Require ip 127.0.0.1"),
    "RequireAny": location("/publish", "SetHandler websocket-publish", "<RequireAny>", "Require ip 192.0.2.1", "Require ip 127.0.0.1", "</RequireAny>"),
    "RequireAll": location("/publish", "SetHandler websocket-publish", "<RequireAll>", "Require all granted", "<RequireNone>", "Require ip 192.0.2.1", "</RequireNone>",
                           "</RequireAll>"),
    "Limit": location("/publish", "SetHandler websocket-publish", "<Limit POST>", "Require ip 127.0.0.1", "</Limit>"),
    "LimitExcept": location("/publish", "SetHandler websocket-publish", "<LimitExcept GET>", "Require ip 127.0.0.1", "</LimitExcept>"),
    "AuthMerging And": location("/publish", "SetHandler websocket-publish", "AuthMerging And", "Require ip 127.0.0.1"),
    "And with one merged later": location("/publish", OPEN) + location("/publish/a", "AuthMerging And", "Require ip 127.0.0.1"),
    "Or with one merged later": location("/publish", "SetHandler websocket-publish", "Require ip 192.0.2.1") + location("/publish/a", "AuthMerging Or", "Require ip 127.0.0.1"),
    "a Directory": directory(OPEN),
    "If": '<If "true">\n' + OPEN + "\n</If>\n",
    "Satisfy All": location("/publish", OPEN, "Satisfy All"),
    "a section later": location("/publish", OPEN) + location("/publish/a", "WebSocketMaxMessage 1000"),
}


@pytest.mark.parametrize("how", OPENED_BY)
def test_open(how):
    path = "/publish?topic=a" if how in ("a Directory", "If") else "/publish/a"
    assert status_of(OPENED_BY[how], path=path)[0] == 200


DENIED_BY = {
    "Require all denied": location("/publish", "SetHandler websocket-publish", "Require all denied"),
    "Require ip": location("/publish", "SetHandler websocket-publish", "Require ip 192.0.2.1"),
    "denied later": location("/publish", OPEN) + location("/publish/a", "Require all denied"),
    "And": location("/publish", "SetHandler websocket-publish", "Require ip 192.0.2.1") + location("/publish/a", "AuthMerging And", "Require all granted"),
}


@pytest.mark.parametrize("how", DENIED_BY)
def test_who_is_not_required_is_denied_by_httpd(how):
    status, log = status_of(DENIED_BY[how])
    assert status == 403 and not re.search(CLOSED, log)


@pytest.mark.parametrize("config, htaccess, status", [
    ("", OPEN, 403),
    (directory("SetHandler websocket-publish"), "Require all granted", 403),
    (directory(OPEN), "SetHandler websocket-publish", 403),
    (directory(OPEN), "Require all granted", 403),
    (directory("SetHandler websocket-publish", "Require ip 192.0.2.1"), "AuthMerging Or\nRequire all granted", 403),
    (directory("SetHandler websocket-publish", "Require ip 192.0.2.1"), "Satisfy Any", 403),
    (directory(OPEN), "AuthMerging And\nRequire ip 127.0.0.1", 200),
    (directory(OPEN), "ErrorDocument 404 none", 200),
    (directory(OPEN), "<Files *>\nRequire all granted\n</Files>", 403),
    (location("/publish", OPEN), OPEN, 200)])
def test_htaccess_opens_nothing(config, htaccess, status):
    assert status_of(config, path="/publish?topic=a", htaccess=htaccess)[0] == status


def test_the_log_says_what_to_write_and_is_not_flooded():
    with Server(location("/publish", "SetHandler websocket-publish")) as server, Publisher(server) as publisher:
        server.expect(CLOSED)
        for _ in range(50):
            assert publisher.ask("POST", "/publish/a", body="x") == (403, {"error": "publishing is not open here; the error log says why"})
        lines = re.findall(CLOSED + ".*", server.error_log())
        assert 'no Require says who may use POST: write one, such as "Require ip 10.0.0.0/8"' in lines[0]
        assert 1 <= len(lines) <= 15


def test_users_and_methods():
    config = """
<Location "/publish">
    SetHandler websocket-publish
    AuthType Basic
    AuthName publish
    AuthUserFile "{folder}/users"
    Require all denied
</Location>
<Location "/publish/news">
    <LimitExcept GET>
        Require user editor
    </LimitExcept>
    <Limit GET>
        Require valid-user
    </Limit>
</Location>
"""
    server = Server(modules=["auth_basic", "authn_file", "authz_user"])
    server.replace_config(config.replace("{folder}", str(server.folder)))
    (server.folder / "users").write_text(password_file(editor="e", reader="r"))
    with server:
        server.expect(r"AH01630:", r"AH01631:", r"authorization failure")
        editor, reader = "Authorization: Basic ZWRpdG9yOmU=", "Authorization: Basic cmVhZGVyOnI="
        for user, method, path, status in [
                (editor, "POST", "/publish/news", 200), (reader, "POST", "/publish/news", 401), (reader, "GET", "/publish/news", 200),
                (editor, "POST", "/publish/other", 403), (editor, "POST", "/publish?topic=news", 403), (editor, "POST", "/publish/other?topic=news", 403),
                (editor, "POST", "/publish/news?topic=other", 400), (reader, "DELETE", "/publish/news", 401)]:
            got = server.http(path, user, *(["Content-Length: 1"] if method == "POST" else []), method=method, body=b"x" if method == "POST" else b"")
            assert got[0] == status, (user, method, path, got)


def test_a_whole_server_is_no_place_to_publish():
    for config in ["SetHandler websocket-publish", "<VirtualHost *:1>\nSetHandler websocket-publish\n</VirtualHost>"]:
        server = Server(config)
        try:
            status, said = server.configtest()
            assert status and 'has to stand in a section, such as <Location "/publish">, with a Require' in said
        finally:
            server.kill()


@pytest.mark.parametrize("directive", ["Require all denied", "AuthMerging And"])
def test_require_without_its_module_is_still_an_error(directive):
    """It would be taken, and deny nothing."""
    server = Server()
    try:
        base = re.sub(r"(?m)^LoadModule authz.*\n", "", server.base_config).replace("Require all granted\n", "")
        if base == server.base_config or "authz_core" in base:
            pytest.fail("the module is built in")
        server.config_file.write_text(base + location("/x", directive))
        status, said = server.configtest()
        assert status and f"{directive.split()[0]}: load mod_authz_core" in said
    finally:
        server.kill()


def test_other_handlers_are_as_before(mpm):
    config = location("/plain", "SetHandler default-handler", "Require all granted") + location("/denied", "Require all denied")
    with Server(config, mpm=mpm) as server:
        server.expect(r"AH01630:")
        assert server.http("/index.html")[0] == 200
        assert server.http("/denied")[0] == 403
