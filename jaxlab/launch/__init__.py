"""Starts a script: flags, config, logging, devices, work folder, and errors that read well.

The only package that knows absl flags and ml_collections. A training script is

    \"\"\"Trains a model.  (first line of --help)\"\"\"
    from jaxlab import launch

    def main(config, workdir):          # a ConfigDict, etils.epath.Path
        options = launch.options()      # data_dir, profile_dir, tensorboard
        ...

    if __name__ == "__main__":
        launch.run(
            main,
            default_config="configs/nvae/mnist5k.py",
            sections={"data": launch.keywords(data.load, but=("split", "data_dir"))},
        )

and is started as

    python scripts/train.py --config=configs/nvae/mnist5k.py:tiny --config.lr=1e-3 --workdir=runs/a

A config with `fast_compile = True` compiles with as little optimization as there is: for tiny runs,
which compile longer than they train.

A script without a config passes none, defines its own flags with `absl.flags` before `run`, and
gets `main(None, workdir)`; one without a run's folder is started by `run_tool`. Where there is a
config, `workdir/config.json` records it with the overrides, the data folder, the versions and the
git commit, and a later run in the same folder must have the same one, unless
--allow_config_change. The record is written with the first file of the run, or when `main` returns:
what fails before, or leaves by `sys.exit()`, has none.

Exit codes: 0 done, or stopped by SIGTERM or SIGHUP; 130 stopped by Ctrl-C; 2 an error the user can
fix, reported in one line `error: ...` (--debug adds the traceback); 1 an error in the program.
"""

import dataclasses
import os
import signal
import sys
import traceback
from collections.abc import Callable, Collection, Mapping
from typing import Any

import jax
from absl import flags, logging
from etils import epath

from jaxlab import mesh as mesh_lib
from jaxlab import signals, train
from jaxlab.errors import UserError
from jaxlab.files import RECORD_FILE, read_record
from jaxlab.launch import common_flags, failures, log, output, record
from jaxlab.launch import config as configs
from jaxlab.launch.config import (
    UsageError,
    check_section,
    check_seeds,
    keywords,
)
from jaxlab.launch.help import help_text
from jaxlab.launch.memory import keep_freed_memory
from jaxlab.launch.recipes import (
    GIVEN,
    OF_STAGES,
    chosen,
    defaults,
    nested,
    optimizer_keywords,
    or_none,
    recipe,
)
from jaxlab.launch.record import check_data, read_config, report_data
from jaxlab.launch.starting import full_path, refuse_start, start, start_params

__all__ = [
    "GIVEN",
    "OF_STAGES",
    "Options",
    "UsageError",
    "check_data",
    "check_section",
    "check_seeds",
    "chosen",
    "defaults",
    "full_path",
    "keywords",
    "load_run",
    "nested",
    "optimizer_keywords",
    "options",
    "or_none",
    "read_config",
    "recipe",
    "refuse_start",
    "report_data",
    "run",
    "run_tool",
    "start",
    "start_params",
]

_HELP = ("--help", "-help", "-h", "--helpfull", "--helpshort")
Sections = Mapping[str, Mapping[str, Any]]
READS = ("data_dir", "tensorboard", "profile", "distributed")  # what a training script reads


@dataclasses.dataclass(frozen=True)
class Options:
    """What the common flags say, for scripts.

    Attributes:
      data_dir: --data_dir; without it the one of the run whose folder is read; None: the data
        loaders then choose.
      profile_dir: where `fit` shall write a trace; None without --profile.
      tensorboard: whether to write TensorBoard events too.
      allow_change: --allow_config_change, for `train.resume`.
    """

    data_dir: str | None
    profile_dir: epath.Path | None
    tensorboard: bool
    allow_change: bool


def options() -> Options:
    """Returns the common options; call it inside `main`."""
    f = flags.FLAGS
    value = lambda name: f[name].value if name in f else None
    data_dir, workdir = value("data_dir"), value("workdir")
    if data_dir is None and workdir and "config" not in f:
        folder = full_path(workdir)
        if (folder / RECORD_FILE).exists():
            data_dir = read_record(folder).get("data_dir")
    return Options(
        data_dir=data_dir,
        profile_dir=full_path(workdir) / "profile" if value("profile") and workdir else None,
        tensorboard=bool(value("tensorboard")),
        allow_change=bool(value("allow_config_change")),
    )


