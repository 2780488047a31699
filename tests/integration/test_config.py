"""What the directives mean where they stand, and what a wrong one is told."""

import re
import signal
import socket

import pytest

from harness import BUILD, CLOSE, ECHO, LIMIT_S, TEXT, TOP, UPGRADE, Client, Server, eventually, frame, free_port, read_head, request

ABI = int(re.search(r"#define WS_ABI_VERSION (\d+)", (TOP / "include/mod_websocket/handler_abi.h").read_text())[1])


def refused(config):
    """What httpd -t says of a configuration that it does not take: (line in the configuration, what is wrong)."""
    server = Server(config)
    try:
        status, output = server.configtest()
        before = server.config_file.read_text().rindex(config)
        first_line = server.config_file.read_text()[:before].count("\n") + 1
        file = re.escape(str(server.config_file))
    finally:
        server.kill()
    assert status == 1, output
    lines = [line for line in output.splitlines() if "AH00014: Configuration check failed" not in line and "AH00558" not in line]
    if len(lines) == 2:  # httpd's own pair
        found = re.fullmatch(rf"AH00526: Syntax error on line (\d+) of {file}:\n(.+)", "\n".join(lines))
    else:
        assert len(lines) == 1, output
        found = re.fullmatch(rf"WS10\d: {file}:(\d+): (.+)", lines[0])
    assert found, output
    return int(found[1]) - first_line + 1, found[2]


def in_location(*lines):
    return "\n".join(["<Location /here>", *lines, "</Location>"])


# --- handlers that cannot be had ---

def test_a_handler_that_is_not_there_is_refused():
    assert refused(in_location("WebSocketHandler nobody")) == (
        2, f"WebSocketHandler nobody: {BUILD}/handlers/nobody.so: cannot open shared object file: No such file or directory; "
           "a NAME is looked up in WebSocketHandlerPath, a PATH has a slash in it")
    line, what = refused("\n" + in_location("WebSocketHandler /not/there.so"))
    assert line == 3 and what.startswith("WebSocketHandler /not/there.so: /not/there.so: cannot open")
    assert what.endswith("; write the path of a shared object, absolute or below ServerRoot")
    line, what = refused("WebSocketHandler folder/relative.so")
    assert re.fullmatch(r"WebSocketHandler folder/relative.so: /\S+/folder/relative.so: cannot open .*", what), what


def test_a_file_that_is_no_shared_object_is_refused():
    line, what = refused(in_location("", "WebSocketHandler /etc/passwd"))
    assert line == 3 and re.match(r"WebSocketHandler /etc/passwd: /etc/passwd: (invalid ELF header|file too short)", what)


def test_a_handler_without_the_function_is_refused():
    assert refused(in_location("WebSocketHandler echo some_handler")) == (
        2, f"WebSocketHandler echo: {BUILD}/handlers/echo.so: is no handler: it exports no function some_handler")


def test_a_handler_that_needs_what_nobody_has_is_refused(handlers):
    line, what = refused(in_location(f'WebSocketHandler "{handlers}/unresolved.so"'))
    assert line == 2 and "undefined symbol: function_that_nobody_has" in what


@pytest.mark.parametrize("symbol, what", [
    ("of_the_future", f"speaks handler ABI {ABI + 1}, this server 1 to {ABI}; compile it against this server's headers"),
    ("without_version", "has a table of version 0, as plugins of apache-websocket do, but not of 40 bytes as theirs; a handler's says WS_ABI_VERSION"),
    ("without_message", "has neither a message nor a fragment callback"),
    ("returns_nothing", "returns_nothing returned no handler"),
    ("throws_at_once", "throws_at_once threw an exception"),
    ("refuses", 'parameter "file" is missing; write WebSocketParam file PATH'),
    ("refuses_silently", "configure failed and does not say why"),
    ("refuses_at_length", "x" * 511),
], ids=lambda value: value[:30])
def test_a_handler_that_the_server_does_not_take_is_refused_with_the_reason(handlers, symbol, what):
    file = f"{handlers}/wrong.so"
    assert refused(in_location(f'WebSocketHandler "{file}" {symbol}')) == (2, f"WebSocketHandler {file}: {file}: {what}")


