"""The conformance table: 517 cases, each with what a client sends and what the server must answer.

A Script is a few frames. Where `close` is None the client closes with 1000 in the end, and the server has to give that code back;
otherwise the server's close frame comes next and has this code, be it the answer to the client's or the end of a connection that
broke a rule. Either way no other frame comes, and then the server is first to end the TCP stream.

An Echo is `count` messages, each sent when the one before has come back. Its payloads are in texts.py.

Where RFC 6455 leaves a choice, the table asks for this server's: a broken rule is answered with a close frame that has the rule's
code, as soon as the byte that breaks it has come; what came before it is served.
"""

import dataclasses

from harness import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, close_payload, frame

TOGETHER, FRAMES = "in one write", "in a write for each frame"  # or a number: in pieces of so many bytes

# Marks in what is sent. AWAIT: the next frame has come back. QUIET: the server has read all of it, waits, and has sent nothing.
AWAIT, QUIET = "await", "quiet"

SECTIONS = {1: "whole messages", 2: "pings and pongs", 3: "reserved bits", 4: "reserved opcodes", 5: "fragments", 6: "UTF-8", 7: "closing",
            9: "size and number", 10: "many fragments", 12: "compression: contents", 13: "compression: offers"}
COUNTS = {1: 16, 2: 11, 3: 7, 4: 10, 5: 20, 6: 145, 7: 37, 9: 54, 10: 1, 12: 90, 13: 126}


@dataclasses.dataclass(frozen=True)
class Script:
    about: str
    sent: tuple
    expects: tuple = ()
    close: int = None
    write: object = TOGETHER
    id: str = ""
    soak: bool = False


@dataclasses.dataclass(frozen=True)
class Echo:
    opcode: int
    source: str
    size: int
    unit: str = "bytes"  # or characters
    count: int = 1
    fragment: int = None  # bytes of a frame's payload, after compression
    write: object = TOGETHER
    offer: str = None
    agreed: str = None  # the answer to the offer
    id: str = ""
    soak: bool = False

    @property
    def about(self):
        words = [f"{self.count} × " if self.count > 1 else "", "text" if self.opcode == TEXT else "binary", f" of {self.size} {self.unit}",
                 f" from {self.source}", f" in fragments of {self.fragment} bytes" if self.fragment else "",
                 f", written in pieces of {self.write} bytes" if self.write != TOGETHER else "", f"; {self.offer}" if self.offer else ""]
        return "".join(words)


def numbered(prefix, cases):
    return [dataclasses.replace(case, id=f"{prefix}.{number}") for number, case in enumerate(cases, 1)]


def section(case):
    return int(case.id.split(".")[0])


# ---- 1: whole messages ---------------------------------------------------------------------------

def whole_messages(opcode, source):
    return [*(Echo(opcode, source, size) for size in [0, 125, 126, 127, 128, 65535, 65536]), Echo(opcode, source, 65536, write=997)]


# ---- 2: pings and pongs --------------------------------------------------------------------------

def ping(about, payload, **more):
    return Script(about, (frame(PING, payload),), ((PONG, payload),), **more)


def ten_pings(write):
    payloads = [b"payload-%d" % number for number in range(10)]
    return Script("ten pings, each answered for itself", tuple(frame(PING, each) for each in payloads), tuple((PONG, each) for each in payloads),
                  write=write)


PINGS = [
    ping("ping without a payload", b""),
    ping("ping with a text", b"Hello, world!"),
    ping("ping with bytes that are not UTF-8", bytes.fromhex("00fffefdfcfb00ff")),
    ping("ping of the greatest length", b"\xfe" * 125),
    Script("ping that is a byte too long", (frame(PING, b"\xfe" * 126),), close=1002),
    ping("ping of the greatest length, byte by byte", b"\xfe" * 125, write=1),
    Script("pong without a payload that answers no ping", (frame(PONG),)),
    Script("pong with a payload that answers no ping", (frame(PONG, b"unasked"),)),
    Script("pong that answers no ping, then a ping", (frame(PONG, b"unasked"), frame(PING, b"asked")), ((PONG, b"asked"),)),
    ten_pings(TOGETHER),
    ten_pings(1),
]

