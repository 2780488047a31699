"""The table: a row's verdict, and how all of them are printed and kept."""

import dataclasses
import datetime
import json
import os
import pathlib
import platform
import re
import subprocess
import sys
import time
from typing import Callable, Optional

import servers


@dataclasses.dataclass
class Measured:
    rounds: list  # of each its figure, and what was measured for it, one or two dictionaries
    detail: Callable  # a line about what was measured in the round with the median figure
    flaw: str = ""  # why the target is missed whatever the figure is

    def median(self):
        """The figure, and what was measured in its round."""
        return sorted(self.rounds, key=lambda each: each[0])[len(self.rounds) // 2]


@dataclasses.dataclass
class Row:
    name: str
    what: str
    measure: Callable  # takes the options, returns what was measured or raises Failed
    unit: str
    target: Optional[float] = None
    at_least: bool = False  # the target is the lowest figure that meets it, else the highest

    def run(self, options):
        """The row as build/bench.json has it."""
        kept = {"name": self.name, "what": self.what, "figure": None, "unit": self.unit, "target": self.target,
                "relation": None if self.target is None else ">=" if self.at_least else "<=", "verdict": "failed", "rounds": [], "took_s": None, "detail": "", "runs": []}
        begin_s = time.monotonic()
        try:
            measured = self.measure(options)
        except servers.Failed as error:
            return {**kept, "detail": str(error)}
        except Exception as error:  # the other rows are worth having
            return {**kept, "detail": f"{type(error).__name__}: {error}"}
        kept["took_s"] = round(time.monotonic() - begin_s, 1)
        figure, *runs = measured.median()
        detail = "; ".join(filter(None, [measured.flaw, measured.detail(*runs)]))
        return {**kept, "figure": figure, "verdict": self.verdict(figure, measured.flaw), "rounds": [each[0] for each in measured.rounds],
                "detail": detail, "runs": [each[1:] for each in measured.rounds]}

    def verdict(self, figure, flaw):
        if self.target is None:
            return "none"
        return "met" if not flaw and (figure >= self.target if self.at_least else figure <= self.target) else "missed"


def shown(number):
    return f"{number:.0f}" if number >= 100 else f"{number:.1f}" if number >= 10 else f"{number:.3f}"


def target(row):
    return "-" if row["target"] is None else f"{row['relation']} {row['target']:.{0 if row['target'] >= 100 else 2}f}"


def figure_of(row):
    return "-" if row["figure"] is None else f"{shown(row['figure'])} {row['unit']}"


def line(row):
    verdict = {"met": "ok", "missed": "MISSED", "failed": "FAILED", "none": "-"}[row["verdict"]]
    return f"{row['name']:<18} {figure_of(row):>15}  {target(row):>9}  {verdict:<6}  {row['detail']}"


def summary(rows):
    met = sum(row["verdict"] == "met" for row in rows)
    failed = [row["name"] for row in rows if row["verdict"] == "failed"]
    text = f"{met} of {sum(row['target'] is not None for row in rows)} targets met"
    return text + (f"; failed: {', '.join(failed)}" if failed else "")


def first_line(*command):
    try:
        output = subprocess.run(command, capture_output=True, text=True).stdout
    except OSError:
        return None
    return output.splitlines()[0] if output else None


def configured(name):
    found = re.search(rf"^{name} = (\S+)", pathlib.Path(servers.TOP, "build/config.mk").read_text(encoding="utf-8"), re.M)
    return found[1] if found else "?"


def machine():
    cpu = re.search(r"^model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.M)
    return {"cores": os.cpu_count(), "cpu": cpu[1] if cpu else platform.machine(), "kernel": platform.release(), "load": os.getloadavg()[0],
            "httpd": first_line(configured("HTTPD"), "-v"), "openssl": first_line("openssl", "version"), "compiler": first_line(configured("CXX"), "--version"),
            "mod_websocket": configured("VERSION")}


def occasion():
    return {"date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"), "machine": machine()}


def run(rows, options):
    """Runs the rows, prints a line for each as it is there, and keeps all in a file. Whether none was missed or failed."""
    begin_s, kept = time.monotonic(), {**occasion(), "rounds": options.rounds, "seconds": options.seconds, "rows": []}
    for row in rows:
        kept["rows"].append(row.run(options))
        print(line(kept["rows"][-1]), flush=True)
        kept["took_s"] = round(time.monotonic() - begin_s)
        options.json.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    print(f"{summary(kept['rows'])} in {kept['took_s']} s; all of it is in {options.json}")
    return all(row["verdict"] in ("met", "none") for row in kept["rows"])


def markdown(file):
    """The table as the page on benchmarks has it."""
    if not file.exists():
        sys.exit(f"bench: no {file}; make bench writes it")
    kept = json.loads(file.read_text(encoding="utf-8"))
    of = kept["machine"]
    yield f"{kept['date'][:10]}, {of['httpd']}, {of['openssl']}, {of['compiler']}, Linux {of['kernel']}, {of['cores']} × {of['cpu']}, at a load of {of['load']:.1f};"
    yield f"{kept['rounds']} rounds of {kept['seconds']:g} s: {summary(kept['rows'])}.\n"
    yield "| row | figure | target | | rounds | details |"
    yield "|---|---|---|---|---|---|"
    for row in kept["rows"]:
        figure = figure_of(row).replace("x ", "× ").replace(" us", " µs") if row["rounds"] else "–"
        limit = target(row).replace("<=", "≤").replace(">=", "≥") if row["target"] is not None else "–"
        verdict = {"none": "", "met": "met", "missed": "**missed**", "failed": "**failed**"}[row["verdict"]]
        span = f"{shown(min(row['rounds']))} to {shown(max(row['rounds']))}" if len(row["rounds"]) > 1 else ""
        detail = row["detail"].replace("|", "\\|").replace("\n", " ").replace(" us", " µs")
        yield f"| `{row['name']}` | {figure} | {limit} | {verdict} | {span} | {detail} |"
