"""Compresses a fine-tuned BERT to fewer layers by module replacing, and by its controls.

    python scripts/fetch_data.py minilm headlines
    python scripts/compress_bert.py --config=configs/theseus/study.py:headlines --workdir=runs/bert

For every seed: the predecessor is fine-tuned; then, for every depth, each arm of

- direct: the first layers of the pretrained model, fine-tuned;
- distill: layers of the predecessor, trained on its soft targets;
- truncated: layers of the predecessor, fine-tuned for as many steps as Theseus, the control;
- constant, curriculum: the same layers by module replacing with a constant or rising rate,
  and then fine-tuned alone.

Texts of your own, in any table, and a task of GLUE or CLUE:

    python scripts/compress_bert.py --config.data.name=csv --config.data.path=reviews.csv \\
        --config.data.text_column=review --config.data.label_column=stars --workdir=runs/reviews
    python scripts/compress_bert.py --config.data.name=glue/mrpc --workdir=runs/mrpc

`--config.pretrained=FOLDER` takes any Hugging Face BERT, with its classifier where the labels are
the same; `--config.stages.predecessor.num_steps=0` leaves that as it is. `--init_from=RUN|FOLDER`
gives the predecessor other weights than the pretrained ones.

The same command goes on where a run was stopped, in the middle of a stage too. WORKDIR then holds
data.json, a folder per stage (SEED/DEPTH/ARM/STAGE, each with metrics.jsonl, result.json and a
Hugging Face folder `model`, which predict_bert.py reads), report.md, report.json, accuracy.png (or
another metric's) and sensitivity_DEPTH_layers.png.
"""

import dataclasses

from jaxlab import launch
from jaxlab import mesh as mesh_lib
from jaxlab.tasks import compression
from jaxlab.tasks.compression import report


def main(config, workdir):
    options = dataclasses.asdict(launch.options())
    start = launch.start_params(workdir)
    mesh = mesh_lib.make_mesh()
    study = compression.Study(config.to_dict(), mesh, workdir=workdir, start=start, **options)
    launch.report_data(workdir, study.found)
    # Stages that are done have seen the same.
    launch.check_data(workdir, study.arrays, allow_change=options["allow_change"])
    for seed in config.seeds:
        study.run(seed)
    mesh_lib.in_process_0(lambda: report.write_report(config, workdir, study))


if __name__ == "__main__":
    launch.run(
        main,
        default_config="configs/theseus/study.py",
        sections=compression.KEYWORDS,
        task="compression",
        reads=(*launch.READS, "init"),
    )
