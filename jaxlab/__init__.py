"""jaxlab: a JAX functional research codebase. See WORKSPACE.md for the map.

`import jaxlab` loads nothing; `jaxlab.losses` and the others are loaded when they are first used.
"""

import importlib
import importlib.util
import os
import pkgutil
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # what __getattr__ finds, for type checkers
    from jaxlab import attacks as attacks
    from jaxlab import checkpoints as checkpoints
    from jaxlab import checks as checks
    from jaxlab import data as data
    from jaxlab import decoding as decoding
    from jaxlab import distributions as distributions
    from jaxlab import embedding_dim as embedding_dim
    from jaxlab import errors as errors
    from jaxlab import files as files
    from jaxlab import launch as launch
    from jaxlab import losses as losses
    from jaxlab import mesh as mesh
    from jaxlab import metrics as metrics
    from jaxlab import models as models
    from jaxlab import optim as optim
    from jaxlab import planning as planning
    from jaxlab import plots as plots
    from jaxlab import regularizers as regularizers
    from jaxlab import signals as signals
    from jaxlab import studies as studies
    from jaxlab import tasks as tasks
    from jaxlab import theseus as theseus
    from jaxlab import timing as timing
    from jaxlab import train as train

__version__ = "0.2.0.dev0"


def __dir__() -> list[str]:
    found = [m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_")]
    return sorted([*found, "__doc__", "__file__", "__name__", "__path__", "__version__"])


def __getattr__(name: str) -> Any:
    if name.startswith("_") or name not in __dir__():
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(f"{__name__}.{name}")


class _Extra:
    """Says which extra is missing before a module is imported that needs it."""

    users = ("checkpoints", "data", "files", "launch", "metrics", "models")
    users += ("planning", "plots", "studies", "tasks", "train")
    needs = ("absl", "etils", "flax", "grain", "matplotlib", "ml_collections", "orbax", "PIL")
    needs += ("pooch", "requests", "scipy", "tqdm")

    @classmethod
    def find_spec(cls, name: str, path: Any = None, target: Any = None) -> None:
        parent, _, module = name.partition(".")
        if parent != __name__ or module.split(".")[0] not in cls.users:
            return
        for package in cls.needs:
            if importlib.util.find_spec(package) is None:
                from jaxlab import errors

                script = getattr(sys.modules["__main__"], "__file__", None) or ""
                folder = os.path.basename(os.path.dirname(os.path.abspath(script)))
                if module == "launch" or folder == "scripts":  # one line is enough
                    sys.excepthook = _end_script
                raise errors.missing(package, "train", whose=name)
        if cls in sys.meta_path:
            sys.meta_path.remove(cls)


def _end_script(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    from jaxlab import errors

    if not isinstance(error, errors.UserError):
        return sys.__excepthook__(kind, error, trace)
    print(f"error: {error}", file=sys.stderr, flush=True)
    os._exit(2)


sys.meta_path.insert(0, _Extra)
