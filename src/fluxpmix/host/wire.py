"""PMIx values as bytes between hosts: tuples of what `pmix/types.py` and `pmix/structures.py` define.

`datastore.py` and `query.py` write the bodies of their frames with it. Each value is one letter and what it
needs; a reader checks every length, count and field against what is there, so that garbage is an error
and never an object. Addresses (topologies, bitmaps, pointers) mean nothing elsewhere and are refused.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from fluxpmix.pmix.attributes import Attribute
from fluxpmix.pmix.structures import Coord, DeviceDistance, Endpoint, Geometry, ProcInfo
from fluxpmix.pmix.types import DataArray, DataType, Envar, Info, Persistence, Proc, Range, Regex, Timeval, Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_LENGTH = struct.Struct("!BI")
_INT = struct.Struct("!Bq")
_FLOAT = struct.Struct("!Bd")
_SIZE = struct.Struct("!I")
_BIG = 24  # bytes of the longest number
_DEEPEST = 64
_TEXT = (str, type(None))
_ANY = object
# By letter: the class and what its fields may be. A number that names a type is turned into a `DataType`.
_RECORDS: dict[bytes, tuple[type, tuple[Any, ...]]] = {
    b"P": (Proc, (str, int)),
    b"E": (Envar, (str, str, str)),
    b"M": (Timeval, (int, int)),
    b"R": (Regex, (bytes,)),
    b"V": (Value, (DataType, _ANY)),
    b"A": (DataArray, (DataType, tuple)),
    b"I": (Info, (str, _ANY, DataType, bool)),
    b"p": (ProcInfo, (Proc, _TEXT, _TEXT, int, int, int)),
    b"c": (Coord, (int, tuple)),
    b"g": (Geometry, (int, _TEXT, _TEXT, tuple)),
    b"D": (DeviceDistance, (_TEXT, _TEXT, int, int, int)),
    b"e": (Endpoint, (_TEXT, _TEXT, bytes)),
}
_ADDRESSES = (DataType.POINTER, DataType.TOPO, DataType.PROC_CPUSET)
_TYPES = {int(each): each for each in DataType}


class WireError(ValueError):
    """Bytes that no host would write, or a value that cannot travel."""


def encode(value: Any) -> bytes:
    """Return a value as bytes. Raises `WireError` for one that has no meaning on another node."""
    out = bytearray()
    _put(out, value)
    return bytes(out)


def decode(data: bytes) -> Any:
    """Undo `encode`. Raises `WireError`."""
    values, at = _get_items(data, 0, 0, 1)
    if at != len(data):
        raise WireError(f"{len(data) - at} bytes follow a value")
    return values[0]


# -- writing ---------------------------------------------------------------------------------------


def _put(out: bytearray, value: Any) -> None:
    kind = type(value)
    write = _WRITERS.get(kind)
    if write is not None:
        write(out, value)
        return
    letter = _LETTERS.get(kind)
    if letter is None:
        raise WireError(f"a {kind.__name__} cannot be sent to another node")
    out += letter
    fields = value if isinstance(value, tuple) else [getattr(value, name) for name in kind._fields]
    if kind in (Value, DataArray) and (fields[0] in _ADDRESSES or not isinstance(fields[0], DataType)):
        raise WireError(f"a value of type {fields[0]!r} cannot be sent to another node")
    for field in fields:
        _put(out, field)


def _put_int(out: bytearray, value: int) -> None:
    try:
        out += _INT.pack(0x69, value)
    except struct.error:
        digits = int(value).to_bytes(_BIG, "big", signed=True)
        out += b"n"
        out += digits


def _put_text(out: bytearray, value: str) -> None:
    _put_sized(out, 0x73, value.encode("utf-8", "surrogateescape"))


def _put_bytes(out: bytearray, value: bytes) -> None:
    _put_sized(out, 0x62, value)


def _put_sized(out: bytearray, letter: int, data: bytes) -> None:
    try:
        out += _LENGTH.pack(letter, len(data))
    except struct.error:
        raise WireError(f"{len(data)} bytes are too many for one value") from None
    out += data


def _put_tuple(out: bytearray, value: tuple[Any, ...]) -> None:
    out += _LENGTH.pack(0x74, len(value))
    for item in value:
        write = _WRITERS.get(type(item))
        if write is not None:
            write(out, item)
        else:
            _put(out, item)


def _put_proc(out: bytearray, value: Proc) -> None:
    out += b"P"
    _put(out, value.nspace)
    _put(out, value.rank)


def _put_info(out: bytearray, value: Info) -> None:
    out += b"I"
    _put(out, value.key)
    _put(out, value.value)
    _put(out, value.type)
    _put(out, value.required)


def _put_bool(out: bytearray, value: bool) -> None:
    out += b"T" if value else b"F"


def _put_none(out: bytearray, value: None) -> None:
    out += b"N"


def _put_float(out: bytearray, value: float) -> None:
    out += _FLOAT.pack(0x64, value)


_WRITERS: dict[type, Callable[[bytearray, Any], None]] = {
    int: _put_int,
    DataType: _put_int,
    Range: _put_int,
    Persistence: _put_int,
    str: _put_text,
    Attribute: _put_text,
    bytes: _put_bytes,
    tuple: _put_tuple,
    bool: _put_bool,
    type(None): _put_none,
    float: _put_float,
    Proc: _put_proc,
    Info: _put_info,
}
_LETTERS = {cls: letter for letter, (cls, _) in _RECORDS.items()}


# -- reading ---------------------------------------------------------------------------------------


def _get_items(data: bytes, at: int, depth: int, count: int) -> tuple[list[Any], int]:
    """Read `count` values that stand one after the other, and those in them: by value this is called very often."""
    if depth > _DEEPEST:
        raise WireError(f"values nested more than {_DEEPEST} deep")
    items: list[Any] = []
    size = len(data)
    for _ in range(count):
        if at >= size:
            raise WireError("a value that is cut short")
        letter = data[at]
        if letter == 0x69:  # i
            if at + 9 > size:
                raise WireError("a number that is cut short")
            items.append(_INT.unpack_from(data, at)[1])
            at += 9
        elif letter in _SIZED:
            if at + 5 > size:
                raise WireError("a length that is cut short")
            length = _LENGTH.unpack_from(data, at)[1]
            at += 5
            if length > size - at:
                raise WireError(f"{length} bytes or items announced, {size - at} bytes left")
            if letter == 0x74:  # t
                nested, at = _get_items(data, at, depth + 1, length)
                items.append(tuple(nested))
                continue
            part = data[at : at + length]
            items.append(part if letter == 0x62 else part.decode("utf-8", "surrogateescape"))
            at += length
        elif letter in _SINGLE:
            items.append(_SINGLE[letter])
            at += 1
        elif letter in _BY_LETTER:
            cls, kinds = _BY_LETTER[letter]
            fields, at = _get_items(data, at + 1, depth + 1, len(kinds))
            items.append(_record(cls, kinds, fields))
        else:
            item, at = _get_rare(data, at)
            items.append(item)
    return items, at


def _get_rare(data: bytes, at: int) -> tuple[Any, int]:
    """Read a real or a long number."""
    letter = data[at : at + 1]
    if letter == b"d" and at + _FLOAT.size <= len(data):
        return _FLOAT.unpack_from(data, at)[1], at + _FLOAT.size
    at += 1
    if letter == b"n" and at + _BIG <= len(data):
        return int.from_bytes(data[at : at + _BIG], "big", signed=True), at + _BIG
    raise WireError(f"a value that starts with {letter!r}, or is cut short")


def _record(cls: type, kinds: tuple[Any, ...], fields: list[Any]) -> Any:
    """Return an object of its fields, once they are seen to be of the right kind."""
    for place, kind in enumerate(kinds):
        field = fields[place]
        if kind is DataType:
            if type(field) is not int or field not in _TYPES:
                raise WireError(f"{cls.__name__}: there is no type {field!r}")
            fields[place] = _TYPES[field]
        elif kind is not _ANY and not isinstance(field, kind):
            raise WireError(f"{cls.__name__}: a {type(field).__name__} where it has none")
    return cls(*fields)


_SIZED = frozenset(b"sbt")
_SINGLE = {0x4E: None, 0x54: True, 0x46: False}  # N, T, F
_BY_LETTER = {letter[0]: record for letter, record in _RECORDS.items()}
