"""Starts a script: flags, config, logging, devices, work folder, and errors that read well.

The only file that knows absl flags and ml_collections. A training script is

    \"\"\"Trains a model.  (first line of --help)\"\"\"
    from jaxlab import launch

    def main(config, workdir):          # ml_collections.ConfigDict, etils.epath.Path
        options = launch.options()      # data_dir, profile_dir, tensorboard
        ...

    if __name__ == "__main__":
        launch.run(main, default_config="configs/nvae/mnist5k.py")

and is started as

    python scripts/train.py --config=configs/nvae/mnist5k.py:tiny --config.lr=1e-3 --workdir=runs/a

A config with `fast_compile = True` compiles with as little optimization as there is: for tiny runs,
which compile longer than they train.

A script without a config passes none, defines its own flags with `absl.flags` before `run`, and
gets `main(None, workdir)`. Where there is a config, `workdir/config.json` records it with the
overrides, the versions and the git commit, and a later run in the same folder must have the same
one, unless --allow_config_change. A run that ends with an error of the user's before it has written
anything else leaves the record as it was.

Exit codes: 0 done, or saved after SIGTERM; 2 an error the user can mend, told in one line
`error: ...` (--debug adds the traceback); 1 an error in the program.
"""

import dataclasses
import datetime
import importlib.metadata
import json
import logging as std_logging
import os
import pathlib
import platform
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from typing import Any

import jax
import ml_collections
from absl import flags, logging
from etils import epath
from ml_collections import config_flags

from jaxlab import mesh as mesh_lib
from jaxlab.errors import UserError
from jaxlab.files import Lock, lock, write_atomically
from jaxlab.train import Interrupted

CONFIG_FILE = "config.json"
_PACKAGES = ("jaxlab", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")
_ROOT = pathlib.Path(__file__).resolve().parents[1]


class UsageError(UserError):
    """The command cannot be run as given."""


@dataclasses.dataclass(frozen=True)
class Options:
    """What the common flags say, for scripts.

    Attributes:
      data_dir: --data_dir, or None: the data loaders then choose.
      profile_dir: where `fit` shall write a trace; None without --profile.
      tensorboard: whether to write TensorBoard events too.
    """

    data_dir: str | None
    profile_dir: epath.Path | None
    tensorboard: bool


def options() -> Options:
    """Returns the common options; call it inside `main`."""
    f = flags.FLAGS
    return Options(
        data_dir=f.data_dir,
        profile_dir=_workdir_path(f.workdir) / "profile" if f.profile and f.workdir else None,
        tensorboard=f.tensorboard,
    )


def read_config(workdir: epath.PathLike) -> Any:
    """Returns the config (a ConfigDict) that the run in `workdir` was started with.

    Raises:
      FileNotFoundError: there is no run in that folder.
      UsageError: its config.json cannot be read.
    """
    path = epath.Path(workdir) / CONFIG_FILE
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: no run was started in {workdir}")
    try:
        return ml_collections.ConfigDict(json.loads(path.read_text())["config"])
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} is not a config record: {_one_line(error)}") from error


def run(
    main: Callable[[Any, epath.Path], None],
    *,
    default_config: str | None = None,
    needs_workdir: bool = True,
    argv: list[str] | None = None,
) -> None:
    """Runs `main(config, workdir)` and exits the process.

    Args:
      main: does the work. Its module's docstring is the head of --help.
      default_config: config file used without --config, relative to the working folder or to the
        repository; None for a script that takes no config.
      needs_workdir: whether --workdir is required; without it main gets None.
      argv: command line, `sys.argv` when None.
    """
    sys.exit(_run(main, default_config, needs_workdir, sys.argv if argv is None else argv))


def _run(main, default_config, needs_workdir, argv) -> int:
    debug = "--debug" in argv
    try:
        signal.signal(signal.SIGTERM, _stop_now)
        if any(a in ("--help", "-help", "-h", "--helpfull", "--helpshort") for a in argv[1:]):
            _define_flags(default_config, argv[:1])
            print(_help(main, default_config, argv[0]))
            return 0
        config = _parse(default_config, needs_workdir, argv)
        f = flags.FLAGS
        _start_jax(f, config)
        _start_logging()
        workdir = _make_workdir(f.workdir) if f.workdir else None
        put_back = lambda: None
        if config is not None and workdir is not None:
            held = _hold(workdir)  # noqa: F841  until this function is left
            put_back = _record_config(workdir, config, _overrides(), f.allow_config_change)
        logging.info(
            "%d %s device(s), %d process(es), workdir %s",
            jax.device_count(),
            jax.default_backend(),
            jax.process_count(),
            workdir,
        )
        try:
            main(config, workdir)
        except Exception as error:
            if _is_users(error):
                put_back()
            raise
        return 0
    except Interrupted as stop:
        print(f"{stop}; the same command goes on from there", file=sys.stderr)
        return 0
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from the last checkpoint", file=sys.stderr)
        return 130
    except Exception as error:
        if debug or not _is_users(error):
            traceback.print_exc()
        print(f"error: {_one_line(error)}", file=sys.stderr)
        return 2 if _is_users(error) else 1


