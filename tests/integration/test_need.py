"""tools/need, which installs what a build needs, among commands made for these tests."""

import shutil
import subprocess

import pytest

from harness import TOP

COMMANDS = {"g++": "g++", "make": "make", "autoconf": "autoconf", "pkg-config": "pkg-config", "apache2": "apache2-bin", "apxs": "apache2-dev",
            "clang-format": "clang-format"}  # and the packages that bring them


class Machine:
    """A PATH on which there is nothing but what the tool itself calls, and COMMANDS."""

    def __init__(self, folder):
        self.folder, self.log = folder / "bin", folder / "calls"
        self.folder.mkdir()
        for name in COMMANDS:
            self.add(name, "exit 99")
        self.add("env", f'exec {shutil.which("env")} "$@"')
        self.add("id", "echo 0")
        self.add("apt-get", "exit 0")

    def add(self, name, does):
        file = self.folder / name
        file.write_text(f'#!/bin/sh\necho "{name} $*" >> {self.log}\n{does}\n')
        file.chmod(0o755)

    def remove(self, *names):
        for name in names:
            (self.folder / name).unlink()

    def need(self, *sets):
        done = subprocess.run(["/bin/sh", TOP / "tools/need", *sets], env={"PATH": str(self.folder)}, check=False, capture_output=True, text=True)
        return done.returncode, done.stdout, done.stderr

    def calls(self, name):
        """What the command was called with, each time."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [line.removeprefix(name + " ") for line in lines if line.startswith(name + " ")]


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def without(machine, name):
    """Takes a command away; the tool also finds it in /usr/sbin, where servers are."""
    machine.remove(name)
    if shutil.which(name, path="/usr/sbin"):
        pytest.skip(f"this machine has /usr/sbin/{name}")


INSTALL = "install -y -qq --no-install-recommends"


def test_with_everything_in_place_it_calls_nothing_and_says_nothing(machine):
    assert machine.need("build", "format") == (0, "", "")
    assert not machine.log.exists()


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "apache2"])  # which is in /usr/sbin
def test_one_missing_command_installs_its_package_and_no_other(machine, name):
    without(machine, name)
    package = COMMANDS[name]
    assert machine.need("build", "format") == (0, f"Installing {package} (for {name})\n", "")
    assert machine.calls("apt-get") == ["update -qq", f"{INSTALL} {package}"]


def test_several_missing_commands_are_installed_at_once(machine):
    without(machine, "make")
    without(machine, "apxs")
    assert machine.need("build") == (0, "Installing make apache2-dev (for make, apxs)\n", "")
    assert machine.calls("apt-get") == ["update -qq", f"{INSTALL} make apache2-dev"]


def test_fuzzing_needs_clang(machine):
    machine.need("fuzz")
    assert machine.calls("apt-get")[1].startswith(f"{INSTALL} clang")


def test_another_command_that_does_the_same_will_do(machine):
    machine.remove("g++", "pkg-config")
    machine.add("clang++", "exit 99")
    machine.add("pkgconf", "exit 99")
    assert machine.need("build") == (0, "", "")


def test_what_apt_cannot_install_is_one_line_and_a_failure(machine):
    without(machine, "autoconf")
    machine.add("apt-get", 'test "$1" = update')
    assert machine.need("build") == (1, "Installing autoconf (for autoconf)\n", "need: could not install autoconf\n")


def test_lists_that_cannot_be_updated_are_used_as_they_are(machine):
    without(machine, "autoconf")
    machine.add("apt-get", 'test "$1" = install')
    assert machine.need("build") == (0, "Installing autoconf (for autoconf)\n", "need: apt-get update failed; trying with the lists that are there\n")
    assert machine.calls("apt-get")[-1] == f"{INSTALL} autoconf"


def test_an_ordinary_user_installs_with_sudo(machine):
    without(machine, "autoconf")
    machine.add("id", "echo 1000")
    machine.add("sudo", 'exec "$@"')
    assert machine.need("build")[0] == 0
    assert machine.calls("sudo") == [f"env DEBIAN_FRONTEND=noninteractive apt-get {words}" for words in ["update -qq", f"{INSTALL} autoconf"]]


def test_without_sudo_an_ordinary_user_is_told_what_to_do(machine):
    without(machine, "autoconf")
    machine.add("id", "echo 1000")
    assert machine.need("build") == (1, "", "need: not found: autoconf. As root: apt-get install autoconf\n")
    assert machine.calls("apt-get") == []


def test_without_apt_it_says_what_is_missing_and_lets_the_build_try(machine):
    without(machine, "autoconf")
    machine.remove("apt-get")
    assert machine.need("build") == (0, "", "need: not found: autoconf. On Debian these come with: autoconf\n")


def test_an_unknown_set_is_refused(machine):
    assert machine.need("build", "everything") == (2, "", "need: no such set: everything (build, test, fuzz, bench, format, peers)\n")
