"""Questions from SQuAD 1.1 with BERT-base, on the split that question generation reports on.

    python scripts/fetch_data.py google-bert/bert-base-uncased
    python scripts/train_qa_generation.py --config=configs/qa_generation/squad.py \
        --workdir=runs/squad_qg
    python scripts/evaluate_qa_generation.py --workdir=runs/squad_qg

The data folder must hold `squad-qg/`, with train.json, dev.json and test.json in SQuAD's format:
the official split of SQuAD's public questions by Du et al., 2017, some 75,700 for training, 10,600
and 11,900. Other forms: `--config.data.name=jsonl --config.data.passage_column=...` and so on, or
`--config.data.name=hf --config.data.path=NAME`.

Published, with the gold answer given and larger models: UniLM-large BLEU-4 22.12; T5 18.6 to 21.3,
ROUGE-L 40 to 43.6. Of BERT-base in the post's form, which finds the answer too: not published.
Hardware and hours: not published; 110 million parameters, ten epochs of 32 triples at up to 192
tokens, rate 5e-5, which are of ours. The body's head is taken from the folder where it has one, so
there is no stage of masked tokens.

Presets: "bf16"; "tiny" (seconds, from scratch).
"""

from configs.qa_generation import base

RECIPE = {
    "data.path": "squad-qg",
    "limits.passage": 128,
    "limits.answer": 16,
    "limits.question": 40,
    "max_validation": 2000,
    "pretrained": "bert-base-uncased",
    "vocab_size": 30_000,
    "stages.seq2seq.num_steps": 23_700,
    "stages.seq2seq.learning_rate": 5e-5,
    "stages.seq2seq.buckets": (96, 128, 192),
    "stages.mlm.buckets": (130,),  # for --config.stages.mlm.num_steps above 0
    "checkpoint_every": 1000,
}
TINY = {
    "vocab_size": 600,
    "limits.answer": 14,
    "limits.question": 24,
    "stages.seq2seq.buckets": (82,),
    "batch_size": 16,
}


def get_config(preset: str = ""):
    """Presets: "bf16" and "tiny"."""
    return base.recipe(RECIPE, TINY, preset)
