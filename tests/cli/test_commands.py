"""`flux-pmix` itself: help, version, doctor, and errors that are one line."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


def flux_pmix(*words: str, code: int = 0, **variables: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "fluxpmix.cli.main", *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **variables},
    )
    assert done.returncode == code, done
    return done


@pytest.mark.parametrize("words", [["help"], ["--help"], ["-h"]])
def test_help_lists_the_commands(words: list[str]) -> None:
    out = flux_pmix(*words).stdout
    assert "run " in out and "doctor " in out


@pytest.mark.parametrize("words", [["help", "run"], ["run", "--help"], ["run", "-h"]])
def test_the_help_of_run_fits_a_screen(words: list[str]) -> None:
    lines = flux_pmix(*words).stdout.splitlines()
    assert len(lines) <= 50 and max(map(len, lines)) <= 110
    assert any("--ntasks" in line for line in lines)


def test_shell_options_are_listed_by_one() -> None:
    assert "exit-timeout" in flux_pmix("run", "-o", "help").stdout


def test_the_version_is_the_distributions() -> None:
    from importlib.metadata import version

    assert flux_pmix("--version").stdout == f"flux-pmix {version('fluxpmix')}\n"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "a command is missing"),
        (["rnu"], "did you mean run?"),
        (["--frob"], "unknown option --frob"),
        (["doctor", "x"], "doctor takes no argument"),
    ],
)
def test_a_wrong_command_is_one_line_and_exit_code_2(words: list[str], says: str) -> None:
    err = flux_pmix(*words, code=2).stderr
    assert says in err and err.count("\n") == 1 and err.startswith("flux-pmix: error: ")


@pytest.mark.pmix
def test_doctor_says_what_was_found() -> None:
    done = flux_pmix("doctor")
    assert f"at {sys.executable}" in done.stdout and "use: " in done.stdout


def test_doctor_says_what_is_missing_and_fails() -> None:
    done = flux_pmix("doctor", "--libpmix", "/no/such/libpmix.so", code=1)
    assert "no such file" in done.stdout and "fluxpmix[mpi]" in done.stdout


def test_a_reader_of_our_output_that_has_seen_enough_is_no_error() -> None:
    line = f"{sys.executable} -m fluxpmix.cli.main run --help | head -n 1"
    done = subprocess.run(line, shell=True, capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == "" and done.stdout.startswith("usage: flux-pmix run")
