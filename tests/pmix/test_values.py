"""Values go through real libpmix memory, and over its wire, and come back as they were."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from installed import VERSIONS
from live import Live, library, lone_server
from samples import (
    FROM_HWLOC,
    NEVER_MADE,
    NO_ARRAYS,
    NOT_COPIED,
    NOT_COPIED_IN_ARRAYS,
    NOT_SENT,
    NOT_SENT_IN_ARRAYS,
    NUMBERS,
    SAMPLES,
    arrays,
    values,
)

from fluxpmix.pmix import attributes, upcalls
from fluxpmix.pmix.library import Library
from fluxpmix.pmix.status import check
from fluxpmix.pmix.structures import Coord, DeviceDistance, Geometry, ProcInfo
from fluxpmix.pmix.types import (
    MAX_KEYLEN,
    MAX_NSLEN,
    Cpuset,
    DataArray,
    DataType,
    Envar,
    Info,
    Proc,
    Regex,
    Timeval,
    Topology,
    Value,
)
from fluxpmix.pmix.values import (
    InfoArray,
    ProcArray,
    compressed,
    decode_infos,
    decode_procs,
    decode_value,
    decompressed,
    encode_value,
    infos,
)

pytestmark = pytest.mark.pmix
OWN_PROCESS = True

EACH = pytest.mark.parametrize("version", VERSIONS)
PROPERTY = settings(
    max_examples=100, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
OK = (0, None)
BASE = {upcalls.ClientConnected: lambda upcall: OK, upcalls.ClientFinalized: lambda upcall: OK}


def carried(library: Library, value: Any, type_: DataType = DataType.UNDEF) -> Any:
    """What libpmix's own copy of a value holds."""
    ffi, lib = library.ffi, library.lib
    pointer, keep = encode_value(library, value, type_, "key")
    copy = ffi.new("pmix_value_t *")
    check(lib.PMIx_Value_xfer(copy, pointer), "PMIx_Value_xfer")
    keep.clear()
    del pointer
    try:
        return decode_value(library, copy)
    finally:
        lib.PMIx_Value_destruct(copy)


# -- every type ---------------------------------------------------------------------------------------


def test_every_data_type_has_a_sample_or_a_reason_for_none() -> None:
    assert set(DataType) == {*SAMPLES, *FROM_HWLOC, *NEVER_MADE}


@EACH
def test_a_value_of_each_type_comes_back_from_libpmixs_memory(version: str, tmp_path: Path) -> None:
    wanted = values(NOT_COPIED)
    with lone_server(library(version), tmp_path):  # a regex is copied by a plugin
        assert {type_: carried(library(version), value, type_) for type_, value in wanted.items()} == wanted


@EACH
def test_an_array_of_each_type_comes_back_from_libpmixs_memory(version: str) -> None:
    wanted = arrays(NOT_COPIED_IN_ARRAYS)
    assert {type_: carried(library(version), array) for type_, array in wanted.items()} == wanted


@EACH
def test_the_ends_of_every_integers_range_come_back(version: str) -> None:
    ends = [(type_, end) for type_, low, high in NUMBERS for end in (low, 0, high) if type_ not in NOT_COPIED]
    assert [(type_, carried(library(version), end, type_)) for type_, end in ends] == ends


PUT = """
from samples import *
with Client() as client:
    single, several = values((*NOT_COPIED, *NOT_SENT, *NOT_GOT)), arrays(NOT_SENT_IN_ARRAYS)
    source = Proc(client.proc.nspace, 0)
    if client.proc == source:
        for type_, value in single.items():
            client.put(Scope.GLOBAL, f"value {type_.name}", Value(type_, value))
        for type_, array in several.items():
            client.put(Scope.GLOBAL, f"array {type_.name}", array)
        client.commit()
    client.fence(collect=True)
    for type_, value in single.items():
        got = client.get(f"value {type_.name}", source)
        if got != value:
            print(type_.name, got, "is not", value)
    for type_, array in several.items():
        got = client.get(f"array {type_.name}", source)
        if got != array:
            print(got, "is not", array)
    client.fence()
    print(len(single), len(several))
"""


