"""Writes figures as PNG, wherever `etils.epath` reaches."""

import io

from etils import epath
from matplotlib.figure import Figure


def save_figure(figure: Figure, path: epath.PathLike) -> None:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    write(path, buffer)


def write(path: epath.PathLike, buffer: io.BytesIO) -> None:
    path = epath.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(buffer.getvalue())
