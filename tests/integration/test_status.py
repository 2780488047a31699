"""SetHandler websocket-status and mod_status: what is counted, in all forms, and who may read it."""

import json
import os
import re
import signal
import subprocess
import tempfile
import urllib.parse
import urllib.request

import pytest

from harness import CLOSE, ECHO, TEXT, TOP, UPGRADE, Server, close_payload, eventually, frame, free_port
from status_support import CONFIG, location, read_json, read_metrics, value

MOORINGS = ["tcp", "tls", "resident", "resident-tls"]
LOCATION_KEYS = {"open", "opened", "closed", "refused", "messages", "bytes", "pings_sent", "pings_received", "pongs_received", "dropped",
                 "slow_pauses", "rate_pauses", "buffered_bytes", "deflate", "round_trip_seconds", "handler_seconds"}
CODES = ["1000", "1001", "1002", "1003", "1005", "1006", "1007", "1008", "1009", "1010", "1011", "1012", "1013", "1014", "3xxx", "4xxx", "other"]
CAUSES = ["client", "handler", "protocol", "message_size", "fragments", "lost", "drain", "stop", "ping", "idle", "lifetime", "rate",
          "control_rate", "slow", "memory", "admin", "died"]
REFUSALS = ["request", "origin", "handler", "connections", "resident", "location", "address", "handshake_rate", "descriptors", "resources"]


def refuse(server, path="/echo", times=1):
    """Opening handshakes with a wrong Origin."""
    for _ in range(times):
        assert server.http(path, *UPGRADE, "Origin: https://elsewhere.example")[0] == 403


def check_with_promtool(text):
    result = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, timeout=30)
    assert (result.returncode, result.stdout + result.stderr) == (0, "")


def test_json_has_all_that_is_counted():
    with Server(CONFIG) as server:
        status = read_json(server)
        assert re.fullmatch(r"\d+\.\d+\.\d+.*", status["version"])
        assert 0 <= status["time"] - status["started"] < 600
        assert [(each["pid"], each["generation"], each["state"], each["open"], each["buffered_bytes"]) for each in status["children"]] == \
            [(pid, 0, "serving", 0, 0) for pid in server.children()]
        assert [(each["server"], each["location"]) for each in status["locations"]] == [("localhost:%d" % server.port, "/echo")]
        assert set(status["total"]) == LOCATION_KEYS
        assert set(status["locations"][0]) == LOCATION_KEYS | {"server", "location"}
        total = status["total"]
        assert total["open"] == total["opened"] == {"plain": 0, "tls": 0, "resident": 0}
        assert total["closed"] == {"codes": dict.fromkeys(CODES, 0), "causes": dict.fromkeys(CAUSES, 0)}
        assert total["refused"] == dict.fromkeys(REFUSALS, 0)
        assert total["messages"] == total["bytes"] == {"received": {"text": 0, "binary": 0}, "sent": {"text": 0, "binary": 0}}
        assert total["deflate"]["sent"] == {"raw_bytes": 0, "wire_bytes": 0, "seconds": 0}
        bounds = [1e-6 * 4 ** i for i in range(13)]
        for histogram in (total["round_trip_seconds"], total["handler_seconds"], status["turn_seconds"]):
            assert histogram["bounds"] == pytest.approx(bounds) and len(histogram["counts"]) == 14
            assert sum(histogram["counts"]) == histogram["count"]
        assert status["log_lines_lost"] == 0


@pytest.mark.parametrize("mpm", ["event", "worker", "prefork"])
def test_refused_handshakes_are_counted_by_reason_and_location(mpm):
    config = CONFIG + '<Location "/auth">\nWebSocketHandler auth\nWebSocketParam token demo\n</Location>\n'
    with Server(config, mpm=mpm) as server:
        refuse(server, times=12)
        for _ in range(3):
            assert server.http("/echo", *UPGRADE[:-1], "Sec-WebSocket-Version: 7")[0] == 426
        for _ in range(2):
            assert server.http("/auth", *UPGRADE)[0] in (401, 403)
        assert server.http("/echo")[0] == 426  # no opening handshake
        server.websocket("/echo").close()
        status = read_json(server)
        refused = dict.fromkeys(REFUSALS, 0)
        assert location(status, "/echo")["refused"] == {**refused, "origin": 12, "request": 3}
        assert location(status, "/auth")["refused"] == {**refused, "handler": 2}
        assert status["total"]["refused"] == {**refused, "origin": 12, "request": 3, "handler": 2}