def _stop_now(*_):
    raise Interrupted("SIGTERM: outside the training loop, nothing to save")


def _define_flags(default_config: str | None, argv: list[str]) -> None:
    if default_config is not None:
        config_flags.DEFINE_config_file(
            "config",
            _find_config(default_config),
            "Config file, with a preset after a colon; --config.KEY=VALUE changes one value.",
            sys_argv=argv,
        )
        flags.DEFINE_bool(
            "allow_config_change", False, "Go on in --workdir although the config differs."
        )
    flags.DEFINE_string("workdir", None, "Folder of the run (a path or gs://...). Required.")
    flags.DEFINE_string("data_dir", None, "Folder of the data sets.")
    flags.DEFINE_bool("tensorboard", False, "Write TensorBoard events too.")
    flags.DEFINE_bool("profile", False, "Write a profiler trace of some steps to WORKDIR/profile.")
    flags.DEFINE_string("compile_cache", None, "Folder that keeps compiled programs between runs.")
    flags.DEFINE_bool("distributed", False, "Join the processes of the cluster jax detects.")
    flags.DEFINE_string("coordinator_address", None, "host:port of process 0, without a cluster.")
    flags.DEFINE_integer("num_processes", None, "How many processes there are.")
    flags.DEFINE_integer("process_id", None, "Which of them this is, from 0.")
    flags.DEFINE_bool("debug", False, "Print the whole traceback of an error.")


def _find_config(value: str) -> str:
    """Returns `file.py:preset` with the file found in the working folder or in the repository."""
    path, *preset = value.split(":", 1)
    for found in (pathlib.Path(path), _ROOT / path):
        if found.is_file():
            return ":".join([str(found), *preset])
    raise UsageError(f"no config file {path}")


def _parse(default_config, needs_workdir, argv: list[str]) -> ml_collections.ConfigDict | None:
    """Parses the command line; every complaint becomes a UsageError."""
    f = flags.FLAGS
    is_config = lambda a: a.startswith(("--config=", "-config="))
    # ml_collections wants the file before the values that change it.
    first = [f"--config={_find_config(a.split('=', 1)[1])}" for a in argv[1:] if is_config(a)]
    argv = [argv[0], *first, *(a for a in argv[1:] if not is_config(a))]
    try:
        _define_flags(default_config, argv)
        rest = f(argv)
    except UsageError:
        raise
    except (AttributeError, KeyError) as error:
        text = str(error).replace("\\n", " ").replace("\\", "").strip("'\" ")
        raise UsageError(f"no config key '{text}") from error
    except Exception as error:  # config files run any code, and absl raises many types
        # ml_collections puts a traceback into the message; what matters is its last line.
        text = str(error).strip().splitlines()[-1] if "Traceback" in str(error) else str(error)
        raise UsageError(" ".join(text.split())) from error
    if rest[1:]:
        raise UsageError(f"not understood: {' '.join(rest[1:])} (flags are --name=value)")
    if needs_workdir and not f.workdir:
        raise UsageError("--workdir=FOLDER is required: what the run reads and writes")
    return f.config if "config" in f else None


def _overrides() -> dict[str, Any]:
    return dict(config_flags.get_override_values(flags.FLAGS["config"]))


def _start_jax(f, config) -> None:
    if config is not None and config.get("fast_compile"):
        # XLA reads its flags when the first device is used, which is later than this.
        flag = "--xla_backend_optimization_level=0"
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flag}".strip()
    if f.compile_cache:
        jax.config.update("jax_compilation_cache_dir", f.compile_cache)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    explicit = (f.coordinator_address, f.num_processes, f.process_id)
    if f.distributed or any(x is not None for x in explicit):
        mesh_lib.initialize_distributed(*explicit)


def _start_logging() -> None:
    """Short log lines on stderr, from process 0 only, without the chatter of libraries."""
    logging.use_absl_handler()
    logging.set_verbosity(logging.INFO if jax.process_index() == 0 else logging.WARNING)
    handler = logging.get_absl_handler()
    handler.setFormatter(_LineFormatter())
    handler.addFilter(_worth_showing)


def _worth_showing(record) -> bool:
    if record.name == "asyncio":
        return False  # pages from orbax's abandoned tasks after a broken file; we warn ourselves
    ours = f"{os.sep}site-packages{os.sep}" not in record.pathname
    return ours or record.levelno >= std_logging.WARNING


class _LineFormatter(std_logging.Formatter):
    def format(self, record):
        mark = "" if record.levelno < std_logging.WARNING else f"{record.levelname.lower()}: "
        now = datetime.datetime.fromtimestamp(record.created)
        return f"{now:%H:%M:%S} {mark}{record.getMessage()}"


def _workdir_path(name: str) -> epath.Path:
    """Absolute, as orbax wants it, unless it is a bucket."""
    return epath.Path(name if "://" in name else os.path.abspath(os.path.expanduser(name)))


