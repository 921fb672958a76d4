"""Model folders from the Hugging Face hub, where the network allows. Needs `huggingface_hub`."""

from collections.abc import Callable
from pathlib import Path

from jaxlab.errors import UserError, missing

# Weights as safetensors only: pickled ones are not read here.
PATTERNS = ("config.json", "*.safetensors", "*.safetensors.index.json", "tokenizer*", "vocab.txt")


class FetchError(UserError):
    """A set or a model could not be downloaded; the message is one line for the user."""


def fetch_model(name: str, data_dir: Path, say: Callable[[str], None] = print) -> Path:
    """Brings a model folder, `DATA_DIR/MODEL` for OWNER/MODEL, for `bert.load_pretrained`.

    Args:
      name: such as "google-bert/bert-base-uncased".
      data_dir: the data folder.
      say: gets a line for each thing tried.

    Returns:
      The folder.

    Raises:
      FetchError: the hub cannot be reached or has no such model, or `huggingface_hub` is missing.
    """
    folder = data_dir / name.rsplit("/", 1)[1]
    say(f"{name}: trying the Hugging Face hub")
    try:
        import huggingface_hub
    except ImportError as error:
        raise FetchError(f"{name}: {missing('huggingface_hub', 'text')}") from error
    try:
        huggingface_hub.snapshot_download(name, local_dir=folder, allow_patterns=list(PATTERNS))
    except Exception as error:  # the library passes on whatever its transport raises
        text = " ".join(str(error).split())[:200]
        raise FetchError(f"{name}: cannot be downloaded from the hub ({text})") from error
    say(f"{name}: in {folder}")
    return folder