def test_limits_are_counted_as_what_they_are():
    with Server(CONFIG + "WebSocketMaxConnections 1\nWebSocketMaxResident 0\n<Location /still>\nWebSocketHandler echo\n"
                "WebSocketDetach off\n</Location>") as server:
        server.expect("no room for another WebSocket: WebSocketMax")
        assert server.http("/still", *UPGRADE)[0] == 503
        with server.websocket():
            for _ in range(2):
                assert server.http("/echo", *UPGRADE)[0] == 503
        status = read_json(server)
        assert {name: count for name, count in location(status, "/echo")["refused"].items() if count} == {"connections": 2}
        assert {name: count for name, count in location(status, "/still")["refused"].items() if count} == {"resident": 1}


def test_prometheus_text_is_valid_and_agrees_with_json():
    strange = '<LocationMatch "^/w\\\\d \\"x\\"">\nWebSocketHandler echo\n</LocationMatch>\n'
    with Server(CONFIG + strange) as server:
        refuse(server, times=4)
        text, samples = read_metrics(server)
        check_with_promtool(text)
        status = read_json(server)
        assert len(status["locations"]) == 2
        assert value(samples, "handshakes_refused_total", location="/echo", reason="origin") == 4
        assert value(samples, "handshakes_refused_total") == 4
        assert value(samples, "children", state="serving") == len(status["children"])
        assert value(samples, "build_info", version=status["version"]) == 1
        assert {dict(labels)["code"] for name, labels in samples if name == "websocket_connections_closed_total"} == set(CODES)
        assert {dict(labels)["cause"] for name, labels in samples if name == "websocket_connections_ended_total"} == set(CAUSES)
        assert ("websocket_loop_turn_seconds_bucket", (("le", "+Inf"),)) in samples
        # Each has a help and a type, once, before its samples.
        for name in {re.sub("_(bucket|sum|count)$", "", name) for name, _ in samples}:
            assert len(re.findall(f"^# HELP {name} ", text, re.M)) == len(re.findall(f"^# TYPE {name} ", text, re.M)) == 1, name


@pytest.mark.parametrize("accept, kind", [
    ("application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
     "text/plain; version=0.0.4; charset=utf-8"),
    ("text/plain; version=0.0.4", "text/plain; version=0.0.4; charset=utf-8"),
    ("text/html,application/xhtml+xml,*/*;q=0.8", "text/html; charset=utf-8"),
    ("*/*", "text/html; charset=utf-8"),
])
def test_accept_chooses_the_form(accept, kind):
    with Server(CONFIG) as server:
        status, headers, body = server.http("/status", f"Accept: {accept}")
        assert (status, headers["content-type"], headers["cache-control"]) == (200, kind, "no-store")
        assert body
        # What the query says counts more.
        assert server.http("/status?a=b&format=json", f"Accept: {accept}")[1]["content-type"] == "application/json"


def test_the_page_and_its_files_are_in_the_module():
    with Server(CONFIG) as server:
        status, headers, page = server.http("/status")
        assert status == 200
        # What the policy allows is enough: no script, style or handler of an event stands in the page itself.
        assert not re.search(rb"<style|<script(?! src=)|\s(style|on\w+)=", page)
        names = dict.fromkeys(re.findall(r'(?:href|src)="\?asset=([^"]*)"', page.decode()))
        assert {"status.js", "status.css", "common.css", "icon.svg"} < set(names)
        kinds = {"js": "text/javascript; charset=utf-8", "css": "text/css; charset=utf-8", "svg": "image/svg+xml"}
        for name in names:
            status, of_file, content = server.http(f"/status?asset={name}")
            assert (status, of_file["content-type"]) == (200, kinds[name.rsplit(".")[-1]]), name
            assert content == next((TOP / folder / name).read_bytes() for folder in ["src/httpd/status", "www"] if (TOP / folder / name).exists())
            for header in ["content-security-policy", "x-frame-options", "x-content-type-options", "cache-control"]:
                assert of_file[header] == headers[header], name
            assert set(re.findall(rb"asset=(\w+\.js)", content)) <= {name.encode() for name in names}, name
        for name in ["", "status", "../status.js", "status.js%00", "STATUS.JS", "x" * 4000]:
            status, headers, body = server.http(f"/status?asset={name}")
            assert (status, headers["content-type"]) == (404, "text/plain") and b"no such file" in body, name


def test_requests_that_are_none():
    with Server(CONFIG) as server:
        for query in ["format=", "format=xml", "format=JSON", "format=json%00", "x&format=prometheus0"]:
            status, headers, body = server.http(f"/status?{query}")
            assert (status, headers["content-type"]) == (400, "text/plain") and b"format=json" in body, query
        for method in ["POST", "PUT", "DELETE", "OPTIONS", "BREW"]:
            status, headers, _ = server.http("/status", "Content-Length: 0", method=method)
            assert (status, headers["allow"]) == (405, "GET, HEAD"), method
        for query in ["", "?format=json", "?format=prometheus"]:
            status, headers, body = server.http(f"/status{query}", method="HEAD")
            assert status == 200 and int(headers["content-length"]) > 100 and headers["cache-control"] == "no-store"


