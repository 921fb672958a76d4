"""`jaxlab.tasks.compression.arms`: stages of arms, rates of replacing, what a study may ask for."""

import pytest

from jaxlab.tasks.compression import arms


def test_the_stage_that_counts():
    assert [arms.last_stage(arm, 9) for arm in arms.ARMS] == [
        *("direct", "distill", "successor", "successor", "successor"),
    ]
    assert [arms.last_stage(arm, 0) for arm in arms.ARMS] == [
        *("direct", "distill", "truncated", "replacing", "replacing"),
    ]


def test_rates_of_replacing_by_hand():
    found = arms.replacing_rates(0.5, 300, base=0.3, reach=0.7)
    assert found["constant"] == {"rate_base": 0.5, "rate_slope": 0.0}
    assert found["curriculum"]["rate_base"] == 0.3
    # At step 0.7 * 300 = 210 the rate is 1.
    assert found["curriculum"]["rate_slope"] == pytest.approx(0.7 / 210)
    at_once = arms.replacing_rates(0.5, 6, base=0.25, reach=0.0)["curriculum"]
    assert at_once["rate_slope"] == 0.75  # within one step


def config(**changes):
    stage = {"num_steps": 3, "learning_rate": 1e-3}
    kinds = ("predecessor", "direct", "replacing", "successor", "distill")
    return {
        "arms": arms.ARMS,
        "seeds": (0, 1),
        "depths": (1,),
        "buckets": (8,),
        **dict.fromkeys(("batch_size", "eval_batch_size", "latency_repeats", "log_every"), 2),
        "objective": {"name": "focal", "gamma": 1.0},
        "optimizer": {"name": "adamw", "weight_decay": 0.0},
        "stages": {kind: dict(stage) for kind in kinds},
        **changes,
    }


def test_what_a_study_may_ask_for():
    arms.check_study(config())
    without = config()
    for kind in ("successor", "distill"):  # may be left out, or have no steps of their own
        without["stages"][kind]["num_steps"] = 0
    arms.check_study(without)
    without["stages"]["replacing"]["num_steps"] = 0
    with pytest.raises(ValueError, match=r"stages.replacing.num_steps is 0"):
        arms.check_study(without)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"arms": ()}, r"arms is \(\), must hold some of"),
        ({"arms": ("direkt",)}, "arms hold 'direkt', known are"),
        ({"seeds": (1, 1)}, "seeds"),
        ({"depths": (0,)}, r"depths\[0\] is 0"),
        ({"latency_repeats": 0}, "latency_repeats is 0"),
        ({"optimizer": {"name": "adamw", "weight_decay": -1.0}}, r"weight_decay is -1.0"),
        ({"optimizer": {"name": "lion"}}, "optimizer is 'lion', must be one of sgd"),
        ({"objective": {"name": "focal", "tau": 1.0}}, "tau is 1.0, objective 'focal' takes only"),
        ({"objective": {"name": "ldam"}}, "objective 'ldam' needs a model with head=.cosine."),
        ({"objective": {"flooding": "adaptive"}}, "flooding is 'adaptive', must be one of none"),
        ({"objective": {"level": 0.1}}, "level is 0.1, flooding 'none' takes none"),
    ],
)
def test_what_makes_no_sense_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        arms.check_study(config(**change))
