"""Trains a BERT to write answers and questions from passages.

    python scripts/train_qa_generation.py --config=configs/qa_generation/english.py \\
        --workdir=runs/questions

`--init_from=RUN|FOLDER` starts from an earlier run or a Hugging Face BERT of the same sizes, by
token; `--config.pretrained=FOLDER` takes sizes and vocabulary from there too.

Stages, each of which goes on where it was stopped: `mlm` (masked tokens on the passages, for a body
that comes without a head) and `seq2seq` (`[CLS] passage [SEP] answer [SEP] question [SEP]` under a
prefix mask). WORKDIR then holds config.json, data.json (what was read, and what was left out), a
folder per stage with metrics.jsonl, curves.png and result.json, and `model`: a Hugging Face folder
with head, tokenizer and kept tokens, for generate_qa.py and evaluate_qa_generation.py.
"""

import dataclasses

from absl import logging

from jaxlab import launch, plots
from jaxlab import mesh as mesh_lib
from jaxlab.tasks import question_generation


def main(config, workdir):
    options = dataclasses.asdict(launch.options())
    mesh = mesh_lib.make_mesh()
    options["start"] = launch.start_params(workdir)
    study = question_generation.Study(config.to_dict(), mesh, workdir=workdir, **options)
    # A stage that is done has seen the same.
    launch.check_data(workdir, study.arrays, allow_change=options["allow_change"])
    launch.report_data(workdir, study.read())
    generator = study.run(
        lambda rows, folder, name: plots.curves(rows, folder / "curves.png", title=name)
    )
    folder = workdir / "model"
    mesh_lib.in_process_0(
        lambda: question_generation.save_generator(folder, generator, keep_tokens=study.keep)
    )
    logging.info("the model is in %s", folder)


if __name__ == "__main__":
    launch.run(
        main,
        default_config="configs/qa_generation/english.py",
        sections=question_generation.KEYWORDS,
        task="question_generation",
        reads=(*launch.READS, "init"),
    )
