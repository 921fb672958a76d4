"""Answers and questions from English passages: MiniLM under a prefix mask.

    python scripts/fetch_data.py minilm
    python scripts/train_qa_generation.py --config=configs/qa_generation/english.py \
        --workdir=runs/questions
    python scripts/generate_qa.py --workdir=runs/questions --text=article.txt --spans_only
    python scripts/evaluate_qa_generation.py --workdir=runs/questions

SQuAD 1.1's development set and SQuADShifts' new Wikipedia part, which the data folder must hold:
18,501 questions on 96 articles, split by article. They are evaluation sets: fine for showing that
the method works, nothing to release a model from.
The run takes about 75 minutes of one CPU core, and is still learning when it ends; on a GPU take
`--config.stages.mlm.num_steps=1000 --config.stages.seq2seq.num_steps=6000`.
Presets: `tiny` (seconds, from scratch, without the pretrained model).
For the round trip of the evaluation, a model that answers: `--config.order=question_first
--config.prefix_parts=2 --config.stages.seq2seq.num_steps=500 --workdir=runs/reader`.
"""

import ml_collections

from jaxlab import launch, optim


def get_config(preset: str = "") -> ml_collections.ConfigDict:
    """Presets: "" and "tiny"."""
    config = ml_collections.ConfigDict()
    config.seed = 0

    # Arguments of jaxlab.data.questions.sets.load_records.
    files = ("squad-dev-v1.1.json.gz", "squadshifts-new-wiki-v1.0.json.gz")
    config.data = ml_collections.ConfigDict({"files": files, "shares": (0.1, 0.1), "split_seed": 0})
    # Most tokens of each part; passages are cut, other parts that are longer left out.
    config.limits = ml_collections.ConfigDict({"passage": 70, "answer": 14, "question": 24})
    config.join = True  # passages of several sentences, as many as fit; False for one each
    config.max_train = 0  # records to train on, a random subset; 0 for all
    config.max_validation = 500  # records to look at while training

    # "answer_first": passage -> answer -> question. "question_first" with prefix_parts 2 learns
    # passage, question -> answer.
    config.order = "answer_first"
    config.prefix_parts = 1

    # Folder in the data folder, and attributes of jaxlab.models.bert.Bert that differ from it; of
    # its vocabulary the most frequent tokens of the training texts are kept. Without a folder: all
    # attributes, and the size of a vocabulary to train.
    config.pretrained = "minilm"
    config.layers = 0  # keep the first N, 0 for all
    config.vocab_size = 10000
    config.model = ml_collections.ConfigDict({"dropout": 0.1, "attention_dropout": 0.1})
    config.frozen = ()  # such as ("bert/embeddings/word",), which is the output layer too

    # The first stage learns masked tokens, which a body without a head needs; 0 steps leave it out.
    stage = lambda steps, rate, buckets: ml_collections.ConfigDict(
        {"num_steps": steps, "learning_rate": rate, "warmup": 0.1, "buckets": buckets}
    )
    config.stages = ml_collections.ConfigDict(
        {"mlm": stage(300, 2e-4, (40, 72)), "seq2seq": stage(1000, 2e-4, (72, 88, 112))}
    )
    config.mask_rate = 0.15
    config.replace = 0.0  # share of target tokens seen as random ones, against exposure bias
    config.batch_size = 32
    # Of jaxlab.optim.make_optimizer; rates and warm-up are those of the stages. Decay is of kernels
    # and embeddings; biases and scales of layer norms are left alone, as in BERT.
    config.optimizer = ml_collections.ConfigDict(
        launch.defaults(optim.make_optimizer, rows=optim.rows(), but=launch.OF_STAGES)
        | {"name": "adamw", "schedule": "linear", "weight_decay": 0.01}
    )
    # Arguments of jaxlab.train.make_train_step.
    config.step = ml_collections.ConfigDict({"clip_norm": 1.0, "accumulate": 1})

    config.eval_batch_size = 32
    config.log_every = 20
    config.checkpoint_every = 250  # and evaluate

    if preset == "tiny":
        config.fast_compile = True
        config.max_train, config.max_validation = 400, 40
        config.limits.update(passage=40)
        config.pretrained = ""
        config.vocab_size = 600
        config.model.update(hidden_size=16, num_layers=1, num_heads=2, intermediate_size=32)
        config.model.update(max_positions=96)
        config.update({"stages": {"mlm": {"num_steps": 4, "buckets": (42,)}}})
        config.update({"stages": {"seq2seq": {"num_steps": 6, "buckets": (82,)}}})
        config.batch_size = config.eval_batch_size = 16
        config.log_every = 1
        config.checkpoint_every = 3
    elif preset:
        raise ValueError(f"preset is {preset!r}, known is 'tiny'")
    return config