def test_a_status_is_none_of_the_locations_that_have_a_handler():
    with Server('WebSocketHandler echo\n<Location "/status">\nSetHandler websocket-status\nRequire all granted\n</Location>') as server:
        assert server.http("/status")[1]["content-type"] == "text/html; charset=utf-8"
        with server.websocket("/anything") as client:
            client.echo()
        with server.websocket("/status") as client:
            assert "locations" in json.loads(client.read_frame()[-1])
        refuse(server, "/status")
        status = read_json(server)
        assert [each["location"] for each in status["locations"]] == ["/"]
        assert sum(status["total"]["refused"].values()) == 0


def test_only_the_servers_configuration_opens_it():
    with Server(ECHO) as server:
        server.expect("no status here: SetHandler websocket-status has to stand in a section of the server's configuration")
        (server.folder / "www/.htaccess").write_text("SetHandler websocket-status\n")
        assert server.http("/index.html")[0] == 403
        (server.folder / "www/.htaccess").write_text("AddHandler websocket-status .html\n")
        assert server.http("/index.html")[0] == 403
        (server.folder / "www/.htaccess").unlink()
        assert server.http("/index.html")[0] == 200


def test_requires_are_heeded():
    with Server(CONFIG.replace("all granted", "all denied")) as server:
        server.expect("AH01630: client denied by server configuration")
        for path in ["/status", "/status?format=json", "/status?format=prometheus"]:
            assert server.http(path)[0] == 403
        assert server.http("/status", *UPGRADE)[0] == 403


def test_it_works_where_there_is_no_handler_at_all():
    with Server('<Location "/status">\nSetHandler websocket-status\nRequire all granted\n</Location>') as server:
        assert read_json(server)["locations"] == []
        check_with_promtool(read_metrics(server)[0])
        with server.websocket("/status") as client:
            assert json.loads(client.read_frame()[-1])["total"]["open"]["plain"] == 0


@pytest.mark.parametrize("mooring", MOORINGS)
def test_the_feed_sends_the_json_again_and_again(mooring):
    with Server(CONFIG, mooring=mooring) as server:
        with server.websocket("/status", "Sec-WebSocket-Protocol: other, websocket-status.v1") as client:
            assert client.headers["sec-websocket-protocol"] == "websocket-status.v1"
            first = json.loads(client.read_frame()[-1])
            assert set(first) == set(read_json(server))
            refuse(server, times=5)
            client.send_text("what a client says means nothing")
            eventually(lambda: location(json.loads(client.read_frame()[-1]), "/echo")["refused"]["origin"] == 5, "the feed stands still")
            last = json.loads(client.read_frame()[-1])
            assert last["time"] > first["time"]
            assert sum(last["total"]["opened"].values()) == 0, "the feed does not count"
            client.send(frame(CLOSE, close_payload(1000)))
            eventually(lambda: client.read_frame()[0] == CLOSE, "the feed is not closed")
        with server.websocket("/status", "Sec-WebSocket-Protocol: other") as client:
            assert "sec-websocket-protocol" not in client.headers
        server.await_idle()


def test_the_feed_is_for_pages_of_this_server():
    with Server(CONFIG) as server:
        assert server.http("/status", *UPGRADE, "Origin: https://elsewhere.example")[0] == 403
        with server.websocket("/status", "Origin: http://localhost") as client:
            assert client.read_frame()[0] == TEXT


def test_counters_outlive_children_and_restarts():
    with Server(CONFIG) as server:
        server.expect("AH00052: child pid")
        refuse(server, times=7)
        pid, = server.children()
        os.kill(pid, signal.SIGKILL)
        server.await_gone([pid])
        server.await_new_children({pid})
        refuse(server, times=5)
        status = read_json(server)
        assert status["total"]["refused"]["origin"] == 12
        assert pid not in [each["pid"] for each in status["children"]]

        before = set(server.children())
        server.replace_config(CONFIG + '<Location "/more">\nWebSocketHandler echo\n</Location>\n')
        server.process.send_signal(signal.SIGUSR1)
        server.await_new_children(before)
        server.await_gone(before)
        refuse(server)
        refuse(server, "/more", times=3)
        after = read_json(server)
        assert [each["location"] for each in after["locations"]] == ["/echo", "/more"]
        assert location(after, "/echo")["refused"]["origin"] == 13
        assert location(after, "/more")["refused"]["origin"] == 3
        assert after["started"] == status["started"]
        assert {each["generation"] for each in after["children"]} == {1}

        server.process.send_signal(signal.SIGHUP)
        server.await_new_children(before, [each["pid"] for each in after["children"]])
        refuse(server)
        assert location(read_json(server), "/echo")["refused"]["origin"] == 14


