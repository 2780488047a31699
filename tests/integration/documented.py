"""The code in the documentation: every block of it, where it stands, and the handlers among them compiled as a user would."""

import collections
import fcntl
import hashlib
import os
import re
import shlex
import subprocess

from harness import BUILD, TOP

PAGES = ["README.md", "CONTRIBUTING.md", *sorted(str(page.relative_to(TOP)) for folder in ["docs", "handlers"] for page in (TOP / folder).rglob("*.md"))]
COMPILERS = {"c++": ("c++", "cxxflags", "CXX"), "c": ("c", "cflags", "CC")}
WARNINGS = ["-Wall", "-Wextra", "-Werror"]
FOLDER = BUILD / "tests/documented"

# skip: why it is not checked, from a comment `<!-- not compiled: reason -->` right before the block, or None.
Block = collections.namedtuple("Block", "page line heading language text skip")


class Wrong(Exception):
    pass


def blocks_of(page, text):
    """The fenced blocks of a page that name a language."""
    heading, before, found, begin = "", "", [], None
    for number, line in enumerate(text.splitlines(), 1):
        fence = re.fullmatch(r"( *)```(\S*)", line.rstrip())
        if begin:
            if fence and not fence[2]:
                if begin[1]:
                    found.append(Block(page, begin[0], heading, begin[1], "\n".join(lines) + "\n", begin[2]))
                begin, before = None, ""
            else:
                lines.append(line.removeprefix(begin[3]))
            continue
        if fence:
            marker = re.fullmatch(r"<!-- not compiled:(.*)-->", before)
            if marker and not marker[1].strip():
                raise Wrong(f"{page}:{number - 1}: the marker has no reason")
            begin, lines = (number, fence[2], marker and marker[1].strip(), fence[1]), []
        elif line.strip():
            before = line.strip()
            if re.match(r"#+ ", line):
                heading = line.lstrip("# ").strip()
    if begin:
        raise Wrong(f"{page}:{begin[0]}: the block does not end")
    return found


def blocks(*languages):
    return [block for page in PAGES for block in blocks_of(page, (TOP / page).read_text()) if block.language in languages]


def block_below(heading, *languages, page="docs/handlers.md"):
    """The only block in these languages, or the only handler, between the heading and the next."""
    found = [block for block in blocks(*(languages or COMPILERS)) if (block.page, block.heading) == (page, heading)]
    assert len(found) == 1, f"{len(found)} blocks below “{heading}”"
    return found[0]


def pkg_config(*words):
    """What it says to a user, but that the headers are those of the source."""
    said = subprocess.run(["pkg-config", f"--define-variable=includedir={TOP}/include", *words, BUILD / "conf/mod_websocket.pc"],
                          check=True, capture_output=True, text=True).stdout
    return shlex.split(said)


def compiled(block):
    """The shared object that a block is compiled to; made once for all processes that run tests."""
    extension, flags, compiler = COMPILERS[block.language]
    command = [*shlex.split(os.environ.get(compiler, {"CXX": "c++", "CC": "cc"}[compiler])), *pkg_config(f"--variable={flags}"), *pkg_config("--cflags"), *WARNINGS]
    headers = "".join(header.read_text() for header in sorted((TOP / "include/mod_websocket").iterdir()))
    key = hashlib.sha256("\0".join([*command, headers, block.text]).encode()).hexdigest()[:16]
    FOLDER.mkdir(parents=True, exist_ok=True)
    source, made = FOLDER / f"{key}.{extension}", FOLDER / f"{key}.so"
    with open(FOLDER / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            source.write_text(f'#line {block.line + 1} "{block.page}"\n' + block.text)
            done = subprocess.run([*command, "-o", made.with_suffix(".new"), source], cwd=TOP, capture_output=True, text=True)
            assert done.returncode == 0, f"{block.page}:{block.line} does not compile\n{done.stderr}"
            made.with_suffix(".new").chmod(0o755)
            made.with_suffix(".new").rename(made)
    return made


def is_handler(block):
    return re.search(r"\bWEBSOCKET_HANDLER\(|\bwebsocket_handler\(", block.text) is not None
