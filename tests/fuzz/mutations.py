"""Ways to break files: bytes, JSON, safetensors, tables, archives. All draw from the `random.Random` they are given."""

import copy
import json
import math
import struct
from random import Random

# What stands in a field that a program, a person or a broken disk has filled.
NASTY = [
    *(None, True, False, 0, -1, 1, 2, 3, 7, 255, 65_536, 10**6, 10**9, 10**12, 2**63, 10**30, -(10**9)),
    *(0.0, -0.5, 0.1, 1e-9, 1e9, 1e308, -1e308, math.nan, math.inf, -math.inf),
    *("", " ", "x", "0", "1", "nan", "-1", "1e9", "../../x", "a\nb", "\0", "\ud800", "é" * 300, "float32", "cuda"),
    *([], {}, [[]], [None], [1, "x"], {"a": {}}, {"0": None}, [0] * 1000),
]
INTEGERS = [
    0,
    1,
    2,
    3,
    127,
    128,
    255,
    256,
    32_767,
    65_535,
    10**6,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**40,
    2**63,
    2**64 - 1,
]


def broken_bytes(random: Random, data: bytes, other: bytes = b"") -> tuple[bytes, str]:
    """`data` changed in one to three ways, and how; `other` is a different file, for splices and swaps."""
    how = []
    for _ in range(random.choice([1, 1, 1, 2, 3])):
        kind = random.choice(list(WAYS))
        data = WAYS[kind](random, data, other)
        how.append(kind)
    return data, "+".join(how)


def _place(random: Random, data: bytes) -> int:
    """An offset; headers come first, so the first bytes are likelier."""
    size = max(1, len(data))
    return random.randrange(min(size, random.choice([16, 64, 512, size, size])))


def _flip(random: Random, data: bytes, _other: bytes) -> bytes:
    out = bytearray(data)
    for _ in range(random.choice([1, 1, 2, 8, 64])):
        if out:
            out[_place(random, data)] ^= 1 << random.randrange(8)
    return bytes(out)


