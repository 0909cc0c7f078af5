"""What must hold of `-o/--setopt`: values as `flux run` reads them, slips refused with the remedy."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxpmix.cli import setopt
from fluxpmix.cli.errors import UsageError

GOOD: dict[str, Any] = {
    "pmi=pmix": "pmix",
    "pmi=simple,pmix": "simple,pmix",
    "mpi=ompi": "ompi",
    "verbose": 1,
    "verbose=0": 0,
    "verbose=3": 3,
    "cpu-affinity": "on",
    "cpu-affinity=1": "on",
    "cpu-affinity=false": "off",
    "cpu-affinity=off": "off",
    "cpu-affinity=per-task": "per-task",
    "cpu-affinity=map:0-1;2,4": "map:0-1;2,4",
    "exit-timeout=30s": 30.0,
    "exit-timeout=5": 5.0,
    "exit-timeout=1.5m": 90.0,
    "exit-timeout=none": None,
    "exit-timeout=inf": None,
    "pmix.timeout=30s": 30.0,
    "pmix.timeout=0.5": 0.5,
    "pmix.timeout=0": None,
    "pmix.timeout=none": None,
    "pmix.alert=30s": 30.0,
    "pmix.alert=0.5m": 30.0,
    "pmix.alert=0": 0.0,
    "pmix.alert=off": 0.0,
    "pmix.alert=none": 0.0,
    "pmix.exchange=bruck": "bruck",
    "pmix.exchange=auto": "auto",
    "pmix.fanout=2": 2,
    "exit-on-error": True,
    "exit-on-error=off": False,
    "exit-on-error=True": True,
    "exit-on-error=0": False,
    "nosetpgrp": True,
    "output.mode=append": "append",
    "output.mode=truncate": "truncate",
    "oversubscribe=off": False,
    "oversubscribe=no": False,
    "libpmix=/lib/libpmix.so.2": "/lib/libpmix.so.2",
    "security=munge": "munge",
}
BAD = {
    "pmix.alert=inf": "an alert comes a finite time before the time limit",
    "pmix.alert=soon": "write a number with ms, s, m, h or d",
    "pmix.alert=-1": "write a number with ms, s, m, h or d",
    "pmi=simple": "pmix is the only PMI",
    "pmi": "pmix is the only PMI",
    "pmi=off": "pmix is the only PMI",
    "mpi=": "a name is expected",
    "mpi": "a name is expected",
    'mpi=["a"]': "a name is expected",
    "verbose=4": "a level from 0 to 3",
    "verbose=-1": "a level from 0 to 3",
    "verbose=true": "a level from 0 to 3",
    "verbose=loud": "a level from 0 to 3",
    "cpu-affinity=2": "on, off, per-task or map:",
    "cpu-affinity=map:": "on, off, per-task or map:",
    "cpu-affinity={}": "on, off, per-task or map:",
    "cpu-affinity=map:3-1": "'3-1'",
    "cpu-affinity=map:0;": "a task needs a core",
    "cpu-affinity=map:0-2147483647": "'0-2147483647'",
    "exit-timeout=soon": "write a number with ms, s, m, h or d",
    "exit-timeout=-1": "write a number with ms, s, m, h or d",
    "exit-timeout=null": "write a number with ms, s, m, h or d",
    "exit-on-error=2": "on or off is expected",
    "exit-on-error=maybe": "on or off is expected",
    'exit-on-error=["on"]': "on or off is expected",
    "output.mode": "truncate or append is expected",
    "output.mode=a": "truncate or append is expected",
    "security=none": "native or munge is expected",
    "pmix.exchange=star": "auto, tree or bruck is expected",
    "pmix.exchange=": "auto, tree or bruck is expected",
    "pmix.exchange": "auto, tree or bruck is expected",
    "pmix.fanout=1": "a whole number from 2 to 65536 is expected",
    "pmix.fanout=-2": "a whole number from 2 to 65536 is expected",
    "pmix.fanout=65537": "a whole number from 2 to 65536 is expected",
    "pmix.fanout=2.5": "a whole number from 2 to 65536 is expected",
    "pmix.fanout": "a whole number from 2 to 65536 is expected",
    "libpmix=": "a name is expected",
}


@pytest.mark.parametrize("setting", GOOD)
def test_a_good_setting_gives_its_value(setting: str) -> None:
    assert setopt.assign([setting]) == {setting.partition("=")[0]: GOOD[setting]}


@pytest.mark.parametrize("setting", BAD)
def test_a_bad_value_is_a_usage_error_that_names_the_setting_and_the_remedy(setting: str) -> None:
    with pytest.raises(UsageError) as caught:
        setopt.assign([setting])
    assert caught.value.exit_code == 2
    assert str(caught.value).startswith(f"-o {setting}: ")
    assert BAD[setting] in str(caught.value)


@pytest.mark.parametrize(
    ("setting", "guess"),
    [("exit-timout=3", "did you mean exit-timeout?"), ("cpu_affinity=on", "cpu-affinity?"), ("output.mod=x", ".mode?")],
)
def test_a_slip_in_the_name_is_refused_with_the_nearest_name(setting: str, guess: str) -> None:
    with pytest.raises(UsageError) as caught:
        setopt.assign([setting])
    assert f"-o {setting}: no shell option is called {setting.partition('=')[0]!r}" in str(caught.value)
    assert guess in str(caught.value)


@pytest.mark.parametrize("setting", ["zzz", "=1", ""])
def test_a_name_like_none_is_refused_with_all_there_are(setting: str) -> None:
    with pytest.raises(UsageError) as caught:
        setopt.assign([setting])
    assert all(option.name in str(caught.value) for option in setopt.SHELL_OPTIONS)


def test_the_last_setting_of_a_name_wins() -> None:
    assert setopt.assign(["verbose=3", "exit-on-error", "verbose=1"]) == {"verbose": 1, "exit-on-error": True}


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=3)))
def test_a_value_in_json_is_what_json_says(value: Any) -> None:
    assert setopt.value(json.dumps(value)) == value


@given(st.text('01.-e"[]{}:,truefals \t', max_size=8))
def test_any_other_text_is_itself(text: str) -> None:
    try:
        expected = json.loads(text)
    except ValueError:
        expected = text
    assert setopt.value(text) == (text if text[:1].isspace() else expected)


@pytest.mark.parametrize("text", ["[" * 100_000, "9" * 5_000])
def test_a_monstrous_value_is_a_text(text: str) -> None:
    assert setopt.value(text) == text


def test_the_help_has_a_line_for_each_option() -> None:
    lines = setopt.help_text().splitlines()[1:]
    assert [line.split()[0] for line in lines] == [option.name for option in setopt.SHELL_OPTIONS]
    assert all(len(line) <= 100 for line in lines)
