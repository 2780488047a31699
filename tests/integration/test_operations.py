"""What docs/operations.md says for administrators, and the configurations of conf/scale."""

import re
import resource

import pytest

from harness import ECHO, TOP, Server, eventually
from status_support import CONFIG, read_metrics

DOC = (TOP / "docs/operations.md").read_text()
SCALES = sorted((TOP / "conf/scale").glob("*.conf"))


@pytest.mark.parametrize("path", SCALES, ids=lambda path: path.stem)
def test_configurations_for_a_scale_serve_with_all_of_their_children(path):
    text = path.read_text()
    assert f"[{path.name}](../conf/scale/{path.name})" in DOC

    def number(pattern):
        return int(re.search(pattern + r"\D?(\d+)", text)[1])
    descriptors, wanted = number("LimitNOFILE"), number("WebSocketMaxConnections +")
    children = number("MaxRequestWorkers +") // number("ThreadsPerChild +")
    assert children * (descriptors - 64 - 2 * number("ThreadsPerChild +")) >= wanted
    # As many as this machine allows.
    allowed = min(descriptors, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    with Server(text + ECHO, descriptors=allowed) as server:
        if allowed < descriptors:
            server.expect(r"WS102:")
        eventually(lambda: len(server.children()) == number("StartServers +"), "not all children start")
        with server.websocket() as client:
            client.echo()
            client.close()


def test_metrics_that_alerts_look_at_are_there():
    named = set(re.findall(r"websocket_\w+", DOC[DOC.index("## Alerts"):]))
    assert len(named) > 5
    with Server(CONFIG, log_level="warn") as server, server.websocket() as client:
        client.echo()
        there = {name for name, _ in read_metrics(server)[1]}
        assert named <= {name if name.startswith("websocket_") else "websocket_" + name for name in there}, named - there
