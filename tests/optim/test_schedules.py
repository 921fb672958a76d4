"""`jaxlab.optim.schedules`: the schedule of BERT against its formula, step by step."""

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
