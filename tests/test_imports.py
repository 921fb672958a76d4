"""Imports point downwards, and each outside library stays behind its one file."""

import ast
import pathlib
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
FILES = sorted((ROOT / "jaxlab").rglob("*.py"))

# A module may import jaxlab modules of lower levels (and its own package). Others are at 2.
LEVELS = {
    "errors": -2,
    **dict.fromkeys(("checks", "files", "signals"), -1),
    **dict.fromkeys(("losses", "regularizers", "distributions", "embedding_dim"), 0),
    **dict.fromkeys(("attacks", "mesh", "metrics", "data"), 0),
    **dict.fromkeys(("optim", "checkpoints", "plots", "theseus", "decoding"), 1),
    "models": 2,
    "train": 2,
    **dict.fromkeys(("launch", "studies"), 3),
    "tasks": 4,
    "planning": 5,
    **dict.fromkeys(("__init__", "__main__"), 6),
}

# Outside libraries, and where they may be imported.
ONLY_IN = {
    "flax.linen": ("models",),
    "orbax": ("checkpoints",),
    "absl.flags": ("launch",),
    "absl.app": ("launch",),
    "ml_collections": ("launch",),
    "grain": ("data",),
    "pooch": ("data",),
    "matplotlib": ("plots",),
    "tensorboardX": ("metrics",),
    "tqdm": ("train", "data"),
    "scipy": ("studies", "models", "tasks"),
    "jax.experimental.multihost_utils": ("mesh",),
    "jax.sharding": ("mesh",),
    "jax.distributed": ("mesh",),
    "torch": ("models",),
    "tensorflow": (),
    "clu": (),
    "jax._src": (),
    "scripts": (),
    "configs": (),
    "tests": (),
}
PURE = ("errors", "checks", "attacks", "losses", "regularizers", "distributions", "embedding_dim")
PURE_MAY_IMPORT = ("jax", "chex", "numpy", "optax.losses", "jaxlab")

# Names that must not be used at all, or only in one file.
NAMES = {
    "jax.random.PRNGKey": (),
    "jax.pmap": (),
    "jax.make_mesh": ("mesh",),
    "jax.sharding.NamedSharding": ("mesh",),
    "jax.distributed": ("mesh",),
    "jax.device_count": ("mesh",),
}


def imports(tree: ast.AST) -> set[str]:
    """All dotted names that a file imports, `from a import b` as `a.b`."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def module_of(path: pathlib.Path) -> str:
    """The first name under jaxlab: `train` for jaxlab/train/step.py."""
    return path.relative_to(ROOT / "jaxlab").with_suffix("").parts[0]


def complaints(module: str, source: str, room: str = "") -> list[str]:
    """What a file of `module` does that it must not; `room` is the folder of a task."""
    tree, found = ast.parse(source), []
    level = LEVELS.get(module, 2)
    for name in sorted(imports(tree)):
        within = lambda prefix, name=name: f"{name}.".startswith(f"{prefix}.")
        found += [
            f"imports {name}, which only {where or 'nobody'} may"
            for prefix, where in ONLY_IN.items()
            if within(prefix) and module not in where
        ]
        if within("jaxlab") and name != "jaxlab":
            other = name.split(".")[1]
            if other != module and LEVELS.get(other, 2) >= level:
                found.append(f"imports {name}, which is not below {module}")
            if other == module == "tasks" and name.split(".")[2:3] != [room]:
                found.append(f"imports {name}: tasks import no other task")
        if module in PURE and not any(map(within, (*PURE_MAY_IMPORT, *sys.stdlib_module_names))):
            found.append(f"imports {name}, but may only import {PURE_MAY_IMPORT}")
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and module not in NAMES.get(
            ast.unparse(node), (module,)
        ):
            found.append(f"line {node.lineno} uses {ast.unparse(node)}")
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_layers(path):
    assert not complaints(module_of(path), path.read_text(), path.parent.name)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("train", "from flax import linen as nn"),
        ("train", "import orbax.checkpoint"),
        ("train", "from jaxlab import launch"),
        ("optim", "from jaxlab.train import fit"),
        ("losses", "import optax"),
        ("losses", "from jaxlab import optim"),
        ("checks", "from jaxlab import losses"),
        ("regularizers", "from jaxlab.losses import flood"),
        ("data", "import tensorflow as tf"),
        ("data", "from absl import flags"),
        ("models", "from jax._src import core"),
        ("models", "import jax\nkey = jax.random.PRNGKey(0)"),
        ("train", "import jax\nmesh = jax.make_mesh((1,), ('data',))"),
        ("train", "from configs.nvae import mnist"),
        ("tasks", "from jaxlab.tasks.compression import kinds"),
    ],
)
def test_the_rules_bite(module, source):
    assert complaints(module, source)


@pytest.mark.parametrize("path", sorted((ROOT / "scripts").glob("*.py")), ids=lambda p: p.name)
def test_scripts_draw_with_plots(path):
    names = imports(ast.parse(path.read_text()))
    assert not [name for name in names if name.split(".")[0] in ("matplotlib", "orbax", "grain")]


@pytest.mark.parametrize("folder", ["jaxlab", "scripts", "tests", "configs"])
def test_what_is_imported_is_there(folder):
    for path in sorted((ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            name = node.module if isinstance(node, ast.ImportFrom) else ""
            if name and f"{name}.".startswith("jaxlab."):
                target = ROOT / name.replace(".", "/")
                assert target.is_dir() or target.with_suffix(".py").exists(), f"{path}: {name}"


def test_no_file_is_long():
    lines = lambda files: {str(p): len(p.read_text().splitlines()) for p in files}
    assert not {p: n for p, n in lines(FILES).items() if n > 400}
    scripts = lines((ROOT / "scripts").glob("*.py"))
    assert not {p: n for p, n in scripts.items() if n > 200}
    assert sum(scripts.values()) < 2500