def test_a_constructor_that_throws_refuses_with_its_text(handlers):
    file = f"{handlers}/report.so"
    assert refused(in_location(f'WebSocketHandler "{file}"', "WebSocketParam refuse 'size is 7; write size 1 to 6'")) == (
        2, f"WebSocketHandler {file}: {file}: size is 7; write size 1 to 6")
    assert refused(in_location(f'WebSocketHandler "{file}"', "WebSocketParam refuse-without-words 1")) == (
        2, f"WebSocketHandler {file}: {file}: exception in the constructor")


def test_a_wrong_handler_among_good_ones_is_found_in_every_kind_of_section(handlers):
    wrong = f'WebSocketHandler "{handlers}/wrong.so" refuses'
    for section in ["Directory /", 'LocationMatch "^/a"', 'Files "x*"', "If \"%{HTTPS} == 'on'\"", "VirtualHost *:1"]:
        config = f"<Location /echo>\nWebSocketHandler echo\n</Location>\n<{section}>\n{wrong}\n</{section.split()[0]}>"
        line, what = refused(config)
        assert (line, what[-len("write WebSocketParam file PATH"):]) == (5, "write WebSocketParam file PATH"), section


def test_a_good_configuration_passes():
    server = Server("\n".join([
        "WebSocketMaxConnections 1", "WebSocketMaxConnections 2147483646", "WebSocketMaxResident 0", "WebSocketMaxResident 2147483646",
        *(f"WebSocketDrainTimeout {time}" for time in ["0", "30", "30s", "500ms", "2min", "24h", "86400"]),
        "WebSocketDrainCode 1001", "WebSocketDrainCode 1012", "WebSocketDetach OFF", in_location("WebSocketDetach On"),
        "<VirtualHost *:1>", "WebSocketDetach off", "</VirtualHost>",
        "WebSocketCompression Off", "WebSocketCompression ON", in_location("WebSocketCompression on level=9 window=9 takeover=on min-size=4294967295"),
        "WebSocketCompression on level=1 window=15 takeover=off min-size=0", "WebSocketThreads 64", "WebSocketMaxMessage 9223372036854775807", "WebSocketOrigin SAME any null a.example *.b.example:1 https://[::1]",
        *(f"{name} {number}" for name in ["WebSocketMaxPerLocation", "WebSocketMaxPerAddress"] for number in [0, 1000000]),
        *(f"WebSocketHandshakeRate {rate}" for rate in ["0", "5", "1 1000000", "1000000 1"]),
        in_location("WebSocketMaxPerLocation 1", "WebSocketMaxPerAddress 1", "WebSocketHandshakeRate 1"),
        "WebSocketWorkers 0", in_location("WebSocketHandler echo", "WebSocketWorkers 1024"), in_location("WebSocketHandler minimal", "WebSocketWorkers 1"),
        "WebSocketParam colour red", "WebSocketHandler minimal", "WebSocketHandler none", in_location("WebSocketHandler echo websocket_handler")]))
    try:
        status, output = server.configtest()
        assert (status, output.splitlines()[-1]) == (0, "Syntax OK")
    finally:
        server.kill()


# --- values ---

@pytest.mark.parametrize("value", ["0", "-1", "1k", "1.5", "x", "99999999999999999999", "9223372036854775808", '" "'])
def test_max_message_takes_nothing_but_a_number_above_0(value):
    assert refused(f"WebSocketMaxMessage {value}") == (
        1, f'WebSocketMaxMessage: "{value.strip(chr(34))}" is not a number of bytes above 0, such as 1048576')


