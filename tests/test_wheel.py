"""Who installs the wheel gets what the clone has: scripts, configs, types, the same error lines."""

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile

import pytest
from processes import ROOT, run_script

import jaxlab
from jaxlab import __main__ as main
from jaxlab.launch import config as configs
from jaxlab.launch import help as help_text
from jaxlab.launch import record

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
INCLUDED = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
TINY = "--config=configs/nvae/mnist5k.py:tiny"


@pytest.fixture
def installed(monkeypatch, tmp_path):
    """`jaxlab.launch` finds what a wheel has, laid out as pyproject.toml says; another folder."""
    for folder, target in INCLUDED.items():
        shutil.copytree(ROOT / folder, tmp_path / "site" / target)
    root = tmp_path / "site" / configs._INSTALLED.relative_to(configs._PACKAGE.parent)
    for module in (configs, record, main):
        monkeypatch.setattr(module, "ROOT", root)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return root


def test_what_a_wheel_has_is_found_from_any_folder(installed, capsys):
    names = {p.stem for p in (ROOT / "scripts").glob("*.py")}
    main.main(["jaxlab"])
    shown = capsys.readouterr().out
    assert names == set(re.findall(r"^  (\w+)  ", shown, re.MULTILINE))
    assert configs.find("configs/nvae/cifar10.py:cpu") == f"{installed}/configs/nvae/cifar10.py:cpu"
    # ffhq256 imports another config, by its name in the clone.
    assert configs.load("configs/nvae/ffhq256.py").model.flows == 2
    with pytest.raises(SystemExit, match="2"):
        main.main(["jaxlab", "train_nvea"])
    assert capsys.readouterr().err == "error: no script 'train_nvea': did you mean train_nvae?\n"


def test_help_names_commands_that_are_there(installed, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "__doc__", "Runs.\n\n    python scripts/a_b.py --c")
    shown = lambda: help_text.help_text(wheel, None, {}, [""]).splitlines()[2]
    assert shown() == "    python -m jaxlab a_b --c"
    monkeypatch.setattr(configs, "ROOT", ROOT)
    assert shown() == "    python scripts/a_b.py --c"


def test_a_script_is_run_with_its_own_arguments(installed, monkeypatch):
    monkeypatch.setattr(sys, "argv", [])
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    script = installed / "scripts" / "shows.py"
    script.write_text("import sys\nsys.seen = (__name__, sys.argv, sys.path[0])\n")
    main.main(["jaxlab", "shows", "--a=1", "b"])
    seen = sys.__dict__.pop("seen")
    assert seen == ("__main__", [str(script), "--a=1", "b"], str(script.parent))


def test_an_installed_version_has_the_commit_that_pip_noted(installed, monkeypatch):
    subprocess.run(["git", "init", str(installed.parents[2])], check=True, capture_output=True)
    notes: list[str | None] = [None, '{"dir_info": {}}', '{"vcs_info": {"commit_id": "f00"}}']

    class Distribution:
        def read_text(self, name):
            assert name == "direct_url.json"
            return notes[0]

    monkeypatch.setattr(importlib.metadata, "distribution", {"jaxlab-research": Distribution()}.get)
    found = [record._git_commit()]
    for note in notes[1:]:
        notes[0] = note
        found.append(record._git_commit())
    assert found == [None, None, "f00"]  # and not the one of the project that has it in a folder


def test_the_wheel_is_typed_and_named():
    assert (ROOT / "jaxlab" / "py.typed").read_text() == ""
    assert PROJECT["tool"]["hatch"]["version"]["path"] == "jaxlab/__init__.py"
    assert PROJECT["project"]["name"] == "jaxlab-research"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The folder in which a wheel is unpacked, as pip does."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True)
    if any(text in done.stderr for text in ("Temporary failure", "NewConnectionError")):
        pytest.skip("pip reaches no package index for the tool that builds")
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as file:
        file.extractall(folder / "site")
    return folder / "site"


