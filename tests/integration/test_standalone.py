"""The script `standalone`: what it serves, each option, each complaint, and that nothing of it stays behind."""

import os
import pathlib
import pty
import re
import select
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time

import pytest

from harness import LIMIT_S, TOP, await_quiet, eventually, free_port

STANDALONE = TOP / "standalone"
ECHO = TOP / "build/handlers/echo.so"
IS_ROOT = os.getuid() == 0
AS_NOBODY = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]


def processes_naming(text):
    """The processes whose command line names a path."""
    found = []
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if text.encode() in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:
            pass
    return found


def http(port, path="/", headers=(), host="127.0.0.1", tls=None):
    """One request, HTTP/1.1: status, headers by lower-case name, body. Of a 101 the connection is closed at once."""
    lines = [f"GET {path} HTTP/1.1", f"Host: {f'[{host}]' if ':' in host else host}:{port}", *headers]
    with socket.create_connection((host, port), LIMIT_S) as connection:
        if tls:
            connection = tls.wrap_socket(connection, server_hostname="localhost")
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        data = b""
        while b"\r\n\r\n" not in data:
            received = connection.recv(65536)
            assert received, f"the connection ended after {data!r}"
            data += received
        head, body = data.split(b"\r\n\r\n", 1)
        status, *fields = head.decode().split("\r\n")
        fields = {name.lower(): value.strip() for name, value in (field.split(":", 1) for field in fields)}
        while len(body) < int(fields.get("content-length", 0)):
            received = connection.recv(65536)
            assert received
            body += received
        connection.close()
    return int(status.split()[1]), fields, body


def handshake(port, path, origin=None, **options):
    """The status of an opening handshake."""
    headers = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
               "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", *([f"Origin: {origin}"] if origin else [])]
    return http(port, path, headers, **options)[0]


class Standalone:
    """A running `standalone`, with a TMPDIR of its own that must be empty in the end."""

    def __init__(self, *options, prefix=(), port=None, host="127.0.0.1", folder, command=STANDALONE):
        self.host, self.port, self.folder = host, port or free_port(host), folder
        self.stdout = self.stderr = ""
        self.process = subprocess.Popen(
            [*prefix, command, "-p", str(self.port), *(["-H", host] if host != "127.0.0.1" else []), *options],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            start_new_session=True, cwd=folder.parent, env={**os.environ, "TMPDIR": str(folder)})

    def serving(self):
        """Waits for the line that says so."""
        end = time.monotonic() + LIMIT_S
        while "Ctrl-C" not in self.stdout:
            assert select.select([self.process.stdout], [], [], end - time.monotonic())[0], "it never said it serves"
            data = os.read(self.process.stdout.fileno(), 65536).decode()
            assert data, f"ended with {self.process.wait()}: {self.process.stderr.read()}"
            self.stdout += data
        return self

    def end(self, how=signal.SIGINT):
        """Stops it; its exit status. Whatever the way it ended, nothing of it may be left."""
        if how:
            await_quiet(lambda: processes_naming(str(self.folder)))
            self.process.send_signal(how)
        out, self.stderr = self.process.communicate(timeout=LIMIT_S)
        self.stdout += out
        # In a checkout that only root may read, every instance says so.
        self.stderr = re.sub(rf"^standalone: user \S+ may not read {TOP}/www; serving a copy of it\n", "", self.stderr, flags=re.M)
        assert processes_naming(str(self.folder)) == []
        assert list(self.folder.iterdir()) == []
        return self.process.returncode

    def paths(self):
        return re.findall(rf"^  wss?://[^/]+:{self.port}(/.*)$", self.stdout, re.M)


@pytest.fixture
def start():
    """Starts instances of `standalone`, and ends those that a failed test left."""
    root = pathlib.Path(tempfile.mkdtemp(prefix="standalone-test."))
    root.chmod(0o755)
    running = []

    def begin(*options, **settings):
        folder = root / str(len(running))
        folder.mkdir()
        folder.chmod(0o1777)
        running.append(Standalone(*map(str, options), folder=folder, **settings))
        return running[-1]

    yield begin
    for instance in running:
        if instance.process.poll() is None:
            instance.process.terminate()
            instance.process.wait(LIMIT_S)
    shutil.rmtree(root)