@EACH
def test_what_one_process_puts_of_each_type_another_gets(version: str, tmp_path: Path) -> None:
    with Live(library(version), tmp_path, size=2, host=BASE) as live:
        assert live.run(PUT, PUT) == ["46 35\n", "46 35\n"]


@EACH
def test_an_info_of_each_type_reaches_the_host(version: str, tmp_path: Path) -> None:
    program = """
from samples import *
with Client() as client:
    single, several = values(NOT_SENT), arrays(NOT_SENT_IN_ARRAYS)
    client.publish([Info(f"value {type_.name}", value, type_) for type_, value in single.items()])
    client.publish([Info(f"array {type_.name}", array) for type_, array in several.items()])
"""
    host = {**BASE, upcalls.Publish: lambda upcall: OK}
    with Live(library(version), tmp_path, host=host) as live:
        live.run(program)
        single, several = (
            {info.key: info.value for info in upcall.infos if info.key[:5] in ("value", "array")}
            for upcall in live.seen(upcalls.Publish)
        )
        assert single == {f"value {type_.name}": value for type_, value in values(NOT_SENT).items()}
        assert several == {f"array {type_.name}": array for type_, array in arrays(NOT_SENT_IN_ARRAYS).items()}


@EACH
def test_regexes_topologies_and_cpusets_that_libpmix_made_come_back(version: str, tmp_path: Path) -> None:
    found = library(version)
    ffi, lib = found.ffi, found.lib
    with lone_server(found, tmp_path) as server:
        many = ",".join(f"node{number}" for number in range(0, 5000, 7))  # 5.0 compresses it: NULs within
        for regex in (
            server.generate_regex("node0,node1,node17"),
            server.generate_ppn("0,2;1,3"),
            server.generate_regex(many),
        ):
            assert len(regex.data) > len(b"raw:\0")
            assert carried(found, regex) == regex

        topology, cpuset = ffi.new("pmix_topology_t *"), ffi.new("pmix_cpuset_t *")
        check(lib.PMIx_Load_topology(topology), "PMIx_Load_topology")
        check(lib.PMIx_Parse_cpuset_string(b"hwloc:0", cpuset), "PMIx_Parse_cpuset_string")
        for kind, struct, address in (
            (Topology, topology, topology.topology),
            (Cpuset, cpuset, cpuset.bitmap),
        ):
            given_ = kind(ffi.string(struct.source).decode(), int(ffi.cast("uintptr_t", address)))
            copy = carried(found, given_)
            assert type(copy) is kind
            assert copy.source.startswith("hwloc")
            assert copy.address not in (0, given_.address), "libpmix copies what it is given"
        lib.PMIx_Cpuset_destruct(cpuset)


PLAIN = b"all work and no play " * 500


def test_what_libpmix_compresses_is_read(tmp_path: Path) -> None:
    found = library("5.0")  # 4.2 never finds it worth while
    ffi, lib = found.ffi, found.lib
    with lone_server(found, tmp_path):
        made, size = ffi.new("uint8_t **"), ffi.new("size_t *")
        if not lib.PMIx_Data_compress(PLAIN, len(PLAIN), made, size):
            pytest.skip("this libpmix was built without compression")
        assert decompressed(bytes(ffi.buffer(made[0], size[0]))) == PLAIN
        lib.free(made[0])


@EACH
def test_what_is_compressed_here_libpmix_reads(version: str, tmp_path: Path) -> None:
    found = library(version)
    ffi, lib = found.ffi, found.lib
    ours = compressed(PLAIN)
    assert len(ours) < len(PLAIN) // 10
    with lone_server(found, tmp_path):
        made, size = ffi.new("uint8_t **"), ffi.new("size_t *")
        assert lib.PMIx_Data_decompress(ours, len(ours), made, size)
        assert bytes(ffi.buffer(made[0], size[0])) == PLAIN
        lib.free(made[0])


