"""README: its loop runs and learns, links lead somewhere, commands are targets of the Makefile."""

import re

import jax
import jax.numpy as jnp
import numpy as np
from processes import ROOT

TEXT = (ROOT / "README.md").read_text()


def test_the_loop_runs_and_learns():
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], [60, 20, 5])
    x = (np.eye(3)[labels] + 0.1 * rng.normal(size=(85, 3))).astype(np.float32)
    names = {
        "train_labels": labels,
        "num_classes": 3,
        "params": {"kernel": jnp.zeros((3, 3)) + 0.1, "bias": jnp.zeros(3)},
        "model": lambda params, x: x @ params["kernel"] + params["bias"],
    }
    exec(code, names)
    params, state = names["params"], names["opt_state"]
    found = []
    for _ in range(300):
        params, state, loss = names["step"](params, state, x, labels)
        found.append(float(loss))
    assert found[-1] < 0.8 * found[0]
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(params))


def test_links_and_pictures_are_there():
    for page in [ROOT / "README.md", *ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]:
        text = page.read_text()
        links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text)
        for target in links + re.findall(r'<img src="([^"]+)"', text):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_commands_are_targets():
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"make ([\w-]+)", TEXT):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
