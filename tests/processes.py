"""Real processes for tests: the project's scripts, and the toy run that is killed and restarted."""

import os
import pathlib
import socket
import subprocess
import sys
import tempfile

from forks import Fork, can_be

ROOT = pathlib.Path(__file__).parents[1]
TOY = ROOT / "tests" / "toy" / "train_toy.py"


def free_port() -> int:
    """A port chosen by the system."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def start(script, *args, text=None, **env):
    """Starts `python SCRIPT ARGS` in the repository with these environment variables; see `Fork`.

    Its output, and its errors, are streams of text, as is the input that is given.
    """
    env = {**os.environ, "JAX_PLATFORMS": "cpu", **env}
    if can_be(env):
        return Fork(script, args, env, ROOT, text or "")
    with tempfile.TemporaryFile("w+") as given:
        given.write(text or "")
        given.seek(0)
        pipes = {"stdin": given, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        command = [sys.executable, str(script), *map(str, args)]
        return subprocess.Popen(command, env=env, cwd=ROOT, text=True, **pipes)


class Toy:
    """Starts tests/toy/train_toy.py as real processes."""

    def start(self, workdir, *args, kill="", sleep=0.0, devices=1):
        """Starts one process; its standard error is a text stream."""
        flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count={devices}"
        variables = {"XLA_FLAGS": flags, "TOY_KILL": kill, "TOY_SLEEP": str(sleep)}
        return start(TOY, f"--workdir={workdir}", *args, **variables)

    def run(self, workdir, *args, **kwargs) -> tuple[int, str]:
        """Runs one process to its end; returns exit code and standard error."""
        process = self.start(workdir, *args, **kwargs)
        _, errors = process.communicate(timeout=180)
        return process.returncode, errors

    def start_group(self, workdir, *args, count=2, **kwargs):
        """Starts `count` processes that train together."""
        port = free_port()
        return [
            self.start(
                workdir,
                *args,
                f"--coordinator_address=127.0.0.1:{port}",
                f"--num_processes={count}",
                f"--process_id={i}",
                **kwargs,
            )
            for i in range(count)
        ]

    def run_group(self, workdir, *args, **kwargs) -> list[tuple[int, str]]:
        """Runs a group to its end."""
        return wait(self.start_group(workdir, *args, **kwargs))


def wait(processes, timeout=180) -> list[tuple[int, str]]:
    """Waits for processes; ends all of them if one hangs."""
    try:
        errors = [p.communicate(timeout=timeout)[1] for p in processes]
        return [(p.returncode, e) for p, e in zip(processes, errors, strict=True)]
    finally:
        for process in processes:
            process.kill()


def run_script(name, *args, code=0, text=None, **env) -> subprocess.CompletedProcess[str]:
    """Runs scripts/NAME.py to its end, which must be this exit code.

    Args:
        args: Its arguments, as they are printed.
        text: Its standard input.
        **env: Environment variables besides those there are.
    """
    process = start(f"scripts/{name}.py", *args, text=text, **env)
    output, errors = process.communicate(timeout=600)
    assert process.returncode == code, errors[-3000:]
    return subprocess.CompletedProcess([name, *args], code, output, errors)


def start_script(name, *args, count=1, **env) -> list:
    """Starts scripts/NAME.py in `count` processes of one device each, their errors as text."""
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=1"
    port = free_port()
    join = lambda i: [
        *(f"--coordinator_address=127.0.0.1:{port}", f"--num_processes={count}"),
        f"--process_id={i}",
    ]
    return [
        start(f"scripts/{name}.py", *args, *(join(i) if count > 1 else []), XLA_FLAGS=flags, **env)
        for i in range(count)
    ]


def complaint(done: subprocess.CompletedProcess[str]) -> str:
    """The one error line of a process that failed on purpose, without a traceback."""
    assert "Traceback" not in done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, done.stderr
    return errors[0]