@pytest.fixture
def handlers(tmp_path):
    """A folder with one handler, echo."""
    folder = tmp_path / "handlers"
    folder.mkdir()
    shutil.copy(ECHO, folder)
    return folder


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    return make_certificate(folder, "cert"), folder / "cert.key"


def make_certificate(folder, name):
    (folder / "openssl.conf").write_text(
        "[req]\nprompt = no\ndistinguished_name = name\nx509_extensions = extensions\n[name]\nCN = localhost\n"
        "[extensions]\nsubjectAltName = DNS:localhost\nbasicConstraints = critical, CA:FALSE\n")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-days", "2", "-config", folder / "openssl.conf",
                    "-keyout", folder / f"{name}.key", "-out", folder / f"{name}.pem"], check=True, capture_output=True)
    return folder / f"{name}.pem"


# ---- serving and ending ----


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_serves_the_page_and_the_handlers_and_ends_without_a_word(start, end):
    server = start().serving()
    assert f"http://127.0.0.1:{server.port}/\n" in server.stdout
    assert f"  ws://127.0.0.1:{server.port}/echo\n" in server.stdout
    status, fields, body = http(server.port)
    assert (status, fields["content-type"]) == (200, "text/html; charset=utf-8")
    assert body == (TOP / "www/index.html").read_bytes()
    assert handshake(server.port, "/echo") == 101
    assert handshake(server.port, "/nothing-here") == 404
    assert server.end(end) == 0
    assert server.stderr == ""


def test_serves_the_chat_where_the_handler_topics_is(start, handlers):
    server = start().serving()
    assert "/chat" in server.paths()
    assert http(server.port, "/chat.html")[0] == 200
    assert handshake(server.port, "/chat/lobby") == 101
    assert server.end() == 0
    without = start("-w", handlers).serving()
    assert without.paths() == ["/echo"]
    assert handshake(without.port, "/chat/lobby") == 404
    assert without.end() == 0


def test_a_handler_of_the_users_own_at_chat_is_left_alone(start, handlers):
    shutil.copy(TOP / "build/handlers/topics.so", handlers)
    shutil.copy(ECHO, handlers / "chat.so")
    server = start("-w", handlers).serving()
    assert sorted(server.paths()) == ["/chat", "/echo", "/topics"]
    assert server.end() == 0
    assert server.stderr == ""


@pytest.mark.skipif(not IS_ROOT, reason="runs as an ordinary user already")
def test_serves_as_an_ordinary_user(start):
    if subprocess.run([*AS_NOBODY, "test", "-r", STANDALONE, "-a", "-r", ECHO], check=False).returncode:
        pytest.skip("the user nobody may not read this folder")
    server = start(prefix=AS_NOBODY).serving()
    assert http(server.port)[0] == 200
    assert handshake(server.port, "/echo") == 101
    assert server.end() == 0
    assert server.stderr == ""


@pytest.mark.skipif(not IS_ROOT, reason="needs root")
def test_started_by_root_its_children_serve_as_somebody_else(start):
    server = start().serving()
    owners = {pathlib.Path(f"/proc/{pid}").stat().st_uid for pid in processes_naming(f"{server.folder}/")}
    assert 0 in owners and len(owners) == 2
    assert server.end() == 0


@pytest.mark.skipif(not IS_ROOT, reason="needs root")
def test_pages_that_only_root_may_read_are_served_from_a_copy(start, tmp_path):
    tmp_path.chmod(0o700)
    (tmp_path / "index.html").write_text("from the copy")
    server = start("-d", tmp_path).serving()
    assert http(server.port)[2] == b"from the copy"
    assert server.end() == 0
    assert re.fullmatch(rf"standalone: user \S+ may not read {tmp_path}; serving a copy of it\n", server.stderr)


