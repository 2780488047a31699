"""The code in the documentation: it compiles and loads, configurations are read, scripts are parsed, links lead somewhere."""

import functools
import re
import shutil
import subprocess

import pytest

from documented import PAGES, Wrong, block_below, blocks, blocks_of, compiled, is_handler
from harness import TOP, Server

# Of handlers that refuse to be configured without, by the heading that they stand below.
PARAMETERS = {"Large uploads": {"folder": "/tmp"}}
MODULES = ["auth_basic", "authn_file", "authz_user", "headers", "http2", "proxy", "proxy_http", "rewrite", "setenvif"]


def every(*languages):
    return pytest.mark.parametrize("block", blocks(*languages), ids=lambda block: f"{block.page}:{block.line}")


def skip_marked(block):
    if block.skip:
        pytest.skip(f"not compiled: {block.skip}")


@every("c++", "c")
def test_code_compiles_without_a_warning(block):
    skip_marked(block)
    compiled(block)


def test_handlers_load():
    config = ""
    for number, block in enumerate(block for block in blocks("c++", "c") if not block.skip and is_handler(block)):
        params = "".join(f"    WebSocketParam {key} {value}\n" for key, value in PARAMETERS.get(block.heading, {}).items())
        config += f'# {block.page}:{block.line}\n<Location "/{number}">\n    WebSocketHandler "{compiled(block)}"\n{params}</Location>\n'
    assert config.count("<Location") > 10
    server = Server(config)
    try:
        status, said = server.configtest()
        assert status == 0, said + config
    finally:
        server.kill()


def with_real_handlers(block, plugins):
    """The block with handlers and plugins that are there for those it names: that below the same heading, or echo."""
    try:
        handler = compiled(block_below(block.heading, page=block.page))
    except AssertionError:
        handler = TOP / "build/handlers/echo.so"
    there = {path.stem for path in (TOP / "build/handlers").iterdir()} | {"none"}
    text = re.sub(r"/srv/handlers/\w+\.so", str(handler), block.text)
    text = re.sub(r"modules/mod_websocket_(\w+)\.so", rf"{plugins}/\1.so", text)
    return re.sub(r"(WebSocketHandler) (\w+)$", lambda use: use[0] if use[2] in there else f"{use[1]} echo", text, flags=re.M)


@every("apache")
def test_configurations_are_read(block, plugins):
    skip_marked(block)
    server = Server(with_real_handlers(block, plugins), modules=MODULES)
    try:
        status, said = server.configtest()
        assert status == 0, said
    finally:
        server.kill()