# ---- 3 and 4: reserved bits and opcodes ----------------------------------------------------------

HELLO = frame(TEXT, "Hello, world!")
HELLO_BACK = (TEXT, b"Hello, world!")


def alone(about, bad):
    return Script(about, (bad,), close=1002)


def after_text(about, bad, write):
    """The text before it comes back, the ping behind it is not answered."""
    return Script(f"text, {about}, ping", (HELLO, bad, frame(PING)), (HELLO_BACK,), close=1002, write=write)


RESERVED_BITS = [
    alone("text with RSV3", frame(TEXT, "bits", rsv=1)),
    after_text("text with RSV2", frame(TEXT, "bits", rsv=2), TOGETHER),
    after_text("text with RSV2 and RSV3", frame(TEXT, "bits", rsv=3), FRAMES),
    after_text("text with RSV1 though nothing was offered", frame(TEXT, "bits", rsv=4), 1),
    alone("binary with RSV1 and RSV3", frame(BINARY, b"bits", rsv=5)),
    alone("binary with RSV1 and RSV2", frame(BINARY, b"bits", rsv=6)),
    alone("close with all three", frame(CLOSE, rsv=7)),
]


def reserved_opcodes(kind, first):
    return [
        alone(f"{kind} opcode {first}", frame(first)),
        alone(f"{kind} opcode {first + 1} with a payload", frame(first + 1, "what is this?")),
        after_text(f"{kind} opcode {first + 2}", frame(first + 2), TOGETHER),
        after_text(f"{kind} opcode {first + 3} with a payload", frame(first + 3, "what is this?"), TOGETHER),
        after_text(f"{kind} opcode {first + 4} with a payload", frame(first + 4, "what is this?"), 1),
    ]


# ---- 5: fragments --------------------------------------------------------------------------------

def begin(payload, opcode=TEXT):
    return frame(opcode, payload, fin=False)


def go_on(payload):
    return frame(CONTINUATION, payload, fin=False)


def finish(payload):
    return frame(CONTINUATION, payload)


JOINED = (TEXT, b"first, second")
TWO = (begin("first, "), finish("second"))
WRITES = [TOGETHER, FRAMES, 1]
FIVE = (begin("a"), go_on("b"), frame(PING, b"one"), AWAIT, go_on("c"), go_on("d"), frame(PING, b"two"), finish("e"))
FIVE_BACK = ((PONG, b"one"), (PONG, b"two"), (TEXT, b"abcde"))

FRAGMENTS = [
    Script("ping in two fragments", (begin("pi", PING), finish("ng")), close=1002),
    Script("pong in two fragments", (begin("po", PONG), finish("ng")), close=1002),
    *(Script("text in two fragments", TWO, (JOINED,), write=write) for write in WRITES),
    *(Script("ping between two fragments of a text", (TWO[0], frame(PING, b"between"), TWO[1]), ((PONG, b"between"), JOINED), write=write)
      for write in WRITES),
    *(Script("last fragment of no message, then a text", (finish("stray"), HELLO), close=1002, write=write) for write in WRITES),
    *(Script("fragment of no message that is not the last, then a text", (go_on("stray"), HELLO), close=1002, write=write) for write in WRITES),
    Script("text in two fragments, a fragment of no message, a text", (*TWO, go_on("stray"), HELLO), (JOINED,), close=1002),
    Script("twice: a fragment of no message that is not the last, a text in two fragments", (go_on("stray"), *TWO) * 2, close=1002),
    Script("twice: a last fragment of no message, a text in two fragments", (finish("stray"), *TWO) * 2, close=1002),
    Script("text inside an unfinished text", (begin("outer"), frame(TEXT, "inner")), close=1002),
    *(Script("text in five fragments; the ping after two is answered before the rest is sent", FIVE, FIVE_BACK, write=write)
      for write in WRITES[:2]),
]

