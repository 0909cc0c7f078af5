"""What must hold of whole command lines: what each option becomes, and one clear line for what cannot be.

Exit codes: 2 where the command line cannot be read, 1 where it can but cannot be satisfied.
"""

from __future__ import annotations

import signal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxpmix.cli import run_options, setopt
from fluxpmix.cli.errors import CommandError, UsageError
from fluxpmix.cli.geometry import Scheme
from fluxpmix.cli.inside_flux import equivalent, refusal
from fluxpmix.cli.main import main
from fluxpmix.cli.run_options import read

USR1, TERM = int(signal.SIGUSR1), int(signal.SIGTERM)
VALUES: dict[str, dict[str, Any]] = {
    "-n4": {"ntasks": 4},
    "--ntasks=4": {"ntasks": 4},
    "-N 2": {"nodes": 2},
    "--nodes=2": {"nodes": 2},
    "-c2 -g1 -x": {"cores-per-task": 2, "gpus-per-task": 1, "exclusive": 1},
    "--cores=4 --tasks-per-core=2": {"cores": 4, "tasks-per-core": 2},
    "--tasks-per-node 2 --gpus-per-node=1": {"tasks-per-node": 2, "gpus-per-node": 1},
    "--taskmap=cyclic:2": {"taskmap": Scheme("cyclic", "2")},
    "--taskmap=manual:[[0,2,1,2]]": {"taskmap": Scheme("manual", "[[0,2,1,2]]")},
    "-l -u": {"label-io": 1, "unbuffered": 1},
    "--output=o.{{taskid}} --error=e --input=0-3": {"output": "o.{{taskid}}", "error": "e", "input": "0-3"},
    "--env=A=1 --env-remove=B* --env-file=f": {"env": ["A=1", "-B*", "^f"]},
    "--cwd=/tmp": {"cwd": "/tmp"},
    "-t5": {"time-limit": 300.0},
    "--time-limit=1.5h": {"time-limit": 5400.0},
    "-t0": {"time-limit": None},
    "--signal=USR1": {"signal": (USR1, 60.0)},
    "--signal=sigterm@5s": {"signal": (TERM, 5.0)},
    "--signal=10@2m": {"signal": (10, 120.0)},
    "--signal=@30": {"signal": (USR1, 30.0)},
    "--job-name=x -o verbose -o pmi=pmix": {"job-name": "x", "setopt": ["verbose", "pmi=pmix"]},
    "-vvv --quiet --dry-run --local": {"verbose": 3, "quiet": 1, "dry-run": 1, "local": 1},
}
# Command lines, and what the one line on stderr must name: option, value, remedy.
UNREADABLE: dict[str, list[str]] = {
    "": ["a command is missing", "flux-pmix help"],
    "rum x": ["unknown command rum", "did you mean run?"],
    "--bogus": ["unknown option --bogus"],
    "run": ["a command is missing: flux-pmix run"],
    "run -n2": ["a command is missing"],
    "run --": ["a command is missing"],
    "run --nprocs=4 x": ["unknown option --nprocs"],
    "run --ntask=4 x": ["unknown option --ntask, did you mean --ntasks?"],
    "run -n0 x": ["-n '0'", "1 or more"],
    "run -n x": ["-n 'x'", "1 or more"],
    "run --nodes=two x": ["--nodes 'two'", "1 or more"],
    "run --taskmap=cylic x": ["--taskmap 'cylic'", "did you mean cyclic?"],
    "run --output=o.{{tskid}} x": ["--output 'o.{{tskid}}'", "no tag is called {{tskid}}", "{{taskid}}"],
    "run --error= x": ["--error ''", "a file's name is expected"],
    "run --input=a{{ x": ["--input 'a{{'", "is not closed"],
    "run -t1w x": ["-t '1w'", "write a number with ms, s, m, h or d"],
    "run -tinf x": ["-t 'inf'", "leave the option out"],
    "run --signal= x": ["--signal ''", "[SIG][@TIME] is expected"],
    "run --signal=USR1@ x": ["--signal 'USR1@'", "[SIG][@TIME] is expected"],
    "run --signal=NOPE x": ["--signal 'NOPE'", "kill -l lists them"],
    "run --signal=_DFL x": ["--signal '_DFL'", "kill -l lists them"],
    "run --signal=0 x": ["--signal '0'", "kill -l lists them"],
    "run --signal=TERM@x y": ["--signal 'TERM@x'", "write a number"],
    "run --signal=TERM@inf x": ["--signal 'TERM@inf'", "a finite time"],
    "run -o verbos=1 x": ["-o verbos=1", "did you mean verbose?"],
    "run --env==1 x": ["--env '=1'", "a name is expected before '='"],
    "run -q batch x": ["-q: this asks Flux's scheduler", "leave it out"],
    "run --requires=gpu x": ["--requires: this asks Flux's scheduler"],
    "run -S a.b=1 x": ["-S: this needs a Flux instance"],
    "run --rlimit=nofile x": ["--rlimit: tasks inherit", "ulimit"],
    "run --add-file=x y": ["--add-file: there is nowhere to send a file", "name its path"],
    "run a :": ["no application follows the last ':'", "write -- before a command"],
    "run : b": ["a command is missing"],
    "run a : : b": ["a command is missing"],
    "run a : -n2": ["a command is missing"],
    "run a : -N2 b": ["-N: this belongs to the whole job", "before the first command"],
    "run a : --quiet b": ["--quiet: this belongs to the whole job"],
    "run a : -q batch b": ["-q: this asks Flux's scheduler"],
}
IMPOSSIBLE: dict[str, list[str]] = {
    "run -N3 -n2 x": ["-n 2", "-N 3", "ask for -n 3 or more"],
    "run -n2 --cores=2 x": ["per-resource options can't be used with per-task options"],
    "run -c 999999 x": ["unsatisfiable request", "999999 core(s)"],
    "run --env=A=$NOPE_X y": ["--env 'A=$NOPE_X'", "NOPE_X is not set"],
    "run --env-file=/none x": ["--env-file '/none'", "No such file"],
    "run --output=/none/o x": ["--output '/none/o'", "there is no directory '/none'", "make it first"],
    "run --error=/ x": ["--error '/'", "this is a directory"],
    "run --input=/none x": ["--input '/none'", "no such file"],
    "run -n2 --input=0-2 x": ["--input '0-2'", "there is no task 2, tasks are 0 to 1"],
    "run --taskmap=hostfile:/none x": ["--taskmap hostfile '/none'", "No such file"],
}


