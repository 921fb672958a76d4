"""Scripts as processes: output that goes away, folders of runs, and processes that do not come."""

import json
import os
import subprocess
import sys

from processes import ROOT


def script(tmp_path, body, **run):
    path = tmp_path / "script.py"
    options = "".join(f", {k}={v!r}" for k, v in run.items())
    path.write_text(
        f"from jaxlab import launch\ndef main(config, workdir):\n    {body}\n"
        f"launch.run(main{options})\n"
    )
    return path


def start(path, *args, stdout=subprocess.PIPE, **env):
    return subprocess.run(
        [sys.executable, str(path), *args],
        cwd=ROOT,
        stdout=stdout,
        stderr=subprocess.PIPE,
        env={**os.environ, "JAX_PLATFORMS": "cpu", **env},
        text=True,
        timeout=120,
    )


def test_an_output_that_goes_away_costs_no_file(tmp_path):
    path = script(tmp_path, "(workdir / 'file').write_text('whole'); print('±' * 9999)")
    read, write = os.pipe()
    os.close(read)
    done = start(path, f"--workdir={tmp_path}/a", stdout=write)
    os.close(write)
    assert (done.returncode, (tmp_path / "a" / "file").read_text()) == (0, "whole")
    assert "Broken" not in done.stderr
    assert "Traceback" not in done.stderr
    with open("/dev/full", "w") as full:
        done = start(path, f"--workdir={tmp_path}/b", stdout=full)
    assert (done.returncode, (tmp_path / "b" / "file").read_text()) == (0, "whole")
    assert "warning: standard output is lost: No space left on device" in done.stderr
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = start(path, f"--workdir={tmp_path}/c", **plain)
    assert done.returncode == 0, done.stderr
    assert "\\xb1" in done.stdout


def test_a_folder_of_a_run_is_not_made(tmp_path):
    path = script(tmp_path, "pass", reads_run=True)
    done = start(path, f"--workdir={tmp_path}/typo")
    assert done.returncode == 2
    assert "typo is no folder: it must be that of a run" in done.stderr
    assert not (tmp_path / "typo").exists()


def test_the_data_folder_of_a_run_is_remembered(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"config": {}, "data_dir": "/data/mine"}))
    path = script(tmp_path, "print(launch.options().data_dir)", reads_run=True, reads=("data_dir",))
    assert start(path, f"--workdir={tmp_path}").stdout == "/data/mine\n"
    assert start(path, f"--workdir={tmp_path}", "--data_dir=/other").stdout == "/other\n"


def test_one_of_two_processes_gives_up_in_bounded_time(tmp_path):
    path = script(tmp_path, "pass")
    group = ["--coordinator_address=127.0.0.1:29317", "--num_processes=2", "--process_id=0"]
    done = start(path, f"--workdir={tmp_path}/a", *group, "--join_timeout=2")
    assert done.returncode == 2
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    where = "at 127.0.0.1:29317"
    assert lines == [
        f"error: not all processes {where} have started within 2 s: start the same in each"
    ]