@pytest.mark.parametrize("value", ["0", "-1", "65", "x", "2x", "1.5", "99999999999999999999"])
def test_threads_takes_nothing_but_1_to_64(value):
    assert refused(f"WebSocketThreads {value}") == (1, f'WebSocketThreads: "{value}" is not a number from 1 to 64')


@pytest.mark.parametrize("value", ["-1", "1025", "x", "2x", "1.5", "99999999999999999999", '" "'])
def test_workers_takes_nothing_but_0_to_1024(value):
    assert refused(in_location("WebSocketHandler echo", f"WebSocketWorkers {value}")) == (
        3, f'WebSocketWorkers: "{value.strip(chr(34))}" is not a number from 0 to 1024')


def test_a_handler_that_blocks_is_refused_without_workers(handlers):
    file = f"{handlers}/wrong.so"
    what = (2, f"WebSocketHandler {file}: {file}: says that it blocks, so WebSocketWorkers must be 1 or more for it")
    assert refused(in_location(f'WebSocketHandler "{file}" blocks', "WebSocketWorkers 0")) == what
    assert refused(in_location(f'WebSocketHandler "{file}" blocks') + "\nWebSocketWorkers 0") == what


@pytest.mark.parametrize("value", ["0", "-1", "2147483647", "x", "10k", "1.5", "99999999999999999999", '" "'])
def test_max_connections_takes_nothing_but_a_number_above_0(value):
    assert refused(f"WebSocketMaxConnections {value}") == (
        1, f'WebSocketMaxConnections: "{value.strip(chr(34))}" is not a number from 1 to 2147483646')


@pytest.mark.parametrize("name", ["WebSocketMaxPerLocation", "WebSocketMaxPerAddress", "WebSocketHandshakeRate"])
@pytest.mark.parametrize("value", ["-1", "1000001", "none", "10k", "1.5", "99999999999999999999", '" "'])
def test_limits_by_client_and_location_take_nothing_but_a_number(name, value):
    assert refused(in_location(f"{name} {value}")) == (2, f'{name}: "{value.strip(chr(34))}" is not a number from 0 to 1000000')


@pytest.mark.parametrize("burst", ["0", "-1", "1000001", "x"])
def test_the_burst_of_handshakes_is_a_number_above_0(burst):
    assert refused(f"WebSocketHandshakeRate 5 {burst}") == (1, f'WebSocketHandshakeRate: "{burst}" is not a number from 1 to 1000000')


def test_no_burst_goes_with_no_limit_on_handshakes():
    assert refused("WebSocketHandshakeRate 0 5") == (1, "WebSocketHandshakeRate 0 sets no limit, so no number may follow it")


@pytest.mark.parametrize("value", ["-1", "2147483647", "half", "2x", "1.5", "99999999999999999999", '" "'])
def test_max_resident_takes_nothing_but_a_number(value):
    assert refused(f"WebSocketMaxResident {value}") == (
        1, f'WebSocketMaxResident: "{value.strip(chr(34))}" is not a number from 0 to 2147483646')


@pytest.mark.parametrize("value", ["-1", "-1s", "1.5", "3x", "2m", "5us", '"30 s"', '" "', "86401", "25h", "86400001ms", "999999999999999h",
                                   "99999999999999999999", "off", "soon", "half", "minute", "ms"])
def test_drain_timeout_takes_nothing_but_a_time_of_up_to_a_day(value):
    assert refused(f"WebSocketDrainTimeout {value}") == (
        1, f'WebSocketDrainTimeout: "{value.strip(chr(34))}" is not a time from 0 to a day, such as 30, 500ms or 2min')


@pytest.mark.parametrize("value", ["1000", "1006", "1011", "1013", "3000", "-1001", "1001x", "0x3e9", "restart", '" 1001"'])
def test_drain_code_takes_nothing_but_1001_and_1012(value):
    assert refused(f"WebSocketDrainCode {value}") == (
        1, f'WebSocketDrainCode: "{value.strip(chr(34))}" is neither 1001 (going away) nor 1012 (service restart)')


