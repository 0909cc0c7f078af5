"""pmix.so without a Flux: a small program with flux-shell's plugin API (`stage.c`) walks it through a job's life."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from installed import find_libpmix as libpmix
from instance import CLIENTS, SOURCE

from fluxpmix.pmix.record import replace
from fluxpmix.shell.flux import embedding

pytestmark = pytest.mark.pmix
CONNECTED = "from fluxpmix import Client\nimport os, sys\nclient = Client()\nrank = client.proc.rank\n"


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler")
    program = tmp_path_factory.mktemp("stage") / "stage"
    source = Path(__file__).parent / "stage.c"
    words = [compiler, "-D_GNU_SOURCE", "-Wall", "-Werror", "-rdynamic", "-o", program, source, "-ldl"]
    subprocess.run(words, check=True)
    return program


class Stage:
    """The program and what it is given."""

    def __init__(self, program: Path, plugin: Path, directory: Path) -> None:
        self.program = program
        self.plugin = plugin
        self.tmpdir = directory / "jobtmp"

    def run(
        self, *command: str, tasks: int = 2, pmi: str = '"pmix"', code: int = 0, tmpdir: str = "", **env: str
    ) -> subprocess.CompletedProcess[str]:
        words = [self.program, self.plugin / "pmix.so", pmi, str(tasks), tmpdir or self.tmpdir, "", *command]
        variables = {name: os.environ[name] for name in ("PATH", "HOME", "LD_LIBRARY_PATH") if name in os.environ}
        variables |= {"PYTHONPATH": SOURCE} | env
        self.tmpdir.mkdir(mode=0o700)
        done = subprocess.run(list(map(str, words)), env=variables, capture_output=True, text=True, timeout=60)
        assert done.returncode == code, done
        assert not [path for path in self.tmpdir.rglob("*") if not path.is_dir()], "libpmix's files are gone"
        shutil.rmtree(self.tmpdir)  # as flux-shell does at the end
        return done


@pytest.fixture
def play(stage: Path, plugin: Path, tmp_path: Path) -> Stage:
    if libpmix("5.0") is None and libpmix("4.2") is None:
        pytest.skip("no libpmix is found")
    return Stage(stage, plugin, tmp_path)


def client(text: str) -> list[str]:
    return [sys.executable, "-c", CONNECTED + text]


def test_a_job_runs_and_leaves_nothing(play: Stage) -> None:
    done = play.run(sys.executable, str(CLIENTS / "fence.py"), tasks=3)
    assert done.stderr == ""


def test_exit_codes_and_aborts_come_out(play: Stage) -> None:
    play.run(*client("client.finalize(); sys.exit(rank * 3)"), code=3)
    done = play.run(*client("client.abort(42, 'enough') if rank == 1 else client.fence()"), code=143)
    assert "raise 42 PMIx_Abort by rank 1 with status 42: enough" in done.stderr


def test_nothing_happens_where_pmix_is_not_asked_for(play: Stage) -> None:
    assert "PMIX_" not in play.run("env", pmi='"simple"').stdout
    for pmi, there in (('"simple"', False), ('"pmix"', True)):
        done = play.run("sh", "-c", "cat /proc/$PPID/maps", tasks=1, pmi=pmi)
        assert ("_cffi_backend" in done.stdout) is there


@pytest.mark.parametrize("pmi", ['"pmix"', '"simple,pmix"', '"pmix,simple"'])
def test_pmix_is_found_in_a_list(play: Stage, pmi: str) -> None:
    assert "PMIX_RANK=0" in play.run("env", tasks=1, pmi=pmi).stdout


def test_python_variables_of_the_environment_change_nothing(play: Stage) -> None:
    done = play.run("env", tasks=1, PYTHONHOME="/nonexistent", PYTHONPATH="/nonexistent", LC_ALL="C")
    assert "PMIX_RANK=0" in done.stdout
    assert "PYTHONHOME=/nonexistent" in done.stdout, "they are the task's own"


@pytest.mark.parametrize(
    ("env", "tmpdir", "says"),
    [
        ({"STAGE_OPTION_pmix": '{"libpmix":"/nonexistent/libpmix.so"}'}, "", "raise 1 pmix: no usable libpmix"),
        ({"STAGE_OPTION_pmix": '{"libpmix":"libc.so.6"}'}, "", "not a libpmix"),
        ({"STAGE_OPTION_pmix": '{"nosuch":1}'}, "", "-o pmix.nosuch: there is no such option"),
        (
            {"STAGE_OPTION_pmix": '{"timeout":"soon"}'},
            "",
            "-o pmix.timeout=soon: write a number with ms, s, m, h or d, e.g. 90s or 1.5h",
        ),
        ({}, "/nonexistent", "FLUX_JOB_TMPDIR=/nonexistent cannot be written"),
    ],
)
def test_bad_input_is_one_line(play: Stage, env: dict[str, str], tmpdir: str, says: str) -> None:
    done = play.run("true", code=99, tmpdir=tmpdir, **env)
    lines = done.stderr.splitlines()
    assert len(lines) == 1 and says in lines[0], done.stderr


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("7", "-o pmix=7: an option of it is expected, one of pmix.libpmix, "),
        ('["fanout"]', "-o pmix=['fanout']: an option of it is expected"),
        ('{"libpmix":["a"]}', "-o pmix.libpmix=['a']: text is expected"),
        ('{"fanout":"2"}', "-o pmix.fanout=2: a whole number from 2 to 65536 is expected"),
        ('{"fanout":true}', "-o pmix.fanout=True: a whole number from 2 to 65536 is expected"),
        ('{"exchange":3}', "-o pmix.exchange=3: one of auto, tree, bruck is expected"),
        ('{"timeout":{"s":1}}', "-o pmix.timeout={'s': 1}: write a number with ms, s, m, h or d"),
        ('{"timeout":-0.5}', "-o pmix.timeout=-0.5: write a number with ms, s, m, h or d"),
        ('{"model":5}', "-o pmix.model=5: text is expected"),
        ('{"stop":"exec"}', "-o pmix.stop=exec: init or app is expected; Flux stops tasks on exec by"),
        ('{"pset":"left"}', "-o pmix.pset=left: a name is expected: pmix.pset.NAME=RANKS"),
        ('{"pset":{"left":"1-x"}}', "-o pmix.pset={'left': '1-x'}: "),
        ('{"trace":{}}', "-o pmix.trace={}: text is expected"),
        ('{"oversubscribe":"perhaps"}', "-o pmix.oversubscribe=perhaps: on or off is expected"),
    ],
)
def test_an_option_of_the_wrong_type_is_named_with_what_is_right(play: Stage, given: str, says: str) -> None:
    (line,) = play.run("true", code=99, STAGE_OPTION_pmix=given).stderr.splitlines()
    assert line.startswith(f"raise 1 pmix: {says}"), line


def test_a_python_that_is_gone_is_named(play: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = replace(embedding.this_python(), executable="/nonexistent/python3", base="/nonexistent/base")
    monkeypatch.setattr(embedding, "this_python", lambda: gone)
    embedding.build(str(tmp_path))
    play.plugin = tmp_path
    assert play.run("true", code=99).stderr.splitlines() == [
        "raise 1 pmix: the Python that this plugin was built for is gone: /nonexistent/python3; "
        "run flux-pmix build-plugins"
    ]


def test_an_environment_without_cffi_is_named(play: Stage, tmp_path: Path) -> None:
    """The plugin lies in the package, in a virtual environment: that is the Python that it starts."""
    where = tmp_path / "env"
    venv.create(where, symlinks=True)
    site = next((where / "lib").glob("python3*")) / "site-packages"
    shutil.copytree(Path(SOURCE) / "fluxpmix", site / "fluxpmix", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    shutil.copy(play.plugin / "pmix.so", site / "fluxpmix/shell/flux/pmix.so")
    play.plugin = site / "fluxpmix/shell/flux"
    done = play.run("true", code=99)
    assert done.stderr.splitlines() == [
        f"raise 1 pmix: Python at {where}/bin/python3: No module named '_cffi_backend'; install cffi there: "
        "pip install cffi"
    ]
