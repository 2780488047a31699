"""make install and make uninstall, the configuration for httpd, and building a handler against what is installed."""

import grp
import os
import pathlib
import pwd
import re
import select
import shutil
import signal
import socket
import stat
import subprocess
import time

import pytest

from harness import LIMIT_S, TOP, free_port


def configured(top=TOP):
    """What ./configure found, with references between variables resolved."""
    values = dict(line.split(" = ", 1) for line in (top / "build/config.mk").read_text().splitlines() if " = " in line)
    for _ in range(4):
        values = {name: re.sub(r"\$\{(\w+)\}", lambda match: values.get(match[1], ""), value) for name, value in values.items()}
    return {**values, "handlerdir": f"{values['libdir']}/mod_websocket/handlers"}


def make(*words, top=TOP):
    """Runs make; what it wrote."""
    plain = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "DESTDIR")}
    done = subprocess.run(["make", "--no-print-directory", *words], cwd=top, env=plain, check=False, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout
    return done.stdout


def files_below(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())


def request(connection, path):
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                       "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode())


def handshake(port, path):
    """The status of an opening handshake."""
    with socket.create_connection(("127.0.0.1", port), LIMIT_S) as connection:
        request(connection, path)
        return int(connection.recv(65536).split()[1])


def said_first(port, path):
    """The first frame of a WebSocket, of 9 bytes."""
    with socket.create_connection(("127.0.0.1", port), LIMIT_S) as connection:
        request(connection, path)
        file = connection.makefile("rb")
        while file.readline() != b"\r\n":
            pass
        return file.read(9)


class Served:
    """A program that serves on a port of 127.0.0.1 for the length of a `with`."""

    def __init__(self, command, port):
        self.command, self.port = command, port

    def __enter__(self):
        self.process = subprocess.Popen([str(word) for word in self.command], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
        end = time.monotonic() + LIMIT_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), LIMIT_S).close()
                return self
            except ConnectionRefusedError:
                ended = select.select([self.process.stdout], [], [], 0.05)[0] and self.process.poll() is not None
                assert not ended, self.process.stdout.read().decode()
                assert time.monotonic() < end, "does not serve"

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        self.output = self.process.communicate(timeout=LIMIT_S)[0].decode()


def serve(destination, handlers):
    """The installed script, which finds the installed files wherever they were installed to."""
    port = free_port()
    return Served([f"{destination}{configured()['bindir']}/mod_websocket-standalone", "-p", port, "-w", handlers], port)


@pytest.fixture(scope="module", autouse=True)
def built():
    make("all")


@pytest.fixture
def sysconf(tmp_path):
    """httpd's configuration folder below DESTDIR, with Debian's mods-available."""
    folder = pathlib.Path(f"{tmp_path}{configured()['HTTPD_SYSCONFDIR']}")
    for name in ("mods-available", "mods-enabled"):
        (folder / name).mkdir(parents=True)
    return folder


def expected_files():
    """What an installation holds, but for httpd's configuration."""
    values = configured()
    handlers = sorted(path.stem for path in (TOP / "handlers").iterdir() if path.suffix in (".c", ".c++"))
    return sorted(path.lstrip("/") for path in [
        f"{values['HTTPD_LIBEXECDIR']}/mod_websocket.so",
        *(f"{values['handlerdir']}/{name}.so" for name in handlers),
        *(f"{values['includedir']}/mod_websocket/{path.name}" for path in (TOP / "include/mod_websocket").glob("*.h")),
        *(f"{values['datadir']}/mod_websocket/template/{name}" for name in ("Makefile", "README.md", "hello.c++")),
        *(f"{values['datadir']}/mod_websocket/{path.relative_to(TOP)}" for path in (TOP / "www").rglob("*") if path.is_file()),
        f"{values['libdir']}/pkgconfig/mod_websocket.pc", f"{values['bindir']}/mod_websocket-standalone"])