def test_httpd_does_not_hear_the_terminal(start):
    server = start().serving()
    os.killpg(server.process.pid, signal.SIGWINCH)  # a graceful stop, were it to reach httpd
    for _ in range(3):
        assert http(server.port)[0] == 200
    assert server.end() == 0


def test_killed_it_leaves_no_httpd(start):
    server = start().serving()
    server.process.kill()
    server.process.wait(LIMIT_S)
    eventually(lambda: not processes_naming(str(server.folder)), "httpd goes on without it")


def test_httpd_that_ends_by_itself_is_an_error(start):
    server = start().serving()
    pid = int(next(server.folder.glob("*/httpd.pid")).read_text())
    os.kill(pid, signal.SIGTERM)
    assert server.end(None) == 1
    assert server.stderr == "standalone: httpd ended by itself, with status 0\n"


def test_open_connections_do_not_keep_it(start):
    server = start().serving()
    with socket.create_connection(("127.0.0.1", server.port), LIMIT_S) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n")
        assert server.end() == 0


def terminal_session(command):
    """Runs a command on a terminal of its own, types Ctrl-C once it serves: its status and what it wrote."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(TOP)
        os.execvp(command[0], command)
    shown, interrupted, end = b"", False, time.monotonic() + 4 * LIMIT_S
    while select.select([terminal], [], [], max(0, end - time.monotonic()))[0]:
        try:
            data = os.read(terminal, 65536)
        except OSError:  # the other side is closed
            break
        if not data:
            break
        shown += data
        if b"Ctrl-C stops it." in shown and not interrupted:
            os.write(terminal, b"\x03")
            interrupted = True
    else:
        os.kill(pid, signal.SIGTERM)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os.close(terminal)
    return status, shown.decode()


def test_make_run_on_a_terminal_ends_with_ctrl_c(tmp_path):
    port = free_port()
    status, shown = terminal_session(["make", "--no-print-directory", "run", f"PORT={port}"])
    assert f"http://127.0.0.1:{port}/" in shown
    assert f"ws://127.0.0.1:{port}/echo" in shown
    after = shown.split("Ctrl-C stops it.")[1]
    assert after.replace("^C", "").strip() == ""
    assert status == 0


def test_standalone_on_a_terminal_ends_with_ctrl_c():
    status, shown = terminal_session([str(STANDALONE), "-p", str(free_port())])
    assert shown.split("Ctrl-C stops it.")[1].replace("^C", "").strip() == ""
    assert status == 0


# ---- options ----


@pytest.mark.parametrize("mpm", ["event", "worker", "prefork"])
def test_serves_with_the_mpm_that_is_asked_for(start, mpm):
    server = start("--mpm", mpm, "--log-level", "notice").serving()
    assert handshake(server.port, "/echo") == 101
    assert server.end() == 0
    assert f"[mpm_{mpm}:notice]" in server.stderr


@pytest.mark.parametrize("host, shown", [("::1", "[::1]"), ("[::1]", "[::1]"), ("localhost", "localhost")])
def test_listens_on_the_host_that_is_asked_for(start, host, shown):
    address = host.strip("[]")
    try:
        port = free_port(address if ":" in address else "127.0.0.1")
    except OSError:
        pytest.skip("no IPv6 here")
    server = start("--host", host, port=port).serving()
    assert f"http://{shown}:{port}/\n" in server.stdout
    assert handshake(port, "/echo", host=address) == 101
    assert server.end() == 0


def test_listens_on_all_addresses(start):
    server = start("-H", "0.0.0.0").serving()
    assert f"http://127.0.0.1:{server.port}/\n" in server.stdout
    assert server.end() == 0


ODD_NAMES = {
    "plain": "/plain", "sub/deeper/chat": "/sub/deeper/chat", "two words": "/two%20words", 'quo"te': "/quo%22te",
    "it's": "/it's", "$HOME": "/$HOME", "${HOME}": "/$%7BHOME%7D", "100%": "/100%25", "%41": "/%2541", "a#b": "/a%23b",
    "x[1]": "/x%5B1%5D", "st*r": "/st*r", "wh?t": "/wh%3Ft", "grüße": "/gr%C3%BC%C3%9Fe", "~tilde": "/~tilde",
    "<angle>": "/%3Cangle%3E", "-dash": "/-dash", "a+b&c=d": "/a+b&c=d", "dot.ted": "/dot.ted",
}


def test_every_handler_below_the_folder_has_its_path(start, handlers):
    for name in ODD_NAMES:
        (handlers / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ECHO, handlers / f"{name}.so")
    (handlers / "readme.txt").write_text("no handler")
    server = start("-w", handlers).serving()
    assert sorted(server.paths()) == sorted([*ODD_NAMES.values(), "/echo"])
    for path in server.paths():
        assert (path, handshake(server.port, path)) == (path, 101)
    assert handshake(server.port, "/x1") == 404  # x[1] is a name, not a pattern
    assert server.end() == 0
    assert server.stderr == ""


def test_a_name_that_no_configuration_can_hold_is_named_and_skipped(start, handlers):
    shutil.copy(ECHO, handlers / "line\nbreak.so")
    server = start("-w", handlers).serving()
    assert server.paths() == ["/echo"]
    assert server.end() == 0
    assert re.fullmatch(r"standalone: skipping .*line\\nbreak.so': a control character in its name\n", server.stderr)


def test_broken_handlers_are_named_and_skipped(start, handlers, tmp_path):
    (handlers / "text.so").write_text("this is no shared object\n")
    source = tmp_path / "empty.c"
    source.write_text("int nothing_that_a_handler_exports;\n")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", handlers / "empty.so", source], check=True)
    source.write_text("__attribute__((constructor)) static void die(void) { __builtin_trap(); }\n")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", handlers / "dies.so", source], check=True)
    server = start("-w", handlers).serving()
    assert server.paths() == ["/echo"]
    assert handshake(server.port, "/echo") == 101
    assert handshake(server.port, "/text") == 404
    assert server.end() == 0
    lines = server.stderr.splitlines()
    assert [re.match(r"standalone: skipping (\S+): .", line)[1] for line in lines] == \
        [str(handlers / f"{name}.so") for name in ("dies", "empty", "text")]
    assert lines[0].endswith("httpd died of signal 4 reading it")
    assert "Syntax error" not in server.stderr


def test_a_folder_without_handlers_still_serves_pages(start, tmp_path):
    (tmp_path / "none").mkdir()
    server = start("--handlers", tmp_path / "none").serving()
    assert http(server.port)[0] == 200
    assert server.end() == 0
    assert server.stderr == f"standalone: warning: no handlers in {tmp_path}/none\n"


def test_serves_the_pages_below_the_document_root(start, tmp_path):
    pages = pathlib.Path(tempfile.mkdtemp(prefix="pages $[x] "))
    try:
        pages.chmod(0o755)
        types = {"index.html": "text/html; charset=utf-8", "a.js": "text/javascript; charset=utf-8", "a.css": "text/css; charset=utf-8",
                 "a.svg": "image/svg+xml", "a.png": "image/png", "a.json": "application/json", "a.wasm": "application/wasm"}
        for name in types:
            (pages / name).write_text(name)
        (pages / ".htaccess").write_text("not read, or this would be an error\n")
        server = start("-d", pages).serving()
        for name, content_type in types.items():
            status, fields, body = http(server.port, f"/{name}")
            assert (status, body) == (200, name.encode())
            assert fields["content-type"].split(";")[0] == content_type.split(";")[0]
        assert http(server.port, "/")[2] == b"index.html"
        assert server.end() == 0
        assert server.stderr == ""
    finally:
        shutil.rmtree(pages)


def complaints(server):
    """What it wrote on stderr, but for mod_ssl's remark (AH01882) that OpenSSL is not the one it was compiled with."""
    return [line for line in server.stderr.splitlines() if "AH01882" not in line]