@every("js")
def test_javascript_is_parsed(block, tmp_path):
    skip_marked(block)
    if not shutil.which("node"):
        pytest.skip("there is no node")
    (tmp_path / "block.js").write_text(block.text)
    done = subprocess.run(["node", "--check", tmp_path / "block.js"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@every("python")
def test_python_is_parsed(block):
    skip_marked(block)
    compile("\n" * block.line + block.text, block.page, "exec")


def test_no_code_stands_in_a_block_without_a_known_language():
    known = {"apache", "c", "c++", "js", "python", "sh"}
    found = [f"{block.page}:{block.line}: {block.language}" for page in PAGES for block in blocks_of(page, (TOP / page).read_text())
             if block.language not in known]
    assert not found


# --- Links ---

def anchors(page):
    """Of its headings, as GitHub makes them."""
    text = re.sub(r"^( *)```.*?^\1```$", "", (TOP / page).read_text(), flags=re.M | re.S)
    return [re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in re.findall(r"^#+ (.*)$", text, re.M)]


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    text = re.sub(r"^( *)```.*?^\1```$", "", (TOP / page).read_text(), flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"\w+:", target):
            continue
        file, _, anchor = target.partition("#")
        there = ((TOP / page).parent / file).resolve() if file else TOP / page
        assert there.exists(), f"{page}: {target}"
        assert not anchor or anchor in anchors(there.relative_to(TOP)), f"{page}: {target}"


# --- Errors ---

def test_mistakes_are_listed_as_the_server_words_them():
    page = (TOP / "docs/handlers.md").read_text()
    table = page[page.index("| behind `refused:` |"):].split("\n\n")[0].splitlines()[2:]
    listed = {text for row in table for text in re.findall("`(.*?)`", row.split("|")[1])}
    code = "".join(re.sub(r'"\s*\n\s*"', "", file.read_text()) for file in (TOP / "src/handler").glob("host*"))
    said = {text for text in re.findall(r'"([^"\n]+)"', code) if " " in text and not text.startswith("exception left")} | {"NULL"}
    assert listed == said


# --- Messages ---

LEVELS = {"ERR": "error", "WARNING": "warn"}  # others are written alike


LITERAL = r'"(?:[^"\\\n]|\\.)*"|\'(?:[^\'\\\n]|\\.)\''


def calls_that_log(source):
    """What stands in the parentheses of each call that names a level, or a code."""
    for call in re.finditer(r"\b(?:ap_log_\w*error|log\w*|write)\(", source):
        depth, end = 1, call.end()
        while depth:
            step = re.compile(LITERAL + "|[()]").search(source, end)
            depth += {"(": 1, ")": -1}.get(step[0], 0)
            end = step.end()
        text = source[call.end():end]
        passes_on = "levels[int(level)]" in text  # from all layers below httpd
        if re.search(r'\bLogLevel::\w|\bAPLOG_MARK\b|"WS\d', text) and not passes_on:
            yield text


@functools.cache
def messages_in_sources():
    """By code: the levels that its call names, and the literals of the file."""
    found = {}
    for file in sorted((TOP / "src").rglob("*.c++")) + sorted((TOP / "src").rglob("*.h")):
        source = re.sub(f"({LITERAL})|//.*", lambda match: match[1] or "", file.read_text())
        source = re.sub(r'(?<=[^\\])"\s+"', "", source)  # literals in a row are one
        literals = "\n".join(literal[1:-1].replace('\\"', '"') for literal in re.findall(LITERAL, source))
        for text in calls_that_log(source):
            codes = re.findall(r'"(WS\d{3})[":]', text)
            assert len(codes) == 1, f"{file}: a line of the log has one code of its own, and not {codes}: {text}"
            assert codes[0] not in found, f"{file}: {codes[0]} is there twice"
            levels = re.findall(r"\b(?:APLOG_|LogLevel::)(ERR|WARNING|NOTICE|INFO|DEBUG|CRIT)(?:OR)?\b", text, re.I)
            found[codes[0]] = {LEVELS.get(level.upper(), level.lower()) for level in levels}, literals
    return found


MESSAGES = (TOP / "docs/messages.md").read_text()
DOCUMENTED = re.findall(r"^### (WS\d{3}) (\w+(?:, \w+)*)\n\n`(.*)`\n", MESSAGES, re.M)  # code, levels, text


def test_each_line_in_the_log_has_a_code_that_is_documented():
    listed = [code for code, _, _ in DOCUMENTED]
    assert len(listed) > 20 and listed == sorted(messages_in_sources())
    assert len(listed) == len(re.findall("^###", MESSAGES, re.M)), "a heading, its levels or the text below it is not as the others are"


@pytest.mark.parametrize("code, levels, text", DOCUMENTED, ids=[code for code, _, _ in DOCUMENTED])
def test_messages_are_documented_as_they_are_written(code, levels, text):
    named, literals = messages_in_sources()[code]
    assert named <= set(levels.split(", "))
    missing = [words for words in text.split("…") if words.strip(" :;()") not in literals]
    assert not missing


# --- How blocks are found ---

def test_blocks_have_a_page_line_heading_language_and_text():
    first, second = blocks_of("p.md", "# A b\n\n```c\nint a;\n\n```\ntext\n```\nnot code\n```\n## C\n  ```js\n  x\n  ```\n")
    assert first == ("p.md", 3, "A b", "c", "int a;\n\n", None)
    assert second == ("p.md", 12, "C", "js", "x\n", None)


def test_a_marker_holds_for_the_block_behind_it():
    marked, other = blocks_of("p.md", "<!-- not compiled: needs httpd.h -->\n```c\n```\n\n```c\n```\n")
    assert (marked.skip, other.skip) == ("needs httpd.h", None)


@pytest.mark.parametrize("text", ["<!-- not compiled: -->\n```c\n```\n", "<!-- not compiled:-->\n```c\n```\n", "```c\nint a;\n"],
                         ids=["no reason", "nothing", "no end"])
def test_what_is_written_wrong_is_an_error(text):
    with pytest.raises(Wrong):
        blocks_of("p.md", text)
