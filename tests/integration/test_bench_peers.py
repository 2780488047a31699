"""`make bench-peers` and `make bench-scale`: that they measure what they say, and notice what is lost."""

import importlib.machinery
import importlib.util
import json
import subprocess
import sys

import pytest

from harness import TOP

sys.path.insert(0, str(TOP / "bench"))


def script(name):
    """A program without .py, as a module."""
    loader = importlib.machinery.SourceFileLoader(name.replace("-", "_"), str(TOP / "bench" / name))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    sys.modules[loader.name] = module
    loader.exec_module(module)
    return module


def run(name, *words):
    return subprocess.run([TOP / "bench" / name, *map(str, words)], capture_output=True, text=True, timeout=100)


def test_servers_are_measured_in_one_table(tmp_path):
    file = tmp_path / "peers.json"
    result = run("run-peers", "--seconds", 0.1, "--rounds", 1, "--json", file, "mod_websocket", "floor")
    assert result.returncode == 0, result.stderr
    table = [[cell.strip() for cell in line.split("|")[1:-1]] for line in result.stdout.splitlines() if line.startswith("|")]
    assert table[0] == ["server", "64 B, depth 1", "64 B, depth 16", "16 KB, depth 1", "idle", "churn"]
    assert [row[0] for row in table[2:]] == ["mod_websocket", "floor"]
    for peer in json.loads(file.read_text(encoding="utf-8"))["peers"]:
        assert peer["shapes"]["64 B, depth 16"]["median"]["replies_s"] > 0
        assert 0 < peer["shapes"]["churn"]["median"]["cpu_us"]


def test_a_server_that_is_not_there_is_named_and_no_error(tmp_path):
    peers = script("run-peers")
    absent = peers.Peer("absent", None, None, missing=lambda: "apt-get install absent")
    options = peers.argparse.Namespace(rounds=1, seconds=0, json=tmp_path / "peers.json")
    assert "| absent | not installed: apt-get install absent | –" in " ".join(" ".join(peers.lines(peers.measure_all([absent], options))).split())


def test_a_server_that_does_not_serve_ends_the_run(tmp_path, monkeypatch, capsys):
    peers = script("run-peers")
    dead = peers.Peer("dead", lambda _: peers.Running(["false"], peers.free_port()), lambda: "")
    monkeypatch.setattr(peers, "ALL", [dead])
    monkeypatch.setattr(sys, "argv", ["run-peers", "--json", str(tmp_path / "peers.json")])
    with pytest.raises(SystemExit, match="bench: false does not serve"):
        peers.main()


@pytest.mark.parametrize("ends", ["first", "second", "both"])
def test_two_servers_end_together(ends):
    command = {one: ["sh", "-c", "echo serves; exec sleep " + ("0" if one == ends else "600")] for one in ("first", "second")}
    with subprocess.Popen([TOP / "bench/peers/together", *command["first"], "--", *command["second"]], stdout=subprocess.PIPE, text=True) as together:
        assert [together.stdout.readline() for _ in range(2)] == ["serves\n"] * 2 or ends != "both"
        if ends == "both":
            together.terminate()
        together.stdout.read()  # until all that have it have ended
        assert together.wait(10) == 0


@pytest.mark.parametrize("tls", [(), ("--tls",)], ids=["plain", "tls"])
def test_many_are_open_pinged_and_answer(tmp_path, tls):
    file = tmp_path / "scale.json"
    result = run("scale", *tls, "--ping", 1, "--json", file, 200, 400)
    assert result.returncode == 0, result.stderr
    assert "Echoes at the end: 400 of 400; lost: 0" in result.stdout
    kept = json.loads(file.read_text(encoding="utf-8"))
    assert [row["connections"] for row in kept["rows"]] == [200, 400]
    for row in kept["rows"]:
        assert row["least"] > 0 and row["pings_s"] > 0 and row["requests_s"] > 0 and row["lost"] == 0


def test_a_connection_that_is_lost_is_noticed():
    scale = script("scale")
    total = {"opened": {"plain": 5, "tls": 1}, "open": {"plain": 4, "tls": 1}, "refused": {"descriptors": 2}}
    assert scale.lost({"total": total}) == 3