@pytest.mark.parametrize("value", ["", '""', "yes", "1", "offf", "none"])
def test_detach_takes_nothing_but_on_and_off(value):
    assert refused(f"WebSocketDetach {value}") == (1, "WebSocketDetach must be On or Off")


@pytest.mark.parametrize("value", ["level=0", "level=10", "level=99999999999", "level=", "level", "level=3x", "level=-1", "window=8", "window=16",
                                   "takeover=yes", "takeover", "takeover=", "min-size=-1", "min-size=1k", "min-size=4294967296", "speed=9", "=", "off", " "])
def test_compression_takes_nothing_but_its_options(value):
    what = f'WebSocketCompression: "{value}" is none of level=1 to level=9, window=9 to window=15, takeover=on, takeover=off, min-size=BYTES'
    assert refused(f'WebSocketCompression on level=3 "{value}"') == (1, what)


def test_compression_needs_on_or_off_first():
    for arguments in ["", "level=3", "yes", '""']:
        assert refused(f"WebSocketCompression {arguments}") == (
            1, "WebSocketCompression needs on or off, and behind on what is to differ from level=2 window=15 takeover=off min-size=256")
    what = ('WebSocketCompression: "level=3" is none of level=1 to level=9, window=9 to window=15, takeover=on, takeover=off, '
            "min-size=BYTES, which go with on")
    assert refused("WebSocketCompression off level=3") == (1, what)


@pytest.mark.parametrize("value", ["size=1", "size=65535", "size=2G", "size=16m", "size=16 M", "size=", "size", "16M", "count=1", "=", " "])
def test_the_bus_takes_nothing_but_its_size(value):
    assert refused(f'WebSocketBus local "{value}"') == (1, f'WebSocketBus: "{value}" is not size=BYTES from 64K to 1G, such as size=16M')


@pytest.mark.parametrize("value", ["count=-1", "count=1000001", "count=", "count", "bytes=2G", "bytes=1.5M", "age=-1", "age=367d", "age=never", "memory=63K",
                                   "memory=65G", "size=1M", "=", " "])
def test_the_history_of_topics_takes_nothing_but_its_options(value):
    assert refused(f'WebSocketTopicHistory count=5 "{value}"') == (
        1, f'WebSocketTopicHistory: "{value}" is none of count=NUMBER, bytes=BYTES, age=TIME, memory=BYTES, such as count=100 bytes=1M age=10min memory=32M')


def test_the_history_of_topics_needs_an_option():
    assert refused("WebSocketTopicHistory") == (1, "WebSocketTopicHistory needs count=, bytes=, age= or memory=")


@pytest.mark.parametrize("value", ["0", "-1", "5M", "x", "1.5", "99999999999999999999", " "])
def test_max_topics_takes_nothing_but_numbers(value):
    assert refused(f'WebSocketMaxTopics "{value}"') == (1, f'WebSocketMaxTopics: "{value}" is not a number from 1 to 4M')
    if value != "5M":
        assert refused(f'WebSocketMaxTopics 5 "{value}"') == (1, f'WebSocketMaxTopics: "{value}" is not a number of subscriptions above 0')


@pytest.mark.parametrize("value", ["-1", "1000001", "x", "1.5", "99999999999999999999", " "])
def test_max_subscriptions_takes_nothing_but_a_number(value):
    assert refused(in_location("WebSocketHandler echo", f'WebSocketMaxSubscriptions "{value}"')) == (
        2 + 1, f'WebSocketMaxSubscriptions: "{value}" is not a number from 0 to 1000000')