def test_children_say_what_becomes_of_them():
    with Server(CONFIG + "WebSocketDrainTimeout 30\n") as server:
        before = set(server.children())
        with server.websocket() as client:
            client.echo()
            server.process.send_signal(signal.SIGUSR1)
            server.await_new_children(before)
            states = eventually(lambda: (found := {each["pid"]: (each["generation"], each["state"]) for each in read_json(server)["children"]})
                                and "draining" in [state for _, state in found.values()] and found, "no child drains")
            assert {states.pop(pid) for pid in before} == {(0, "draining")}
            assert set(states.values()) == {(1, "serving")}
            samples = read_metrics(server)[1]
            assert value(samples, "children", state="draining") == 1


def test_locations_of_virtual_hosts_are_told_apart():
    with Server(CONFIG + """
<VirtualHost *:*>
    ServerName localhost
</VirtualHost>
<VirtualHost *:*>
    ServerName other.example:8080
    <Location "/chat">
        WebSocketHandler echo
    </Location>
</VirtualHost>
""") as server:
        # What is inherited shows when there is something to tell.
        names = lambda: [(each["server"], each["location"]) for each in read_json(server)["locations"]]
        assert names() == [(f"localhost:{server.port}", "/echo"), ("other.example:8080", "/chat")]
        other = ["Host: other.example", "Origin: https://elsewhere.example"]
        for path in ["/echo", "/chat"]:
            assert server.http(path, *UPGRADE, *other, host=False)[0] == 403
        assert names() == [(f"localhost:{server.port}", "/echo"), ("other.example:8080", "/echo"), ("other.example:8080", "/chat")]
        assert location(read_json(server), "/chat")["refused"]["origin"] == 1


def test_more_locations_than_have_a_number_share_the_last():
    many = "".join(f'<Location "/l{i}">\nWebSocketHandler echo\n</Location>\n' for i in range(1030))
    with Server(many + CONFIG) as server:
        refuse(server, "/l1022")
        refuse(server, "/l1023", times=2)
        refuse(server, times=3)
        status = read_json(server)
        assert len(status["locations"]) == 1024
        assert location(status, "/l1022")["refused"]["origin"] == 1
        assert status["locations"][-1]["location"] == "others" and status["locations"][-1]["refused"]["origin"] == 5


def test_mod_status_tells_of_websockets():
    config = CONFIG + '<Location "/server-status">\nSetHandler server-status\nRequire all granted\n</Location>\n'
    with Server(config, modules=("status",)) as server:
        refuse(server, times=3)
        page = server.http("/server-status")[2].decode()
        assert "<h2>WebSockets</h2>" in page and "<dt>opening handshakes refused: 3</dt>" in page
        lines = server.http("/server-status?auto")[2].decode().splitlines()
        found = dict(line.split(": ") for line in lines if line.startswith("WebSocket"))
        assert found["WebSocketRefused"] == "3"
        assert set(found) == {"WebSocket" + name for name in ["Open", "OpenDraining", "Opened", "Closed", "Refused", "MessagesReceived",
                                                              "MessagesSent", "BytesReceived", "BytesSent", "BufferedBytes"]}


def test_a_prometheus_scrapes_it():
    with Server(CONFIG) as server, tempfile.TemporaryDirectory() as folder:
        refuse(server, times=6)
        port = free_port()
        with open(f"{folder}/prometheus.yml", "w") as file:
            json.dump({"global": {"scrape_interval": "200ms", "scrape_timeout": "200ms"},
                       "scrape_configs": [{"job_name": "httpd", "metrics_path": "/status",
                                           "static_configs": [{"targets": [f"127.0.0.1:{server.port}"]}]}]}, file)  # JSON is YAML
        with open(f"{folder}/log", "w") as log:
            prometheus = subprocess.Popen(["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
                                           f"--web.listen-address=127.0.0.1:{port}", "--storage.tsdb.retention.size=64MB"],
                                          stdin=subprocess.DEVNULL, stdout=log, stderr=log)

        def ask(query):
            assert prometheus.poll() is None, open(f"{folder}/log").read()
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/query?" + urllib.parse.urlencode({"query": query}), timeout=30) as answer:
                    return json.load(answer)["data"]["result"]
            except OSError:
                return None

        try:
            found, = eventually(lambda: ask('websocket_handshakes_refused_total{reason="origin"} == 6'), "nothing is scraped")
            assert found["metric"]["location"] == "/echo" and found["metric"]["server"] == f"localhost:{server.port}"
            assert ask("up")[0]["value"][1] == "1"
            assert len(ask("websocket_connections")) == 3
            assert len(ask("websocket_handler_seconds_bucket")) == 14
        finally:
            prometheus.terminate()
            prometheus.wait(30)
