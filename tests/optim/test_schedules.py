"""`jaxlab.optim.schedules`: every schedule against its formula, step by step."""

import numpy as np
import pytest

from jaxlab import optim


@pytest.mark.parametrize(("num_steps", "warmup"), [(40, 0.25), (7, 0.0), (1, 0.1), (3, 0.9)])
def test_rises_and_falls_in_straight_lines(num_steps, warmup):
    rise = min(round(warmup * num_steps), num_steps - 1)
    rate = optim.warmup_linear_decay(2e-3, num_steps, warmup=warmup)
    steps = np.arange(num_steps + 3)
    want = np.interp(steps, [0, rise, num_steps], [0.0 if rise else 2e-3, 2e-3, 0.0])
    found = np.array([np.asarray(rate(int(t))) for t in steps])
    np.testing.assert_allclose(found, want, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("wrong", [{"peak": -1.0}, {"num_steps": 0}, {"warmup": 1.0}])
def test_what_is_out_of_range_is_refused(wrong):
    arguments = {"peak": 1.0, "num_steps": 5, "warmup": 0.1, **wrong}
    with pytest.raises(ValueError, match=next(iter(wrong))):
        optim.warmup_linear_decay(
            arguments["peak"], arguments["num_steps"], warmup=arguments["warmup"]
        )


def values(name, num_steps=12, **numbers):
    rate = optim.make_schedule(name, 0.8, num_steps, **numbers)
    return np.array([float(np.asarray(rate(t))) for t in range(num_steps + 2)])


@pytest.mark.parametrize("warmup", [{}, {"warmup_steps": 3}, {"warmup": 0.25}])
@pytest.mark.parametrize(
    ("name", "numbers", "after"),
    [
        ("constant", {}, lambda share, t: 0.8),
        ("cosine", {}, lambda share, t: 0.4 * (1 + np.cos(np.pi * share))),
        ("floored", {"final_learning_rate": 0.3}, lambda share, t: max(0.8 * (1 - share), 0.3)),
        (
            "cosine",
            {"final_learning_rate": 0.2},
            lambda share, t: 0.2 + 0.3 * (1 + np.cos(np.pi * share)),
        ),
        ("linear", {"final_learning_rate": 0.2}, lambda share, t: 0.8 - 0.6 * share),
        (
            "step",
            {"drop_at": (0.5, 0.75), "drop_factor": 0.5},
            lambda share, t: 0.8 * 0.5 ** ((t >= 6) + (t >= 9.0)),
        ),
    ],
)
def test_schedules_are_their_formulas(name, numbers, after, warmup):
    rise = 3 if warmup else 0
    for t, found in enumerate(values(name, **numbers, **warmup)):
        share = min((t - rise) / (12 - rise), 1.0)
        want = 0.8 * t / rise if t < rise else after(share, t)
        assert found == pytest.approx(want, abs=1e-6)


@pytest.mark.parametrize(
    ("name", "numbers", "message"),
    [
        ("cosin", {}, "schedule is 'cosin', must be one of constant, cosine, step, linear"),
        ("constant", {"drop_at": (0.5,)}, "drop_at is .*, schedule 'constant' takes only warmup"),
        ("cosine", {"final": 0.5}, "schedule has 'final', must be one of: warmup"),
        ("cosine", {"final_learning_rate": -0.5}, "final_learning_rate is -0.5"),
        ("cosine", {"warmup": 0.1, "warmup_steps": 2}, "warmup is 0.1 and warmup_steps 2, must be"),
        ("cosine", {"warmup_steps": 12}, "warmup_steps is 12, must be below num_steps 12"),
        ("cosine", {"warmup": 1.0}, "warmup is 1.0"),
        ("step", {"drop_at": (0.5, 1.5)}, r"drop_at\[1\] is 1.5"),
        ("step", {"drop_at": (0.1,), "warmup_steps": 6}, "must name different steps after"),
        ("step", {"drop_factor": -0.5}, "drop_factor is -0.5"),
    ],
)
def test_names_and_numbers_of_schedules_are_checked(name, numbers, message):
    with pytest.raises(ValueError, match=message):
        values(name, **numbers)