@pytest.mark.parametrize("value", ["all", "None", "*", "*.", "http://", "a.example/", "a.example:0", "a.example:65536", "a.example:x", "a b.example", "://a", "ht tp://a", "*.*.example", "a.*.example"])
def test_origin_takes_nothing_but_its_forms(value):
    assert refused(f'WebSocketOrigin any "{value}"') == (1, f'WebSocketOrigin: "{value}" is none of same, any, null, HOST, HOST:PORT, SCHEME://HOST[:PORT]; '
                                  "*.HOST stands for all names below HOST")


@pytest.mark.parametrize("line, what", [
    ("WebSocketOrigin", "WebSocketOrigin needs same, any, or the origins that may connect"),
    ('WebSocketMaxMessage ""', "WebSocketMaxMessage takes one argument, longest message that a client may send, in bytes, decompressed (default 1048576)"),
    ("WebSocketMaxMessage 1 2", "WebSocketMaxMessage takes one argument, longest message that a client may send, in bytes, decompressed (default 1048576)"),
    ("WebSocketThreads", "WebSocketThreads takes one argument, event loops per child process, 1 to 64 (default 1)"),
    *((f"{name} {arguments}", f"{name} takes one argument, {meaning}") for arguments in ["", '""', "1 2"] for name, meaning in [
        ("WebSocketMaxConnections", "most WebSockets at a time, of all child processes (default no limit)"),
        ("WebSocketMaxResident", "most WebSockets at a time that keep a thread, per child process, or on prefork a process (default half of them)"),
        ("WebSocketDrainTimeout", "time over which a graceful restart or stop spreads the closes of WebSockets (default 30 s, 0 closes all at once)"),
        ("WebSocketDrainCode", "close code of a graceful restart or stop, 1001 (the default) or 1012")]),
    ("WebSocketMaxPerAddress 1 2", "WebSocketMaxPerAddress takes one argument, most WebSockets of a client's address at a time, of IPv6 of its /64 (default 0: no limit)"),
    ("WebSocketHandshakeRate 1 2 3", "WebSocketHandshakeRate takes 1-2 arguments, opening handshakes per second and client's address, and how many may "
                                     "come at once (default 0: no limit; at once as many as per second)"),
    ("WebSocketParam colour", "WebSocketParam takes two arguments, KEY and VALUE of a parameter for the handler"),
    ("WebSocketParam colour red green", "WebSocketParam takes two arguments, KEY and VALUE of a parameter for the handler"),
    ("WebSocketHandlerPath", "WebSocketHandlerPath takes one argument, folder in which a handler's NAME is looked up"),
    ("WebSocketHandler", "WebSocketHandler takes 1-2 arguments, NAME or PATH of the shared object that serves WebSockets here, or none; "
                         "and the function it exports (default websocket_handler)"),
], ids=lambda value: value[:30])
def test_a_wrong_number_of_arguments_is_refused(line, what):
    assert refused(line) == (1, what)


# --- places ---

FOR_THE_WHOLE_SERVER = ["WebSocketThreads 2", "WebSocketMaxConnections 9", "WebSocketMaxResident 1", "WebSocketDrainTimeout 5",
                        "WebSocketDrainCode 1012", "WebSocketBus local", "WebSocketTopicHistory count=5", "WebSocketMaxTopics 9"]


@pytest.mark.parametrize("line", FOR_THE_WHOLE_SERVER)
def test_what_is_for_the_whole_server_is_refused_in_a_part_of_it(line):
    name = line.split()[0]
    assert refused(f"<VirtualHost *:1>\n{line}\n</VirtualHost>") == (2, f"{name} cannot occur within <VirtualHost> section")
    for section in ["Location /here", "Directory /", 'Files "x*"', 'If "true"']:
        kind = section.split()[0]
        assert refused(f"<{section}>\n{line}\n</{kind}>") == (2, f"{name} not allowed in <{kind}> context")
    assert refused(f"<VirtualHost *:1>\n{in_location(line)}\n</VirtualHost>") == (3, f"{name} not allowed in <Location> context")