# ---- 6: UTF-8 ------------------------------------------------------------------------------------

GREEK = bytes.fromhex("cebae1bdb9cf83cebcceb5")  # five characters, the second of three bytes
UMLAUTS = "Größe, Übermut, für später".encode()
SURROGATE = GREEK + bytes.fromhex("eda080") + b"edited"
TOO_HIGH = bytes.fromhex("f4908080")  # would be U+110000; its first byte alone may still become a character


def in_fragments(payload, *cuts):
    """Frames of the pieces between these offsets."""
    edges = [0, *cuts, len(payload)]
    pieces = [payload[start:end] for start, end in zip(edges, edges[1:])]
    return tuple(frame(CONTINUATION if number else TEXT, piece, fin=number == len(pieces) - 1) for number, piece in enumerate(pieces))


def byte_fragments(payload):
    return in_fragments(payload, *range(1, len(payload)))


def good_text(about, sent, payload):
    return Script(about, tuple(sent), ((TEXT, payload),))


def bad_text(about, sent):
    return Script(about, tuple(sent), close=1007)


def broken_in_second_part(start, bad, one_frame):
    """The server waits after the first part and fails the connection after the second; the third is never sent."""
    rest = b"edited"
    first, second, third = in_fragments(start + bad + rest, len(start), len(start) + len(bad))
    about = f"text whose second part, {bad.hex()}, makes it invalid, in parts of " + ("one frame" if one_frame else "a frame each")
    if one_frame:
        whole = frame(TEXT, start + bad + rest)
        first, second = whole[:len(whole) - len(bad + rest)], whole[len(whole) - len(bad + rest):len(whole) - len(rest)]
    return Script(about, (first, QUIET, second), close=1007)


# Each sequence is a message in one frame.
def valid(about, *sequences):
    return [good_text(f"{about}: {sequence}", [frame(TEXT, bytes.fromhex(sequence))], bytes.fromhex(sequence)) for sequence in sequences]


def invalid(about, *sequences):
    return [bad_text(f"{about}: {sequence}", [frame(TEXT, bytes.fromhex(sequence))]) for sequence in sequences]


def hexed(*characters):
    return [chr(character).encode().hex() for character in characters]


def leads(first, end):
    """All first bytes of a length, each before a space."""
    return "".join(f"{lead:02x}20" for lead in range(first, end))


TRUNCATED = ["c0", "e080", "f08080", "f8808080", "fc80808080", "df", "efbf", "f7bfbf", "fbbfbfbf", "fdbfbfbfbf"]
GREEK_ENDS = {2, 5, 7, 9, 11}  # of characters