def call(wheel, cwd, *args):
    """`python -m jaxlab ARGS` with the wheel and everything it needs, far from the clone."""
    return subprocess.run(
        [sys.executable, "-m", "jaxlab", *map(str, args)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(wheel), "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
def test_the_wheel_holds_what_the_clone_has(wheel):
    inside = {str(p.relative_to(wheel)) for p in wheel.rglob("*") if p.is_file()}
    wanted = {f"jaxlab/{p.relative_to(ROOT / 'jaxlab')}" for p in (ROOT / "jaxlab").rglob("*.py")}
    for folder, target in INCLUDED.items():
        files = [p for p in (ROOT / folder).rglob("*") if p.is_file() and p.suffix != ".pyc"]
        wanted |= {f"{target}/{p.relative_to(ROOT / folder)}" for p in files}
    inside = {name for name in inside if not name.startswith("jaxlab_research-")}
    assert inside == wanted | {"jaxlab/py.typed", "jaxlab/planning/parity.json"}


@pytest.mark.slow
def test_a_run_with_the_wheel(wheel, tmp_path):
    done = call(wheel, tmp_path, "train_nvae", TINY, "--workdir=run")
    assert done.returncode == 0, done.stderr
    assert "step 20/20" in done.stderr  # progress shows
    record = json.loads((tmp_path / "run" / "config.json").read_text())
    assert record["versions"]["jaxlab"] == jaxlab.__version__
    assert record["git_commit"] is None
    assert call(wheel, tmp_path, "evaluate_nvae", "--workdir=run").returncode == 0
    shown = call(wheel, tmp_path, "train_nvae", "--help", TINY)
    assert "Config keys, with the values of configs/nvae/mnist5k.py:tiny:" in shown.stdout


MISTAKES = {
    "unknown arch": ("train_nvae", TINY, "--config.model.arch=nope", "--workdir={here}/a"),
    "unknown key": ("train_nvae", TINY, "--config.model.achr=3", "--workdir={here}/a"),
    "wrong type": ("train_nvae", TINY, "--config.num_steps=many", "--workdir={here}/a"),
    "unknown preset": ("train_nvae", "--config=configs/nvae/mnist.py:tinny", "--workdir={here}/a"),
    "no config": ("train_nvae", "--config=configs/nvae/nope.py", "--workdir={here}/a"),
    "no workdir": ("train_nvae", TINY),
    "no data": (
        *("train_nvae", TINY, "--config.data.name=mnist"),
        *("--data_dir={here}/none", "--workdir={here}/a"),
    ),
    "no run": ("evaluate_nvae", "--workdir={here}/nowhere"),
    "unknown flag": ("sample_nvae", "--workdri={here}/a"),
    "unknown set": ("fetch_data", "mnits", "--data_dir={here}/d"),
    "no metrics": ("plot_runs", "{here}"),
    "bad number": ("estimate_embedding_dim", "--vocab_size=1"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MISTAKES)
def test_the_same_mistake_is_the_same_line(wheel, tmp_path, name):
    script, *args = [a.format(here=tmp_path) for a in MISTAKES[name]]
    ours = run_script(script, *args, code=2)
    theirs = call(wheel, tmp_path, script, *args)
    lines = [
        [line for line in done.stderr.splitlines() if not re.match(r"\d\d:\d\d:\d\d ", line)]
        for done in (ours, theirs)
    ]
    print(f"{name}: {theirs.returncode} {lines[1]}")
    assert lines[0] == lines[1]
    assert len(lines[0]) == 1
    assert lines[0][0].startswith("error: ")
    assert (ours.returncode, ours.stdout) == (theirs.returncode, theirs.stdout)


USERS = """
import jax.numpy as jnp
import jaxlab
from jaxlab import losses, optim, regularizers

right = losses.flood(jnp.float32(1.0), level=0.5)
tx = optim.adamw_weissi(1e-3, log_norm="a")
number: int = losses.flood(jnp.float32(1.0), level=0.5)
losses.flod(right, level=0.5)
regularizers.l2()
jaxlab.losses.flood(right, levels=0.5)
"""


@pytest.mark.slow
def test_type_checkers_find_mistakes_in_code_that_uses_the_wheel(wheel, tmp_path):
    if not shutil.which("pyright", path=os.path.dirname(sys.executable)):
        pytest.skip("pyright is not installed")
    (tmp_path / "users.py").write_text(USERS)
    options = {"typeCheckingMode": "strict", "extraPaths": [str(wheel)]}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(options))
    command = [f"{os.path.dirname(sys.executable)}/pyright", "--pythonpath", sys.executable]
    done = subprocess.run(
        [*command, "--outputjson", "-p", str(tmp_path)], capture_output=True, text=True
    )
    found = json.loads(done.stdout)["generalDiagnostics"]
    errors = [(d["range"]["start"]["line"], d["rule"]) for d in found if d["severity"] == "error"]
    print(errors)
    assert sorted({line for line, _ in errors}) == [6, 7, 8, 9, 10]
    rules = {rule for _, rule in errors}
    assert "reportMissingTypeStubs" not in rules
