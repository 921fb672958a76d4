"""What all tests share: the CPU with 8 devices, the folders of real data, and a run to kill."""

import fcntl
import gc
import os
import pathlib
from importlib.metadata import version

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Compiling is most of the suite's time. What is compiled here runs once or twice, so it is not
# optimised; and it is kept for the other worker, for scripts that tests start, for the next run.
# Before 0.12 its other emitters of fused loops take half as long again to compile; from then on
# there are no others, and an unknown flag ends the process.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0"
    + " --xla_cpu_use_fusion_emitters=false"
    * (tuple(map(int, version("jaxlib").split(".")[:2])) < (0, 12)),
)
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR",
    str(pathlib.Path(__file__).parents[1] / ".pytest_cache" / "programs"),
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "0")

import jax
import pytest
from processes import ROOT, Toy, run_script

# Before the first use of a device. A single-device test stays on the first of them.
jax.config.update("jax_num_cpu_devices", 8)
# Tracing makes many objects and no garbage to speak of.
gc.set_threshold(100_000, 20, 50)


@pytest.fixture(scope="module", autouse=True)
def forget_programs():
    """What a file compiled is of little use to the next one, and would add up to gigabytes."""
    yield
    jax.clear_caches()


def _folder(variable: str, name: str) -> pathlib.Path:
    path = pathlib.Path(os.environ.get(variable) or ROOT.parent / "shared" / name)
    if not path.is_dir():
        pytest.skip(f"no folder {path}: set {variable} to one")
    return path


@pytest.fixture(scope="session")
def data_dir() -> pathlib.Path:
    """Folder of real data sets: $JAXLAB_DATA, else ../shared/data next to the repository."""
    return _folder("JAXLAB_DATA", "data")


@pytest.fixture(scope="session")
def fixtures_dir() -> pathlib.Path:
    """Folder of reference arrays: $JAXLAB_FIXTURES, else ../shared/fixtures."""
    return _folder("JAXLAB_FIXTURES", "fixtures")


@pytest.fixture(scope="session")
def made_once(tmp_path_factory):
    """Calls `make(folder)` once for all workers of a test run; returns the folder of that name."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def call(name, make) -> pathlib.Path:
        done = base / f"{name}.done"
        with open(base / f"{name}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not done.exists():
                make(base / name)
                done.touch()
        return base / name

    return call


@pytest.fixture(scope="session")
def toy() -> Toy:
    return Toy()


@pytest.fixture(scope="session")
def run():
    """Runs a script of the repository; returns the finished process."""
    return run_script