# -- any value ----------------------------------------------------------------------------------------

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=80)
KEYS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=MAX_KEYLEN // 4)
PROCS = st.builds(Proc, st.text("abcä.@-0", max_size=MAX_NSLEN // 2), st.integers(0, 2**32 - 1))
INT64S = st.integers(-(2**63), 2**63 - 1)
FLOATS = st.floats(allow_nan=False, width=32)
OF_TYPE: dict[DataType, st.SearchStrategy[Any]] = {
    DataType.UNDEF: st.none(),
    DataType.BOOL: st.booleans(),
    DataType.STRING: TEXT,
    DataType.FLOAT: FLOATS,
    DataType.DOUBLE: st.floats(allow_nan=False),
    DataType.TIMEVAL: st.builds(Timeval, INT64S, INT64S),
    DataType.PROC: PROCS,
    DataType.BYTE_OBJECT: st.binary(max_size=2000),
    DataType.COMPRESSED_STRING: TEXT,
    DataType.COMPRESSED_BYTE_OBJECT: st.binary(max_size=2000),
    DataType.ENVAR: st.builds(Envar, TEXT, TEXT, st.characters(max_codepoint=255, min_codepoint=1) | st.just("")),
    DataType.PROC_INFO: st.builds(
        ProcInfo,
        PROCS,
        st.none() | TEXT,
        st.none() | TEXT,
        st.integers(0, 2**31 - 1),
        st.integers(-(2**31), 2**31 - 1),
        st.integers(0, 255),
    ),
    DataType.PROC_NSPACE: st.text("abcä.@-0", max_size=MAX_NSLEN // 2),
    **{type_: st.integers(low, high) for type_, low, high in NUMBERS if type_ not in NOT_COPIED},
}
SCALARS = st.one_of([st.tuples(st.just(type_), some) for type_, some in OF_TYPE.items()])
IN_ARRAYS = st.one_of(
    [
        st.builds(DataArray, st.just(type_), st.lists(some, max_size=5).map(tuple))
        for type_, some in OF_TYPE.items()
        if type_ not in (*NO_ARRAYS, *NOT_COPIED_IN_ARRAYS)
    ]
)
SCALAR_INFOS = st.builds(
    lambda key, typed, required: Info(key, typed[1], typed[0], required), KEYS, SCALARS, st.booleans()
)
NESTED_INFOS = st.recursive(
    SCALAR_INFOS | st.builds(lambda key, array: Info(key, array, DataType.DATA_ARRAY), KEYS, IN_ARRAYS),
    lambda inner: st.builds(
        lambda key, items: Info(key, DataArray(DataType.INFO, tuple(items)), DataType.DATA_ARRAY),
        KEYS,
        st.lists(inner, max_size=4),
    ),
    max_leaves=12,
)


@EACH
@PROPERTY
@given(typed=SCALARS)
def test_any_scalar_comes_back_with_its_type(version: str, typed: tuple[DataType, Any]) -> None:
    type_, value = typed
    assert carried(library(version), value, type_) == value


@EACH
@PROPERTY
@given(array=IN_ARRAYS)
def test_any_array_comes_back_with_its_type(version: str, array: DataArray) -> None:
    assert carried(library(version), array) == array


@EACH
@PROPERTY
@given(given_=st.lists(NESTED_INFOS, max_size=4))
def test_any_nest_of_infos_comes_back(version: str, given_: list[Info]) -> None:
    assert carried(library(version), DataArray(DataType.INFO, tuple(given_))) == DataArray(DataType.INFO, tuple(given_))


@EACH
@PROPERTY
@given(value=st.binary().filter(lambda data: b"\0" not in data))
def test_any_text_that_a_peer_sends_can_be_sent_on_unchanged(version: str, value: bytes) -> None:
    text = value.decode("utf-8", "surrogateescape")
    assert carried(library(version), text).encode("utf-8", "surrogateescape") == value


@EACH
@PROPERTY
@given(procs=st.lists(PROCS, max_size=5))
def test_any_process_names_come_back(version: str, procs: list[Proc]) -> None:
    array = ProcArray(library(version), procs)
    assert decode_procs(library(version), array.pointer, array.count) == tuple(procs)


@EACH
@PROPERTY
@given(type_=st.integers(0, 0xFFFF), raw=st.binary(min_size=24, max_size=24))
def test_a_value_of_an_unknown_type_keeps_its_type_and_bytes(version: str, type_: int, raw: bytes) -> None:
    if type_ in set(DataType):
        return
    ffi = library(version).ffi
    value = ffi.new("pmix_value_t *", {"type": type_})
    ffi.memmove(value.data.raw, raw, len(raw))
    assert decode_value(library(version), value) == Value(type_, raw)


# -- what Python's types become -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "type_"),
    [
        (True, DataType.BOOL),
        (1, DataType.INT64),
        (2**64 - 1, DataType.UINT64),
        ("text", DataType.STRING),
        (1.0, DataType.DOUBLE),
        (b"data", DataType.BYTE_OBJECT),
        (bytearray(b"data"), DataType.BYTE_OBJECT),
        (Proc("job", 0), DataType.PROC),
        (Envar("A", "b"), DataType.ENVAR),
        (Timeval(1, 2), DataType.TIMEVAL),
        (Regex(b"raw:a\0"), DataType.REGEX),
        (Coord(1, ()), DataType.COORD),
        ({"key": 1}, DataType.DATA_ARRAY),
        ((Proc("job", 0),), DataType.DATA_ARRAY),
        (["text"], DataType.DATA_ARRAY),
        (None, DataType.UNDEF),
    ],
    ids=lambda one: type(one).__name__ if not isinstance(one, DataType) else one.name,
)
def test_a_python_value_under_an_unknown_key_has_the_type_of_its_kind(value: Any, type_: DataType) -> None:
    pointer, _keep = encode_value(library("5.0"), value, key="of.my.own")
    assert pointer.type == type_


def test_a_known_keys_type_goes_before_the_kind_of_the_value() -> None:
    given_ = {attributes.JOB_SIZE: 4, attributes.RANK: 0, attributes.COLLECT_DATA: True, attributes.PREFIX: "/opt"}
    found = library("5.0")
    with infos(found, given_) as array:
        back = decode_infos(found, array.pointer, array.count)
    assert [(info.key, info.type) for info in back] == [
        (attributes.JOB_SIZE, DataType.UINT32),
        (attributes.RANK, DataType.PROC_RANK),
        (attributes.COLLECT_DATA, DataType.BOOL),
        (attributes.PREFIX, DataType.STRING),
    ]


def test_a_stated_type_goes_before_the_keys() -> None:
    pointer, _keep = encode_value(library("5.0"), Value(DataType.UINT16, 4), key=attributes.JOB_SIZE)
    assert pointer.type == DataType.UINT16


def test_an_unnamed_separator_of_an_envar_is_a_colon_and_an_empty_one_is_none() -> None:
    found = library("5.0")
    assert carried(found, Value(DataType.ENVAR, ("PATH", "/bin"))) == Envar("PATH", "/bin", ":")
    assert carried(found, Envar("PATH", "/bin", "")) == Envar("PATH", "/bin", "")


def test_every_byte_of_a_view_on_wider_items_is_sent() -> None:
    from array import array

    wide = array("I", range(10))
    assert carried(library("5.0"), memoryview(wide)) == wide.tobytes()


def test_infinities_and_nan_are_numbers_too() -> None:
    found = library("5.0")
    for type_ in (DataType.FLOAT, DataType.DOUBLE):
        assert carried(found, math.inf, type_) == math.inf
        assert math.isnan(carried(found, math.nan, type_))


# -- bad input ----------------------------------------------------------------------------------------

LONG = "k" * (MAX_KEYLEN + 1)
BAD: list[tuple[str, Any, tuple[str, ...]]] = [
    # (key, value, what the error must say)
    ("", 1, ("key ''", "1 to 511")),
    (LONG, 1, ("kkk", "1 to 511", "512")),
    ("nul\0key", 1, ("nul", "NUL")),
    ("half \ud800", 1, ("half", "UTF-8")),
    ("my.key", "half \ud800", ("my.key", "UTF-8")),
    ("my.key", "a\0b", ("my.key", "NUL", "pass bytes")),
    ("my.key", Value(DataType.STRING, b"bytes"), ("my.key", "string", "bytes")),
    ("my.key", Value(DataType.BYTE_OBJECT, "text"), ("my.key", "bytes are wanted", "'text'")),
    ("my.key", Value(DataType.UINT8, 3.0), ("my.key", "integer", "3.0", "float")),
    ("my.key", Value(DataType.BOOL, "false"), ("my.key", "True or False", "'false'")),
    ("my.key", Value(DataType.BOOL, 2), ("my.key", "True or False")),
    ("my.key", Value(DataType.DOUBLE, "1"), ("my.key", "number", "'1'")),
    ("my.key", Value(DataType.DOUBLE, 10**400), ("my.key", "DOUBLE", "too large")),
    ("my.key", Value(DataType.FLOAT, 1e39), ("my.key", "FLOAT", "use DOUBLE")),
    ("my.key", 2**64, ("my.key", "does not fit UINT64", "18446744073709551615")),
    ("my.key", -(2**63) - 1, ("my.key", "does not fit INT64", "-9223372036854775808")),
    (attributes.JOB_SIZE, -1, ("pmix.job.size", "-1 does not fit UINT32", "0 to 4294967295")),
    (attributes.JOB_SIZE, "4", ("pmix.job.size", "an integer (UINT32) is wanted", "'4'")),
    (attributes.PREFIX, 4, ("pmix.prefix", "a string is wanted", "4")),
    ("my.key", Proc("n" * (MAX_NSLEN + 1), 0), ("my.key", "at most 255")),
    ("my.key", Proc("a\0b", 0), ("my.key", "NUL")),
    ("my.key", Proc("job", -1), ("my.key", "rank in 'job'", "-1", "PROC_RANK")),
    ("my.key", Proc("job", 2**32), ("my.key", "rank in 'job'", "PROC_RANK")),
    ("my.key", Value(DataType.PROC, "job:0"), ("my.key", "'job:0'", "PROC")),
    ("my.key", Value(DataType.PROC_NSPACE, "n" * 256), ("my.key", "at most 255")),
    ("my.key", Timeval(2**63, 0), ("my.key", "TIMEVAL")),
    ("my.key", Value(DataType.TIMEVAL, (1,)), ("my.key", "TIMEVAL")),
    ("my.key", Value(DataType.TIMEVAL, 1.5), ("my.key", "Timeval is wanted")),
    ("my.key", Envar("A", "b", "::"), ("my.key", "separator")),
    ("my.key", Envar("A\0", "b"), ("my.key", "NUL")),
    ("my.key", Value(DataType.ENVAR, "A=b"), ("my.key", "Envar is wanted")),
    ("my.key", Topology("hwloc", 0), ("my.key", "TOPO", "address")),
    ("my.key", Cpuset("hwloc", 0), ("my.key", "PROC_CPUSET", "address")),
    ("my.key", Value(DataType.POINTER, -1), ("my.key", "POINTER")),
    ("my.key", ProcInfo(Proc("job", 0), pid=2**40), ("my.key", "PROC_INFO")),
    ("my.key", DeviceDistance("u", "o", 1, 2**16, 0), ("my.key", "DEVICE_DIST")),
    ("my.key", Geometry(1, "u\0", None), ("my.key", "NUL")),
    ("my.key", Value(DataType.COORD, ProcInfo(Proc("job", 0))), ("my.key", "COORD")),
    ("my.key", Info("inner", 1), ("my.key", "INFO", "tuple")),
    ("my.key", Value(DataType.APP, object()), ("my.key", "APP")),
    ("my.key", Value(999, 1), ("my.key", "999")),  # type: ignore[arg-type]
    ("my.key", object(), ("my.key", "no type for", "object")),
    ("my.key", 1j, ("my.key", "no type for", "complex")),
    ("my.key", [1, "two"], ("my.key", "'two'", "integer")),
    ("my.key", [None], ("my.key", "no type for None")),
    ("my.key", DataArray(DataType.UINT8, (1, 256)), ("my.key", "256 does not fit UINT8")),
    ("my.key", DataArray(DataType.BOOL, ("no",)), ("my.key", "True or False")),
    ("my.key", DataArray(DataType.INFO, ("no",)), ("my.key", "'no'", "INFO")),
    ("my.key", DataArray(DataType.INFO, (Info("inner", "a\0b"),)), ("inner", "NUL")),
    ("my.key", DataArray(DataType.PROC, (Proc("job", -1),)), ("my.key", "PROC_RANK")),
    ("my.key", DataArray(DataType.PROC_NSPACE, ("n" * 256,)), ("my.key", "at most 255")),
    ("my.key", DataArray(DataType.APP, (1,)), ("my.key", "APP")),
    ("my.key", DataArray(DataType.REGEX, (Regex(b"raw:a\0"),)), ("my.key", "REGEX", "info of its own")),
    ("my.key", Regex(b""), ("my.key", "REGEX", "generate_regex")),
    ("my.key", DataArray(DataType.GEOMETRY, (Geometry(1, None, None),)), ("my.key", "info of its own")),
    ("my.key", DataArray(DataType.DATA_ARRAY, (DataArray(DataType.INFO, ()),)), ("my.key", "info of its own")),
    ("my.key", Value(DataType.DATA_ARRAY, "text"), ("my.key", "sequence")),
    ("my.key", Value(DataType.DATA_ARRAY, b"data"), ("my.key", "sequence")),
    ("my.key", Value(DataType.COMPRESSED_STRING, 5), ("my.key", "COMPRESSED_STRING")),
]


@pytest.mark.parametrize(("key", "value", "words"), BAD, ids=lambda one: repr(one).split(" object at")[0][:40])
def test_a_value_that_does_not_fit_is_a_value_error_that_names_key_and_remedy(
    key: str, value: Any, words: tuple[str, ...]
) -> None:
    with pytest.raises(ValueError) as caught:
        InfoArray(library("5.0"), [Info(key, value)])
    missing = [word for word in words if word not in str(caught.value)]
    assert not missing, str(caught.value)
    assert len(str(caught.value)) < 300


def test_a_value_that_libpmix_would_crash_at_is_a_value_error_before_it_is_copied() -> None:
    with pytest.raises(ValueError, match=r"2147483648 bytes are too many.*split"):
        InfoArray(library("5.0"), [Info("key", bytes(1 << 31))])


@pytest.mark.parametrize("proc", [Proc("n" * 256, 0), Proc("a\0b", 0), Proc("job", -1), Proc("job", 2**32)])
def test_a_process_name_that_does_not_fit_is_a_value_error(proc: Proc) -> None:
    with pytest.raises(ValueError, match=r"namespace|rank in 'job'"):
        ProcArray(library("5.0"), [proc])


@pytest.mark.parametrize(
    "data", [b"", b"\0\0", b"\x05\0\0\0nonsense", compressed(b"text")[:-3], b"\1\0\0\0" + compressed(b"text")[4:]]
)
def test_damaged_compressed_data_keeps_its_bytes(data: bytes) -> None:
    with pytest.raises(ValueError):
        decompressed(data)
    given_ = Value(DataType.BYTE_OBJECT, data)
    pointer, _keep = encode_value(library("5.0"), given_)
    pointer.type = DataType.COMPRESSED_STRING
    assert decode_value(library("5.0"), pointer) == Value(DataType.COMPRESSED_STRING, data)


@EACH
def test_nothing_is_an_array_of_no_infos(version: str) -> None:
    for nothing in (None, {}, [], ()):
        with infos(library(version), nothing) as array:
            assert (array.count, array.pointer) == (0, library(version).ffi.NULL)
    assert decode_infos(library(version), library(version).ffi.NULL, 0) == ()
    assert decode_value(library(version), library(version).ffi.NULL) is None


@EACH
def test_null_pointers_in_a_value_are_read_as_nothing(version: str) -> None:
    found = library(version)
    value = found.ffi.new("pmix_value_t *")
    read = {}
    for type_ in SAMPLES:
        if type_ not in {type_ for type_, _, _ in NUMBERS} - {DataType.UNDEF}:
            value.type = type_
            read[type_] = decode_value(found, value)
    assert read[DataType.STRING] is None
    assert read[DataType.PROC] is None
    assert read[DataType.PROC_NSPACE] is None
    assert read[DataType.DATA_ARRAY] == DataArray(DataType.UNDEF, ())
    assert read[DataType.BYTE_OBJECT] == b""
    assert read[DataType.ENVAR] == Envar("", "", "")
    assert read[DataType.REGEX] == Regex(b"")