def test_serves_tls_with_a_given_certificate(start, certificate):
    server = start("--tls", "--cert", certificate[0], "--key", certificate[1]).serving()
    assert f"https://127.0.0.1:{server.port}/\n" in server.stdout
    assert f"  wss://127.0.0.1:{server.port}/echo\n" in server.stdout
    tls = ssl.create_default_context(cafile=certificate[0])
    assert http(server.port, tls=tls)[0] == 200
    assert handshake(server.port, "/echo", tls=tls) == 101
    assert server.end() == 0
    assert complaints(server) == []


def test_serves_tls_with_a_throw_away_certificate(start):
    server = start("--tls").serving()
    made = next(server.folder.glob("*/cert.pem"))
    assert (made.parent / "key.pem").stat().st_mode & 0o077 == 0
    assert http(server.port, tls=ssl.create_default_context(cafile=made))[0] == 200
    assert server.end() == 0
    assert complaints(server) == []


def test_any_origin_may_connect_unless_told(start):
    server = start().serving()
    for origin in (None, "http://127.0.0.1", "https://elsewhere.example", "null"):
        assert handshake(server.port, "/echo", origin) == 101
    assert server.end() == 0


@pytest.mark.parametrize("options", [["--origin", "a.example", "--origin", "b.example"], ["--origin=a.example,b.example"],
                                     ["--origin", "a.example b.example"]])
