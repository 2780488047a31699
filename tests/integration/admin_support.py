"""Listing connections and closing them through SetHandler websocket-status."""

import base64
import json

from harness import password_file

MODULES = ["auth_basic", "authn_file", "authz_user"]
WORDS = {"bob": "secret", "eve": "other"}


def basic(user):
    return f"Authorization: Basic {base64.b64encode(f'{user}:{WORDS[user]}'.encode()).decode()}"


AUTH = """
    AuthType Basic
    AuthName "status"
    AuthUserFile "{folder}/users"
    Require valid-user
"""

CONFIG = """
<Location "/echo">
    WebSocketHandler echo
</Location>
<Location "/room">
    WebSocketHandler echo
</Location>
<Location "/still">
    WebSocketHandler echo
    WebSocketDetach off
</Location>
<Location "/private">
    WebSocketHandler echo
    {auth}
</Location>
<Location "/status">
    SetHandler websocket-status
    {auth}
</Location>
"""


def configure(server, extra="", config=CONFIG):
    """Gives the server its configuration and users, before it starts."""
    server.folder.joinpath("users").write_text(password_file(**WORDS))
    server.replace_config(config.replace("{auth}", AUTH).replace("{folder}", str(server.folder)) + extra)
    return server


def get(server, query="connections", user="bob", *headers):
    """Status and what the JSON says."""
    status, _, body = server.http(f"/status?{query}", *([basic(user)] if user else []), *headers)
    return status, json.loads(body) if body.startswith(b"{") else body


def listed(server, query="", user="bob"):
    status, said = get(server, "connections" + query, user)
    assert status == 200, said
    return said


def complete(server, query=""):
    """The connections, of a listing of which nothing is missing."""
    said = listed(server, query)
    assert (said["incomplete"], said["unanswered"]) == (False, []), said
    assert len(said["connections"]) == said["total"], said
    return said["connections"]


def post(server, body, *headers, user="bob", kind="application/json", query="close"):
    body = (body if isinstance(body, str) else json.dumps(body)).encode()
    status, _, answer = server.http(f"/status?{query}", *([basic(user)] if user else []), *([f"Content-Type: {kind}"] if kind else []),
                                    f"Content-Length: {len(body)}", *headers, method="POST", body=body)
    return status, json.loads(answer) if answer.startswith(b"{") else answer


def close(server, filter, user="bob", **more):
    """Closes them; how many were closed."""
    status, said = post(server, {"token": listed(server, "&limit=0", user)["token"], "filter": filter, **more}, user=user)
    assert (status, said.get("incomplete"), said.get("unanswered")) == (200, False, []), (status, said)
    return said["closed"]