def load_run(workdir: epath.PathLike, *, task: str) -> train.LoadedRun:
    """The finished run that the flags of `reads=("data_dir", "checkpoint")` name."""
    f = flags.FLAGS
    step = "best" if f.best else f.step
    data_dir = options().data_dir
    name = f["pretrained"].value if "pretrained" in f else None
    place = record.pretrained(name) if name else workdir
    return train.load_run(place, params=f.weights, step=step, data_dir=data_dir, task=task)


def run(
    main: Callable[[Any, epath.Path], None],
    *,
    default_config: str | None = None,
    sections: Sections | Callable[[], Sections] | None = None,
    needs_workdir: bool = True,
    task: str | None = None,
    reads_run: bool = False,
    reads: Collection[str] = READS,
) -> None:
    """Runs `main(config, workdir)` and exits the process.

    Args:
      main: does the work. Its module's docstring is the head of --help.
      default_config: config file used without --config, relative to the working folder or to the
        repository; None for a script that takes no config.
      sections: what sections of the config may hold, from `keywords`, by name, or a function that
        gives it. Flags can then give what the config file leaves out, None where it is a value, and
        an unknown key is an error.
      needs_workdir: whether there is a --workdir, which is then required; without it main gets
        None.
      task: the task's name in `jaxlab.tasks`, recorded so that `train.load_run` opens the run.
      reads_run: --workdir is the folder of a run that is there already.
      reads: which of the common flags the script reads, of `READS`, "checkpoint" and "pretrained"
        for `load_run` and "init" for `start`; the others there are not.
    """
    argv = sys.argv
    workdir = ("existing" if reads_run else "made") if needs_workdir else None
    known = lambda: (sections() if callable(sections) else sections) or {}
    start = lambda: _run(main, default_config, known(), workdir, task, reads, argv)
    sys.exit(_guarded(start, argv))


def run_tool(main: Callable[[list[str]], None]) -> None:
    """Runs `main(names)` and exits the process: a script without config, devices and workdir.

    Args:
      main: gets the arguments that are no flags. Its module's docstring is the head of --help.
    """
    argv = sys.argv

    def start():
        flags.DEFINE_bool("debug", False, "Print the whole traceback of an error.")
        if _asks_for_help(argv):
            print(help_text(main, None, {}, argv))
            return
        main(_parse_flags(argv)[1:])

    sys.exit(_guarded(start, argv))


def _guarded(start: Callable[[], None], argv: list[str]) -> int:
    """Calls `start` and returns the exit code; every error becomes one line."""
    signals.handle(_stop_now)
    keep_freed_memory()
    try:
        with output.watched():
            start()
        return 0
    except output.OutputGoneError:
        return 0
    except signals.Interrupted as stop:
        end = "the same command goes on from there" if stop.saved else _goes_on()
        signals.say(f"{stop}; {end}")
        return stop.exit_code
    except KeyboardInterrupt:
        signals.say(f"interrupted; {_goes_on()}")
        return 130
    except Exception as error:
        users = failures.is_users(error)
        if "--debug" in argv or not users:
            traceback.print_exc()
        signals.say(f"error: {failures.message(error)}")
        if failures.lost_peer(error):
            os._exit(2)  # jax's own end would wait a minute for the lost process, and then abort
        return 2 if users else 1


def _run(main, default_config, sections, workdir_kind, task, reads, argv) -> None:
    argv = configs.joined(argv) if default_config is not None else argv
    common_flags.define(workdir_kind, reads, default_config)
    if _asks_for_help(argv):
        print(help_text(main, default_config, sections, argv))
        return
    config, overrides = _parse(default_config, sections, workdir_kind, argv)
    f = flags.FLAGS
    _start_jax(f, config)
    log.start_logging()
    workdir, finish = None, lambda: None
    if workdir_kind:
        place, make = f.workdir, workdir_kind == "made"
        if "pretrained" in f and f.pretrained:
            make, name = True, record.pretrained(f.pretrained).name
            place = place or f"runs/pretrained/{name}"
        workdir = _make_workdir(place, make=make)
        if config is not None:
            held = record.hold(workdir)  # noqa: F841  until this function is left
            change = f.allow_config_change
            data_dir = f.data_dir if "data_dir" in f else None
            finish = record.prepare(
                workdir, config, overrides, data_dir, task=task, allow_change=change
            )
    logging.info("%s%s", mesh_lib.describe(), f", workdir {workdir}" if workdir else "")
    main(config, workdir)
    finish()


