"""Ways in which a file may be wrong: bytes that rot, and values, names, types and shapes that nobody expects.

Every function takes a ``random.Random``, whose seed alone decides what comes out.
"""

import io
import json
import re
import zipfile
from collections.abc import Callable, Sequence
from itertools import pairwise
from random import Random
from typing import Any

import numpy as np
from numpy.lib import format as npy

Mutation = Callable[[Random, bytes], bytes]

NUMBERS = ("nan", "inf", "-inf", "1e308", "-1e308", "1e999", "1e-320", "0", "-0.0", "-1", "-7", "0.5", "1_0", "0x10")
NUMBERS += ("9" * 25, "9" * 5000, "18446744073709551616", "2147483648", "32768", "65536", "1e40", "1e5", "1e20")
WORDS = (
    "",
    "true",
    "null",
    "None",
    "é",
    "\u200b",
    "١٢",
    "½",
    "\x00",
    "X",
    "'",
    '"',
    "[]",
    "{}",
    "NaN",
    "$(id)",
    "../..",
)
VALUES: tuple[Any, ...] = (None, True, False, 0, -1, 1, 2**31, 2**63, 10**30, 0.5, -2.5, 1e308, 1e-308, "")
VALUES += (
    "nan",
    "x",
    "é\u0000",
    "inf",
    float("nan"),
    float("inf"),
    [],
    [1],
    [[]],
    ["a"],
    {},
    {"a": 1},
    [None],
    10**5000,
)


def damaged(random: Random, data: bytes) -> bytes:
    """Bytes flipped, overwritten, cut, deleted, repeated, inserted or moved."""
    a, b = sorted(random.randrange(len(data) + 1) for _ in range(2))
    b = min(b, a + random.choice((1, 4, 16, 256)))
    match random.randrange(9):
        case 0 | 1 if data:
            at = random.randrange(len(data))
            return data[:at] + bytes([data[at] ^ 1 << random.randrange(8)]) + data[at + 1 :]
        case 2:
            return data[:a]
        case 3:
            return data[:a] + data[b:]
        case 4:
            return data[:b] + data[a:]
        case 5:
            return data[:a] + bytes(random.randrange(256) for _ in range(random.choice((1, 8, 64)))) + data[a:]
        case 6:
            return data[:a] + bytes([random.choice((0, 255, 10, 32, 44))]) * (b - a) + data[b:]
        case 7:
            return data[:a] + data[b : 2 * b - a] + data[a:b] + data[2 * b - a :]
    return data[:a] + data[a:b] * random.choice((2, 50)) + data[b:]


