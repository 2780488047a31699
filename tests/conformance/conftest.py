"""Where the tests find the harness, and the table of sections at the end of a run."""

import collections
import pathlib
import re
import sys

sys.path[:0] = [str(pathlib.Path(__file__).parent), str(pathlib.Path(__file__).parents[1] / "integration")]

from cases import SECTIONS


def pytest_terminal_summary(terminalreporter):
    """Cases by section; one that was not chosen counts nowhere."""
    outcomes = {}
    for outcome, name in [("passed", "passed"), ("failed", "failed"), ("error", "failed")]:
        for report in terminalreporter.stats.get(outcome, []):
            case = re.search(r"::test_case\[(\d+)\.", report.nodeid)
            if case and outcomes.get(report.nodeid) != "failed":
                outcomes[report.nodeid] = name
    if not outcomes:
        return
    tally = collections.Counter((int(re.search(r"\[(\d+)\.", nodeid)[1]), name) for nodeid, name in outcomes.items())
    terminalreporter.write_sep("-", "conformance")
    terminalreporter.write_line(f"{'section':<28}{'passed':>8}{'failed':>8}{'total':>8}")
    for number, title in SECTIONS.items():
        if tally[number, "passed"] + tally[number, "failed"]:
            write_row(terminalreporter, f"{number:>2}  {title}", tally[number, "passed"], tally[number, "failed"])
    write_row(terminalreporter, "all", *(sum(count for (_, name), count in tally.items() if name == kind) for kind in ["passed", "failed"]))


def write_row(terminalreporter, title, passed, failed):
    terminalreporter.write_line(f"{title:<28}{passed:>8}{failed:>8}{passed + failed:>8}")