def test_installs_what_it_says_and_uninstalls_it_all(tmp_path, sysconf):
    make("install", f"DESTDIR={tmp_path}")
    ours = sysconf.relative_to(tmp_path) / "mods-available"
    assert files_below(tmp_path) == sorted([*expected_files(), f"{ours}/websocket.conf", f"{ours}/websocket.load"])
    for path in tmp_path.rglob("*"):
        if path.is_file():
            wanted = 0o755 if path.name == "mod_websocket-standalone" else 0o644
            assert (path, oct(stat.S_IMODE(path.stat().st_mode))) == (path, oct(wanted))
    assert (sysconf / "mods-available/websocket.load").read_text() == \
        f"LoadModule websocket_module {configured()['HTTPD_LIBEXECDIR']}/mod_websocket.so\n"

    for name in ("websocket.load", "websocket.conf"):  # as a2enmod does
        (sysconf / "mods-enabled" / name).symlink_to(f"../mods-available/{name}")
    (sysconf / "mods-enabled/other.load").symlink_to("../mods-available/other.load")
    make("uninstall", f"DESTDIR={tmp_path}")
    assert files_below(tmp_path) == [str((sysconf / "mods-enabled/other.load").relative_to(tmp_path))]


def test_installing_builds_nothing(tmp_path, sysconf):
    elsewhere = {"tests", "asan", "tsan", "fuzz", "asan.list", "fuzz.list"}  # other parts of the tests are built meanwhile

    def state():
        return {path: path.stat().st_mtime_ns for path in (TOP / "build").rglob("*") if not elsewhere & set(path.parts)}
    before = state()
    make("install", f"DESTDIR={tmp_path}")
    assert state() == before


def test_a_changed_configuration_is_kept(tmp_path, sysconf):
    conf, shipped = sysconf / "mods-available/websocket.conf", (TOP / "build/conf/websocket.conf").read_text()
    make("install", f"DESTDIR={tmp_path}")
    assert "differs" not in make("install", f"DESTDIR={tmp_path}")
    assert conf.read_text() == shipped

    conf.write_text("# mine\n")
    said = make("install", f"DESTDIR={tmp_path}")
    assert f"kept {conf}, which differs; the new one is websocket.conf.dist beside it" in said
    assert (conf.read_text(), conf.with_suffix(".conf.dist").read_text()) == ("# mine\n", shipped)

    said = make("uninstall", f"DESTDIR={tmp_path}")
    assert f"kept {conf}, which was changed" in said
    assert files_below(tmp_path) == [str(conf.relative_to(tmp_path))]


def test_without_mods_available_it_says_what_to_add(tmp_path):
    where = [f"DESTDIR={tmp_path}", "HTTPD_SYSCONFDIR=/etc/httpd-without-mods-available"]
    said = make("install", *where)
    assert f"    LoadModule websocket_module {configured()['HTTPD_LIBEXECDIR']}/mod_websocket.so\n" in said
    assert "    Include /etc/httpd-without-mods-available/extra/websocket.conf\n" in said
    assert files_below(tmp_path) == sorted([*expected_files(), "etc/httpd-without-mods-available/extra/websocket.conf"])
    make("uninstall", *where)
    assert files_below(tmp_path) == []


def httpd_configuration(folder, port, lines):
    """The least that httpd serves with; LoadModule lines for what is not compiled in."""
    values = configured()
    compiled_in = subprocess.run([values["HTTPD"], "-l"], check=True, capture_output=True, text=True).stdout
    modules = [name for name in ("mpm_event", "unixd", "authz_core") if f"mod_{name}.c" not in compiled_in]
    path = folder / "httpd.conf"
    path.write_text("\n".join([
        f"ServerRoot {folder}", f"DefaultRuntimeDir {folder}", f"PidFile {folder}/httpd.pid", "ServerName localhost",
        f"Listen 127.0.0.1:{port}", f"ErrorLog {folder}/error.log",
        *(f"LoadModule {name}_module {values['HTTPD_LIBEXECDIR']}/mod_{name}.so" for name in modules),
        *(["User nobody", f"Group {grp.getgrgid(pwd.getpwnam('nobody').pw_gid).gr_name}"] if os.getuid() == 0 else []),
        *lines, ""]))
    return path


