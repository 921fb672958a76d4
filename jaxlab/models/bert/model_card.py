"""The README.md of a model folder: what it holds, and how two libraries load it."""

import json
from collections.abc import Mapping
from typing import Any

from etils import epath

from jaxlab.files import write_atomically
from jaxlab.models.bert.model import Bert

CARD_FILE = "README.md"
_MARK = "<!-- Written by jaxlab, and again with the model; without this line it is left alone. -->"

_USES = {  # what follows `folder = ...`, by kind of head
    "encoder": """
model = transformers.AutoModel.from_pretrained(folder)
states = model(**inputs).last_hidden_state""",
    "mlm": """
model = transformers.AutoModelForMaskedLM.from_pretrained(folder)
logits = model(**inputs).logits""",
    "classifier": """
model = transformers.AutoModelForSequenceClassification.from_pretrained(folder)
logits = model(**inputs).logits""",
    # No class of transformers pools like this one.
    "mean": """
model = transformers.AutoModel.from_pretrained(folder)
states, mask = model(**inputs).last_hidden_state, inputs["attention_mask"][..., None]
mean = (states * mask).sum(1) / mask.sum(1)
weights = safetensors.torch.load_file(f"{folder}/model.safetensors")
logits = mean @ weights["mean_classifier.weight"].T + weights["mean_classifier.bias"]""",
}
_OURS = {
    "encoder": """
states = model.apply({"params": params}, ids, attention_mask=mask).last_hidden_state""",
    "mlm": """
head, top = bert.load_heads(folder)["mlm"]
states = model.apply({"params": params}, ids, attention_mask=mask).last_hidden_state
logits = head.apply({"params": top}, states, params["embeddings"]["word"]["embedding"])""",
    "classifier": """
head, top = bert.load_heads(folder)["classifier"]
output = model.apply({"params": params}, ids, attention_mask=mask)
logits = head.apply({"params": top}, output, mask)""",
}
_POOLINGS = {
    "pooler": "a dense layer over BERT's pooler",
    "cls": "a dense layer over the first token's state. The file has it behind a pooler that lets "
    "the state pass, so that transformers computes the same",
    "mean": "a dense layer over the mean of the tokens' states. transformers has no such class: "
    "`AutoModelForSequenceClassification` would start a new classifier, and says so",
}


def write_card(
    directory: epath.PathLike, model: Bert, heads: Mapping[str, Any], *, pairs: bool = False
) -> None:
    """Writes README.md, unless there is one that somebody else has written.

    Args:
      directory: an existing model folder.
      model: its encoder.
      heads: "classifier" or "mlm" or both -> head.
      pairs: whether a classifier reads pairs of texts.
    """
    path = epath.Path(directory) / CARD_FILE
    if path.exists() and _MARK.encode() not in path.read_bytes():
        return
    write_atomically(path, _card(model, heads, pairs))


def _card(model: Bert, heads: Mapping[str, Any], pairs: bool) -> str:
    lines = [
        f"An encoder of {model.num_layers} layers, {model.hidden_size} wide, "
        f"{model.num_heads} attention heads, {model.vocab_size} tokens, up to "
        f"{model.max_positions} at once."
    ]
    kind = tag = "encoder"
    if "mlm" in heads:
        kind = tag = "mlm"
        lines.append("- Head: predicts masked tokens.")
    if "classifier" in heads:
        head, kind, tag = heads["classifier"], "classifier", "classifier"
        if head.pooling == "mean":
            kind = "mean"
        labels = head.label_names or [f"LABEL_{i}" for i in range(head.num_labels)]
        lines += [
            f"- Head: {_POOLINGS[head.pooling]}.",
            f"- Labels: {', '.join(json.dumps(name, ensure_ascii=False) for name in labels)}."
            if head.num_labels > 1
            else "- Output: one number, by regression; there are no classes.",
            *(["- Input: pairs of texts, whose tokens are of types 0 and 1."] if pairs else []),
        ]
    tags = {
        "encoder": "feature-extraction",
        "mlm": "fill-mask",
        "classifier": "text-classification",
    }
    needs = (
        "import safetensors.torch\nimport transformers" if kind == "mean" else "import transformers"
    )
    one, two = '["A text.", "Another one."]', '[("A text.", "With it."), ("One.", "Two.")]'
    texts, given, ours = one, "texts", _OURS[tag]
    arrays, names = "ids, mask", '("ids", "attention_mask")'
    if pairs:
        texts, given = two, "*map(list, zip(*texts))"
        arrays, names = "ids, types, mask", '("ids", "type_ids", "attention_mask")'
        ours = ours.replace("attention_mask=mask)", "attention_mask=mask, token_type_ids=types)")
    return f"""---
library_name: transformers
pipeline_tag: {tags[tag]}
tags: [bert, jaxlab]
---
{_MARK}

# BERT, {tags[tag].replace("-", " ")}

{chr(10).join(lines)}

With transformers:

```python
{needs}

folder, texts = ".", {texts}
tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
inputs = tokenizer({given}, padding=True, truncation=True, return_tensors="pt"){_USES[kind]}
```

With jaxlab:

```python
import numpy as np
from jaxlab.data.wordpiece import load_tokenizer
from jaxlab.models import bert

folder, texts = ".", {texts}
tokenizer = load_tokenizer(folder)
tokenizer.enable_padding()
tokenizer.enable_truncation({model.max_positions})
found = tokenizer.encode_batch(texts)
{arrays} = (np.array([getattr(x, name) for x in found]) for name in {names})
model, params = bert.load_pretrained(folder){ours}
```
"""
