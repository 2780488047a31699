"""httpd under a sanitizer, for tests that are run with SANITIZER=asan or SANITIZER=tsan in the environment; else it changes nothing.

The module and the handlers are then those of build/asan or build/tsan. httpd itself is the system's: the sanitizer sees of it what it
calls in the C library.
"""

import os
import pathlib
import subprocess

NAME = os.environ.get("SANITIZER", "")
TOP = pathlib.Path(__file__).resolve().parents[2]

ASAN_OPTIONS = {
    "detect_leaks": 0,  # httpd and its libraries leave memory to the end of the process
    "detect_stack_use_after_return": 1,
    "strict_string_checks": 1,
    "abort_on_error": 1,
    "handle_segv": 2, "handle_sigbus": 2, "handle_sigfpe": 2,  # 2: httpd's own handlers do not replace the report
}
UBSAN_OPTIONS = {"print_stacktrace": 1, "halt_on_error": 1, "abort_on_error": 1}
TSAN_OPTIONS = {
    "suppressions": TOP / "tests/sanitizers/tsan.supp",
    "ignore_noninstrumented_modules": 1,  # what httpd and its libraries do among themselves
    "history_size": 4,
    "atexit_sleep_ms": 0,
}


def compiler_flags():
    """For what httpd loads. The sanitizer's own part is in the process already."""
    return {"": [], "asan": ["-fsanitize=address,undefined", "-fno-omit-frame-pointer"], "tsan": ["-fsanitize=thread"]}[NAME]


def runtime(name):
    """The sanitizer's library, which has to be in the process before all others."""
    return subprocess.check_output(["gcc", f"-print-file-name={name}.so"], text=True).strip()


def settings(options, folder):
    return ":".join(f"{name}={value}" for name, value in {**options, "log_path": folder / "report"}.items())


def environment(folder):
    """For httpd. Reports go to files in the folder, one for each process."""
    if not NAME:
        return dict(os.environ)
    # Whoever the children run as writes there.
    folder.mkdir()
    folder.chmod(0o1777)
    if NAME == "asan":  # which looks for the C++ library's functions when it begins
        added = {"LD_PRELOAD": f"{runtime('libasan')} {runtime('libstdc++')}", "ASAN_OPTIONS": settings(ASAN_OPTIONS, folder), "UBSAN_OPTIONS": settings(UBSAN_OPTIONS, folder)}
    else:
        added = {"LD_PRELOAD": f"{runtime('libtsan')} {TOP}/build/tsan/apr_atomics.so", "TSAN_OPTIONS": settings(TSAN_OPTIONS, folder)}
    return {**os.environ, **added}


def reports(folder):
    """What was found. The undefined-behaviour sanitizer writes to httpd's error log, whatever log_path says."""
    if not NAME:
        return ""
    log = folder.parent / "error.log"
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return "\n".join([*(file.read_text(errors="replace") for file in sorted(folder.glob("report*"))),
                      *(line for line in lines if ": runtime error: " in line)])
