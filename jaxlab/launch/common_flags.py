"""The flags that scripts have in common."""

from collections.abc import Collection

from absl import flags


def define(workdir_kind: str | None, reads: Collection[str], default_config: str | None) -> None:
    """Defines those of the common flags that a script reads; see `launch.run`."""
    if workdir_kind and default_config is not None:
        flags.DEFINE_bool(
            "allow_config_change", False, "Go on in --workdir although the config differs."
        )
    if workdir_kind == "made":
        flags.DEFINE_string("workdir", None, "Folder of the run (a path or gs://...). Required.")
    elif workdir_kind:
        flags.DEFINE_string("workdir", None, "Folder of a run that is there. Required.")
    if "data_dir" in reads:
        again = " Default: the run's." if workdir_kind == "existing" else ""
        flags.DEFINE_string("data_dir", None, f"Folder of the data sets.{again}")
    if "pretrained" in reads:
        flags.DEFINE_string(
            "pretrained",
            None,
            "Instead of a run's folder: a model of pretrained/ by name, or a folder of "
            "export_nvae.py; --workdir (default runs/NAME) then only gets what is written.",
        )
    if "checkpoint" in reads:
        flags.DEFINE_enum("weights", "ema", ["ema", "raw"], "Averaged or last parameters.")
        flags.DEFINE_integer("step", None, "Checkpoint of this step; default the latest.")
        flags.DEFINE_bool("best", False, "Checkpoint that was best on held-out data.")
    if "init" in reads:
        flags.DEFINE_string(
            "init_from", None, "Weights to start from: RUN, FOLDER, FILE.safetensors or FILE.npz."
        )
        flags.DEFINE_enum("init_weights", "ema", ["ema", "raw"], "Its averaged or last parameters.")
        flags.DEFINE_string("init_skip", None, "Weights to leave out: a regular expression.")
    if "tensorboard" in reads:
        flags.DEFINE_bool("tensorboard", False, "Write TensorBoard events too.")
    if "profile" in reads:
        flags.DEFINE_bool("profile", False, "Write a trace of some steps to WORKDIR/profile.")
    if "distributed" in reads:
        flags.DEFINE_bool("distributed", False, "Join the processes of the cluster jax detects.")
        flags.DEFINE_string("coordinator_address", None, "host:port of process 0, if by hand.")
        flags.DEFINE_integer("num_processes", None, "How many processes there are.")
        flags.DEFINE_integer("process_id", None, "Which of them this is, from 0.")
        flags.DEFINE_integer(
            "join_timeout", 120, "Seconds to wait for the other processes.", lower_bound=1
        )
    flags.DEFINE_string("compile_cache", None, "Folder that keeps compiled programs between runs.")
    flags.DEFINE_bool("debug", False, "Print the whole traceback of an error.")
