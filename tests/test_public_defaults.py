"""Defaults of imported functions: another one would change other people's results in silence."""

import importlib
import inspect

import pytest

DEFAULTS = {
    "jaxlab.losses.adjustment": {
        "adjust_logits": {"tau": 1.0, "axis": -1},
        "logits_for_prior": {"axis": -1},
    },
    "jaxlab.losses.cross_entropies": {
        "soft_cross_entropy": {"axis": -1},
        "logit_adjusted_cross_entropy": {"tau": 1.0, "axis": -1},
        "logit_adjusted_soft_cross_entropy": {"tau": 1.0, "axis": -1},
        "pairwise_margin_cross_entropy": {"axis": -1},
        "focal_cross_entropy": {"gamma": 2.0, "axis": -1},
        "ldam_cross_entropy": {"max_margin": 0.5, "scale": 30.0, "axis": -1},
    },
    "jaxlab.losses.class_vectors": {
        "cosine_logits": {"eps": 1e-6},
        "tau_normalized_kernel": {"tau": 1.0},
    },
    "jaxlab.losses.priors": {
        "class_prior_from_counts": {"smoothing": 0.0},
        "estimate_class_prior": {"smoothing": 0.0},
        "initial_bias": {"tau": 1.0},
        "inverse_prior_weights": {"power": 1.0},
        "class_balanced_weights": {"beta": 0.999},
        "logit_adjustment_margins": {"tau": 1.0},
        "ldam_margins": {"scale": 1.0},
        "equalized_margins": {"tau": 1.0},
    },
    "jaxlab.losses.flooding": {
        "adaflood_levels": {"gamma": 0.5, "alpha": 1.0, "beta": 0.0},
        "value_and_flood_grad": {"has_aux": False},
    },
    "jaxlab.losses.traced": {"check_traced_prior": {"zeros": False}},
    "jaxlab.optim.penalties": {
        "add_weissi": {"direction": 0.0, "eps": 1e-8, "stacked": False},
        "weissi_decay": {"min_norm": 0.0, "stacked": False},
        "adamw_weissi": {
            "b1": 0.9,
            "b2": 0.999,
            "eps": 1e-8,
            "eps_root": 0.0,
            "direction": 0.0,
            "min_norm": 0.0,
            "norm_eps": 1e-8,
            "stacked": False,
            "nesterov": False,
        },
    },
    "jaxlab.optim.flooding": {"alternating_rates": {"ascent_first": False}},
    "jaxlab.optim.skipping": {
        "skip_large_updates": {"factor": 10.0, "decay": 0.99, "warmup_steps": 100}
    },
    "jaxlab.optim.schedules": {"warmup_linear_decay": {"warmup": 0.1}},
    "jaxlab.regularizers.norms": {
        "squared_norm": {"stacked": False},
        "weissi": {"log_norm": 1.0, "direction": 0.0, "eps": 1e-8, "stacked": False},
        "log_norm_sum": {"eps": 1e-8, "stacked": False},
        "weissi_grad": {"log_norm": 1.0, "direction": 0.0, "eps": 1e-8, "stacked": False},
        "squared_gradient_norm": {"has_aux": False},
        "gradient_norm_penalty": {"has_aux": False},
    },
    "jaxlab.regularizers.baselines": {
        "init_spectral_vectors": {"iterations": 30, "stacked": False},
        "spectral_norm_penalty": {"iterations": 1, "stacked": False},
    },
    "jaxlab.regularizers.scale": {"residual_log_bound": {"eps": 1e-8}},
    "jaxlab.regularizers.masks": {
        "matrices_only": {"stacked": False},
        "select": {"stacked": False},
    },
    "jaxlab.theseus": {
        "replacement_schedule": {"slope": 0.0},
        "choose_layers": {"which": "first"},
        "forward": {"frozen_below": False},
    },
    "jaxlab.attacks": {"fgsm": {"low": 0.0, "high": 1.0}, "pgd": {"low": 0.0, "high": 1.0}},
    "jaxlab.train.step": {
        "make_train_step": {"ema_decay": 0.999, "ema_warmup": True, "accumulate": 1}
    },
    "jaxlab.train.loop": {
        "resume": {"keep_latest": 3, "best_mode": "min", "tensorboard": False},
        "fit": {
            "log_every": 100,
            "eval_every": 0,
            "checkpoint_every": 0,
            "max_skipped_in_a_row": 20,
        },
    },
    "jaxlab.train.state": {"create_state": {"ema": True}},
    "jaxlab.studies.comparison": {
        "choose": {"stop": "last", "average_last": 1},
        "final": {"average_last": 1},
    },
    "jaxlab.studies.tables": {"paired": {"level": 0.95}},
    "jaxlab.checkpoints": {"load_params": {"ema": True, "best_mode": "min"}},
}


@pytest.mark.parametrize("module", DEFAULTS)
def test_defaults(module):
    for name, wanted in DEFAULTS[module].items():
        given = inspect.signature(getattr(importlib.import_module(module), name)).parameters
        assert {k: given[k].default for k in wanted} == wanted, name