def test_httpd_runs_with_the_installed_configuration(tmp_path, sysconf):
    make("install", f"DESTDIR={tmp_path}")
    values, port = configured(), free_port()
    module = f"{values['HTTPD_LIBEXECDIR']}/mod_websocket.so"
    load = (sysconf / "mods-available/websocket.load").read_text().replace(module, f"{tmp_path}{module}")
    config = httpd_configuration(tmp_path, port, [
        load, f"Include {sysconf}/mods-available/websocket.conf",
        f"WebSocketHandlerPath {tmp_path}{values['handlerdir']}",
        "<Location /echo>", "WebSocketHandler echo", "</Location>", "ServerLimit 64"])
    with Served([values["HTTPD"], "-f", config, "-DFOREGROUND"], port):
        assert handshake(port, "/echo") == 101
        assert handshake(port, "/other") == 404
    log = (tmp_path / "error.log").read_text()
    assert not re.search(r":(emerg|alert|crit|error|warn)\]", log), log


def test_every_line_of_the_shipped_configuration_is_valid(tmp_path):
    """Comments are taken off the directives, which stand at their defaults."""
    shipped = (TOP / "build/conf/websocket.conf").read_text()
    assert f"    #WebSocketHandlerPath {configured()['handlerdir']}\n" in shipped
    live = re.sub(r"^( *)#(?=\S)", r"\1", shipped, flags=re.M)
    assert live.count("WebSocket") > 6
    live = re.sub(r"WebSocketHandlerPath \S+", f"WebSocketHandlerPath {TOP}/build/handlers", live)
    (tmp_path / "websocket.conf").write_text(live)
    values = configured()
    config = httpd_configuration(tmp_path, free_port(), [f"LoadModule websocket_module {TOP}/build/mod_websocket.so",
                                                         f"Include {tmp_path}/websocket.conf"])
    done = subprocess.run([values["HTTPD"], "-f", config, "-t"], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_configuration_for_docker_is_valid(tmp_path):
    """With the paths of this machine. More configuration comes from its folder."""
    values = configured()
    (tmp_path / "more").mkdir()
    (tmp_path / "more/handlers.conf").write_text(f"WebSocketHandlerPath {TOP}/build/handlers\n")
    text = (TOP / "docker/httpd.conf").read_text()
    for there, here in [("/usr/lib/apache2/modules/mod_websocket.so", f"{TOP}/build/mod_websocket.so"),
                        ("/usr/lib/apache2/modules", values["HTTPD_LIBEXECDIR"]), ("/usr/share/mod_websocket/www", f"{TOP}/www"),
                        ("/run/mod_websocket", str(tmp_path)), ("/etc/mod_websocket/", f"{tmp_path}/more/")]:
        assert there in text
        text = text.replace(there, here)
    lines = [line for line in text.splitlines()  # without the modules that are compiled in
             if not line.startswith("LoadModule") or pathlib.Path(line.split()[2]).exists()]
    (tmp_path / "httpd.conf").write_text("\n".join([*lines, ""]))
    done = subprocess.run([values["HTTPD"], "-f", tmp_path / "httpd.conf", "-t"], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "Syntax OK\n")


def pkg_config(destination, *words):
    settings = {**os.environ, "PKG_CONFIG_LIBDIR": f"{destination}{configured()['libdir']}/pkgconfig", "PKG_CONFIG_SYSROOT_DIR": str(destination)}
    return subprocess.run(["pkg-config", *words, "mod_websocket"], check=True, capture_output=True, text=True, env=settings).stdout.split()


def test_handlers_build_with_what_pkg_config_says(tmp_path, sysconf):
    make("install", f"DESTDIR={tmp_path}")
    assert pkg_config(tmp_path, "--modversion") == [configured()["VERSION"]]
    assert [word.replace(str(tmp_path), "") for word in pkg_config(tmp_path, "--variable=handlerdir")] == \
        [configured()["handlerdir"]]
    includes = pkg_config(tmp_path, "--cflags")
    assert includes == [f"-I{tmp_path}{configured()['includedir']}"]
    handlers = tmp_path / "mine"
    handlers.mkdir()
    for compiler, flags, source in (("c++", "cxxflags", "echo.c++"), ("cc", "cflags", "minimal.c")):
        shutil.copy(TOP / "handlers" / source, tmp_path)
        target = handlers / f"mine-{pathlib.Path(source).stem}.so"
        subprocess.run([compiler, *pkg_config(tmp_path, f"--variable={flags}"), *includes, "-o", target, source], cwd=tmp_path, check=True)
    with serve(tmp_path, handlers) as server:
        assert handshake(server.port, "/mine-echo") == 101
        assert handshake(server.port, "/mine-minimal") == 101


def test_standalone_says_what_is_not_installed_any_more(tmp_path, sysconf):
    make("install", f"DESTDIR={tmp_path}")
    values = configured()
    shutil.rmtree(f"{tmp_path}{values['handlerdir']}")
    done = subprocess.run([f"{tmp_path}{values['bindir']}/mod_websocket-standalone"], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, f"mod_websocket-standalone: {tmp_path}{values['handlerdir']} is not there; "
                                              "install mod_websocket again, or name another with --handlers\n")


def test_the_template_is_copied_built_served_and_installed(tmp_path, sysconf):
    """With nothing but what is installed, and what pkg-config says of it."""
    make("install", f"DESTDIR={tmp_path}")
    mine = tmp_path / "my handlers"
    template, = (word.replace(str(tmp_path), "") for word in pkg_config(tmp_path, "--variable=templatedir"))
    shutil.copytree(f"{tmp_path}{template}", mine)
    (mine / "hello.c++").rename(mine / "mine.c++")
    shutil.copy(TOP / "handlers/minimal.c", mine)
    values, port = configured(), free_port()
    standalone = f"{tmp_path}{values['bindir']}/mod_websocket-standalone --param greeting=Welcome"
    mine_make = ["env", f"PKG_CONFIG_LIBDIR={tmp_path}{values['libdir']}/pkgconfig", f"PKG_CONFIG_SYSROOT_DIR={tmp_path}", "make", "-C", mine]

    def make_mine(*words):
        return subprocess.run([*mine_make, *words], check=True, capture_output=True, text=True)

    assert "warning" not in make_mine().stderr
    assert files_below(mine) == ["Makefile", "README.md", "mine.c++", "mine.d", "mine.so", "minimal.c", "minimal.d", "minimal.so"]
    assert "mine.so" not in make_mine().stdout, "built again, for nothing"
    os.utime(mine / "mine.c++")
    assert "-o mine.so.new mine.c++" in make_mine().stdout
    with Served([*mine_make, "run", f"PORT={port}", f"STANDALONE={standalone}"], port):
        assert handshake(port, "/minimal") == 101
        assert said_first(port, "/mine") == b"\x81\x07Welcome"
    make_mine("install", f"HANDLERDIR={tmp_path}/there")
    assert files_below(tmp_path / "there") == ["mine.so", "minimal.so"]
    make_mine("clean")
    assert files_below(mine) == ["Makefile", "README.md", "mine.c++", "minimal.c"]
    done = subprocess.run(["env", f"PKG_CONFIG_LIBDIR={mine}", "make", "-C", mine], check=False, capture_output=True, text=True)
    assert done.returncode != 0
    assert "pkg-config does not find mod_websocket; is it installed, and its folder in PKG_CONFIG_PATH?" in done.stderr


def reuse_objects(source):
    """What is built here stands there as if just built, but for what the configuration goes into."""
    for folder in ("obj", "handlers"):
        shutil.copytree(TOP / "build" / folder, source / "build" / folder, copy_function=shutil.copy)
    configured_in = [path for path in (source / "src").rglob("*.c++") if "WEBSOCKET_HANDLER_PATH" in path.read_text()]
    assert configured_in
    for path in configured_in:
        (source / "build/obj" / path.relative_to(source)).with_suffix(".o").unlink()


@pytest.mark.parametrize("whole", [False, pytest.param(True, marks=pytest.mark.soak)])
def test_a_checkout_configured_for_another_place_is_used_from_there(tmp_path, whole):
    """./configure && make && make install, for an httpd whose folders are elsewhere, and its use from there."""
    source, prefix, sysconf, libexec = (tmp_path / name for name in ("source", "prefix", "etc", "modules"))
    shutil.copytree(TOP, source, ignore=lambda _, names: [name for name in names if name in (
        ".git", "build", "node_modules", "configure", "config.status", "config.log", "__pycache__")])
    (sysconf / "mods-available").mkdir(parents=True)
    apxs = tmp_path / "apxs"
    apxs.write_text(f"""#!/bin/sh
case "$*" in
"-q LIBEXECDIR") echo "{libexec};;" ;;
"-q SYSCONFDIR") echo " {sysconf}" ;;
*) exec {configured()['APXS']} "$@" ;;
esac
""")
    apxs.chmod(0o755)
    subprocess.run(["autoconf"], cwd=source, check=True)
    said = subprocess.run(["./configure", f"--prefix={prefix}", f"--with-apxs={apxs}", "CXXFLAGS=-O0"], cwd=source, check=True,
                          capture_output=True, text=True).stdout
    assert f"{libexec}/mod_websocket.so" in said
    if not whole:
        reuse_objects(source)
    make(f"-j{os.cpu_count()}", top=source)
    make("install", top=source)
    assert (sysconf / "mods-available/websocket.load").read_text() == f"LoadModule websocket_module {libexec}/mod_websocket.so\n"
    assert f"#WebSocketHandlerPath {prefix}/lib/mod_websocket/handlers\n" in (sysconf / "mods-available/websocket.conf").read_text()

    # A handler by its name: the folder of handlers is compiled in. httpd's own modules stand where they were.
    port = free_port()
    (sysconf / "websocket.test").write_text("<Location /echo>\nWebSocketHandler echo\n</Location>\n")
    config = httpd_configuration(tmp_path, port, [f"Include {sysconf}/mods-available/websocket.load",
                                                  f"Include {sysconf}/mods-available/websocket.conf", f"Include {sysconf}/websocket.test"])
    with Served([configured()["HTTPD"], "-f", config, "-DFOREGROUND"], port):
        assert handshake(port, "/echo") == 101

    # The installed script needs no option but a port, where httpd's modules are.
    for module in pathlib.Path(configured()["HTTPD_LIBEXECDIR"]).glob("mod_*.so"):
        if not (libexec / module.name).exists():
            (libexec / module.name).symlink_to(module)
    port = free_port()
    with Served([prefix / "bin/mod_websocket-standalone", "-p", port], port):
        assert handshake(port, "/echo") == 101
    assert re.fullmatch(r"mod_websocket \S+\n", subprocess.run([prefix / "bin/mod_websocket-standalone", "--version"], check=True,
                                                               capture_output=True, text=True).stdout)

    make("uninstall", top=source)
    assert files_below(prefix) == []
    assert files_below(sysconf) == ["websocket.test"]
    assert not (libexec / "mod_websocket.so").exists()


@pytest.mark.parametrize("options, complaint", [
    (["--with-apxs=/nonexistent/apxs"], "--with-apxs=/nonexistent/apxs: no such program"),
    (["--with-apxs=/bin/true"], "/bin/true -q answers nothing useful; is it httpd's apxs, and is perl installed?"),
    (["--without-apxs"], "--without-apxs: mod_websocket cannot be built without apxs"),
    (["CXX=false"], None),
])
def test_configure_says_what_is_wrong(tmp_path, options, complaint):
    make("configure")
    for name in ("configure", "configure.ac", "conf"):
        (tmp_path / name).symlink_to(TOP / name)
    done = subprocess.run(["./configure", *options], cwd=tmp_path, check=False, capture_output=True, text=True)
    assert done.returncode != 0
    assert not (tmp_path / "build/config.mk").exists()
    if complaint:
        assert done.stderr.splitlines()[-1] == f"configure: error: {complaint}"
