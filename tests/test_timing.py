"""`jaxlab.timing`: functions timed in turns, on a clock that they move themselves."""

import pytest

from jaxlab import timing


def test_medians_of_calls_in_turns(monkeypatch):
    now, called = [10.0], []
    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])
    durations = {"a": iter([100.0, 3.0, 1.0, 9.0]), "b": iter([100.0, 0.5, 0.25, 0.75])}

    def function(name):
        def run():
            called.append(name)
            now[0] += next(durations[name])

        return run

    found = timing.medians({name: function(name) for name in durations}, 3)
    assert found == {"a": 3.0, "b": 0.5}  # without the first calls, which compile
    assert called == ["a", "b"] * 4
    with pytest.raises(ValueError, match="repeats is 0, must be at least 1"):
        timing.medians({}, 0)
