"""What must hold of Flux Standard Durations (Flux RFC 23), time limits and timeouts."""

from __future__ import annotations

import json
import math
import subprocess
from shutil import which

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxpmix.job import duration

UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
ACCEPTED = {"30s": 30, "1.5h": 5400, "2d": 172800, "100ms": 0.1, "1m": 60, "0": 0, "90": 90, ".5s": 0.5, "1e3s": 1000}
REFUSED = ["", "s", "ms", "-1", "-5s", "+5", "nan", "inf s", "1 s", " 1", "1_000", "1x", "1w", "1.2.3", "1h30m", "0x10"]
REFUSED += ["1e", "e5", "1e400", "1e308d", "infs", "none", "²s", "١s", "1,5h", "5S"]


@given(st.integers(0, 10**6), st.sampled_from(sorted(UNITS)))
def test_a_duration_is_its_number_times_its_unit(number: int, unit: str) -> None:
    assert math.isclose(duration.seconds(f"{number}{unit}"), number * UNITS[unit])


@given(st.floats(0, 1e12, allow_subnormal=False), st.sampled_from(sorted(UNITS)))
def test_a_number_as_python_writes_it_is_read(number: float, unit: str) -> None:
    assert math.isclose(duration.seconds(f"{number!r}{unit}"), number * UNITS[unit])


@pytest.mark.parametrize(("text", "seconds"), ACCEPTED.items())
def test_what_the_rfc_allows_is_read(text: str, seconds: float) -> None:
    assert duration.seconds(text) == seconds


@pytest.mark.parametrize("text", ["inf", "infinity"])
def test_infinity_is_a_duration_a_timeout_that_never_comes_and_no_time_limit(text: str) -> None:
    assert duration.seconds(text) == math.inf
    assert duration.timeout(text) is None
    with pytest.raises(ValueError, match="a time limit is finite; leave the option out for none"):
        duration.time_limit(text)


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_no_duration_is_refused_with_how_to_write_one(text: str) -> None:
    for read in (duration.seconds, duration.time_limit):
        with pytest.raises(ValueError, match=r"write a number with ms, s, m, h or d"):
            read(text)


@given(st.text("0123456789.eE+-nifsmhd ", max_size=8))
def test_any_text_is_a_number_of_seconds_or_refused(text: str) -> None:
    try:
        assert duration.seconds(text) >= 0
    except ValueError as error:
        assert "write a number" in str(error)


@pytest.mark.parametrize(
    ("text", "seconds"), [("1", 60), ("0.5", 30), ("90s", 90), ("2h", 7200), ("0", None), ("0s", None), ("0.0m", None)]
)
def test_a_bare_time_limit_is_in_minutes_and_zero_is_none(text: str, seconds: float | None) -> None:
    assert duration.time_limit(text) == seconds


@pytest.mark.parametrize(("text", "seconds"), [("1", 1), ("30s", 30), ("0", 0), ("none", None)])
def test_a_bare_timeout_is_in_seconds_and_may_be_none(text: str, seconds: float | None) -> None:
    assert duration.timeout(text) == seconds


@pytest.mark.parametrize(
    ("value", "seconds"), [(30, 30), (0.5, 0.5), ("90s", 90), ("1.5m", 90), ("none", None), (0, None)]
)
def test_the_limit_of_an_operation_comes_as_number_or_text(value: object, seconds: float | None) -> None:
    assert duration.operation_limit(value) == seconds


@pytest.mark.parametrize("value", [True, None, -1, "soon", [], {"s": 1}])
def test_what_limits_no_operation_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="write a number with ms, s, m, h or d"):
        duration.operation_limit(value)


@pytest.mark.flux
@pytest.mark.skipif(which("flux") is None, reason="no flux on PATH")
def test_flux_reads_the_same_durations_alike() -> None:
    texts = [*ACCEPTED, *REFUSED, "inf", "infinity"]
    script = """
import json, sys
from flux.util import parse_fsd
def read(text):
    try:
        return parse_fsd(text)
    except (ValueError, OverflowError):
        return None
print(json.dumps([read(text) for text in json.loads(sys.argv[1])]))
"""
    command = ["flux", "python", "-c", script, json.dumps(texts)]
    answer = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    # Python's float() takes these too; the RFC's grammar has none of them.
    lenient = {"+5", " 1", "1_000", "1 s", "١s", "inf s"}
    for text, seconds in zip(texts, answer, strict=True):
        if text in lenient:
            continue
        try:
            assert duration.seconds(text) == pytest.approx(seconds)
        except ValueError:
            assert seconds is None, f"Flux reads {text!r} as {seconds}"