def test_a_param_in_a_section_without_handler_is_refused():
    what = "WebSocketParam: put it into the section of the WebSocketHandler it is for, or outside of sections as a default for all handlers"
    assert refused(in_location("WebSocketParam colour red")) == (2, what)
    assert refused(in_location("WebSocketHandler none", "", "WebSocketParam colour red")) == (4, what)
    assert refused("<VirtualHost *:1>\n" + in_location("WebSocketParam colour red") + "\n</VirtualHost>") == (3, what)
    assert refused(in_location("WebSocketHandlerPath /tmp")) == (2, what.replace("WebSocketParam", "WebSocketHandlerPath"))
    assert refused(in_location("WebSocketWorkers 2")) == (2, what.replace("WebSocketParam", "WebSocketWorkers"))
    assert refused(in_location("WebSocketMaxSubscriptions 2")) == (2, what.replace("WebSocketParam", "WebSocketMaxSubscriptions"))


@pytest.fixture(scope="module")
def plain_server():
    with Server("") as running:
        yield running
        running.await_idle()


@pytest.mark.parametrize("line", ["WebSocketHandler echo", "WebSocketHandler none", "WebSocketHandlerPath /tmp", "WebSocketParam colour red",
                                  "WebSocketOrigin any", "WebSocketMaxMessage 1", "WebSocketDetach on", "WebSocketMaxPerLocation 1",
                                  "WebSocketMaxPerAddress 1", "WebSocketHandshakeRate 1", *FOR_THE_WHOLE_SERVER])
def test_htaccess_may_hold_no_directive(plain_server, line):
    name = line.split()[0]
    folder = plain_server.folder / "www" / re.sub(r"\W", "", line)
    folder.mkdir()
    (folder / ".htaccess").write_text(line + "\n")
    plain_server.expect(rf"{folder}/\.htaccess: {name} not allowed here")
    assert plain_server.http(f"/{folder.name}/")[0] == 500
    assert f"{folder}/.htaccess: {name} not allowed here" in plain_server.error_log()


# --- merging ---

MERGING = """
WebSocketParam colour red
WebSocketParam size small
WebSocketOrigin any
WebSocketMaxMessage 50

<Location />
    WebSocketHandler "HANDLERS/report.so"
</Location>
<Location /outer>
    WebSocketHandler "HANDLERS/report.so"
    WebSocketParam colour green
    WebSocketMaxMessage 20
</Location>
<Location /outer/inner>
    WebSocketOrigin http://inner.example
</Location>
<Location /outer/inner/innermost>
    WebSocketMaxMessage 10
    WebSocketHandler "HANDLERS/report.so"
    WebSocketParam Colour mixed
    WebSocketParam size large
</Location>
<Location /outer/none>
    WebSocketHandler NONE
</Location>
<Location /outer/none/again>
    WebSocketHandler "HANDLERS/report.so"
</Location>
<Location /by-name>
    WebSocketHandlerPath "BUILT"
    WebSocketHandler minimal
</Location>
<Location /repeated>
    WebSocketParam colour yellow
    WebSocketHandler "HANDLERS/report.so"
    WebSocketParam colour violet
    WebSocketOrigin http://first.example
    WebSocketOrigin http://second.example
</Location>

Listen 127.0.0.1:SECOND
<VirtualHost 127.0.0.1:SECOND>
    ServerName one.example
    WebSocketParam colour blue
    WebSocketMaxMessage 30
</VirtualHost>
<VirtualHost 127.0.0.1:SECOND>
    ServerName two.example
    WebSocketParam colour pink
    WebSocketOrigin same
    <Location /outer>
        WebSocketParam size huge
        WebSocketHandler "HANDLERS/report.so"
    </Location>
</VirtualHost>
<VirtualHost 127.0.0.1:SECOND>
    ServerName three.example
    <Location />
        WebSocketHandler report
    </Location>
    # Below its use: like httpd's directives it holds for the whole of its scope.
    WebSocketHandlerPath "HANDLERS"
    <Location /none>
        WebSocketHandler none
    </Location>
</VirtualHost>
"""


