"""JSON files that one program writes and another reads: of the shape that is expected, or one error that names the file.

A shape is a type, a tuple of shapes (one of them fits; None: null), a list of one shape (of every item), or a dict of
them: a key that ends in "?" may be missing, "*" is of every other key. An `int` is no `bool`, and does for a `float`.

A `Record` is a dataclass whose fields are the keys, and their types the shape.
"""

import functools
import json
import math
import os
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Self, Union, get_args, get_origin, get_type_hints

LONGEST = 64 << 20  # bytes; the largest ones hold the learning curves of a thousand epochs
NULL = {"null": True}
NAMES = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    dict: "an object",
    list: "a list",
}


class RecordError(ValueError):
    """A file that is not the record it should be; the message names it."""


class NoObjectError(RecordError):
    """JSON of another kind than an object."""


def read_record(path: str | os.PathLike, shape: Mapping | None = None) -> dict:
    """The JSON object in a file, checked against `shape`. Keys that the shape does not name stay as they are.

    Raises `RecordError` for a file that cannot be read, is no JSON, holds something else than an object, or does not
    have the shape.
    """
    path = Path(path)
    try:
        if path.stat().st_size > LONGEST:
            raise RecordError(f"{path} cannot be read: expected a JSON object, found {path.stat().st_size} bytes")
        text = path.read_text(encoding="utf-8")
        value = json.loads(text)
        if "\\ud" in text.lower():  # half of a letter: it cannot be written again
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except OSError as error:
        raise RecordError(f"{path} cannot be read: {error.strerror or error}") from error
    except (UnicodeError, json.JSONDecodeError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise RecordError(f"{path} is damaged: expected JSON, found {reason}") from error
    except ValueError as error:  # a number of thousands of digits
        raise error if isinstance(error, RecordError) else RecordError(f"{path} is damaged: {error}") from error
    if not isinstance(value, dict):
        raise NoObjectError(f"{path} is damaged: expected a JSON object, found {_told(value)}")
    check_record(value, shape or {}, path)
    return value


@dataclass(kw_only=True)
class Record:
    """What one JSON object holds: each field is a key of it, and one with a default may be missing in a file.

    A field's type is a shape in the words of Python: `float | None`, `list[str]`, `dict[str, int]`, another dataclass; its
    metadata may name another `shape`. A field that is None is left out, or written as null where its metadata says so
    (`NULL`). Keys of later versions are kept in `others`, and written again.
    """

    others: dict = field(default_factory=dict, repr=False)

    @classmethod
    def from_dict(cls, values: Mapping, where: str | os.PathLike = "the record") -> Self:
        """The record that a JSON object holds. Raises `RecordError`, which names `where` it is from."""
        check_record(values, shape_of(cls), where)
        return _made(cls, values)

    @classmethod
    def read(cls, path: str | os.PathLike) -> Self:
        """The record in a file. Raises `RecordError`, which names it."""
        return cls.from_dict(read_record(path), path)

    def as_dict(self) -> dict:
        """The JSON object."""
        return _as_json(self)


@functools.cache
def shape_of(kind: type) -> dict:
    """The shape that the fields of a dataclass describe."""
    hints, shape = get_type_hints(kind), {}
    for each in fields(kind):
        if each.name != "others":
            needed = each.default is MISSING and each.default_factory is MISSING
            shape[each.name + ("" if needed else "?")] = each.metadata.get("shape") or _shape(hints[each.name])
    return shape


def _shape(hint: object) -> object:
    if hint is NoneType:
        return None
    if is_dataclass(hint):
        return shape_of(hint)
    if _is_union(hint):
        return tuple(map(_shape, get_args(hint)))
    if get_origin(hint) is list:
        return [_shape(get_args(hint)[0])]
    if get_origin(hint) is dict:
        return {"*": _shape(get_args(hint)[1])}
    return hint


def _is_union(hint: object) -> bool:
    return get_origin(hint) in (Union, UnionType)


def _made(hint: object, value: object) -> object:
    """A value of a file as the type that it has in Python; it has the shape already."""
    if _is_union(hint):
        hint = next(each for each in get_args(hint) if _fault(value, _shape(each), "") is None)
    if is_dataclass(hint):
        hints = get_type_hints(hint)
        known = {each.name for each in fields(hint)} - {"others"}
        values = {name: _made(hints[name], value[name]) for name in value if name in known}
        if issubclass(hint, Record):
            values["others"] = {name: value[name] for name in value if name not in known}
        return hint(**values)
    if get_origin(hint) is list and get_args(hint):
        return [_made(get_args(hint)[0], each) for each in value]
    if get_origin(hint) is dict and get_args(hint):
        return {name: _made(get_args(hint)[1], each) for name, each in value.items()}
    return value


def _as_json(value: object) -> object:
    if is_dataclass(value):
        written = {}
        for each in fields(value):
            inside = getattr(value, each.name)
            if each.name != "others" and (inside is not None or each.metadata.get("null")):
                written[each.name] = _as_json(inside)
        return written | getattr(value, "others", {})
    if isinstance(value, list | tuple):
        return list(map(_as_json, value))
    return {name: _as_json(each) for name, each in value.items()} if isinstance(value, dict) else value


def check_record(value: Mapping, shape: Mapping, path: str | os.PathLike) -> None:
    """Raise `RecordError`, which names `path`, where `value` does not have the shape."""
    fault = _fault(value, shape, "")
    if fault:
        raise RecordError(f"{path} is damaged: {fault}")


def _fault(value: object, shape: object, where: str) -> str | None:
    """What does not fit, and where in the file; None where all does."""
    if isinstance(shape, tuple):
        faults = [_fault(value, each, where) for each in shape]
        return None if None in faults else faults[0]
    if isinstance(shape, dict):
        return _fault_of_object(value, shape, where)
    if isinstance(shape, list):
        if not isinstance(value, list):
            return _unexpected(list, value, where)
        return next(filter(None, (_fault(each, shape[0], f"{where}[{i}]") for i, each in enumerate(value))), None)
    if shape is None:
        return None if value is None else f"expected {where} to be null"
    if isinstance(value, bool) and shape is not bool:
        return _unexpected(shape, value, where)
    if shape is float and isinstance(value, int):
        return None
    return None if isinstance(value, shape) else _unexpected(shape, value, where)


def _fault_of_object(value: object, shape: dict, where: str) -> str | None:
    if not isinstance(value, dict):
        return _unexpected(dict, value, where)
    rest = set(value)
    for key, inside in shape.items():
        name = key.rstrip("?")
        if name == "*":
            continue
        rest.discard(name)
        if name not in value:
            if key != name:
                continue
            return f"expected {_at(where, name)}, found none"
        fault = _fault(value[name], inside, _at(where, name))
        if fault:
            return fault
    if "*" in shape:
        return next(
            filter(None, (_fault(value[key], shape["*"], _at(where, key)) for key in value if key in rest)), None
        )
    return None


def _at(where: str, name: str) -> str:
    return f"{where}.{name[:80]}" if where else name[:80]


def _unexpected(shape: type, value: object, where: str) -> str:
    return f"expected {where or 'it'} to be {NAMES[shape]}, found {_told(value)}"


def _told(value: object) -> str:
    if isinstance(value, dict | list):
        return f"{NAMES[type(value)]} of {len(value)}"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return f"{value!r:.60}"
