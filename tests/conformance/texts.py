"""What the messages of the conformance cases are cut from. All of it is made here, from a fixed seed.

asterisks   `*` and nothing else
fe          the byte fe and nothing else
scripts     UTF-8 of one to four bytes a character, in many scripts
random      bytes that do not compress
json        records in JSON, some of their texts in other scripts than Latin
html        a table in HTML
prose       sentences in Latin letters
image       an uncompressed picture, shades with noise
document    short objects in ASCII between longer streams that do not compress, as in a PDF
"""

import functools
import json
import random
import struct

SEED = 6455
ENOUGH = 300_000  # bytes of a source; messages start anywhere in it and go on at its beginning
GREETINGS = ["Hello", "Grüß Gott", "Γειά σου", "Здравствуйте", "שלום", "مرحبا", "नमस्ते", "สวัสดี", "გამარჯობა", "ሰላም", "你好", "こんにちは", "안녕하세요",
             "𐌷𐌰𐌹𐌻𐍃", "👋🏽", "𝔥𝔢𝔩𝔩𝔬", "e\u0301a\u0308", "\u0000\u007f\u0080\u07ff\u0800\uffff\U00010000\U0010ffff"]


def until_enough(piece):
    pieces, size = [], 0
    while size < ENOUGH:
        pieces.append(piece(len(pieces)))
        size += len(pieces[-1])
    return pieces


def word(chance):
    return "".join(chance.choices("etaoinshrdlucmfwypvbgk", range(22, 0, -1), k=chance.randint(2, 9)))


def scripts(chance):
    return " ".join(until_enough(lambda _: chance.choice(GREETINGS)))


def json_records(chance):
    records = until_enough(lambda number: json.dumps(
        {"id": number, "name": word(chance).title(), "greeting": chance.choice(GREETINGS), "score": round(chance.gauss(50, 20), 3),
         "active": chance.random() < 0.7, "tags": [word(chance) for _ in range(chance.randint(0, 4))], "parent": None}, ensure_ascii=False))
    return "[" + ",\n".join(records) + "]"


def html(chance):
    rows = until_enough(lambda number: f'<tr class="{"odd" if number % 2 else "even"}"><td id="row-{number}">{word(chance)}</td>'
                                       f'<td><a href="/{word(chance)}/{number}">{chance.choice(GREETINGS)}</a></td></tr>\n')
    return "<!doctype html>\n<title>A table</title>\n<table>\n" + "".join(rows) + "</table>\n"


def prose(chance):
    words = [word(chance) for _ in range(3000)]
    weights = [1 / (rank + 3) for rank in range(len(words))]
    return " ".join(until_enough(lambda _: " ".join(chance.choices(words, weights, k=chance.randint(4, 20))).capitalize() + "."))


def image(chance):
    side = 550
    head = b"BM" + struct.pack("<IIIIiiHHIIiiII", 54 + side * side, 0, 54, 40, side, side, 1, 8, 0, side * side, 2835, 2835, 256, 0)
    return head + bytes(min(255, (x * x + y * 90) // 1300 % 250 + chance.randrange(4)) for y in range(side) for x in range(side))


def document(chance):
    return b"".join(until_enough(lambda number: b"%d 0 obj\n<< /Length 3000 /Filter /FlateDecode >>\nstream\n%b\nendstream\nendobj\n" %
                                                (number, chance.randbytes(3000))))


MAKERS = {"asterisks": lambda _: "*" * ENOUGH, "fe": lambda _: b"\xfe" * ENOUGH, "random": lambda chance: chance.randbytes(ENOUGH),
          "scripts": scripts, "json": json_records, "html": html, "prose": prose, "image": image, "document": document}


@functools.lru_cache(maxsize=None)
def source(name, unit):
    made = MAKERS[name](random.Random(SEED))
    return made.encode() if unit == "bytes" and isinstance(made, str) else made


def message(name, number, size, unit):
    """The payload of a source's message: `size` bytes of it, or `size` characters in UTF-8. Each number begins elsewhere."""
    made = source(name, unit)
    start = number * 7919 % len(made)
    piece = (made[start:] + made * (size // len(made) + 1))[:size] if start + size > len(made) else made[start:start + size]
    return piece.encode() if unit == "characters" else piece


def text_of_bytes(name, number, size):
    """UTF-8 of exactly `size` bytes: characters that the cut breaks at either end become dots."""
    piece = message(name, number, size, "bytes").decode(errors="ignore").encode()
    return piece + b"." * (size - len(piece))