@pytest.fixture(autouse=True)
def outside_flux(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FLUX_URI", raising=False)


@pytest.mark.parametrize("line", VALUES)
def test_each_option_becomes_its_value(line: str) -> None:
    options = read([*line.split(), "prog", "-n99", "--bogus"])
    assert options.values == VALUES[line]
    (app,) = options.apps
    assert app.command == ("prog", "-n99", "--bogus")
    assert (app.ntasks, list(app.rules), app.cwd) == tuple(
        VALUES[line].get(key, default) for key, default in (("ntasks", None), ("env", []), ("cwd", None))
    )


@pytest.mark.parametrize("line", [*UNREADABLE, *IMPOSSIBLE])
def test_what_cannot_be_is_one_line_on_stderr_and_its_exit_code(line: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(line.split()) == (2 if line in UNREADABLE else 1)
    out, err = capfd.readouterr()
    assert not out and err.count("\n") == 1 and err.startswith("flux-pmix: error: ")
    assert [part for part in (UNREADABLE | IMPOSSIBLE)[line] if part not in err] == [], err


def test_applications_between_colons_have_tasks_environment_and_directory_of_their_own() -> None:
    line = "-N2 -n2 --env=A=1 a -x : --cwd=/tmp b : -n3 --env=B=2 --env-remove=C -- c : d"
    options = read(line.split())
    assert options.values["nodes"] == 2
    assert [(app.command, app.ntasks, app.rules, app.cwd) for app in options.apps] == [
        (("a", "-x"), 2, ("A=1",), None),
        (("b",), None, (), "/tmp"),
        (("c", ":", "d"), 3, ("B=2", "-C"), None),
    ]


@given(st.lists(st.text("ab:-=", max_size=4), max_size=6))
def test_after_two_dashes_a_command_is_taken_word_for_word(arguments: list[str]) -> None:
    (app,) = read(["-n2", "--", "prog", *arguments]).apps
    assert app.command == ("prog", *arguments)


@given(
    st.lists(st.sampled_from(["-n", "-N2", "4", "a", ":", "--", "-o", "x", "--env=A", "-t1", "--input", "-l", "-h"]))
)
def test_any_command_line_is_read_or_a_usage_error(words: list[str]) -> None:
    try:
        options = read(words)
    except UsageError as error:
        assert str(error)
    else:
        assert all(app.command and app.command[0] for app in options.apps)
        assert options.apps or "help" in options.values


@pytest.mark.parametrize(
    ("line", "page"),
    [
        ("run --help", run_options.help_text()),
        ("run -hn4 x", run_options.help_text()),
        ("help run", run_options.help_text()),
        ("run -o help", setopt.help_text()),
    ],
)
def test_help_is_printed_without_a_command_and_fits_a_screen(
    line: str, page: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(line.split()) == 0
    assert capfd.readouterr() == (page + "\n", "")
    assert len(page.splitlines()) <= 48 and max(map(len, page.splitlines())) <= 110


def test_every_option_but_help_itself_is_in_the_help() -> None:
    page = run_options.help_text()
    assert all(name in page for option in run_options.OPTIONS for name in option.names if option.names[0] != "-h")


def test_inside_flux_the_same_job_is_named_as_flux_run_starts_it() -> None:
    line = ["-N2", "-n", "4", "--env=A=b c", "-o", "security=munge", "-o", "verbose", "--", "-prog", "$x"]
    words = "flux run -o pmi=pmix -N2 -n 4 '--env=A=b c' -o verbose -- -prog '$x'"
    assert equivalent(read(line)) == words
    error: CommandError = refusal(read(line))
    assert error.exit_code == 1 and words in str(error) and "add --local" in str(error)
    assert "several, which Flux does not start" in str(refusal(read(["a", ":", "b"])))


def test_inside_flux_a_run_is_refused_unless_it_is_local(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FLUX_URI", "local:///nowhere")
    assert main(["run", "-n2", "true"]) == 1
    assert "start it with: flux run -o pmi=pmix -n2 true" in capfd.readouterr().err
    assert main(["run", "--local", "--dry-run", "-n2", "true"]) == 0