def _make_workdir(name: str) -> epath.Path:
    """Makes the folder and proves that it can be written, before minutes of work are lost."""
    workdir = _workdir_path(name)
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        probe = workdir / f".probe{jax.process_index()}"
        probe.write_text("")
        probe.unlink()
    except Exception as error:
        raise UsageError(f"cannot write to --workdir={name}: {_one_line(error)}") from error
    return workdir


def _hold(workdir: epath.Path) -> Lock | None:
    """Keeps a second run out of the folder; the processes of one run share it, the first holds it.

    Scripts that only read a run come without a config, and need no lock.
    """
    held = error = None
    try:
        held = lock(workdir) if jax.process_index() == 0 else None
    except (UserError, OSError) as caught:
        error = caught
    if not mesh_lib.all_processes(error is None):
        raise error or UsageError(f"process 0 cannot have {workdir}: its message says why")
    return held


def _record_config(
    workdir, config, overrides: dict[str, Any], allow_change: bool
) -> Callable[[], None]:
    """Writes config.json, or compares with the one that is there.

    Returns:
      Puts back what was there, unless files of the run were made or changed since; never raises.
    """
    path, text = workdir / CONFIG_FILE, None
    new = json.loads(json.dumps(config.to_dict(), default=repr))
    if path.exists():
        try:
            text = path.read_bytes()
            old = json.loads(text)["config"]
        except (ValueError, KeyError) as error:
            raise UsageError(f"{path} is not a config record: {_one_line(error)}") from error
        changes = _changes(_flat(old), _flat(new))
        if changes and not allow_change:
            raise UsageError(
                f"{workdir} was started with another config ({'; '.join(changes)}): choose another "
                "--workdir, or go on with --allow_config_change"
            )
        if not changes:
            return lambda: None
        logging.warning("config changed: %s", "; ".join(changes))
    record = {
        "config": new,
        "overrides": json.loads(json.dumps(overrides, default=repr)),
        "versions": _versions(),
        "git_commit": _git_commit(),
    }
    mesh_lib.wait_for_all("jaxlab config compared")
    if jax.process_index() > 0:
        return lambda: None
    write_atomically(path, json.dumps(record, indent=2) + "\n")
    before = _files(workdir)

    def put_back():
        # Otherwise the command with the error mended would be refused: its config is another.
        after = _files(workdir)
        if before is None or after is None or not after <= before:
            return  # the record of what was written
        try:
            if text is None:
                path.unlink()
            else:
                write_atomically(path, text)
        except Exception as error:  # the error of main is the one to be told
            logging.warning("%s could not be put back: %s", path, _one_line(error))

    return put_back


def _files(workdir: epath.Path) -> set[tuple[str, int, int]] | None:
    """Path, time and size of the files of a run but config.json; None for a bucket."""
    root, record = os.fspath(workdir), os.fspath(workdir / CONFIG_FILE)
    paths = [os.path.join(folder, n) for folder, _, names in os.walk(root) for n in names]
    try:
        found = {path: os.lstat(path) for path in paths if path != record}
    except OSError:  # something else works in this folder
        return None
    return None if "://" in root else {(p, s.st_mtime_ns, s.st_size) for p, s in found.items()}


def _flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(tree, dict):
        return {prefix: tree}
    return {
        name: leaf
        for key, value in tree.items()
        for name, leaf in _flat(value, f"{prefix}.{key}" if prefix else key).items()
    }


def _changes(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    show = lambda values, name: json.dumps(values[name]) if name in values else "absent"
    return [
        f"{name}: {show(old, name)} -> {show(new, name)}"
        for name in sorted({*old, *new})
        if show(old, name) != show(new, name)
    ]


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def _git_commit() -> str | None:
    """Returns the commit of the code, with "+" if files differ from it; None outside git."""

    def git(*args):
        command = ["git", "-C", str(_ROOT), *args]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _is_users(error: BaseException) -> bool:
    """Whether the message is meant for the user: an error of ours, or one of the file system."""
    return isinstance(error, UserError | OSError)


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text if text and not isinstance(error, KeyError) else f"{type(error).__name__}: {text}"


def _help(main, default_config: str | None, script: str) -> str:
    """The script's docstring, its flags with their defaults, and the keys of the default config."""
    module = sys.modules[main.__module__]
    f = flags.FLAGS
    lines = [(module.__doc__ or "").strip(), ""]
    by_module = f.flags_by_module_dict()
    names = {x.name for m in (module.__name__, script) for x in by_module.get(m, [])}
    ours = {x.name for x in by_module.get(__name__, [])} | ({"config"} & set(f))
    for title, group in (("Flags of this script:", names - ours), ("Common flags:", ours)):
        if group:
            lines += [title]
        for name in sorted(group):
            default = f[name].default
            shown = "" if default in (None, False) or name == "config" else f" [{default}]"
            lines.append(f"  --{name:22}{f[name].help}{shown}")
    if default_config is not None:
        lines += ["", f"Config keys, with the values of {default_config}:"]
        try:
            f([script])
            lines += [f"  --config.{k}={v}" for k, v in _flat(f.config.to_dict()).items()]
        except Exception as error:
            lines += [f"  (cannot be read: {_one_line(error)})"]
    return "\n".join(lines)
