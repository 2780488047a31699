import fcntl
import os
import pathlib
import re
import shlex
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import hostile
import sanitizer
from harness import BUILD, TOP, configured

HANDLER_FLAGS = ["-std=c++20", "-O1", "-g", "-Wall", "-Wextra", "-fPIC", "-shared", "-fvisibility=hidden", "-Iinclude"]
WORKER_MATTERS = {f"test_{name}" for name in ("children", "churn", "drain", "lifecycle", "limits", "standalone", "storm", "browser")}

# As their authors compile plugins of apache-websocket: with httpd's headers, by a C compiler.
PLUGIN_FLAGS = ["-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-fPIC", "-shared", "-pthread"]


def compiled(sources, folder, command, headers):
    """The folder, in which there is a shared object of each source that is newer than that and the headers."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = open(folder / "lock", "w")  # of all processes that run tests
    fcntl.flock(lock, fcntl.LOCK_EX)
    for source in sources:
        made = folder / (source.stem + ".so")
        if made.exists() and made.stat().st_mtime > max(file.stat().st_mtime for file in [source, *headers]):
            continue
        # Under another name first: another run may have this one loaded.
        new = made.with_suffix(f".{os.getpid()}")
        subprocess.run([*command, "-o", new, source], cwd=TOP, check=True)
        new.chmod(0o755)
        new.rename(made)
    lock.close()
    return folder


@pytest.fixture(scope="session")
def handlers():
    """The folder that the handlers made for these tests (handlers/*.c++) are compiled into."""
    command = [*shlex.split(configured("CXX")), *HANDLER_FLAGS, *sanitizer.compiler_flags(), *configured("NO_GNU_UNIQUE").split()]
    return compiled((TOP / "tests/integration/handlers").glob("*.c++"), BUILD / sanitizer.NAME / "tests/integration-handlers", command,
                    list((TOP / "include/mod_websocket").iterdir()))


@pytest.fixture(scope="session")
def plugins():
    """The same for plugins of apache-websocket (plugins/*.c)."""
    source = TOP / "tests/integration/plugins"
    command = [*shlex.split(configured("CC")), *PLUGIN_FLAGS, *sanitizer.compiler_flags(), *configured("HTTPD_CPPFLAGS").split()]
    return compiled(source.glob("*.c"), BUILD / sanitizer.NAME / "tests/integration-plugins", command, list(source.glob("*.h")))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Outside of its accepting and of its children's ends, the worker MPM is to the module what the event MPM is."""
    for item in items:
        values = item.callspec.params.values() if hasattr(item, "callspec") else []
        if "worker" in values and item.module.__name__ not in WORKER_MATTERS:
            item.add_marker(pytest.mark.soak)


@pytest.fixture(scope="session", params=["event", "worker", "prefork"])
def mpm(request):
    return request.param


@pytest.fixture
def name(request):
    """Of a connection: stands in the log once."""
    return re.sub(r"\W+", "-", request.node.name).strip("-")


@pytest.fixture
def unharmed(request, server):
    """Around a test: see hostile.unharmed, which the mark `memory` gives its bounds."""
    mark = request.node.get_closest_marker("memory")
    with hostile.unharmed(server, **(mark.kwargs if mark else {})) as bystander:
        yield bystander
