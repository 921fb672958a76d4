"""Hugging Face folders as other programs write them."""

import json
import re

import jax
import numpy as np
from safetensors.numpy import save, save_file


def write(folder, config, weights):
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    save_file(
        {k: np.ascontiguousarray(v) for k, v in weights.items()}, folder / "model.safetensors"
    )
    return folder


def same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def bare(weights):
    """As a bare encoder's file: no prefix, no heads, the old buffer."""
    found = {k.removeprefix("bert."): v for k, v in weights.items() if k.startswith("bert.")}
    return {**found, "embeddings.position_ids": np.arange(14)[None]}


def old(weights):
    """With the LayerNorm names of the first releases."""
    rename = lambda k: re.sub(r"LayerNorm\.weight$", "LayerNorm.gamma", k)
    return {re.sub(r"LayerNorm\.bias$", "LayerNorm.beta", rename(k)): v for k, v in weights.items()}


def bare_with_head(weights):
    return {**bare(weights), **{k: v for k, v in weights.items() if k.startswith("classifier.")}}


def retyped(weights, old, new):
    """Content of a file that says another type of the same width."""
    content = save({k: np.ascontiguousarray(v) for k, v in weights.items()})
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    for value in header.values():
        value["dtype"] = new if value.get("dtype") == old else value.get("dtype")
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + content[8 + size :]
