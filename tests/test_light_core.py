"""The functions to import need jax, optax and numpy alone, down to the versions that we promise."""

import ast
import importlib.util
import json
import pathlib
import re
import subprocess
import sys
import tomllib

import pytest
from processes import ROOT

import jaxlab
from jaxlab import errors

CORE = ["losses", "regularizers", "optim", "distributions"]
CORE += ["decoding", "attacks", "theseus", "embedding_dim"]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NAME = re.compile(r"[\w.-]+")
FLOORS = {NAME.match(text)[0]: text.partition(">=")[2] for text in PROJECT["dependencies"]}
PACKAGE = ROOT / "jaxlab"


def imported(*modules: str) -> set[str]:
    """Top-level names outside the standard library that modules of jaxlab import anywhere."""
    found = set()
    for module in modules:
        folder = PACKAGE / module
        for path in folder.rglob("*.py") if folder.is_dir() else [folder.with_suffix(".py")]:
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Import):
                    found |= {alias.name.split(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom):
                    found.add(node.module.split(".")[0])
    return found - {*sys.stdlib_module_names, "jaxlab"}


def test_the_core_depends_on_what_it_imports():
    assert imported(*CORE, "errors", "checks") == {*FLOORS} == {"jax", "optax", "numpy"}


def test_importing_the_core_loads_no_other_package():
    code = (
        "import json, sys, jaxlab; tops = lambda: {m.split('.')[0] for m in sys.modules}\n"
        "first = tops()\n"
        "import jax, jax.experimental.checkify, optax, optax.contrib, numpy\n"
        f"before = tops(); [getattr(jaxlab, name) for name in {CORE}]\n"
        "print(json.dumps([sorted(first), sorted(tops() - before)]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    first, more = json.loads(done.stdout)
    assert not {*first} & {"jax", "numpy", "optax"}
    assert not {*more} - {*sys.stdlib_module_names}


def test_what_jaxlab_has_is_found_without_importing_it():
    files = {p.stem for p in PACKAGE.iterdir() if (p / "__init__.py").exists() or p.suffix == ".py"}
    names = {name for name in files if not name.startswith("_")}
    assert {name for name in dir(jaxlab) if not name.startswith("_")} == names
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    typed = [n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.module == "jaxlab"]
    assert names == {a.asname for node in typed for a in node.names if a.asname}  # for pyright
    assert jaxlab.losses.flood is sys.modules["jaxlab.losses"].flood
    with pytest.raises(AttributeError, match="module 'jaxlab' has no attribute 'loses'"):
        _ = jaxlab.loses


def test_every_module_needs_the_core_alone_or_says_that_it_needs_more():
    light = {name for name in dir(jaxlab) if name[0] != "_"} - {*jaxlab._Extra.users}
    assert {*CORE, "errors", "checks"} <= light
    assert imported(*light) <= {*FLOORS, "absl"}  # absl comes with every optax
    optional = {"tokenizers", "safetensors", "sacrebleu", "rouge_score", "huggingface_hub"}
    optional |= {"tensorboardX", "torch", "transformers", "datasets", "pyarrow", "sklearn"}
    assert imported(*jaxlab._Extra.users) - {*FLOORS} - optional == {*jaxlab._Extra.needs}


@pytest.mark.parametrize("module", ["train", "models.nvae", "launch"])
def test_a_missing_extra_is_one_line(monkeypatch, module):
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    there = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "flax" else there(name)
    )
    with pytest.raises(ImportError) as caught:
        jaxlab._Extra.find_spec(f"jaxlab.{module}")
    assert isinstance(caught.value, errors.MissingPackageError)
    assert caught.value.name == "flax"
    assert str(caught.value) == (
        f"jaxlab.{module} needs flax, which is not installed: "
        f"pip install '{PROJECT['name']}[train]'"
    )
    assert (sys.excepthook is jaxlab._end_script) == (module == "launch")
    for name in ("jaxlab.losses.flooding", "jaxlab.mesh", "flax", "other.train"):
        assert jaxlab._Extra.find_spec(name) is None


def test_extras_that_messages_name_are_there_and_bring_what_scripts_need():
    extras = PROJECT["optional-dependencies"]
    text = "".join(p.read_text() for p in PACKAGE.rglob("*.py") if p.name != "errors.py")
    named = re.findall(r'missing\(\s*[^()]*?["\'](\w+)["\'](?:, whose|\))', text)
    assert {"text", "parity", "tensorboard", "tpu", "demo", "train"} <= {*named} <= {*extras}
    for extra in {*extras} - {"train"}:
        own = [t for t in extras[extra] if t.startswith(PROJECT["name"])]
        assert own, f"{extra} brings scripts that do not start"


EXAMPLES = """
import doctest, importlib, importlib.metadata, json, pkgutil, sys
failed = attempted = 0
for name in sys.argv[1:]:
    top = importlib.import_module(f"jaxlab.{name}")
    inside = pkgutil.walk_packages(getattr(top, "__path__", []), f"{top.__name__}.")
    for module in [top.__name__, *(m.name for m in inside)]:
        result = doctest.testmod(importlib.import_module(module))
        failed, attempted = failed + result.failed, attempted + result.attempted
packages = {d.name: d.version for d in importlib.metadata.distributions()}
print(json.dumps([failed, attempted, packages]))
"""


def pip(python, *args):
    command = [str(python), "-m", "pip", *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True)
    if any(text in done.stderr for text in ("Temporary failure", "NewConnectionError")):
        pytest.skip("pip reaches no package index")
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("versions", ["lowest", "newest"])
def test_a_fresh_environment_with_the_core_alone(tmp_path, versions):
    if versions == "lowest" and sys.version_info >= (3, 13):
        pytest.skip("the lowest versions have no wheels for this Python")
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "env"], check=True)
    python = tmp_path / "env" / "bin" / "python"
    pinned = [f"{name}=={floor}" for name, floor in FLOORS.items()]
    pip(python, "install", ROOT, *(pinned if versions == "lowest" else []))
    call = lambda *args: subprocess.run(
        [python, *args], cwd=tmp_path, capture_output=True, text=True, env={"JAX_PLATFORMS": "cpu"}
    )
    done = call("-c", EXAMPLES, *CORE)
    assert done.returncode == 0, done.stderr
    failed, attempted, packages = json.loads(done.stdout.splitlines()[-1])
    megabytes = sum(p.stat().st_size for p in pathlib.Path(tmp_path).rglob("*") if p.is_file())
    print(f"{versions}: {len(packages)} packages, {megabytes / 1e6:.0f} MB, {attempted} statements")
    assert failed == 0, done.stdout
    assert attempted > 200
    if versions == "lowest":
        short = lambda version: re.sub(r"(\.0)+$", "", version)
        assert {n: short(packages[n]) for n in FLOORS} == {n: short(FLOORS[n]) for n in FLOORS}
    assert not {"flax", "orbax-checkpoint", "grain", "matplotlib", "ml_collections"} & {*packages}
    line = f"needs etils, which is not installed: pip install '{PROJECT['name']}[train]'\n"
    for module in ("train", "models.nvae"):
        assert call("-c", f"import jaxlab.{module}").stderr.endswith(line)
    for command in (("-m", "jaxlab", "train_nvae"), (ROOT / "scripts" / "plot_runs.py",)):
        done = call(*command)
        assert (done.returncode, done.stderr) == (2, f"error: jaxlab.launch {line}")


@pytest.mark.slow
@pytest.mark.parametrize("platform", ["win_amd64", "macosx_14_0_arm64"])
def test_the_core_resolves_everywhere(tmp_path, platform):
    where = ("--platform", platform, "--python-version=3.11", "--only-binary=:all:")
    out = ("--dry-run", "--quiet", "--report", tmp_path / "report.json", "--target", tmp_path)
    pip(sys.executable, "install", *where, *out, *PROJECT["dependencies"])
    found = json.loads((tmp_path / "report.json").read_text())["install"]
    names = {item["metadata"]["name"] for item in found}
    assert {*FLOORS} <= names
    assert len(names) < 20