def _stop_now(signum, _):
    name = signals.NAMES[signum]
    if mesh_lib.is_distributed() and signum != signal.SIGTERM:
        # The others must stop too: jax's preemption service informs them when training does.
        signal.signal(signum, signal.SIG_DFL)
        signals.say(f"{name}: all processes stop after a step; once more stops this one at once")
        signal.raise_signal(signal.SIGTERM)
        return
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a second Ctrl-C stops at once
    raise signals.Interrupted(f"{name}: stopped outside of training steps", signum)


def _goes_on() -> str:
    """What the same command does after an end at which nothing was saved."""
    f = flags.FLAGS
    if "config" not in f or "workdir" not in f or not f["workdir"].value:
        return "the same command begins anew"
    name = f["workdir"].value
    if "://" in name:
        return "the same command goes on from the last checkpoint, if there is one"
    for _, folders, names in os.walk(full_path(name)):
        if "checkpoints" in folders or {"result.json", "results.jsonl", "metrics.jsonl"} & {*names}:
            return "the same command goes on from the last checkpoint or record in --workdir"
    return "nothing was saved yet, the same command begins anew"


def _asks_for_help(argv: list[str]) -> bool:
    return any(a in _HELP for a in argv[1:])


def _parse_flags(argv: list[str], config: configs.Config | None = None) -> list[str]:
    f = flags.FLAGS
    try:
        rest = f(argv)
    except flags.UnrecognizedFlagError as error:
        raise UsageError(configs.unknown_flag(error, config)) from error
    except flags.Error as error:
        raise UsageError(configs.one_line(error)) from error
    if "seed" in f and f["seed"].value is not None:
        check_seeds("--seed", [f["seed"].value])
    return rest


def _parse(
    default_config, sections, workdir_kind, argv: list[str]
) -> tuple[configs.Config | None, dict[str, Any]]:
    """Parses the command line; every complaint becomes a UsageError."""
    config, kinds, nones = None, {}, {}
    if default_config is not None:
        try:
            config, argv, kinds, nones = configs.define(default_config, argv, sections)
        except UserError:
            raise
        except Exception as error:  # absl and ml_collections raise many types
            raise UsageError(configs.one_line(error)) from error
    rest = _parse_flags(argv, config)
    if rest[1:]:
        raise UsageError(f"not understood: {' '.join(rest[1:])} (flags are --name=value)")
    elsewhere = "pretrained" in flags.FLAGS and flags.FLAGS.pretrained
    if workdir_kind and not flags.FLAGS.workdir and not elsewhere:
        raise UsageError("--workdir=FOLDER is required: what the run reads and writes")
    if config is None:
        return None, {}
    configs.conclude(config, kinds, nones, sections)
    return config, {**configs.overrides(), **nones}


def _start_jax(f, config) -> None:
    if config is not None and config.get("fast_compile"):
        # XLA reads its flags when the first device is used, which is later than this.
        flag, given = "--xla_backend_optimization_level=0", os.environ.get("XLA_FLAGS", "")
        if flag not in given.split():  # twice is another key in the cache of compiled programs
            os.environ["XLA_FLAGS"] = f"{given} {flag}".strip()
    if f.compile_cache:
        jax.config.update("jax_compilation_cache_dir", f.compile_cache)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    if "distributed" not in f:
        return
    explicit = (f.coordinator_address, f.num_processes, f.process_id)
    if f.distributed or any(x is not None for x in explicit):
        mesh_lib.initialize_distributed(*explicit, timeout=f.join_timeout)


def _make_workdir(name: str, *, make: bool) -> epath.Path:
    """Makes the folder and proves that it can be written, before minutes of work are lost."""
    workdir = full_path(name)
    if not make and not workdir.is_dir():
        raise UsageError(f"--workdir={name} is no folder: it must be that of a run")
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        probe = workdir / f".probe{jax.process_index()}"
        probe.write_text("")
        probe.unlink()
    except Exception as error:
        raise UsageError(f"cannot write to --workdir={name}: {configs.one_line(error)}") from error
    return workdir