# By subsection.
UTF8 = [
    [good_text("empty text", [frame(TEXT)], b""),
     good_text("three empty fragments", [begin(""), go_on(""), finish("")], b""),
     good_text("three fragments, the outer ones empty", [begin(""), go_on("middle"), finish("")], b"middle")],
    [good_text("umlauts", [frame(TEXT, UMLAUTS)], UMLAUTS),
     good_text("umlauts in two fragments, cut between characters", in_fragments(UMLAUTS, 9), UMLAUTS),
     good_text("umlauts in fragments of a byte", byte_fragments(UMLAUTS), UMLAUTS),
     good_text("Greek in fragments of a byte", byte_fragments(GREEK), GREEK)],
    [bad_text("surrogate inside a text", [frame(TEXT, SURROGATE)]),
     bad_text("surrogate inside a text, in fragments of a byte", byte_fragments(SURROGATE))],
    [broken_in_second_part(start, bad, one_frame) for one_frame in [False, True]
     for start, bad in [(GREEK, TOO_HIGH), (GREEK + TOO_HIGH[:1], TOO_HIGH[1:2])]],
    valid("text", "68656c6c6f24776f726c64", "68656c6c6fc2a2776f726c64", "68656c6c6fe282ac776f726c64", "68656c6c6ff0a4ada2776f726c64", GREEK.hex()),
    [case for size in range(1, 12) for case in (valid if size in GREEK_ENDS else invalid)(f"{size} bytes of Greek", GREEK[:size].hex())],
    valid("first character of a length", "00", "c280", "e0a080", "f0908080"),
    invalid("first value of five and six bytes", "f888808080", "fc8480808080"),
    valid("last character of a length", "7f", "dfbf", "efbfbf", "f48fbfbf"),
    invalid("last value of a length, beyond all characters", "f7bfbfbf", "fbbfbfbfbf", "fdbfbfbfbfbf"),
    [*valid("beside a border", "ed9fbf", "ee8080", "efbfbd", "f48fbfbf"), *invalid("beyond the border", "f4908080")],
    invalid("continuation bytes alone", "80", "bf", *(("80bf" * 3)[:2 * size] for size in range(2, 7)),
            "".join(f"{byte:02x}" for byte in range(0x80, 0xbf))),
    invalid("first bytes before spaces", leads(0xc0, 0xdf), leads(0xe0, 0xef), leads(0xf0, 0xf7), leads(0xf8, 0xfb), leads(0xfc, 0xfd)),
    invalid("last byte missing", *TRUNCATED),
    invalid("all of these", "".join(TRUNCATED)),
    invalid("impossible bytes", "fe", "ff", "fefeffff"),
    invalid("slash in too many bytes", "c0af", "e080af", "f08080af", "f8808080af", "fc80808080af"),
    invalid("last value that needs fewer bytes", "c1bf", "e09fbf", "f08fbfbf", "f887bfbfbf", "fc83bfbfbfbf"),
    invalid("NUL in too many bytes", "c080", "e08080", "f0808080", "f880808080", "fc8080808080"),
    invalid("surrogate", "eda080", "edadbf", "edae80", "edafbf", "edb080", "edbe80", "edbfbf"),
    invalid("two surrogates", *(high + low for high in ["eda080", "edadbf", "edae80", "edafbf"] for low in ["edb080", "edbfbf"])),
    valid("noncharacter", *hexed(*(plane << 16 | end for plane in range(17) for end in [0xfffe, 0xffff]))),
    valid("special", *hexed(*range(0xfff9, 0x10000))),
]

# ---- 7: closing ----------------------------------------------------------------------------------

NO_CODE = 1005  # stands for a close frame without a payload
BYE = frame(CLOSE, close_payload(1000))
BIG = b"*" * (256 << 10)


def closing(about, payload, close):
    return Script(about, (frame(CLOSE, payload),), close=close)


CLOSING = {
    1: [Script("text, closed when it has come back", (HELLO,), (HELLO_BACK,)),
        Script("close, then a second one", (BYE, frame(CLOSE)), close=1000),
        Script("close, then a ping", (BYE, frame(PING)), close=1000),
        Script("close, then a text", (BYE, HELLO), close=1000),
        Script("close inside a text, then its rest", (TWO[0], BYE, TWO[1]), close=1000),
        Script("long text, short text, close, ping: both texts come back", (frame(TEXT, BIG), HELLO, BYE, frame(PING)), ((TEXT, BIG), HELLO_BACK),
               close=1000)],
    3: [closing("close without a payload", b"", NO_CODE),
        closing("close with half a code", b"\x03", 1002),
        closing("close with a code", close_payload(1000), 1000),
        closing("close with a reason", close_payload(1000, "all is said"), 1000),
        closing("close with the longest reason", close_payload(1000, "*" * 123), 1000),
        closing("close with a reason that is a byte too long", close_payload(1000, "*" * 124), 1002)],
    5: [closing("close with a reason that is not UTF-8", close_payload(1000) + SURROGATE, 1007)],
    7: [closing(f"close with {code}", close_payload(code), code)
        for code in [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999]],
    9: [closing(f"close with {code}, which nobody may send", close_payload(code), 1002) for code in [0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999]],
    13: [closing(f"close with {code}, which is out of range", close_payload(code), 1002) for code in [5000, 65535]],
}

# ---- 9 and 10: size and number -------------------------------------------------------------------

