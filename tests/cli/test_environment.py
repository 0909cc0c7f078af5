"""What must hold of a task's environment: `flux run`'s rules, and nothing of a launcher around us."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from shutil import which

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxpmix.cli import environment
from fluxpmix.cli.errors import CommandError, UsageError

OURS = {"PATH": "/bin", "HOME": "/root", "LD_A": "1", "LD_B": "2", "XLD_": "3", "A[b]": "4", "DOLLAR": "$HOME"}
# Rules, and what they change: a name and its value, None for one that is gone.
RULES: list[tuple[list[str], dict[str, str | None]]] = [
    ([], {}),
    (["A=1"], {"A": "1"}),
    (["A="], {"A": ""}),
    (["A=b=c"], {"A": "b=c"}),
    (["A=1", "A=2"], {"A": "2"}),
    (["PATH=/x:$PATH"], {"PATH": "/x:/bin"}),
    (["PATH=/x:${PATH}y", "PATH=$PATH/z"], {"PATH": "/x:/biny/z"}),
    (["A=$$5 and $$", "B=$A"], {"A": "$5 and $", "B": "$5 and $"}),
    (["A=$DOLLAR"], {"A": "$HOME"}),  # what is put in is not looked at again
    (["-LD_*"], {"LD_A": None, "LD_B": None}),
    (["-LD_?"], {"LD_A": None, "LD_B": None}),
    (["-LD_[A]"], {"LD_A": None}),
    (["-*LD_*"], {"LD_A": None, "LD_B": None, "XLD_": None}),
    (["-/LD_/"], {"LD_A": None, "LD_B": None}),
    (["-/LD_(A|C)"], {"LD_A": None}),
    (["-/.*D_$/"], {"XLD_": None}),
    (["-LD_A"], {"LD_A": None}),
    (["-LD_"], {}),
    (["-nothing"], {}),
    (["-*"], dict.fromkeys(OURS)),
    (["-*", "PATH"], {**dict.fromkeys(OURS), "PATH": "/bin"}),
    (["-*", "A=$HOME"], {**dict.fromkeys(OURS), "A": "/root"}),  # our own are still to be had
    (["-*", "/LD_/"], {**dict.fromkeys(OURS), "LD_A": "1", "LD_B": "2"}),
    (["PATH=/x", "PATH"], {"PATH": "/x"}),  # a pattern brings back but does not overwrite
    (["A=1", "-A"], {}),
]
OUTER = ["PMIX_RANK", "PMIX_SERVER_URI41", "PMI_RANK", "PMI2_FD", "PRTE_LAUNCHED", "OMPI_COMM_WORLD_RANK"]
OUTER += ["OMPI_MCA_orte_x", "OMPI_MCA_ess_base_jobid", "OMPI_MCA_num_procs", "FLUX_TASK_RANK", "FLUX_JOB_ID"]


def build(*rules: str, inherited: Mapping[str, str] = OURS) -> tuple[dict[str, str], tuple[str, ...]]:
    made, templates = environment.build(inherited, rules)
    assert made.pop("OMPI_MCA_schizo") == "flux"
    return made, templates


@pytest.mark.parametrize(("rules", "changes"), RULES, ids=lambda value: ",".join(value) if type(value) is list else "")
def test_rules_change_what_they_name_and_nothing_else(rules: list[str], changes: dict[str, str | None]) -> None:
    expected = {name: value for name, value in {**OURS, **changes}.items() if value is not None}
    assert build(*rules) == (expected, ())


@given(st.dictionaries(st.from_regex(r"[A-Z_]{1,6}", fullmatch=True), st.text(max_size=6), max_size=6))
def test_without_rules_everything_of_ours_is_inherited(inherited: dict[str, str]) -> None:
    kept = {name: value for name, value in inherited.items() if not environment.is_outer(name)}
    assert build(inherited=inherited) == (kept, ())


@given(st.text("ab{}$ ", max_size=8))
def test_a_value_with_its_dollars_doubled_is_itself(text: str) -> None:
    made, templates = build("A=" + text.replace("$", "$$"))
    assert made["A"] == text
    assert templates == (("A",) if "{{" in text else ())


def test_only_values_that_rules_set_are_templates() -> None:
    inherited = {"MINE": "{{taskid}}", "PATH": "/bin"}
    rules = ["OUT=$PATH/{{taskid}}", "PLAIN=x", "GONE={{id}}", "-GONE", "OVER={{id}}", "OVER=x"]
    assert build(*rules, inherited=inherited)[1] == ("OUT",)
    assert build("MINE={{id}}", "-MINE", "MINE", inherited=inherited)[1] == ()


@pytest.mark.parametrize("name", OUTER)
def test_what_an_outer_launcher_left_is_gone_and_no_rule_brings_it_back(name: str) -> None:
    assert build("*", inherited={name: "1"}) == ({}, ())
    assert build(f"{name}=2", inherited={name: "1"}) == ({name: "2"}, ())  # unless somebody means it


@pytest.mark.parametrize("name", ["PMIX_MCA_gds", "PRTE_MCA_x", "OMPI_MCA_btl", "FLUX_URI", "PMIX_PREFIX", "OMPI_CC"])
def test_settings_that_a_person_makes_stay(name: str) -> None:
    assert build(inherited={name: "1"}) == ({name: "1"}, ())


def test_a_file_of_rules_is_read_in_its_place_without_comments(tmp_path: Path) -> None:
    (tmp_path / "inner").write_text("  B=2  \n")
    (tmp_path / "rules").write_text(f"# what we want\n\n-LD_*\nA=1\n^{tmp_path}/inner\n")
    made, _ = build("A=0", f"^{tmp_path}/rules", "B=$B$B")
    assert (made["A"], made["B"]) == ("1", "22") and "LD_A" not in made


def test_a_file_s_home_is_the_user_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "rules").write_text("A=1")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert build("^~/rules")[0]["A"] == "1"


@pytest.mark.parametrize(
    ("rule", "error", "remedy"),
    [
        ("", UsageError, "a pattern is expected"),
        ("-", UsageError, "a pattern is expected"),
        ("=x", UsageError, "a name is expected before '='"),
        ("A=\0", UsageError, "a name is expected before '='"),
        ("-/(/", UsageError, "bad regular expression"),
        ("/[/", UsageError, "bad regular expression"),
        ("A=$", UsageError, "write $NAME, ${NAME} or $$"),
        ("A=5$ 3", UsageError, "write $NAME, ${NAME} or $$"),
        ("A=$1", UsageError, "write $NAME, ${NAME} or $$"),
        ("A=${PATH", UsageError, "write $NAME, ${NAME} or $$"),
        ("A=${}", UsageError, "write $NAME, ${NAME} or $$"),
        ("A=$NOPE", CommandError, "NOPE is not set; set it first, or write $$ for a dollar"),
        ("A=${NOPE}x", CommandError, "NOPE is not set"),
    ],
)
def test_a_rule_that_cannot_be_is_refused_by_name(rule: str, error: type[CommandError], remedy: str) -> None:
    with pytest.raises(CommandError) as caught:
        build(rule)
    assert type(caught.value) is error
    assert f"--env {rule!r}: " in str(caught.value) and remedy in str(caught.value)


def test_files_that_cannot_be_read_are_refused_by_name(tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.write_text(f"^{loop}\n")
    for path, why in ((tmp_path / "none", "No such file"), (tmp_path, "Is a directory"), (loop, "is this a loop?")):
        with pytest.raises(CommandError) as caught:
            build(f"^{path}")
        assert caught.value.exit_code == 1
        assert repr(str(path)) in str(caught.value) and why in str(caught.value)


@pytest.mark.flux
@pytest.mark.skipif(which("flux") is None, reason="no flux on PATH")
def test_flux_makes_the_same_of_the_same_rules() -> None:
    script = """
import json, os, sys
from flux.job._utils import get_filtered_environment
ours, cases = json.loads(sys.argv[1])
os.environ.clear()
os.environ.update(ours)
print(json.dumps([get_filtered_environment(rules)[0] for rules in cases]))
"""
    command = ["flux", "python", "-c", script, json.dumps([OURS, [rules for rules, _ in RULES]])]
    theirs = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert [build(*rules)[0] for rules, _ in RULES] == theirs
