"""Labels the texts of a file with a trained classifier, for a test set to hand in or for use.

    python scripts/predict_bert.py --model=runs/bert/seed_0/depth_3/curriculum/successor \\
        --texts=test.tsv --text_column=sentence --out=predictions.tsv
    python scripts/predict_bert.py --model=FOLDER --texts=dev.jsonl --text_column=premise \\
        --pair_column=hypothesis --label_column=label

--model is a stage of compress_bert.py or any Hugging Face BERT with a classifier, --texts a .csv,
.tsv, .jsonl or .parquet file. The result has a line for each row, `index TAB prediction`, in its
order: the name of the class, or its number with --numbers; of regression the number. Where a column
has the right labels, the accuracy (or the correlations) are printed.
"""

from absl import flags, logging

from jaxlab import launch
from jaxlab import mesh as mesh_lib
from jaxlab.data.text_tables import read_texts
from jaxlab.errors import InputError
from jaxlab.files import check_output
from jaxlab.tasks import compression

MODEL = flags.DEFINE_string("model", None, "Folder of the model. Required.")
TEXTS = flags.DEFINE_string("texts", None, "File of the texts. Required.")
OUT = flags.DEFINE_string("out", "predictions.tsv", "The result.")
TEXT_COLUMN = flags.DEFINE_string("text_column", "text", "Column with the texts.")
PAIR_COLUMN = flags.DEFINE_string("pair_column", None, "Column with the second of each pair.")
LABEL_COLUMN = flags.DEFINE_string("label_column", None, "Column with the right labels.")
NUMBERS = flags.DEFINE_bool("numbers", False, "Write numbers of classes.")
BATCH_SIZE = flags.DEFINE_integer("batch_size", 64, "Texts at a time.", lower_bound=1)
MAX_LENGTH = flags.DEFINE_integer("max_length", 128, "Most tokens; longer texts are cut.")


def main(config, workdir):
    del config, workdir
    out = check_output(OUT.value)
    mesh_lib.refuse_several("one process labels all texts")
    if not MODEL.value or not TEXTS.value:
        raise InputError("--model=FOLDER and --texts=FILE are required")
    rows = read_texts(TEXTS.value, TEXT_COLUMN.value, PAIR_COLUMN.value)
    said = rows.column(LABEL_COLUMN.value, key="label_column") if LABEL_COLUMN.value else None
    pairs = rows.columns[PAIR_COLUMN.value] if PAIR_COLUMN.value else None
    sizes = {"batch_size": BATCH_SIZE.value, "max_length": MAX_LENGTH.value}
    texts = rows.columns[TEXT_COLUMN.value]
    logits, names = compression.classify_texts(launch.full_path(MODEL.value), texts, pairs, **sizes)
    compression.write_predictions(out, logits, () if NUMBERS.value else names)
    logging.info("%d predictions in %s", len(logits), out)
    if said is not None:
        found = compression.score_labels(logits, names, said)
        print(", ".join(f"{name} {100 * value:.2f} %" for name, value in found.items()))


if __name__ == "__main__":
    launch.run(main, needs_workdir=False, reads=())
