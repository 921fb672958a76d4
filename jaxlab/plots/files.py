"""Makes figures, and writes them as PNG wherever `etils.epath` reaches."""

import io
from typing import TYPE_CHECKING, Any

from etils import epath

from jaxlab.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def new_figure(**kwargs: Any) -> "Figure":
    """A figure in the style of all; keyword arguments are matplotlib's."""
    from matplotlib.figure import Figure  # here, as it is a fifth of a script's start

    return Figure(**{"layout": "constrained", "dpi": 100, **kwargs})


def save_figure(figure: "Figure", path: epath.PathLike) -> None:
    """Saves a figure as PNG, written whole."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    write(path, buffer)


def write(path: epath.PathLike, buffer: io.BytesIO) -> None:
    """Writes a picture whole, and its folder where there is none."""
    path = epath.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, buffer.getvalue())
