"""config.json: what a run was started with, written just before the run's first file."""

import dataclasses
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any

import jax
from absl import logging
from etils import epath

from jaxlab import __version__, checkpoints, files, train
from jaxlab import mesh as mesh_lib
from jaxlab.data.pipelines.endless import describe, differences
from jaxlab.data.sources import Found
from jaxlab.errors import DISTRIBUTION, InputError
from jaxlab.launch import weights
from jaxlab.launch.config import ROOT, Config, UsageError, flat

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")
DATA_FILE = "data.json"  # what the readers of a run found
_unwritten: dict[str, dict[str, Any]] = {}  # records that wait for their run's first file, by path
_with_record: dict[str, dict[str, str]] = {}  # files that wait with them: name -> content


def read_config(workdir: epath.PathLike) -> Config:
    """The config that the run in `workdir` was started with.

    Raises:
      FileNotFoundError: there is no run in that folder.
      ValueError: its config.json cannot be read.
    """
    return Config(files.read_record(workdir)["config"])


def hold(workdir: epath.Path) -> list[files.Lock | None]:
    """Keeps a second run out of the folder; the processes of one run share it, the first holds it.

    Scripts that only read a run come without a config, and need no lock.
    """
    held: list[files.Lock | None] = []
    mesh_lib.in_process_0(lambda: held.append(files.lock(workdir)))
    return held


def prepare(
    workdir: epath.Path,
    config: Any,
    overrides: dict[str, Any],
    data_dir: str | None,
    *,
    task: str | None = None,
    allow_change: bool,
) -> Callable[[], None]:
    """Compares with the record that is there; a new or changed one is written with the first file.

    A run that fails before it wrote anything leaves no record, or the one that was there: the
    command with the error fixed may use the folder.

    Returns:
      Writes the record of a run that has come to its end, if that is not done yet.
    """
    path = workdir / files.RECORD_FILE
    new = {
        "config": json.loads(json.dumps(config.to_dict(), default=repr)),
        "overrides": json.loads(json.dumps(overrides, default=repr)),
        "data_dir": data_dir and (data_dir if "://" in data_dir else os.path.abspath(data_dir)),
        "versions": _versions(),
        "git_commit": _git_commit(),
    } | ({"task": task} if task else {})
    if path.exists():
        old = files.read_record(workdir)
        changes = _changes(flat(old["config"]), flat(new["config"]))
        if changes and not allow_change:
            raise UsageError(
                f"{workdir} was started with another config ({'; '.join(changes)}): choose another "
                "--workdir, or go on with --allow_config_change"
            )
        new["data_dir"] = new["data_dir"] or old.get("data_dir")
        new |= {name: old[name] for name in ("data", "init") if name in old}
        if not changes and new["data_dir"] == old.get("data_dir"):
            return lambda: None
        if changes:
            logging.warning("config changed: %s", "; ".join(changes))
    mesh_lib.wait_for_all("jaxlab config compared")
    if jax.process_index() > 0:
        return lambda: None
    return _write_with_first_file(path, new)


def check_data(
    workdir: epath.Path, sets: Mapping[str, Mapping[str, Any]], *, allow_change: bool = False
) -> None:
    """Compares the data that a run reads with those that it was started with, by its config.json.

    For what no checkpoint compares: held-out sets, and all data of stages and candidates that are
    done. All processes must call this together.

    Args:
      workdir: of the run.
      sets: name -> arrays or texts by name, of N rows each.
      allow_change: go on with other data; they take the place of the recorded ones.

    Raises:
      UsageError: they are others. A set that the record does not name is added to it.
    """

    def compare() -> None:
        path = workdir / files.RECORD_FILE
        waiting = _unwritten.get(os.fspath(path))
        record = waiting or (files.read_record(workdir) if path.exists() else None)
        if record is None:  # a script's function called without a run
            return
        old = record.get("data")
        old = old if isinstance(old, dict) else {}  # none by an earlier version
        new = {name: describe(arrays) for name, arrays in sets.items()}
        changes = [
            f"{name}: {', '.join(found)}"
            for name in new
            if isinstance(old.get(name), dict) and (found := differences(old[name], new[name]))
        ]
        if changes and not allow_change:
            raise UsageError(
                f"the data are not those that {workdir} was started with ({'; '.join(changes)}): "
                "choose another --workdir, or go on with --allow_config_change"
            )
        if changes:
            logging.warning("data changed: %s", "; ".join(changes))
        record["data"] = {**old, **new}
        if waiting is None and record["data"] != old:
            files.write_atomically(path, json.dumps(record, indent=2) + "\n")

    mesh_lib.in_process_0(compare)


def report_data(workdir: epath.Path, found: Found | Mapping[str, Found]) -> None:
    """Logs what was found in two lines, and writes `data.json`, with the record if that waits.

    Args:
      workdir: of the run.
      found: from a reader; of several sets by name, which `data.json` then has as keys.
    """
    several = found if isinstance(found, Mapping) else {"": found}
    for name, one in several.items():
        for line in one.lines():
            logging.info("%s%s", name and f"{name}: ", line)

    def write() -> None:
        values = {name: dataclasses.asdict(one) for name, one in several.items()}
        text = files.to_json(values.get("", values), indent=2, ensure_ascii=False) + "\n"
        name = os.fspath(workdir / files.RECORD_FILE)
        if name in _unwritten:
            _with_record[name] = {DATA_FILE: text}
        else:
            files.write_atomically(workdir / DATA_FILE, text)

    mesh_lib.in_process_0(write)


