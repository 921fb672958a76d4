"""Makes tiny_bert.npz: weights and activations of a tiny random BERT, by transformers.

python tests/models/bert/golden/make_golden.py     # needs `pip install torch transformers`
"""

import json
import pathlib

import numpy as np
import torch
import transformers

CONFIG = {
    "vocab_size": 40,
    "hidden_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 20,
    "max_position_embeddings": 14,
    "type_vocab_size": 2,
    "num_labels": 3,
    "initializer_range": 0.4,  # far from linear, so that mistakes show
}


def main():
    torch.manual_seed(0)
    config = transformers.BertConfig(**CONFIG, attn_implementation="eager")
    classifier = transformers.BertForSequenceClassification(config).eval()
    mlm = transformers.BertForMaskedLM(config).eval()
    with torch.no_grad():
        for p in [*classifier.parameters(), *mlm.parameters()]:
            p.add_(0.1 * torch.randn_like(p))  # biases and norms must not stay at 0 and 1
    mlm.bert.load_state_dict(classifier.bert.state_dict(), strict=False)
    mlm.tie_weights()
    rng = np.random.default_rng(0)
    ids = rng.integers(5, 40, (3, 9))
    mask = np.array([[1] * 9, [1] * 6 + [0] * 3, [1] * 2 + [0] * 7])
    types = np.where(np.arange(9) >= 4, 1, 0) * mask
    inputs = {
        "input_ids": torch.tensor(ids * mask),
        "attention_mask": torch.tensor(mask),
        "token_type_ids": torch.tensor(types),
    }
    with torch.no_grad():
        out = classifier.bert(**inputs, output_hidden_states=True)
        arrays = {
            "hidden_states": torch.stack(out.hidden_states).numpy(),
            "pooled": out.pooler_output.numpy(),
            "class_logits": classifier(**inputs).logits.numpy(),
            "token_logits": mlm(**inputs).logits.numpy(),
        }
    weights = {**mlm.state_dict(), **classifier.state_dict()}
    arrays |= {f"weights/{k}": v.numpy() for k, v in weights.items() if "decoder" not in k}
    arrays |= {f"inputs/{k}": v.numpy().astype(np.int32) for k, v in inputs.items()}
    arrays["config"] = np.array(json.dumps({**CONFIG, "model_type": "bert"}))
    np.savez_compressed(pathlib.Path(__file__).with_name("tiny_bert.npz"), **arrays)


if __name__ == "__main__":
    main()
