"""AdamW and WEISSI: a penalty that ignores how scale is shared among layers, and L2 that does not.

    python scripts/compare.py --config=configs/studies/weissi.py:sgd --workdir=runs/weissi

Presets: `sgd` and `adam` (an MLP on 1,000 Fashion-MNIST images), `spread` (`sgd`, with the layers'
scales spread at the start, the function being the same), `norm` (`adam` with layer norm), `resnet`
and `resnet-norm` (a ResNet without and with batch norm), `tiny`. One CPU core: 6 to 12 minutes
each. Five seeds.

Every method has four candidates (ResNets two), chosen on 1,000 validation images by accuracy.
Robustness is the error on 500 test images moved by up to epsilon a pixel (FGSM, and PGD of 20
steps). `cliff`, not part of the comparison, shows strengths at which the penalty, which has no
minimum, takes over.
"""

from configs.studies import base
from jaxlab import launch

RECIPE = {
    "base.data.name": "fashion_mnist",
    "base.data.num_train": 1000,
    "base.data.num_validation": 1000,
    "base.data.num_test": 5000,
    "base.model.kind": "mlp",
    "base.model.features": (128, 128, 128),
    "base.objective.name": "cross_entropy",
    "base.optimizer.name": "momentum",
    "base.optimizer.learning_rate": 0.05,
    "base.num_steps": 2000,
    "base.batch_size": 50,
    "base.eval_every": 100,
    "report.norms": True,
    "report.epsilons": (0.02, 0.05),
    "report.pgd_steps": 20,
    "report.num_attacked": 500,
    "columns": (
        "test/fgsm_0.02",
        "test/pgd_0.02",
        "test/pgd_0.05",
        "log_norm_sum",
        "squared_norm_sum",
        "test/jacobian_norm",
    ),
    "curves.figures": ("test/error",),
    "tradeoff.x": "test/error",
    "tradeoff.y": "test/pgd_0.02",
    "layer_curves": ("none", "L2", "WEISSI, coupled"),
}
ADAM = {"base.optimizer.name": "adam", "base.optimizer.learning_rate": 1e-3}
SPREAD = {
    "base.model.gains": (4.0, 1.0, 0.25, 1.0),
    "base.optimizer.learning_rate": 0.01,
    "base.num_steps": 3000,
}
RESNET = {
    "base.data.num_test": 2000,
    "base.model.kind": "resnet",
    "base.model.features": None,
    "base.model.widths": (8, 16, 32),
    "base.model.stem_stride": 2,
    "base.model.norm": "none",
    "base.num_steps": 600,
    "seeds_in_program": "map",
    "report.num_attacked": 200,
}
TINY = base.TINY | {
    "base.data.name": "mnist5k",
    "base.data.num_train": 50,
    "base.data.num_validation": 20,
    "base.data.num_test": 20,
    "base.num_steps": 4,
    "base.batch_size": 10,
    "base.eval_every": 2,
    "report.epsilons": (0.05,),
    "report.pgd_steps": 2,
    "report.num_attacked": 20,
    "tradeoff.y": "test/pgd_0.05",
}
PRESETS = {
    "sgd": {},
    "adam": ADAM,
    "spread": SPREAD,
    "norm": ADAM | {"base.model.norm": "layer"},
    "resnet": RESNET,
    "resnet-norm": RESNET | {"base.model.norm": "batch", "base.num_steps": 300},
    "bf16": base.BF16,
    "tiny": TINY,
}


def get_config(preset: str = "sgd"):
    """Presets: "sgd", "adam", "spread", "norm", "resnet", "resnet-norm", "bf16"; "tiny",
    with adam alone.

    Several with commas.
    """
    names = launch.chosen(preset, PRESETS)
    config = base.recipe(RECIPE, PRESETS, "adam,tiny" if {*names} == {"tiny"} else ",".join(names))
    model, optimizer = config.base.model, config.base.optimizer
    adam, resnet, rate = optimizer.name == "adam", model.kind == "resnet", optimizer.learning_rate

    def scaled(*values):
        return tuple(round(scale * value, 6) for value in values)

    # Momentum 0.9 multiplies a coupled gradient by ten: decoupled strengths are larger.
    def strengths(name, *values):
        values = values[1:3] if resnet else values  # half: a ResNet takes ten times as long
        return base.grid("optimizer", name, *values)

    scale = 0.1 if resnet else 1.0  # its smallest kernels die at the strengths of the MLP
    coupled_l2 = (1e-4, 3e-4, 1e-3, 3e-3) if adam else (1e-3, 3e-3, 1e-2, 3e-2)
    arms = {
        "none": strengths("learning_rate", rate / 4, rate / 2, rate, 2 * rate),
        "L2": strengths("l2", *coupled_l2),
        "AdamW" if adam else "decoupled decay": strengths(
            "weight_decay", *((0.1, 0.3, 1.0, 3.0) if adam else (1e-2, 3e-2, 1e-1, 3e-1))
        ),
        "WEISSI, coupled": strengths(
            "weissi", *((0.01, 0.03, 0.1, 0.3) if adam else scaled(0.1, 0.2, 0.3, 0.5))
        ),
        "WEISSI, decoupled": strengths(
            "weissi_decay", *((1.0, 3.0, 10.0, 15.0) if adam else scaled(1.0, 2.0, 3.0, 5.0))
        ),
        "WEISSI, both terms": {
            "set": {"optimizer": {"weissi": 0.03 if adam else 0.3 * scale}},
            **strengths("weissi_direction", 1e-4, 3e-4, 1e-3, 3e-3),
        },
        "spectral": strengths("spectral", 1e-2, 3e-2, 1e-1, 3e-1),
        "cliff": strengths(
            "weissi_decay",
            *((20.0, 30.0, 100.0, 300.0) if adam else scaled(7.0, 10.0, 20.0, 40.0)),
        ),
    }
    if model.kind == "mlp" and model.norm is None:
        arms["path norm"] = strengths("path", 1e-5, 1e-4, 1e-3, 1e-2)
    config.tradeoff.arms = tuple(name for name in arms if name != "cliff")
    shown = ("WEISSI, decoupled", "cliff")
    sweep = {
        "name": "strength",
        "number": "weissi_decay",
        "ylabel": "test error",
        "logx": True,
        "lines": {name: {"arm": name, "figure": "test/error"} for name in shown},
    }
    tiny_arms = ("none", "AdamW", "WEISSI, decoupled", "path norm")
    return base.finish(config, arms, tiny_arms=tiny_arms, sweeps=(sweep,))
