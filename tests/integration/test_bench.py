"""The table of `make bench`: that a row is measured, and what becomes of verdicts and of rows that fail."""

import argparse
import json
import subprocess
import sys

import pytest

from harness import TOP

sys.path.insert(0, str(TOP / "bench"))
import rows
import servers
import table


def test_a_row_is_measured_printed_and_kept(tmp_path):
    file = tmp_path / "bench.json"
    result = subprocess.run([TOP / "bench/run", "--seconds", "0.1", "--rounds", "2", "--json", file, "echo-64-1"], capture_output=True, text=True)
    assert result.stderr == ""
    kept = json.loads(file.read_text(encoding="utf-8"))
    [row] = kept["rows"]
    met = row["verdict"] == "met"
    assert row["verdict"] in ("met", "missed") and result.returncode == (0 if met else 1)
    assert len(row["rounds"]) == 2 and row["figure"] == max(row["rounds"])
    for (floor, server), ratio in zip(row["runs"], row["rounds"]):
        assert floor["replies_s"] > 0 and ratio == pytest.approx(server["cpu_us"] / floor["cpu_us"])
    assert all(kept["machine"][key] for key in ("cores", "cpu", "kernel", "httpd", "openssl", "compiler"))
    first, last = result.stdout.splitlines()
    assert first.startswith("echo-64-1 ") and "<= 1.03" in first and ("ok" if met else "MISSED") in first
    assert last.startswith(f"{int(met)} of 1 targets met in ")
    markdown = subprocess.run([TOP / "bench/run", "--markdown", "--json", file], capture_output=True, text=True, check=True).stdout
    assert "| `echo-64-1` | " in markdown and "× floor | ≤ 1.03 | " in markdown


def run(tmp_path, capsys, *of_table):
    options = argparse.Namespace(rounds=3, seconds=0, json=tmp_path / "bench.json")
    good = table.run(of_table, options)
    return good, capsys.readouterr().out.splitlines(), json.loads(options.json.read_text(encoding="utf-8"))["rows"]


def row(figures, target=None, flaw="", **words):
    measured = table.Measured([(figure, {"cpu_us": figure}) for figure in figures], lambda run: f"CPU {run['cpu_us']}", flaw)
    return table.Row("row", "what it is", lambda options: measured, "us", target, **words)


@pytest.mark.parametrize("of_table,verdict", [
    (row([5, 1, 3], 3), "met"), (row([5, 1, 3], 2.99), "missed"), (row([5, 1, 3], 3, at_least=True), "met"),
    (row([5, 1, 3], 3.01, at_least=True), "missed"), (row([5, 1, 3], 3, "2 lost"), "missed"), (row([5, 1, 3]), "none")])
def test_the_median_of_the_rounds_meets_a_target_or_misses_it(tmp_path, capsys, of_table, verdict):
    good, (_, last), [kept] = run(tmp_path, capsys, of_table)
    assert (kept["verdict"], kept["figure"], kept["rounds"]) == (verdict, 3, [5, 1, 3])
    assert kept["detail"].endswith("CPU 3")
    assert good == (verdict in ("met", "none"))
    assert last.startswith({"met": "1 of 1 ", "missed": "0 of 1 ", "none": "0 of 0 "}[verdict])


def test_a_row_that_fails_says_why_and_does_not_end_the_table(tmp_path, capsys):
    def fails(options):
        return servers.load("echo", servers.free_port(), "/echo", 1, 64, 1, 1, 1)

    good, lines, kept = run(tmp_path, capsys, table.Row("broken", "", fails, "us", 1), row([2], 2))
    assert not good
    assert "FAILED" in lines[0] and "Connection refused" in lines[0]
    assert [each["verdict"] for each in kept] == ["failed", "met"]
    assert lines[2].startswith("1 of 2 targets met; failed: broken in ")
    assert any(part.startswith("| `broken` | – | ≤ 1.00 | **failed** |  | load echo ") for part in table.markdown(tmp_path / "bench.json"))


def test_redis_that_is_not_installed_fails_its_row_only(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(servers.shutil, "which", lambda name: None)
    good, lines, _ = run(tmp_path, capsys, *[each for each in rows.ALL if each.name == "redis"])
    assert not good and "FAILED" in lines[0] and "no Redis" in lines[0]


def test_each_row_is_described():
    described = (TOP / "bench/README.md").read_text(encoding="utf-8")
    for each in rows.ALL:
        limit = "none" if each.target is None else f"{'≥' if each.at_least else '≤'} {each.target:,.2f}".rstrip("0").rstrip(".")
        [line] = [line for line in described.partition("## Rows")[2].partition("\n## ")[0].splitlines() if line.startswith(f"| `{each.name}` |")]
        assert limit in line, f"{each.name}: {limit}"