def test_only_the_origins_that_are_named_may_connect(start, options):
    server = start(*options, "--log-level", "crit").serving()
    assert handshake(server.port, "/echo", "https://a.example") == 101
    assert handshake(server.port, "/echo", "https://b.example") == 101
    assert handshake(server.port, "/echo", "https://c.example") == 403
    assert server.end() == 0


def test_more_configuration_is_read_last(start, tmp_path):
    first, second = tmp_path / "first [1].conf", tmp_path / "second.conf"
    first.write_text('ErrorDocument 404 "first"\nAddType text/x-first .svg\n')
    second.write_text('ErrorDocument 404 "second"\n')
    server = start("-c", first, "--config", second).serving()
    assert http(server.port, "/nothing")[2] == b"second"
    assert http(server.port, "/icon.svg")[1]["content-type"].startswith("text/x-first")
    assert server.end() == 0


def test_the_log_is_appended_to_a_file(start, tmp_path):
    log = tmp_path / "error.log"
    log.write_text("what was there\n")
    server = start("--log-file", log, "--log-level=info").serving()
    assert server.end() == 0
    assert server.stderr == ""
    assert log.read_text().startswith("what was there\n")
    assert "resuming normal operations" in log.read_text()


@pytest.mark.parametrize("level, shown", [("info", True), ("notice", True), ("warn", False), ("error core:debug", False)])
def test_the_log_level_is_httpds(start, level, shown):
    server = start("--log-level", level).serving()
    assert server.end() == 0
    assert ("resuming normal operations" in server.stderr) == shown


def test_what_is_logged_while_it_serves_is_on_the_terminal(start, tmp_path):
    config = tmp_path / "more.conf"
    config.write_text("LogLevel core:info\n")
    server = start("-c", config).serving()
    http(server.port, "/missing")
    assert server.end() == 0
    assert "[core:info]" in server.stderr and "/missing" in server.stderr


@pytest.mark.parametrize("options, token, others", [
    ([], "demo", ["", "other"]), (["--param", "interval=100"], "demo", [""]), (["--param=token=other", "--param", "interval=100"], "other", ["demo"]),
    (["--param", "token=\"$HOME\" \\ ${HOME}=%"], "%22$HOME%22%20%5C%20$%7BHOME%7D=%25", ["demo", ""]),
])
def test_the_handlers_that_ship_take_parameters_and_a_token(start, options, token, others):
    server = start(*options).serving()
    assert handshake(server.port, f"/auth?token={token}") == 101
    for other in others:
        assert handshake(server.port, f"/auth?token={other}") == 401
    assert server.end() == 0
    assert server.stderr == ""