KIB, MIB = 1 << 10, 1 << 20
KINDS = [(TEXT, "scripts"), (BINARY, "random")]  # of the odd and even subsections of 9


def sizes_and_numbers():
    families = [
        [{"size": size} for size in [64 * KIB, 256 * KIB, MIB, 4 * MIB, 8 * MIB, 16 * MIB]],
        [{"size": 4 * MIB, "fragment": size} for size in [64, 256, KIB, 4 * KIB, 16 * KIB, 64 * KIB, 256 * KIB, MIB, 4 * MIB]],
        [{"size": MIB, "write": size} for size in [64, 128, 256, 512, 1024, 2048]],
        [{"size": size, "count": 1000} for size in [0, 16, 64, 256, 1024, 4096]],
    ]
    in_ci = [2, 5, 6, 3]
    return [[Echo(opcode, source, soak=number != sample, **fields) for number, fields in enumerate(family, 1)]
            for family, sample in zip(families, in_ci) for opcode, source in KINDS]


# ---- 12 and 13: compression ----------------------------------------------------------------------

# The contents of section 12; those of section 13 are the first.
CONTENTS = [(TEXT, "json", "characters"), (BINARY, "image", "bytes"), (BINARY, "prose", "bytes"), (TEXT, "html", "characters"),
            (BINARY, "document", "bytes")]
# Size and fragment; in CI by their number.
FORMS = [*((size, None) for size in [16, 64, 256, 1024, 4096, 8192, 16384, 32768, 65536, 131072]),
         *((size, 256) for size in [8192, 16384, 32768, 65536, 131072]), *((131072, fragment) for fragment in [1024, 4096, 32768])]
IN_CI = 4

CLIENT = "permessage-deflate; client_no_context_takeover; client_max_window_bits"
OFFERS = [CLIENT] + [f"{CLIENT}; {more}" for more in [
    "server_no_context_takeover", "server_max_window_bits=9", "server_max_window_bits=15",
    "server_no_context_takeover; server_max_window_bits=9", "server_no_context_takeover; server_max_window_bits=15"]]
OFFERS.append(f"{OFFERS[4]}, {OFFERS[1]}, {OFFERS[0]}")
NO_TAKEOVER = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
WINDOW = {9: f"{NO_TAKEOVER}; server_max_window_bits=9", 15: f"{NO_TAKEOVER}; server_max_window_bits=15"}
AGREED = [NO_TAKEOVER, NO_TAKEOVER, WINDOW[9], WINDOW[15], WINDOW[9], WINDOW[15], WINDOW[9]]


def compressed(content, offer, agreed):
    opcode, source, unit = content
    return [Echo(opcode, source, size, unit, 1000, fragment, offer=offer, agreed=agreed, soak=number != IN_CI)
            for number, (size, fragment) in enumerate(FORMS, 1)]


# ---- all -----------------------------------------------------------------------------------------

def table():
    families = {
        "1.1": whole_messages(TEXT, "asterisks"),
        "1.2": whole_messages(BINARY, "fe"),
        "2": PINGS,
        "3": RESERVED_BITS,
        "4.1": reserved_opcodes("data", 3),
        "4.2": reserved_opcodes("control", 11),
        "5": FRAGMENTS,
        **{f"6.{number}": family for number, family in enumerate(UTF8, 1)},
        **{f"7.{number}": family for number, family in CLOSING.items()},
        **{f"9.{number}": family for number, family in enumerate(sizes_and_numbers(), 1)},
        "10.1": [Echo(TEXT, "scripts", 65536, fragment=1300)],
        **{f"12.{number}": compressed(content, OFFERS[0], AGREED[0]) for number, content in enumerate(CONTENTS, 1)},
        **{f"13.{number}": compressed(CONTENTS[0], offer, agreed) for number, (offer, agreed) in enumerate(zip(OFFERS, AGREED), 1)},
    }
    return [case for prefix, family in families.items() for case in numbered(prefix, family)]


CASES = table()