def _truncate(random: Random, data: bytes, _other: bytes) -> bytes:
    return data[: random.choice([0, 1, 4, 12, 44, _place(random, data), len(data) // 2, max(0, len(data) - 1)])]


def _length(random: Random, data: bytes, _other: bytes) -> bytes:
    size, order = random.choice([1, 2, 4, 4, 8]), random.choice(["little", "big"])
    number = random.choice([*INTEGERS, len(data), len(data) + 1, random.getrandbits(64)]) % (1 << 8 * size)
    at = _place(random, data) & ~(1 if random.random() < 0.7 else 0)
    return data[:at] + number.to_bytes(size, order) + data[at + size :]


def _splice(random: Random, data: bytes, other: bytes) -> bytes:
    source = random.choice([data, other])
    start = _place(random, source)
    block = source[start : start + random.choice([1, 4, 64, 1000])]
    at = _place(random, data)
    return data[:at] + block + data[at + (len(block) if random.random() < 0.5 else 0) :]


def _delete(random: Random, data: bytes, _other: bytes) -> bytes:
    at = _place(random, data)
    return data[:at] + data[at + random.choice([1, 2, 4, 100]) :]


def _fill(random: Random, data: bytes, _other: bytes) -> bytes:
    at, size = _place(random, data), random.choice([1, 4, 16, 200])
    return data[:at] + random.choice([b"\0", b"\xff", b"A", b"\x80", b"\n"]) * size + data[at + size :]


def _append(random: Random, data: bytes, other: bytes) -> bytes:
    return data + random.choice([b"\0", b"junk", b"\n\n", other[:1000], data])


def _swap(_random: Random, _data: bytes, other: bytes) -> bytes:
    return other


WAYS = {
    "flip": _flip,
    "truncate": _truncate,
    "length": _length,
    "splice": _splice,
    "delete": _delete,
    "fill": _fill,
    "append": _append,
    "swap": _swap,
}


def nasty_like(random: Random, value: object) -> object:
    """A value in the place of `value`: near it, or of another kind."""
    if isinstance(value, bool) or not isinstance(value, int | float) or random.random() < 0.4:
        return copy.deepcopy(random.choice(NASTY))
    changes = [
        value + 1,
        value - 1,
        -value,
        value * 2,
        value // 2,
        value * 10**6,
        float(value),
        str(value),
        value + 0.5,
    ]
    return random.choice(changes)


def broken_value(random: Random, value: object, changes: int | None = None) -> object:
    """A JSON value with one to three places changed, removed, doubled or nested."""
    value = copy.deepcopy(value)
    for _ in range(changes or random.choice([1, 1, 1, 2, 3])):
        places = list(_places(value))
        if not places:
            return nasty_like(random, value)
        holder, key = random.choice(places)
        kind = random.random()
        if kind < 0.15:
            del holder[key]
        elif kind < 0.2 and isinstance(holder, dict):
            holder[str(key) + random.choice(["x", " ", "_"])] = holder.pop(key)
        elif kind < 0.25:
            holder[key] = {"a": holder[key]} if random.random() < 0.5 else [holder[key]]
        else:
            holder[key] = nasty_like(random, holder[key])
    return value


def _places(value: object):
    """Every (container, key) in a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inside in list(items):
        yield value, key
        yield from _places(inside)


def broken_json(random: Random, text: bytes) -> bytes:
    """A JSON file with a value changed, or its text broken."""
    kind = random.random()
    try:
        json.loads(text)
    except (ValueError, RecursionError):  # a case breaks some files twice
        return broken_bytes(random, text, b'{"a": 1}')[0]
    if kind < 0.75:
        return json.dumps(broken_value(random, json.loads(text)), indent=2).encode("utf-8", "surrogatepass")
    if kind < 0.85:
        whole = [b"", b"null", b"[]", b"{}", b"3", b'"x"', b"NaN", b"[" * 100_000, b'{"a":' * 100_000, b"9" * 5000]
        return random.choice(
            [*whole, b"\xff\xfe", text.decode(errors="replace").encode("utf-16"), b"\xef\xbb\xbf" + text]
        )
    return broken_bytes(random, text, b'{"a": 1}')[0]


def read_tensors(data: bytes) -> tuple[dict, bytes]:
    """The header of safetensors, and the bytes behind it."""
    (size,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + size]), data[8 + size :]


def write_tensors(header: object, payload: bytes) -> bytes:
    """What `read_tensors` took apart."""
    text = json.dumps(header).encode("utf-8", "surrogatepass")
    return struct.pack("<Q", len(text)) + text + payload


def broken_tensors(random: Random, data: bytes, other: bytes = b"") -> bytes:
    """Safetensors with a broken header, a missing or renamed tensor, numbers that are none, or broken bytes."""
    header, payload = read_tensors(data)
    names = [name for name in header if name != "__metadata__"]
    kind = random.random()
    if kind < 0.3:
        name = random.choice(names)
        start, end = header[name]["data_offsets"]
        bad = random.choice([math.nan, math.inf, -math.inf, 3e38, 0.0])
        word = struct.pack("<f", bad)
        count = max(1, (end - start) // 4 if random.random() < 0.5 else 1)
        payload = payload[:start] + (word * count)[: end - start] + payload[start + min(4 * count, end - start) :]
        return write_tensors(header, payload)
    if kind < 0.5:
        for name in random.sample(names, min(len(names), random.choice([1, 1, 2, len(names) // 2 or 1]))):
            entry = header.pop(name)
            if random.random() < 0.5:
                header[name + random.choice(["x", ".y"])] = entry
        return _repacked(header, payload)
    if kind < 0.6:
        name = random.choice(names)
        header[name]["shape"] = random.choice([header[name]["shape"][::-1], [-1], [], [10**12], [0]])
        return write_tensors(header, payload)
    if kind < 0.7:
        header[random.choice(names)]["dtype"] = random.choice(["F16", "I32", "U8", "BF16", "F64", "X", "BOOL"])
        return write_tensors(header, payload)
    if kind < 0.8:
        return write_tensors(broken_value(random, header), payload)
    return broken_bytes(random, data, other)[0]


def _repacked(header: dict, payload: bytes) -> bytes:
    """A header whose tensors lie one behind the other again, as the format asks."""
    out, parts, at = {}, [], 0
    for name, entry in header.items():
        if name == "__metadata__":
            out[name] = entry
            continue
        start, end = entry["data_offsets"]
        parts.append(payload[start:end])
        out[name] = entry | {"data_offsets": [at, at + end - start]}
        at += end - start
    return write_tensors(out, b"".join(parts))


def broken_rows(random: Random, text: str) -> bytes:
    """A CSV table with a cell, a row or a column changed, or its text broken."""
    rows = [line.split(",") for line in text.strip().split("\n")]
    kind, at = random.random(), random.randrange(len(rows))
    if kind < 0.45:
        row = rows[at]
        cells = [
            "",
            " ",
            "0",
            "-1",
            "99",
            "1e9",
            "nan",
            "x",
            "../../x.wav",
            '"',
            '"a\nb"',
            "é",
            "²",
            "٣",
            "=1+1",
            "/etc/passwd",
        ]
        column = random.randrange(len(row))
        row[column] = random.choice([*cells, rows[random.randrange(len(rows))][column]])
    elif kind < 0.55:
        rows[at] = rows[at][: random.randrange(len(rows[at]) + 1)]
    elif kind < 0.65:
        rows.insert(random.randrange(len(rows)), list(rows[at]))
    elif kind < 0.7:
        rows[at] += ["more", "and more"]
    elif kind < 0.75:
        del rows[at]
    elif kind < 0.8:
        rows = [[*row[1:], row[0]] for row in rows]
    else:
        return broken_bytes(random, text.encode(), b"a,b\n1,2\n")[0]
    text = "\n".join(",".join(row) for row in rows) + "\n"
    return text.encode(random.choice(["utf-8", "utf-8", "utf-8", "latin-1", "utf-16"]), "replace")