@pytest.fixture(scope="module")
def merging(handlers):
    second = free_port()
    config = MERGING.replace("HANDLERS", str(handlers)).replace("BUILT", str(BUILD / "handlers")).replace("SECOND", str(second))
    with Server(config) as running:
        running.second = second
        yield running
        running.await_idle()


class Host:
    """Speaks to one virtual host; None is the main server."""

    def __init__(self, server, name=None):
        self.server, self.name = server, name

    def asked(self, path, origin=None):
        """The connection of an opening handshake that was sent."""
        connection = self.server.connect() if not self.name else socket.create_connection(("127.0.0.1", self.server.second), LIMIT_S)
        headers = [f"Host: {self.name or 'localhost'}", *UPGRADE, *([f"Origin: {origin}"] if origin else [])]
        connection.sendall(request(path, *headers, host=False))
        return connection

    def status(self, path, origin=None):
        with self.asked(path, origin) as connection:
            return read_head(connection)[0]

    def said(self, path, data):
        with Client(self.asked(path)) as client:
            client.send(data)
            return client.read_frame()

    def params(self, path):
        return self.said(path, frame(TEXT, "params"))[1].decode().splitlines()

    def max_message(self, path):
        """That of 10, 20, 30, 50 which the server takes at most."""
        taken = [size for size in [10, 20, 30, 50] if self.said(path, frame(TEXT, "x" * size))[0] == TEXT]
        refused = [size for size in [10, 20, 30, 50] if self.said(path, frame(TEXT, "x" * (size + 1)))[0] == CLOSE]
        assert taken[-1] == refused[0]
        return taken[-1]


@pytest.mark.parametrize("host, path, params", [
    (None, "/", "colour=red size=small"),
    (None, "/outer", "colour=green size=small"),
    (None, "/outer/inner", "colour=green size=small"),
    (None, "/outer/inner/innermost", "Colour=mixed colour=red size=large"),
    (None, "/outer/none/again", "colour=red size=small"),
    (None, "/repeated", "colour=violet size=small"),
    ("one.example", "/", "colour=blue size=small"),
    ("one.example", "/outer", "colour=green size=small"),
    ("two.example", "/", "colour=pink size=small"),
    ("two.example", "/outer", "colour=pink size=huge"),
    ("two.example", "/outer/inner/innermost", "colour=pink size=huge"),  # a virtual host's sections come after the main server's
])
def test_params_are_those_of_the_handlers_section_and_the_defaults_of_the_server(merging, host, path, params):
    assert Host(merging, host).params(path) == params.split()


@pytest.mark.parametrize("host, path, bytes", [
    (None, "/", 50), (None, "/outer", 20), (None, "/outer/inner", 20), (None, "/outer/inner/innermost", 10), (None, "/repeated", 50),
    ("one.example", "/", 30), ("one.example", "/outer", 20), ("two.example", "/", 50)])
def test_max_message_is_that_of_the_innermost_scope(merging, host, path, bytes):
    assert Host(merging, host).max_message(path) == bytes


@pytest.mark.parametrize("host, path, origin, status", [
    (None, "/", "http://any.example", 101),
    (None, "/outer", "http://any.example", 101),
    (None, "/outer/inner", "http://any.example", 403),
    (None, "/outer/inner", "http://inner.example", 101),
    (None, "/outer/inner", "http://localhost", 403),
    (None, "/outer/inner/innermost", "http://inner.example", 101),
    (None, "/outer/inner/innermost", "http://any.example", 403),
    (None, "/repeated", "http://second.example", 101),
    (None, "/repeated", "http://first.example", 403),  # the last directive holds, as with httpd's own
    ("one.example", "/", "http://any.example", 101),
    ("two.example", "/", "http://any.example", 403),
    ("two.example", "/", "http://two.example", 101),
    ("two.example", "/outer/inner", "http://inner.example", 101),
])
def test_origins_are_those_of_the_innermost_scope(merging, host, path, origin, status):
    assert Host(merging, host).status(path, origin) == status