def start_from(
    state: train.TrainState,
    workdir: epath.Path,
    source: epath.PathLike,
    *,
    ema: bool = True,
    skip: str | None = None,
    special: Callable[[epath.Path], Any] | None = None,
) -> train.TrainState:
    """A fresh state with the weights of another run or a file; as it is in a run that goes on.

    The run's record says where they come from. All processes must call this together.

    Args:
      state: fresh.
      workdir: of the run that starts.
      source: folder of the other run, or a file; see `weights.read_weights`.
      ema: the other run's averaged parameters, where it kept them.
      skip: see `train.start_from`.
      special: see `weights.read_weights`.

    Raises:
      FileNotFoundError: there is no such run or file.
      ValueError: its weights do not fit; see `train.start_from`.
    """
    if checkpoints.Checkpointer(workdir / "checkpoints", read_only=True).steps:
        logging.info("weights of %s are not read: the run goes on", source)
        return state
    step, params, model_state = weights.read_weights(source, ema=ema, special=special)
    try:
        state = train.start_from(state, params, model_state, skip=skip)
    except InputError as error:
        raise InputError(f"--init_from={os.fspath(source)}: {error} (--init_skip=REGEX)") from error
    logging.info("starts from %s%s", "" if step is None else f"step {step} of ", source)

    def note() -> None:
        path = workdir / files.RECORD_FILE
        waiting = _unwritten.get(os.fspath(path))
        record = waiting or files.read_record(workdir)
        record["init"] = {"from": os.fspath(source), "step": step, "ema": ema, "skip": skip}
        if waiting is None:
            files.write_atomically(path, json.dumps(record, indent=2) + "\n")

    mesh_lib.in_process_0(note)
    return state


def _write_with_first_file(path: epath.Path, record: dict[str, Any]) -> Callable[[], None]:
    """Writes the record as soon as Python opens a file of the folder for writing.

    Checkpoints, metrics, pictures and what a script writes itself have that in common. A bucket,
    whose files are not opened, gets it at once.
    """
    folder, lock = os.path.join(os.fspath(path.parent), ""), threading.Lock()
    name = os.fspath(path)
    _unwritten[name] = record
    not_results = (files.LOCK_FILE, ".probe")  # here and in the folder of the checkpoints

    def write() -> None:
        with lock:
            mine = _unwritten.pop(name, None)
        if mine is not None:
            try:
                files.write_atomically(path, json.dumps(mine, indent=2) + "\n")
                for file, content in _with_record.pop(name, {}).items():
                    files.write_atomically(path.parent / file, content)
            except BaseException:  # a full disk: the next file tries again
                _unwritten[name] = mine
                raise

    def hook(event: str, args: tuple) -> None:
        if name not in _unwritten or event != "open" or not args[2] & (os.O_WRONLY | os.O_RDWR):
            return
        file = "" if isinstance(args[0], int) else os.path.abspath(os.fsdecode(args[0]))
        if file.startswith(folder) and not os.path.basename(file).startswith(not_results):
            write()

    if "://" in folder:
        write()
    else:
        sys.addaudithook(hook)
    return write


def _changes(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """What differs; a key that an earlier version did not have, and that is None, does not."""
    show = lambda values, name: json.dumps(values[name]) if name in values else "absent"
    return [
        f"{name}: {show(old, name)} -> {show(new, name)}"
        for name in sorted({*old, *new})
        if show(old, name) != show(new, name) and (name in old or new[name] is not None)
    ]


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "jaxlab": __version__}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def _git_commit() -> str | None:
    """The commit of the code, with "+" if files differ from it; None outside git.

    Of an installed jaxlab, the one that pip noted when it installed from a repository.
    """

    def git(*args):
        command = ["git", "-C", str(ROOT), *args]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        if (ROOT / ".git").exists():  # else a folder that holds it may be another repository
            return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain") else "")
        note = importlib.metadata.distribution(DISTRIBUTION).read_text("direct_url.json")
        return json.loads(note or "{}").get("vcs_info", {}).get("commit_id")
    except (OSError, subprocess.CalledProcessError, importlib.metadata.PackageNotFoundError):
        return None


def pretrained(name: str) -> epath.Path:
    """The folder of a trained model: a name in `pretrained/`, or the path of one.

    Raises:
      UsageError: there is none; says which there are.
    """
    folders = sorted((ROOT / "pretrained").glob(f"*/{files.RECORD_FILE}"))
    known = {path.parent.name: epath.Path(path.parent) for path in folders}
    place = known.get(name) or epath.Path(os.path.expanduser(name))
    if not (place / files.RECORD_FILE).exists():
        raise UsageError(
            f"--pretrained is {name!r}, must be a folder of export_nvae.py or one of "
            f"{', '.join(known) or 'none (there is no folder pretrained/)'}"
        )
    return place
