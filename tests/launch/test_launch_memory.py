"""`jaxlab.launch.memory`: what is freed stays, so the next step faults in no pages."""

import os
import subprocess
import sys

import pytest

PROGRAM = """
import resource
from jaxlab.launch.memory import keep_freed_memory
keep = {keep}
done = keep and keep_freed_memory()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        b'x' * 40_000_000  # 9,766 pages; from 32 MB on glibc maps each block by itself
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(done, faults())
"""


def _run(keep, env):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(keep=keep)],
        env=env, capture_output=True, text=True, check=True,
    )  # fmt: skip
    kept, faults = done.stdout.split()
    return kept == "True", int(faults)


def test_freed_memory_is_kept():
    env = {k: v for k, v in os.environ.items() if not k.startswith(("GLIBC_", "MALLOC_"))}
    env["PYTHONPATH"] = os.pathsep.join(sys.path)
    kept, faults = _run(True, env)
    if not kept:
        pytest.skip("no glibc here")
    assert faults < 1000
    assert _run(True, env | {"JAX_CPU_ENABLE_ASYNC_DISPATCH": "1"})[0] is False
    theirs = _run(True, env | {"MALLOC_ARENA_MAX": "4"})
    assert not theirs[0]  # what the user set stands
    assert theirs[1] > 10 * faults + 1000
