"""docs/extending.md: each addition is applied to a copy of the repository and used."""

import os
import re
import shutil
import subprocess
import sys

import pytest
from processes import ROOT

PAGE = (ROOT / "docs" / "extending.md").read_text()
USE = """
import jax, jax.numpy as jnp, numpy as np
from jaxlab import data, losses, optim
from jaxlab.models import classifiers

loss = losses.make_objective("poly", class_counts=jnp.ones(2), epsilon=2.0)
value = loss(jnp.zeros((1, 2)), jnp.array([1]))[0]
np.testing.assert_allclose(value, np.log(2) + 2.0 * 0.5, rtol=1e-6)

params = {"w": jnp.zeros((2, 2))}
tx = optim.make_optimizer("lion", learning_rate=0.5, schedule="constant", num_steps=9, b1=0.95)
updates, _ = tx.update({"w": jnp.full((2, 2), -7.0)}, tx.init(params), params)
np.testing.assert_allclose(updates["w"], 0.5)

assert data.image_spec("kmnist").shape == (32, 32, 1)

model = classifiers.make_classifier("pooled", 3)
params, state = classifiers.init_variables(model, jax.random.key(0), jnp.zeros((1, 4, 4, 2)))
assert params["head"]["kernel"].shape == (2, 3)
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A copy of the repository with all additions of the page."""
    root = tmp_path_factory.mktemp("fork")
    for name in ("jaxlab", "scripts", "configs"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    for change in re.findall(r"```diff\n(.*?)```", PAGE, re.DOTALL):
        subprocess.run(["git", "apply", "-"], input=change, text=True, cwd=root, check=True)
    for path, text in re.findall(r"`(\S+\.py)`:\n\n```python\n(.*?)```", PAGE, re.DOTALL):
        (root / path).parent.mkdir(exist_ok=True)
        (root / path).write_text(text)
    return root


def _python(root, *args):
    env = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run(
        [sys.executable, *args], cwd=root, env=env, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_is_added_works(copy):
    _python(copy, "-c", USE)


def test_an_added_task_trains_and_takes_other_methods(copy):
    run = ("scripts/fit_mean.py", f"--workdir={copy / 'run'}")
    assert float(_python(copy, *run).strip(" [].\n")) == pytest.approx(3.0, abs=0.3)
    assert (copy / "run" / "checkpoints" / "200").is_dir()
