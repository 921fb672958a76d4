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

import ml_collections

PRESETS = ("sgd", "adam", "spread", "norm", "resnet", "resnet-norm", "tiny")


def get_config(preset: str = "sgd") -> ml_collections.ConfigDict:
    """Presets: "sgd", "adam", "spread", "norm", "resnet", "resnet-norm", "tiny"."""
    if preset not in PRESETS:
        raise ValueError(f"preset is {preset!r}, known are {', '.join(PRESETS)}")
    tiny, resnet = preset == "tiny", preset.startswith("resnet")
    adam = preset in ("adam", "norm", "tiny")
    base = {
        # Arguments of jaxlab.data.load_classification.
        "data": {
            "name": "fashion_mnist",
            "num_train": 1000,
            "num_validation": 1000,
            "num_test": 5000,
        },
        # Of jaxlab.models.classifiers.make_classifier, and the gains of the layers.
        "model": {"kind": "mlp", "features": (128, 128, 128)},
        # Of jaxlab.tasks.classification.make_loss and jaxlab.optim.make_optimizer.
        "objective": {"name": "cross_entropy"},
        "optimizer": {
            "name": "adam" if adam else "momentum",
            "learning_rate": 1e-3 if adam else 0.05,
        },
        "num_steps": 2000,
        "batch_size": 50,
        "eval_every": 100,
    }
    if preset == "norm":
        base["model"]["norm"] = "layer"
    if preset == "spread":
        base["model"]["gains"] = (4.0, 1.0, 0.25, 1.0)
        base["optimizer"]["learning_rate"] = 0.01
        base["num_steps"] = 3000
    if resnet:
        norm = "batch" if preset == "resnet-norm" else "none"
        base["model"] = {"kind": "resnet", "widths": (8, 16, 32), "stem_stride": 2, "norm": norm}
        base["data"] |= {"num_test": 2000}
        base |= {"num_steps": 300 if norm == "batch" else 600, "eval_every": 100}
    if tiny:
        base["data"] = {"name": "mnist5k", "num_train": 50, "num_validation": 20, "num_test": 20}
        base["model"]["features"] = (8,)
        base |= {"num_steps": 4, "batch_size": 10, "eval_every": 2}

    def scaled(*values):
        return tuple(round(scale * value, 6) for value in values)

    # Momentum 0.9 multiplies a coupled gradient by ten: decoupled strengths are larger.
    def strengths(name, *values):
        return {"grid": {"optimizer": {name: values}}}

    rate = base["optimizer"]["learning_rate"]
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
            "grid": {"optimizer": {"weissi_direction": (1e-4, 3e-4, 1e-3, 3e-3)}},
        },
        "spectral": strengths("spectral", 1e-2, 3e-2, 1e-1, 3e-1),
        "cliff": strengths(
            "weissi_decay",
            *((20.0, 30.0, 100.0, 300.0) if adam else scaled(7.0, 10.0, 20.0, 40.0)),
        ),
    }
    if base["model"]["kind"] == "mlp" and "norm" not in base["model"]:
        arms["path norm"] = strengths("path", 1e-5, 1e-4, 1e-3, 1e-2)
    if resnet:  # half the candidates: a ResNet takes ten times as long
        for arm in arms.values():
            arm["grid"] = {s: {k: v[1:3] for k, v in g.items()} for s, g in arm["grid"].items()}
    if preset == "tiny":
        arms = {name: arms[name] for name in ("none", "AdamW", "WEISSI, decoupled", "path norm")}
        for arm in arms.values():
            arm["grid"] = {s: {k: v[:1] for k, v in g.items()} for s, g in arm["grid"].items()}
    return ml_collections.ConfigDict(
        {
            "fast_compile": tiny,
            # 0 to 4 served while the candidates were being decided on.
            "seeds": (0, 1) if tiny else (5, 6, 7, 8, 9),
            "seeds_in_program": "map" if resnet else "vmap",
            "base": base,
            "arms": arms,
            "order": tuple(arms),
            "report": {
                "norms": True,
                "epsilons": (0.05,) if tiny else (0.02, 0.05),
                "pgd_steps": 2 if tiny else 20,
                "num_attacked": 20 if tiny else 200 if resnet else 500,
            },
            "baseline": "none",
            "select": "error",
            "read": "error",
            "average_last": 1,
            "columns": (
                "test/fgsm_0.02",
                "test/pgd_0.02",
                "test/pgd_0.05",
                "log_norm_sum",
                "squared_norm_sum",
                "test/jacobian_norm",
            ),
            "curves": {"figures": ("test/error",)},
            "tradeoff": {
                "x": "test/error",
                "y": "test/pgd_0.05" if tiny else "test/pgd_0.02",
                "arms": tuple(name for name in arms if name != "cliff"),
            },
            "layer_curves": tuple(n for n in ("none", "L2", "WEISSI, coupled") if n in arms),
            "sweeps": (
                {
                    "name": "strength",
                    "number": "weissi_decay",
                    "ylabel": "test error",
                    "logx": True,
                    "lines": {
                        name: {"arm": name, "figure": "test/error"}
                        for name in ("WEISSI, decoupled", "cliff")
                        if name in arms
                    },
                },
            ),
        }
    )
