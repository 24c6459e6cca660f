"""Checkpoints as files: every kind of damage is found and named, what is damaged is set aside, and the best is told truthfully."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline_lib.training.checkpoint_files import (
    RECORD,
    CheckpointError,
    checkpoint_records,
    checkpoints_in,
    choose_resume_step,
    require_adapter,
    require_model,
    seal,
    step_name,
    verify,
)

OPTIMIZER, MODEL, RANDOM = "state/zero_pp_rank_0_mp_rank_00_optim_states.pt", "model/model.safetensors", "random-0.pt"
ADAPTER_WEIGHTS = "adapter/adapter_model.safetensors"
CONTENT = {OPTIMIZER: b"optimizer" * 1000, MODEL: b"weights" * 1000, RANDOM: b"random" * 10, "model/config.json": b"{}"}


def write_checkpoint(folder: Path, step: int, best_step: int | None = None, accuracy: float | None = None) -> Path:
    """A checkpoint as a run writes it, with made-up files."""
    path = folder / step_name(step)
    for name, content in CONTENT.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content + str(step).encode())
    best = step if best_step is None else best_step
    record = {"step": step, "best_step": best, "validation_accuracy": accuracy, "validation_mean_tokens": 50.0}
    seal(path, {**record, "reward_state": {4: (0.1, None)}, "world_size": 1, "weights_id": f"id-{step}"})
    return path


def flip_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def swap(one: Path, other: Path) -> None:
    kept = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(kept)


def become(path: Path, make: Callable[[Path], object]) -> None:
    path.unlink()
    make(path)


def change_record(folder: Path, **changes: object) -> None:
    (folder / RECORD).write_text(json.dumps({**json.loads((folder / RECORD).read_text()), **changes}))


def replace_by_file(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.touch()


# What befalls a checkpoint, and what the line must say of it.
DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated": (lambda f: os.truncate(f / OPTIMIZER, 100), f"{OPTIMIZER} has 100 bytes instead of"),
    "empty": (lambda f: os.truncate(f / MODEL, 0), f"{MODEL} has 0 bytes instead of"),
    "longer": (lambda f: (f / RANDOM).write_bytes((f / RANDOM).read_bytes() + b"x"), f"{RANDOM} has 63 bytes instead of 62"),
    "flipped bit in the optimizer": (lambda f: flip_bit(f / OPTIMIZER), f"{OPTIMIZER} has other content"),
    "flipped bit in the weights": (lambda f: flip_bit(f / MODEL), f"{MODEL} has other content"),
    "zeros of the same size": (lambda f: (f / MODEL).write_bytes(bytes(7002)), f"{MODEL} has other content"),
    "missing file": (lambda f: (f / RANDOM).unlink(), f"{RANDOM} is missing"),
    "missing folder": (lambda f: shutil.rmtree(f / "state"), f"{OPTIMIZER} is missing"),
    "extra file": (lambda f: (f / "model/pytorch_model.bin").touch(), "model/pytorch_model.bin was not written by the run"),
    "swapped files": (lambda f: swap(f / "model/config.json", f / RANDOM), "model/config.json has 62 bytes instead of 4"),
    "folder for a file": (lambda f: become(f / MODEL, Path.mkdir), f"{MODEL} is not a plain file"),
    "link for a file": (lambda f: become(f / MODEL, lambda p: p.symlink_to(f / RANDOM)), f"{MODEL} is not a plain file"),
    "pipe for a file": (lambda f: become(f / MODEL, os.mkfifo), f"{MODEL} is not a plain file"),
    "no record": (lambda f: (f / RECORD).unlink(), f"{RECORD} is missing"),
    "empty record": (lambda f: os.truncate(f / RECORD, 0), f"{RECORD} is not JSON"),
    "truncated record": (lambda f: os.truncate(f / RECORD, 40), f"{RECORD} is not JSON"),
    "record that is no text": (lambda f: (f / RECORD).write_bytes(b"\xff\xfe\x00"), f"{RECORD} is not JSON"),
    "record that is a list": (lambda f: (f / RECORD).write_text("[1]"), f"{RECORD} is not a record"),
    "changed record": (lambda f: change_record(f, reward_state={"4": [0.2, None]}), f"{RECORD} is not as it was written"),
    "flipped bit in the name of the digests": (
        lambda f: (f / RECORD).write_text((f / RECORD).read_text().replace('"files"', '"fileq"')),
        f"{RECORD} is not as it was written",
    ),
    "folder for the record": (lambda f: become(f / RECORD, Path.mkdir), f"{RECORD} is not a plain file"),
    "record of another step": (lambda f: shutil.copy(f.parent / "step-00010" / RECORD, f / RECORD), f"{RECORD} is of step 10"),
    "file for the checkpoint": (replace_by_file, f"{RECORD} cannot be read (Not a directory)"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_newest_checkpoint_is_named_set_aside_and_the_one_before_is_used(
    damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_checkpoint(tmp_path, 10)
    newest = write_checkpoint(tmp_path, 20)
    assert choose_resume_step(tmp_path) == 20
    assert not caplog.messages
    inflict, told = DAMAGES[damage]
    inflict(newest)
    assert choose_resume_step(tmp_path) == 10
    [line] = caplog.messages
    assert line.startswith(f"checkpoint {newest} is damaged: {told}")
    assert line.endswith(": set aside as step-00020.damaged")
    assert list(checkpoints_in(tmp_path)) == [10]
    assert os.path.lexists(tmp_path / "step-00020.damaged")


@pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_damage(tmp_path: Path) -> None:
    (write_checkpoint(tmp_path, 10) / MODEL).chmod(0)
    with pytest.raises(CheckpointError, match=r"cannot be read \(Permission denied\)"):
        verify(tmp_path / "step-00010")


def test_nothing_set_aside_is_overwritten_and_without_a_whole_one_training_starts_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for attempt in range(3):
        flip_bit(write_checkpoint(tmp_path, 10) / MODEL)
        (tmp_path / "step-00010" / f"attempt-{attempt}").touch()
        caplog.clear()
        assert choose_resume_step(tmp_path) == 0
    aside = ("step-00010.damaged", "step-00010.damaged-2", "step-00010.damaged-3")
    assert [(tmp_path / name / f"attempt-{number}").exists() for number, name in enumerate(aside)] == [True] * 3
    assert caplog.messages[-1] == f"no checkpoint in {tmp_path} is whole: training starts at step 0"
    caplog.clear()
    assert choose_resume_step(tmp_path / "never-trained") == 0
    assert not caplog.messages


def test_a_best_checkpoint_that_is_gone_is_said_and_the_best_of_the_others_takes_its_place(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for step, best_step, accuracy in ((10, 10, 0.5), (20, 20, 0.9), (30, 20, 0.7), (40, 20, None)):
        write_checkpoint(tmp_path, step, best_step, accuracy)
    assert [row.step for row in checkpoint_records("r", tmp_path) if row.is_best] == [20]
    shutil.rmtree(tmp_path / "step-00020")
    assert choose_resume_step(tmp_path) == 40
    assert caplog.messages == [
        f"the best checkpoint, of step 20, is not in {tmp_path} any more: the best of those left is that of step 30"
    ]
    assert [(row.step, row.is_best) for row in checkpoint_records("r", tmp_path)] == [(10, False), (30, True), (40, False)]
    caplog.clear()
    flip_bit(tmp_path / "step-00030" / MODEL)
    assert choose_resume_step(tmp_path) == 40
    assert ["step-00030 is damaged" in line or "that of step 10" in line for line in caplog.messages] == [True, True]


def test_a_model_is_used_only_when_it_is_whole_and_what_to_do_is_said(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path, 10)
    os.truncate(path / OPTIMIZER, 5)  # not of the model
    assert require_model(path, "run-1") == path / "model"
    flip_bit(path / MODEL)
    with pytest.raises(
        CheckpointError, match=rf"{MODEL} has other content than was written: put it back .* of run-1,"
    ) as caught:
        require_model(path, "run-1")
    assert "\n" not in str(caught.value)
    shutil.rmtree(path)
    with pytest.raises(CheckpointError, match="step-00010 is gone: put it back"):
        require_model(path, "run-1")


def test_an_adapter_is_registered_only_when_it_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert require_adapter(write_checkpoint(tmp_path, 10), "run-1") is None
    monkeypatch.setitem(CONTENT, ADAPTER_WEIGHTS, b"adapter" * 1000)
    path = write_checkpoint(tmp_path, 20)
    assert require_adapter(path, "run-1") == path / "adapter"
    (path / ADAPTER_WEIGHTS).unlink()
    with pytest.raises(CheckpointError, match=f"{ADAPTER_WEIGHTS} is missing: put it back"):
        require_adapter(path, "run-1")


def test_a_checkpoint_from_elsewhere_or_from_before_digests_is_said_to_be(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_checkpoint(tmp_path / "there", 10)
    shutil.move(tmp_path / "there", tmp_path / "here")
    assert choose_resume_step(tmp_path / "here") == 10
    [line] = caplog.messages
    assert f"was written elsewhere, by {os.getuid()}@" in line
    assert f"{tmp_path}/there (here is" in line
    caplog.clear()
    (tmp_path / "here/step-00010" / RECORD).write_text(json.dumps({"step": 10, "best_step": None}))
    assert choose_resume_step(tmp_path / "here") == 10
    assert ["from before checkpoints had digests" in line for line in caplog.messages] == [True]


def test_the_files_are_on_the_disk_before_the_checkpoint_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A power loss after a rename leaves empty files where nothing was flushed."""
    flushed: list[str] = []
    flush = os.fsync

    def noting_flush(handle: int) -> None:
        flushed.append(os.readlink(f"/proc/self/fd/{handle}"))
        flush(handle)

    monkeypatch.setattr(os, "fsync", noting_flush)
    path = write_checkpoint(tmp_path, 10)
    expected = [*(path / name for name in CONTENT), path / RECORD, path, path / "model", path / "state"]
    assert sorted(flushed) == sorted(map(str, expected))
