"""Attributes have the strings and types that libpmix's own headers give them."""

from __future__ import annotations

import re

import pytest
from installed import VERSIONS
from live import headers, library

from fluxpmix.pmix import attributes
from fluxpmix.pmix.attributes import Attribute, by_key, by_name, type_of
from fluxpmix.pmix.types import MAX_KEYLEN, DataType

pytestmark = pytest.mark.pmix

EACH = pytest.mark.parametrize("version", VERSIONS)

ALL: dict[str, Attribute] = {
    f"PMIX_{name}": value for name, value in vars(attributes).items() if isinstance(value, Attribute)
}

# What the headers' comments call a type.
SPELLED = {
    "bool": DataType.BOOL,
    "char*": DataType.STRING,
    "double": DataType.DOUBLE,
    "float": DataType.FLOAT,
    "hwloc_topology_t": DataType.POINTER,
    "int": DataType.INT,
    "int32_t": DataType.INT32,
    "pid_t": DataType.PID,
    "pmix_byte_object_t": DataType.BYTE_OBJECT,
    "pmix_cpuset_t*": DataType.PROC_CPUSET,
    "pmix_data_array_t*": DataType.DATA_ARRAY,
    "pmix_data_range_t": DataType.DATA_RANGE,
    "pmix_device_type_t": DataType.DEVTYPE,
    "pmix_envar_t*": DataType.ENVAR,
    "pmix_geometry_t": DataType.GEOMETRY,
    "pmix_link_state_t": DataType.LINK_STATE,
    "pmix_persistence_t": DataType.PERSIST,
    "pmix_proc_state_t": DataType.PROC_STATE,
    "pmix_proc_t*": DataType.PROC,
    "pmix_rank_t": DataType.PROC_RANK,
    "pmix_scope_t": DataType.SCOPE,
    "pmix_status_t": DataType.STATUS,
    "pmix_storage_access_type_t": DataType.STOR_ACCESS_TYPE,
    "pmix_storage_accessibility_t": DataType.STOR_ACCESS,
    "pmix_storage_medium_t": DataType.STOR_MEDIUM,
    "pmix_storage_persistence_t": DataType.STOR_PERSIST,
    "pmix_topology_t*": DataType.TOPO,
    "pointer": DataType.POINTER,
    "size_t": DataType.SIZE,
    "struct event_base *": DataType.POINTER,
    "struct timeval": DataType.TIMEVAL,
    "time_t": DataType.TIME,
    "uint16_t": DataType.UINT16,
    "uint32_t": DataType.UINT32,
    "uint64_t": DataType.UINT64,
    "varies": DataType.UNDEF,
    "void*": DataType.POINTER,
}
# Where the Standard or a later OpenPMIx differs from the comment in 4.2's headers.
OTHERWISE = {
    "PMIX_NODE_MAP": DataType.REGEX,
    "PMIX_PROC_MAP": DataType.REGEX,
    "PMIX_ALLOC_TIME": DataType.STRING,
    "PMIX_DEBUG_STOP_ON_EXEC": DataType.BOOL,
    "PMIX_DEBUG_STOP_IN_INIT": DataType.BOOL,
    "PMIX_DEBUG_STOP_IN_APP": DataType.BOOL,
}
# Deprecated long ago, or no keys of values.
LEFT_OUT = re.compile(
    r"PMIX_(ALLOC_NETWORK.*|PROC_DATA|QUERY_SUPPORTED_QUALIFIERS|ATTR_UNDEF|LAUNCHER_RNDZ_\w+|KEEPALIVE_PIPE)"
)


def defined(version: str) -> dict[str, tuple[str, str]]:
    """Each attribute of the installed headers: its string, and the type in its comment."""
    text = "\n".join(path.read_text() for path in headers(library(version)).glob("pmix*.h"))
    lines = re.findall(r'^#define\s+(PMIX_\w+)\s+"([^"]*)"(?:\s*//\s*\(([^)]*)\))?', text, re.MULTILINE)
    found = {name: (key, type_) for name, key, type_ in lines if not LEFT_OUT.fullmatch(name)}
    assert len(found) > 500
    return found


@EACH
def test_every_attribute_of_the_headers_has_its_string(version: str) -> None:
    wanted = {name: key for name, (key, _) in defined(version).items()}
    assert {name: ALL.get(name) for name in wanted} == wanted


@EACH
def test_every_attribute_of_the_headers_has_its_type(version: str) -> None:
    wanted = {name: SPELLED[spelled] for name, (_, spelled) in defined(version).items()} | OTHERWISE
    assert {name: ALL[name].type for name in wanted} == wanted


def test_every_attribute_fits_and_names_itself() -> None:
    assert len(ALL) > 600
    for name, attribute in ALL.items():
        assert 0 < len(attribute.encode()) <= MAX_KEYLEN
        assert by_name(name) is attribute
        assert by_name(name.removeprefix("PMIX_")) is attribute
        assert by_key(attribute) == attribute
        assert type_of(attribute) is by_key(attribute).type  # type: ignore[union-attr]


def test_names_of_one_key_agree_on_its_type() -> None:
    kinds: dict[str, set[DataType]] = {}
    for attribute in ALL.values():
        kinds.setdefault(attribute, set()).add(attribute.type)
    # The headers of all versions give two attributes that one key.
    assert {key for key, types in kinds.items() if len(types) > 1} == {attributes.FABRIC_COORDINATES}


def test_an_attribute_is_its_key() -> None:
    assert attributes.JOB_SIZE == "pmix.job.size"
    assert {attributes.JOB_SIZE: 4} == {"pmix.job.size": 4}
    assert (attributes.JOB_SIZE.name, attributes.JOB_SIZE.type) == ("PMIX_JOB_SIZE", DataType.UINT32)


def test_a_key_or_name_that_nobody_knows_has_no_attribute_and_no_type() -> None:
    assert by_key("of.my.own") is None
    assert by_name("PMIX_OF_MY_OWN") is None
    assert by_name("by_name") is None
    assert type_of("of.my.own") is DataType.UNDEF
