"""Real processes for tests: the project's scripts, and the toy run that is killed and restarted."""

import os
import pathlib
import socket
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[1]
TOY = ROOT / "tests" / "toy" / "train_toy.py"


def free_port() -> int:
    """A port chosen by the system."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


class Toy:
    """Starts tests/toy/train_toy.py as real processes."""

    def start(self, workdir, *args, kill="", sleep=0.0, devices=1):
        """Starts one process; its standard error is a text stream."""
        env = {
            **os.environ,
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
            "TOY_KILL": kill,
            "TOY_SLEEP": str(sleep),
        }
        command = [sys.executable, str(TOY), f"--workdir={workdir}", *args]
        return subprocess.Popen(
            command,
            env=env,
            cwd=ROOT,
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )

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
        **env: Environment variables beside those there are.
    """
    done = subprocess.run(
        [sys.executable, f"scripts/{name}.py", *map(str, args)],
        cwd=ROOT,
        env={**os.environ, "JAX_PLATFORMS": "cpu", **env},
        capture_output=True,
        text=True,
        input=text,
        timeout=600,
    )
    assert done.returncode == code, done.stderr[-3000:]
    return done


def start_script(name, *args, count=1, **env) -> list[subprocess.Popen[str]]:
    """Starts scripts/NAME.py in `count` processes of one device each, their errors as text."""
    quick = "--xla_force_host_platform_device_count=1 --xla_backend_optimization_level=0"
    port, command = free_port(), [sys.executable, f"scripts/{name}.py", *map(str, args)]
    join = lambda i: [
        *(f"--coordinator_address=127.0.0.1:{port}", f"--num_processes={count}"),
        f"--process_id={i}",
    ]
    return [
        subprocess.Popen(
            command + (join(i) if count > 1 else []),
            cwd=ROOT,
            env={**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": quick, **env},
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        for i in range(count)
    ]


def complaint(done: subprocess.CompletedProcess[str]) -> str:
    """The one error line of a process that failed on purpose, without a traceback."""
    assert "Traceback" not in done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, done.stderr
    return errors[0]
