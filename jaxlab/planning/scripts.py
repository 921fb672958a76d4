"""Training scripts as planners and benchmarks see them: modules with a function `blueprint`."""

import importlib
import importlib.util
import pathlib
import re
import sys
from types import ModuleType
from typing import Any

from jaxlab.errors import InputError, MissingPackageError

_TASKS = {"train_nvae": "images"}  # script -> task whose blueprint it starts


def load_script(name: str, folder: str | pathlib.Path) -> ModuleType:
    """Imports a script that has `blueprint(config, mesh, data_dir=None) -> train.Blueprint`.

    Args:
      name: "train_nvae" for FOLDER/train_nvae.py.
      folder: where the scripts are.

    Raises:
      ValueError: there is no such script.
    """
    if name in _TASKS:
        return importlib.import_module(f"jaxlab.tasks.{_TASKS[name]}")
    known = dict.fromkeys(_TASKS) | {
        path.stem: path
        for path in sorted(pathlib.Path(folder).glob("*.py"))
        if "\ndef blueprint(" in path.read_text()
    }
    if name not in known:
        raise InputError(f"script is {name!r}, known are {', '.join(known)}")
    path = known[name]
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise MissingPackageError(f"{path} cannot be imported")
        sys.modules[name] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[name]


def script_sections(argv: list[str], folder: str | pathlib.Path) -> dict[str, dict[str, Any]]:
    """What the config sections of the script that `--script` names may hold, before flags are read.

    Args:
      argv: the command line; train_nvae where it names none.
      folder: where the scripts are.

    Raises:
      ValueError: there is no such script.
    """
    named = [a.partition("=")[2] for a in argv if re.match("--?script=", a)]
    module = load_script(named[-1] if named else "train_nvae", folder)
    return getattr(module, "SECTIONS", {})