def edited_text(random: Random, data: bytes) -> bytes:
    """Lines, columns and numbers of a text dropped, repeated, swapped or replaced."""
    lines = data.decode(errors="replace").splitlines(keepends=True) or [""]
    at = random.randrange(len(lines))
    match random.randrange(12):
        case 0:
            del lines[at]
        case 1:
            lines.insert(at, lines[at])
        case 2:
            other = random.randrange(len(lines))
            lines[at], lines[other] = lines[other], lines[at]
        case 3 | 4 | 5 | 6:
            found = list(re.finditer(r"[-+]?\d[\w.+-]*", lines[at]))
            if found:
                match = random.choice(found)
                value = random.choice((*NUMBERS, *WORDS)) if random.random() < 0.7 else _nearby(random, match.group())
                lines[at] = lines[at][: match.start()] + value + lines[at][match.end() :]
        case 7 | 8:
            parts = re.split(r"([\s,:=]+)", lines[at])
            which = 2 * random.randrange((len(parts) + 1) // 2)
            parts[which] = random.choice((*WORDS, *NUMBERS, parts[which] * 2, random.choice(parts[::2])))
            lines[at] = "".join(parts)
        case 9:
            parts = re.split(r"([\s,:=]+)", lines[at])
            which = 2 * random.randrange((len(parts) + 1) // 2)
            parts[which : which + 2] = parts[which : which + 2] * random.choice((0, 2))
            lines[at] = "".join(parts)
        case 10:
            lines[at] = (
                lines[at].rstrip("\n") + random.choice((" ", ",", "x", "9")) * random.choice((1, 100_000)) + "\n"
            )
        case 11:
            return random.choice(
                (
                    b"\xef\xbb\xbf" + data,
                    data.replace(b"\n", b"\r\n"),
                    data.replace(b"\n", b"\r"),
                    data.replace(b"\n", b"\n\n", 1),
                    data + b"\x00" * 4096,
                    data * 2,
                    data.decode(errors="replace").encode("utf-16"),
                    data.upper(),
                    b"",
                )
            )
    return "".join(lines).encode()


def _nearby(random: Random, number: str) -> str:
    """The number with a digit changed, a sign or a power of ten."""
    at = random.randrange(len(number))
    return random.choice(
        (
            number[:at] + str(random.randrange(10)) + number[at + 1 :],
            f"-{number}",
            number.replace(".", "", 1),
            f"{number}0",
            f"{number}e{random.choice((-30, -3, 3, 30))}",
        )
    )


def edited_tree(random: Random, content: Any) -> Any:
    """A value, key or item of nested objects and lists replaced, dropped, repeated or moved."""
    places = list(_places(content))
    if not places:
        return random.choice(VALUES)
    holder, key = random.choice(places)
    match random.randrange(8):
        case 0:
            del holder[key]
        case 1 if isinstance(holder, dict):
            holder[random.choice((*WORDS, f"{key}2", key.upper(), "__class__"))] = holder.pop(key)
        case 1 | 2 if isinstance(holder, list):
            holder.insert(key, holder[key])
        case 3:
            other, name = random.choice(places)
            holder[key] = json.loads(json.dumps(other.get(name) if isinstance(other, dict) else other[name]))
        case 4 if isinstance(holder[key], int | float) and not isinstance(holder[key], bool):
            holder[key] = random.choice(
                (-holder[key], holder[key] * 10, holder[key] + 1, str(holder[key]), [holder[key]])
            )
        case 5:
            for _ in range(random.choice((1, 2000))):
                holder[key] = [holder[key]]
        case _:
            holder[key] = random.choice(VALUES)
    return content


def _places(content: Any) -> Any:
    """Every place below ``content`` as (what holds it, key or index); of long lists the first and the last."""
    if isinstance(content, dict):
        keys = list(content)
    elif isinstance(content, list):
        keys = list(range(len(content))) if len(content) < 8 else [0, 1, len(content) - 1]
    else:
        return
    for key in keys:
        yield content, key
        yield from _places(content[key])


def edited_json(random: Random, data: bytes) -> bytes:
    """A JSON file with something else in it."""
    try:
        content = json.loads(data)
    except ValueError:
        return edited_text(random, data)
    if random.random() < 0.1:
        text = data.decode()
        return random.choice((text.replace(":", "", 1), "[" * 5000, f"[{text}]", text.replace('"', "'"), "")).encode()
    return _json(edited_tree(random, content)).encode()


def _json(content: Any) -> str:
    """JSON text of what Python itself may refuse to write."""
    import sys

    limit, digits = sys.getrecursionlimit(), sys.get_int_max_str_digits()
    sys.setrecursionlimit(20_000)
    sys.set_int_max_str_digits(0)
    try:
        return json.dumps(content)
    finally:
        sys.setrecursionlimit(limit)
        sys.set_int_max_str_digits(digits)


def edited_array(random: Random, array: np.ndarray) -> np.ndarray:
    """An array of other values, another type or another shape."""
    match random.randrange(6):
        case 0:
            kinds = ("f4", "f8", "i8", "i1", "u1", "?", "U5", "S3", "c16", "M8[s]", "f2", ">f8", "u8", "V4")
            return _cast(array, random.choice(kinds))
        case 1 if array.ndim:
            shapes = [
                array[:-1],
                array[:0],
                array[None],
                array[..., None],
                np.concatenate([array, array]),
                array.ravel(),
            ]
            return np.array(random.choice([*shapes, array.T, array[..., :-1]]))
        case 2:
            return np.array(random.choice((0, -1, np.nan, "x", True, 1e308, b"\xff")))
    array = np.array(array)
    if array.size == 0:
        return array
    at = random.randrange(array.size)
    if array.dtype.kind == "f":
        special = (np.nan, np.inf, -np.inf, 1e308, -1e308, 1e30, 1e10, 1e5, -1e-320, 0.0, -float(array.flat[at]))
        array.flat[at] = random.choice(special)
        if random.random() < 0.2:
            array[...] = random.choice(special)
    elif array.dtype.kind in "iu":
        info = np.iinfo(array.dtype)
        array.flat[at] = random.choice((info.min, info.max, 0, 1, 119 % (info.max + 1), array.flat[-1]))
    elif array.dtype.kind == "b":
        array.flat[at] ^= True
    else:
        array.flat[at] = random.choice(("", "x", "\u200b", "nan"))
    return array


def _cast(array: np.ndarray, kind: str) -> np.ndarray:
    try:
        with np.errstate(all="ignore"):
            return array.astype(kind)
    except (ValueError, TypeError):
        return array.view("u1") if array.dtype.kind == "f" else array


def npy_bytes(array: np.ndarray) -> bytes:
    """A .npy file of ``array``."""
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


def edited_npy(random: Random, data: bytes) -> bytes:
    """A .npy file of another array, or whose header says what is not so."""
    try:
        array = np.load(io.BytesIO(data), allow_pickle=False)
    except Exception:
        return damaged(random, data)
    if random.random() < 0.6 and array.size < 10_000:
        return npy_bytes(edited_array(random, array))
    header = random.choice(
        (
            "{'descr': '<f8', 'fortran_order': False, 'shape': (10000000000000,), }",
            "{'descr': '<f8', 'fortran_order': False, 'shape': (150000000,), }",
            "{'descr': '<f8', 'fortran_order': False, 'shape': (-1,), }",
            "{'descr': '<f8', 'fortran_order': True, 'shape': (3, 0, 9999999999999999999), }",
            "{'descr': '|O', 'fortran_order': False, 'shape': (2,), }",
            "{'descr': [('a', '|O')], 'fortran_order': False, 'shape': (2,), }",
            "{'descr': '<f8', 'shape': (2,), }",
            "{'descr': '|V0', 'fortran_order': False, 'shape': (99999999999,), }",
            "{'descr': '|S0', 'fortran_order': False, 'shape': (9,), }",
            "[" * 2000,
            "(" * 90 + ")" * 90,
            "{'descr': '<f8', 'fortran_order': False, 'shape': ('a',), }",
            "{'descr': '<U99999999', 'fortran_order': False, 'shape': (2,), }",
            "not a literal(",
            "é" * 40,
        )
    )
    body = header.encode("latin1", "replace").ljust(53) + b"\n"
    return npy.magic(1, 0) + len(body).to_bytes(2, "little") + body + array.tobytes()


def edited_npz(random: Random, data: bytes) -> bytes:
    """A .npz archive with an entry changed, missing, repeated, renamed, or packed like a bomb."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = {name: archive.read(name) for name in archive.namelist()}
    except Exception:
        return damaged(random, data)
    name = random.choice(list(entries))
    compression, extra = zipfile.ZIP_STORED, dict[str, bytes]()
    match random.randrange(10):
        case 0:
            del entries[name]
        case 1:
            entries[random.choice(("x.npy", "../../x.npy", "/x", name.removesuffix(".npy"), "é.npy"))] = entries.pop(
                name
            )
        case 2:
            entries[name] = b"" if random.random() < 0.5 else entries[random.choice(list(entries))]
        case 3:
            compression = zipfile.ZIP_DEFLATED
            entries["zeros.npy"] = bytes(2_000_000)
        case 4:
            entries[name] = damaged(random, entries[name])
        case _:
            entries[name] = edited_npy(random, entries[name])
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for key, content in {**entries, **extra}.items():
            archive.writestr(key, content)
    return stream.getvalue()


def edited_safetensors(random: Random, data: bytes) -> bytes:
    """A safetensors file whose header, metadata or content was changed."""
    length = int.from_bytes(data[:8], "little")
    header, body = data[8 : 8 + length], data[8 + length :]
    try:
        content = json.loads(header)
    except ValueError:
        return damaged(random, data)
    match random.randrange(6):
        case 0:
            return random.choice((0, length + 1, 2**62, 99_999_999, length - 8)).to_bytes(8, "little") + data[8:]
        case 1:
            return data[: 8 + length] + damaged(random, body)
        case 2 | 3 if "priorbench" in content.get("__metadata__", {}):
            text = content["__metadata__"]["priorbench"].encode()
            edit = random.choice((edited_json, edited_json, edited_text, damaged))
            content["__metadata__"]["priorbench"] = edit(random, text).decode(errors="replace")
        case 4:
            entry = content[random.choice([name for name in content if name != "__metadata__"] or list(content))]
            if isinstance(entry, dict) and "dtype" in entry:
                kinds = ("F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U8", "BOOL", "F8_E5M2", "C64", "X")
                entry["dtype"] = random.choice(kinds)
                size = {"F64": 8, "I64": 8, "C64": 8, "F32": 4, "I32": 4}.get(
                    entry["dtype"], 2 if "16" in entry["dtype"] else 1
                )
                low, high = entry["data_offsets"]
                entry["shape"] = [(high - low) // size] if random.random() < 0.5 else entry["shape"]
        case _:
            content = edited_tree(random, content)
    text = _json(content).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + body


SNIPPETS = (
    "\nx: &a [" + "q, " * 9 + "]\ny: &b [" + "*a, " * 9 + "]\nz: &c [" + "*b, " * 9 + "]\nw: &d [" + "*c, " * 9 + "]\n"
    "v: &e [" + "*d, " * 9 + "]\nu: &f [" + "*e, " * 9 + "]\nt: &g [" + "*f, " * 9 + "]\ns: &h [" + "*g, " * 9 + "]\n"
    "strategies: *h\n",
    "\nstrategies: &s {a: *s}\n",
    "\nseeds: &s [*s]\n",
    "\nextends: config.yaml\n",
    "\nextends: [config.yaml, config.yaml]\n",
    '\nextends: "\\0"\n',
    "\nextends: .\n",
    "\nextends: {a: b}\n",
    "\nexperiment: !!python/object/apply:os.system ['true']\n",
    "\nexperiment: !!binary 4pyTIHrDqSE=\n",
    "\nexperiment: 2001-13-45\n",
    "\nexperiment: 2001-12-14t21:59:43.10-05:00\n",
    "\nseeds: " + "[" * 3000 + "\n",
    "\nseeds: " + "{a: " * 400 + "1" + "}" * 400 + "\n",
    "\n? [a, b]\n: c\n",
    "\n1: 2\nnull: 3\n.nan: 4\n",
    "\n<<: {a: b}\n",
    "\nexperiment: a\nexperiment: b\n",
    "\na: &a {k0: 0, k1: 1}\n"
    + "".join(f"{b}: &{b} {{<<: [{', '.join(['*' + a] * 9)}]}}\n" for a, b in pairwise("abcdefghij")),
    "\n<<: 3\n",
    "\n--- \na: b\n",
    "\nseeds: " + "9" * 5000 + "\n",
    "\nseeds: 0b" + "1" * 20000 + "\n",
    "\nseeds: 1:" + "59:" * 3000 + "1\n",
    "\nseeds: [.inf, .nan, 1e999]\n",
    '\nexperiment: "' + "a" * 100_000 + '"\n',
    "\nexperiment: \x07\n",
    "\n\tx: 1\n",
    "\ndatasets: !!set {a, b}\n",
    "\ndatasets: !!omap [a: b]\n",
    "\nseeds: !!set {0, 1}\n",
)


def edited_yaml(random: Random, data: bytes) -> bytes:
    """A configuration with other values, keys, anchors and tags."""
    import yaml

    if random.random() < 0.2:
        at = data.find(b"\n", random.randrange(len(data) + 1))
        snippet = random.choice(SNIPPETS).encode()
        return data + snippet if random.random() < 0.7 or at < 0 else data[:at] + snippet + data[at + 1 :]
    if random.random() < 0.4 or data.count(b"*") > 3:  # aliases of an earlier mutation: gigabytes
        return edited_text(random, data)
    try:
        content = edited_tree(random, yaml.safe_load(data))
        return yaml.safe_dump(content, sort_keys=False).encode()
    except (yaml.YAMLError, ValueError, RecursionError, TypeError):
        return damaged(random, data)


def several(random: Random, data: bytes, mutations: Sequence[Mutation]) -> bytes:
    """One to three ``mutations`` of ``data``, one after the other, mostly one."""
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        try:
            data = random.choice(mutations)(random, data)
        except Exception:  # what one mutation left, another could not read
            data = damaged(random, data)
    return data
