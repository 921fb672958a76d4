import os
import runpy
import signal
import sys

import jax
import pytest
from absl import flags
from processes import ROOT


@pytest.fixture
def call(monkeypatch, capfd):
    """Runs a script here, which is much faster than a process; returns exit code and output."""

    def started(name, *args):
        path = str(ROOT / "scripts" / f"{name}.py")
        monkeypatch.setattr(sys, "argv", [path, *args])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(path, run_name="__main__")
        return end.value.code, capfd.readouterr()

    before, environment = {*flags.FLAGS}, dict(os.environ)
    handlers = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    devices = jax.config.jax_num_cpu_devices
    yield started
    for name in {*flags.FLAGS} - before:
        delattr(flags.FLAGS, name)
    for number, handler in handlers.items():
        signal.signal(number, handler)
    os.environ.clear()
    os.environ.update(environment)
    assert jax.config.jax_num_cpu_devices == devices