def test_a_parameter_that_a_handler_does_not_take_is_a_reason_to_skip_it(start):
    server = start("--param", "interval=1").serving()
    assert "/ticker" not in server.paths() and "/echo" in server.paths()
    assert server.end() == 0
    assert re.fullmatch(r"standalone: skipping \S+/ticker\.so: .*interval is a number of milliseconds from 10 to 60000\n", server.stderr)


def test_other_handlers_get_no_token_unasked(start, tmp_path):
    shutil.copy(TOP / "build/handlers/auth.so", tmp_path)
    server = start("-w", tmp_path).serving()
    assert handshake(server.port, "/auth?token=demo") == 401
    assert server.end() == 0
    assert re.fullmatch(r"\[.*websocket:warn\] .*/auth\.so: rejects every client, as there is no WebSocketParam token\n", server.stderr)


def test_an_option_and_its_value_may_be_one_word(start, handlers):
    port = free_port()
    server = start(f"-p{port}", f"-w{handlers}", f"--document-root={TOP / 'www'}").serving()
    assert f":{port}/" in server.stdout
    server.port = port
    assert handshake(port, "/echo") == 101
    assert server.end() == 0


def test_help_and_version_are_shown():
    shown = subprocess.run([STANDALONE, "--help"], check=True, capture_output=True, text=True)
    for option in ("--port", "--host", "--handlers", "--document-root", "--param", "--tls", "--cert", "--key", "--origin", "--mpm", "--log-file",
                   "--log-level", "--config", "--module", "--httpd"):
        assert f" {option} " in shown.stdout
    assert shown.stderr == ""
    shown = subprocess.run([STANDALONE, "--version"], check=True, capture_output=True, text=True)
    assert re.fullmatch(r"mod_websocket \d+\.\d+\.\d+\n", shown.stdout)


# ---- complaints ----


@pytest.mark.parametrize("options, complaint", [
    (["--nonsense"], "no such option: --nonsense; --help lists them"),
    (["word"], "what is `word' for? --help lists the options"),
    (["--tls=yes"], "--tls takes no value"),
    (["--origin"], "--origin needs a value"),
    (["--param", "token"], "--param token: a parameter is KEY=VALUE"),
    (["--param", "=demo"], "--param =demo: a parameter is KEY=VALUE"),
    (["--param", "token="], "--param token=: a parameter is KEY=VALUE"),
    (["--param", "a=b\nc"], "--param $'a=b\\nc': a control character in it"),
    (["-d", ""], "-d needs a value"),
    (["-p", "99999"], "--port 99999: a port is a number from 1 to 65535"),
    (["-p", "0"], "--port 0: a port is a number from 1 to 65535"),
    (["-p", "http"], "--port http: a port is a number from 1 to 65535"),
    (["-H", "no host"], "--host no host: neither a name nor an address"),
    (["--mpm", "winnt"], "--mpm winnt: event, worker or prefork"),
    (["--log-level", "loud"], "--log-level loud: emerg, alert, crit, error, warn, notice, info, debug or trace1 to trace8"),
    (["--tls", "--cert", "x"], "--cert without --key: both are needed"),
    (["--tls", "--key", "x"], "--key without --cert: both are needed"),
    (["--cert", "x", "--key", "y"], "--cert and --key go with --tls"),
])
def test_wrong_usage_is_one_line_and_status_2(start, options, complaint):
    server = start(*options)
    assert server.end(None) == 2
    assert (server.stdout, server.stderr) == ("", f"standalone: {complaint}\n")


