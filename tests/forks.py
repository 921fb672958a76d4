"""Python processes without their seconds of imports: forked from one that has done them.

That one is `multiprocessing`'s server, started with the first fork of a test run. What it forks is
a process of its own, with its arguments, environment, folder and streams: it computes, is killed
and ends as `python SCRIPT` does. Only what happens while modules are imported needs the real one.
"""

import atexit
import multiprocessing
import os
import pathlib
import runpy
import sys
import tempfile
import threading
from multiprocessing.connection import Connection

# Nothing that starts a thread, or a backend of jax, which reads its flags once for all.
IMPORTED = ("jax", "flax.linen", "optax", "orbax.checkpoint", "grain", "pytest", "PIL.Image")
IMPORTED += ("jaxlab.launch", "jaxlab.planning", "jaxlab.studies")
IMPORTED += tuple(
    f"jaxlab.tasks.{name}"
    for name in ("images", "classification", "compression", "embeddings", "question_generation")
)
# Read while modules are imported, or before: a process in which these differ is a real one.
EARLY = ("JAX_", "PYTHON", "LC_", "LANG", "MALLOC_", "OPENBLAS", "OMP_", "HF_", "PATH")
BEFORE = {**os.environ}
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload([*IMPORTED])


def _be(script, args, env, cwd, streams):
    for number, stream in enumerate(streams):
        os.dup2(stream.fileno(), number)
        stream.close()
    sys.stdin = os.fdopen(0, closefd=False)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    sys.argv, sys.path[:0] = [script, *args], [str(pathlib.Path(script).parent)]
    try:
        runpy.run_path(script, run_name="__main__")
    finally:
        atexit._run_exitfuncs()


class Fork:
    """`python SCRIPT ARGS`, with what tests use of `subprocess.Popen` for streams of text."""

    def __init__(self, script, args, env, cwd, text=""):
        read, write = os.pipe()
        self.stderr = os.fdopen(read)
        self._stdout = tempfile.TemporaryFile("w+")  # noqa: SIM115  closed by `communicate`
        with tempfile.TemporaryFile("w+") as stdin:
            stdin.write(text)
            stdin.seek(0)
            numbers = (os.dup(stdin.fileno()), os.dup(self._stdout.fileno()), write)
            streams = [Connection(number) for number in numbers]
            about = (str(script), [*map(str, args)], {**env}, str(cwd), streams)
            self._process = CONTEXT.Process(target=_be, args=about)
            self._process.start()
            for stream in streams:
                stream.close()
        self.pid = self._process.pid

    @property
    def returncode(self):
        return self._process.exitcode

    def wait(self, timeout=None) -> int:
        self._process.join(timeout)
        if self.returncode is None:
            raise TimeoutError(f"process {self.pid} still runs after {timeout} s")
        return self.returncode

    def communicate(self, timeout=None) -> tuple[str, str]:
        """What it wrote; a process that takes longer is killed."""
        timer = threading.Timer(timeout or 1e6, self.kill)
        timer.daemon = True
        timer.start()
        with self.stderr:
            errors = self.stderr.read()
        self.wait()
        timer.cancel()
        with self._stdout as file:
            file.seek(0)
            return file.read(), errors

    def send_signal(self, number):
        if self.returncode is None:
            os.kill(self.pid, number)

    def terminate(self):
        self._process.terminate()

    def kill(self):
        self._process.kill()


def can_be(env) -> bool:
    """Whether a fork is what a process with this environment would be."""
    changed = {name for name in {*env, *BEFORE} if env.get(name) != BEFORE.get(name)}
    return sys.platform == "linux" and not any(name.startswith(EARLY) for name in changed)
