"""A disk that fills up in each stage with an engine: one line, status failed, and the same command goes on when there is room."""

import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from driving import laconic, sql

MOUNTED_MIB = 160
SETTINGS = [
    *("generation.engine=transformers", "prompts.num_prompts=16", "train.steps=3", "train.prompts_per_step=4"),
    *("checkpoint.every_steps=1", "checkpoint.keep_last=1", "validation.source.num_prompts=4"),
    *("evaluate.benchmarks.0.num_prompts=12", "tracking.enabled=false", "evaluate.checkpoints=last"),
]
COMMAND = ["run", "configs/smoke.toml", *(word for setting in SETTINGS for word in ("--set", setting))]
# A file that shows that the stage's worker is at it.
MOMENTS = {
    "profile": "training/*/profile-prompts.json",
    "train": "training/*/steps/step-00001.json",
    "evaluate": "training/*/benchmark-tiny-sum.json",
}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own for the home."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={MOUNTED_MIB}m", "none", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here: needs root")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> None:
    """Leave no byte free."""
    for size in (1 << 20, 1 << 12, 1):
        try:
            with open(folder / "filler", "ab", buffering=0) as file:
                while True:
                    file.write(b"\0" * size)
        except OSError:
            continue


def fill_when(folder: Path, pattern: str, stop: threading.Event) -> None:
    while not stop.is_set() and not list((folder / "home").glob(pattern)):
        time.sleep(0.02)
    while not stop.is_set():  # what the failing command frees is used up by somebody else
        fill(folder)
        time.sleep(0.5)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_each_stage_ends_in_one_line_and_goes_on_when_there_is_room(small_disk: Path) -> None:
    home = small_disk / "home"
    for stage, pattern in MOMENTS.items():
        stop = threading.Event()
        filler = threading.Thread(target=fill_when, args=(small_disk, pattern, stop))
        filler.start()
        try:
            done = laconic(home, *COMMAND, check=False)
        finally:
            stop.set()
            filler.join()
        lines = [line for line in done.stderr.splitlines() if line.startswith("laconic: ")]
        assert done.returncode == 1, (stage, done.stdout, done.stderr)
        assert len(lines) == 1 and "the disk is full" in lines[0] and str(home) in lines[0], (stage, done.stderr)
        assert "Traceback" not in done.stderr and len(done.stderr.splitlines()) < 12, (stage, done.stderr)
        (small_disk / "filler").unlink()
        [row] = sql(home, "select status, error from runs")
        # What the command had kept free may have been taken before it could note its end: then it said so.
        assert row["status"] == ("running" if "is still called running" in lines[0] else "failed"), (stage, row, lines)
        assert not list(home.glob("rollouts/**/.*.tmp")), stage
    laconic(home, *COMMAND)
    assert [row["status"] for row in sql(home, "select status from runs")] == ["completed"]
    assert sql(home, "select count(*) as n from training_steps") == [{"n": 3}]
    counts = sql(home, "select stage, count(*) as n from rollouts group by stage order by stage")
    assert {row["stage"]: row["n"] for row in counts} == {"evaluate": 24, "profile": 64, "train": 96}