@pytest.mark.parametrize("options, complaint", [
    (["-w", "/nonexistent"], "--handlers /nonexistent: no such folder"),
    (["-d", "/nonexistent"], "--document-root /nonexistent: no such folder"),
    (["-d", "/etc/passwd"], "--document-root /etc/passwd: not a folder"),
    (["-c", "/nonexistent.conf"], "--config /nonexistent.conf: no such file"),
    (["-c", "/etc"], "--config /etc: not a file"),
    (["--module", "/nonexistent.so"], "--module /nonexistent.so: no such file"),
    (["--httpd", "/nonexistent"], "--httpd /nonexistent: no such program"),
    (["--httpd", "/bin/false"], "/bin/false does not run"),
    (["-l", "/nonexistent/log"], "--log-file /nonexistent/log: cannot write"),
    (["--tls", "--cert", "/nonexistent", "--key", "/etc/passwd"], "--cert /nonexistent: no such file"),
    (["--tls", "--cert", "/etc/passwd", "--key", "/etc/passwd"], "--cert /etc/passwd: holds no certificate"),
    (["-H", "192.0.2.1"], "192.0.2.1 is not an address of this machine"),
])
def test_what_is_not_there_is_one_line_and_status_1(start, options, complaint):
    server = start(*options)
    assert server.end(None) == 1
    assert (server.stdout, server.stderr) == ("", f"standalone: {complaint}\n")


@pytest.mark.parametrize("log", [[], ["-l", "/dev/null"]])
def test_a_port_in_use_is_one_line(start, log):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        server = start(*log, port=port)
        assert server.end(None) == 1
        assert (server.stdout, server.stderr) == ("", f"standalone: port {port} on 127.0.0.1 is in use\n")


@pytest.mark.skipif(not IS_ROOT, reason="needs root to become an ordinary user")
def test_files_it_may_not_read_are_named(start, certificate):
    if subprocess.run([*AS_NOBODY, "test", "-r", ECHO], check=False).returncode:
        pytest.skip("the user nobody may not read this folder")
    folder = pathlib.Path(tempfile.mkdtemp(prefix="standalone-secret."))
    try:
        folder.chmod(0o755)
        for path in certificate:
            shutil.copy(path, folder / path.name)
        (folder / "cert.pem").chmod(0o644)
        (folder / "cert.key").chmod(0o600)
        (folder / "closed").mkdir(0o700)
        for options, complaint in [
                (["--tls", "--cert", folder / "cert.pem", "--key", folder / "cert.key"], f"--key {folder}/cert.key: permission denied"),
                (["-c", folder / "cert.key"], f"--config {folder}/cert.key: permission denied"),
                (["-w", folder / "closed"], f"--handlers {folder}/closed: permission denied"),
                (["-d", folder / "closed"], f"--document-root {folder}/closed: permission denied")]:
            server = start(*options, prefix=AS_NOBODY)
            assert server.end(None) == 1
            assert (server.stdout, server.stderr) == ("", f"standalone: {complaint}\n")
    finally:
        shutil.rmtree(folder)


def test_a_key_of_another_certificate_is_refused(start, certificate, tmp_path):
    make_certificate(tmp_path, "other")
    server = start("--tls", "--cert", certificate[0], "--key", tmp_path / "other.key")
    assert server.end(None) == 1
    assert server.stderr == f"standalone: --key {tmp_path}/other.key: belongs to another certificate than {certificate[0]}\n"


def test_a_key_with_a_passphrase_is_refused(start, certificate, tmp_path):
    locked = tmp_path / "locked.key"
    subprocess.run(["openssl", "pkey", "-in", certificate[1], "-aes128", "-passout", "pass:secret", "-out", locked], check=True)
    server = start("--tls", "--cert", certificate[0], "--key", locked)
    assert server.end(None) == 1
    assert server.stderr == f"standalone: --key {locked}: holds no private key, or one with a passphrase\n"


def test_a_wrong_directive_is_shown_with_its_line(start, tmp_path):
    config = tmp_path / "wrong.conf"
    config.write_text("# fine\nNoSuchDirective on\n")
    server = start("-c", config)
    assert server.end(None) == 1
    assert server.stdout == ""
    assert re.fullmatch(rf"standalone: --config: line 2 of {config}: Invalid command 'NoSuchDirective'.*\n", server.stderr)


def test_a_module_that_is_none_is_refused(start, tmp_path):
    module = tmp_path / "mod_websocket.so"
    module.write_text("this is no shared object, though long enough to be looked at as one, header and all\n")
    server = start("--module", module)
    assert server.end(None) == 1
    assert re.fullmatch(rf"standalone: .*Cannot load {module}.*\n", server.stderr)
