"""Every case of the table against a real httpd, over TCP. Sections 9, 12 and 13 but for a sample of each subsection are long tests."""

import collections
import dataclasses
import select

import pytest

from cases import AWAIT, CASES, COUNTS, FRAMES, NO_CODE, QUIET, TOGETHER, Echo, section
from deflate import RSV1, Deflate, parameters
from harness import CONTINUATION, ECHO, TEXT, Server, eventually, frame, tcp_sockets
from texts import message, text_of_bytes

CONFIG = ECHO + """
<Location /large>
    WebSocketHandler echo
    WebSocketMaxMessage 16777216
</Location>
<Location /takeover>
    WebSocketHandler echo
    WebSocketCompression on takeover=on
</Location>
"""
LEVELS = [6, 1, 0, 1]  # of the client's messages, by turns; 0 writes stored blocks


@pytest.fixture(scope="module")
def server():
    with Server(CONFIG) as running:
        yield running


def rows(cases):
    return [pytest.param(case, id=case.id, marks=[pytest.mark.soak] if case.soak else []) for case in cases]


# ---- the table -----------------------------------------------------------------------------------

def test_the_table_has_all_cases():
    assert collections.Counter(section(case) for case in CASES) == COUNTS
    assert len({case.id for case in CASES}) == len(CASES) == 517
    assert all(case.about for case in CASES)


def test_each_subsection_of_the_long_ones_has_one_case_in_ci():
    subsections = collections.Counter(case.id.rsplit(".", 1)[0] for case in CASES if section(case) in (9, 12, 13) and not case.soak)
    assert subsections == {**{f"9.{n}": 1 for n in range(1, 9)}, **{f"12.{n}": 1 for n in range(1, 6)}, **{f"13.{n}": 1 for n in range(1, 8)}}


def test_python_agrees_on_what_is_utf8():
    for case in CASES:
        about, _, sequence = case.about.partition(": ")
        if case.id.startswith("6.") and len(case.sent) == 1 and sequence:
            try:
                bytes.fromhex(sequence).decode()
                assert case.expects, case
            except UnicodeDecodeError:
                assert case.close == 1007, case


# ---- scripts -------------------------------------------------------------------------------------

def write(client, frames, how):
    if how == FRAMES:
        for each in frames:
            client.send(each)
        return
    data = b"".join(frames)
    step = max(1, len(data)) if how == TOGETHER else how
    for start in range(0, len(data), step):
        client.send(data[start:start + step])


def expect_frame(client, expected):
    got = client.read_frame()
    same = got == expected  # pytest would compare them at length
    assert same, f"opcode {got[0]}, {len(got[1])} bytes: {got[1][:80]}"


def expect_quiet(server, client):
    """The server has read all that was sent, its threads sleep again, and it has said nothing."""
    ports = {client.connection.getsockname()[1], server.port}
    eventually(lambda: not any(each.queued for each in tcp_sockets() if {each.port, each.peer_port} == ports), "the server does not read")
    server.settle()
    assert not select.select([client.connection], [], [], 0)[0], client.read_frame()


def play(server, script):
    expected = list(script.expects)
    with server.websocket() as client:
        batch = []
        for item in [*script.sent, None]:
            if item not in (AWAIT, QUIET, None):
                batch.append(item)
                continue
            write(client, batch, script.write)
            batch = []
            if item == AWAIT:
                expect_frame(client, expected.pop(0))
            if item == QUIET:
                expect_quiet(server, client)
        for each in expected:
            expect_frame(client, each)
        if script.close is None:
            client.close(1000)
        else:
            code, reason = client.read_close()
            assert (code or NO_CODE) == script.close, reason
            client.read_end()


# ---- echoes --------------------------------------------------------------------------------------

def frames_of(opcode, payload, fragment, rsv):
    if not fragment or len(payload) <= fragment:
        return [frame(opcode, payload, rsv=rsv)]
    starts = range(0, len(payload), fragment)
    return [frame(CONTINUATION if start else opcode, payload[start:start + fragment], fin=start == starts[-1], rsv=0 if start else rsv) for start in starts]


def exchange(client, case, deflate):
    for number in range(case.count):
        if case.opcode == TEXT and case.unit == "bytes":
            payload = text_of_bytes(case.source, number, case.size)
        else:
            payload = message(case.source, number, case.size, case.unit)
        sent = deflate.deflate(payload) if deflate else payload
        write(client, frames_of(case.opcode, sent, case.fragment, RSV1 if deflate else 0), case.write)
        first, got = client.read_any_frame()
        compressed = bool(deflate and first & RSV1 << 4)
        assert first == 0x80 | (RSV1 << 4 if compressed else 0) | case.opcode, f"message {number}: first byte {first:#x}: {got[:80]}"
        if compressed:
            got = deflate.inflate(got, step=None if number else 1)
        same = got == payload
        assert same, f"message {number} comes back as {len(got)} bytes: {got[:80]}"
        # What shrinks is compressed, once it was agreed on; a message below min-size, 256 bytes, may go as it is.
        assert compressed or not deflate or len(payload) < 256 or 4 * len(sent) > 3 * len(payload), f"message {number} comes back uncompressed"


def echo(server, case, path):
    headers = [f"Sec-WebSocket-Extensions: {case.offer}"] if case.offer else []
    with server.websocket(path, *headers) as client:
        answer = client.headers.get("sec-websocket-extensions")
        assert bool(answer) == bool(case.agreed), answer
        if answer:
            assert parameters(answer) == parameters(case.agreed)
        exchange(client, case, Deflate(answer, LEVELS) if answer else None)
        client.close(1000)


@pytest.mark.parametrize("case", rows(CASES))
def test_case(server, case):
    if isinstance(case, Echo):
        echo(server, case, "/large" if section(case) == 9 else "/echo")
    else:
        play(server, case)


# ---- context takeover ----------------------------------------------------------------------------

def with_takeover():
    """Cases whose offers leave the server its context; as they are, and with the client's context kept too."""
    cases = [case for case in CASES if section(case) == 13 and "server_no_context_takeover" not in case.offer]
    kept = [dataclasses.replace(case, agreed=case.agreed.replace("; server_no_context_takeover", "")) for case in cases]
    return kept + [dataclasses.replace(case, id=case.id + "-both", **{
        field: getattr(case, field).replace("; client_no_context_takeover", "") for field in ["offer", "agreed"]}) for case in kept]


@pytest.mark.parametrize("case", rows(with_takeover()))
def test_case_with_context_takeover(server, case):
    echo(server, case, "/takeover")