@pytest.mark.parametrize("host, path, status", [
    (None, "/outer/none", 404), (None, "/outer/none/deeper", 404), (None, "/outer/none/again", 101), (None, "/outer/nonetheless", 101),
    ("one.example", "/outer/none", 404), ("three.example", "/", 101), ("three.example", "/none", 404)])
def test_none_ends_what_an_outer_scope_began(merging, host, path, status):
    assert Host(merging, host).status(path) == status


def test_names_are_looked_up_in_the_path_of_their_scope(merging):
    assert Host(merging).said("/by-name", b"") == (TEXT, b"hello")
    assert Host(merging, "three.example").params("/") == ["colour=red", "size=small"]


DETACH = """
WebSocketDetach off
<Location />
    WebSocketHandler minimal
</Location>
<Location /outer>
    WebSocketDetach on
</Location>
<Location /outer/inner/innermost>
    WebSocketDetach off
</Location>

Listen 127.0.0.1:SECOND
<VirtualHost 127.0.0.1:SECOND>
    ServerName one.example
    WebSocketDetach on
</VirtualHost>
<VirtualHost 127.0.0.1:SECOND>
    ServerName two.example
    <Location /outer>
        WebSocketDetach off
    </Location>
</VirtualHost>
"""


@pytest.fixture(scope="module")
def detach():
    second = free_port()
    with Server(DETACH.replace("SECOND", str(second)), log_level="warn websocket:debug") as running:
        running.second = second
        running.expect("connection stays on its thread: WebSocketDetach off")
        yield running
        running.await_idle()


@pytest.mark.parametrize("host, path, detached", [
    (None, "/", False), (None, "/outer", True), (None, "/outer/inner", True), (None, "/outer/inner/innermost", False),
    ("one.example", "/", True), ("one.example", "/outer/inner/innermost", False), ("two.example", "/", False), ("two.example", "/outer", False)])
def test_detach_is_that_of_the_innermost_scope(detach, host, path, detached):
    before = detach.error_log().count("stays on its thread")
    assert Host(detach, host).said(path, b"") == (TEXT, b"hello")
    assert detach.error_log().count("stays on its thread") == before + (not detached)


# --- what holds for the whole server: the rest is in test_children.py and test_drain.py ---

def test_max_resident_0_keeps_every_thread_for_http_and_lets_detached_sockets_be():
    with Server("WebSocketMaxResident 0\n<Location />\nWebSocketHandler minimal\n</Location>\n<Location /stays>\nWebSocketDetach off\n</Location>\n") as server:
        server.expect("no room for another WebSocket: WebSocketMaxResident 0 is reached")
        status, headers, _ = server.http("/stays", *UPGRADE)
        assert (status, headers["retry-after"]) == (503, "10")
        assert Host(server).said("/goes", b"") == (TEXT, b"hello")
        server.await_idle()


def test_drain_timeout_is_in_seconds_unless_it_says_otherwise():
    with Server("WebSocketDrainTimeout 1\nWebSocketDrainTimeout 600ms\n" + ECHO) as server:
        clients = [server.websocket() for _ in range(12)]
        old = set(server.children())
        server.process.send_signal(signal.SIGUSR1)
        for client in clients:  # over 600 s, most would be told too late for the harness
            assert client.read_close()[0] == 1001
            client.connection.close()
        eventually(lambda: set(server.listening_children()) - old, "no new child")


def test_a_server_without_websockets_is_told_nothing_of_room_for_them(plain_server):
    assert "room for" not in plain_server.error_log()
