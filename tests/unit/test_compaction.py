"""Compaction loses and doubles no row: cut at any file operation, beside readers and writers, on old files, at a read-only home."""

import multiprocessing
import os
import sys
import threading
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline_lib.files.whole_files import remove_unfinished
from pipeline_lib.records import Rollout
from pipeline_lib.store import compaction, rollout_files
from pipeline_lib.store.database import Store
from pipeline_lib.store.rollout_files import ROLLOUT_SCHEMA, read_stage_rollouts, stage_files, whole_groups, write_rollout_file

STEPS, RANKS, PROMPTS, SAMPLES = 3, 2, 2, 2
RUN = "r-1"


def rollouts(step: int, rank: int = 0, stage: str = "train", run: str = RUN) -> list[Rollout]:
    return [
        Rollout(run, stage, step, "org/m", "src", f"p/{rank}{p}", s, 9, "stop", None, True, "", f"{step}.{rank}.{p}.{s}é")  # type: ignore[arg-type]
        for p in reversed(range(PROMPTS))
        for s in range(SAMPLES)
    ]


def fill(store: Store, run: str = RUN) -> Store:
    store.named("named_runs")
    for step in range(1, STEPS + 1):
        for rank in range(RANKS):
            store.write_rollouts(rollouts(step, rank, run=run), run, "train", f"step-{step:05d}-rank-{rank}")
    return store


def seen(store: Store, run: str = RUN) -> list[tuple[object, ...]]:
    query = "SELECT rollout_id, text FROM rollouts WHERE run_id = $run ORDER BY step, prompt_id, sample_index, text"
    return store.query(query, {"run": run}).rows


def right(steps: int = STEPS, run: str = RUN) -> list[tuple[object, ...]]:
    return [
        (f"{run}/train/org/m-{step}/p/{rank}{p}/{s}", f"{step}.{rank}.{p}.{s}é")
        for step in range(1, steps + 1)
        for rank in range(RANKS)
        for p in range(PROMPTS)
        for s in range(SAMPLES)
    ]


def _die_at(home: str, what: str, run: str, number: int) -> None:
    """Do the work, and die as by SIGKILL before its file operation of this number; exit status 3: it had fewer."""
    left = number

    def count(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal left
        if event in ("open", "os.rename", "os.remove", "os.mkdir") and f"{home}/rollouts" in str(arguments[0]):
            left -= 1
            if left < 0:
                os._exit(9)

    store = Store(Path(home))
    sys.addaudithook(count)
    _work(store, what, run)
    os._exit(3)


def _work(store: Store, what: str, run: str) -> None:
    if what == "compact":
        store.compact(run, "train")
    else:
        store.delete_rollouts_after(run, STEPS - 1)


@pytest.mark.parametrize("what", ["compact", "cut"])
def test_a_kill_at_any_moment_leaves_each_row_once(tmp_path: Path, what: str) -> None:
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["pipeline_lib.store.database"])
    store, folder, kept = Store(tmp_path), tmp_path / "rollouts", STEPS if what == "compact" else STEPS - 1
    for number in range(100):
        run = f"r-{number}"
        fill(store, run)
        if what == "cut":
            store.compact(run, "train")
        worker = processes.Process(target=_die_at, args=(str(tmp_path), what, run, number))
        worker.start()
        worker.join()
        found = seen(Store(tmp_path), run)
        assert found == right(run=run) or (what == "cut" and found == right(kept, run))
        remove_unfinished(folder / run)
        _work(store, what, run)
        assert seen(store, run) == right(kept, run)
        assert len(stage_files(folder / run / "train")) == 1
        if worker.exitcode == 3:
            break
        assert worker.exitcode == 9
    assert number > 8, "the work has been cut at each of its operations"
    assert not [path for path in folder.rglob("*") if path.suffix in (".tmp", ".json")]


def test_readers_and_another_writer_see_each_row_once_meanwhile(tmp_path: Path) -> None:
    store, done, faults = fill(Store(tmp_path)), threading.Event(), list[object]()
    folder = tmp_path / "rollouts" / RUN / "train"

    def look() -> None:
        while not done.is_set():
            rows, read = seen(Store(tmp_path)), read_stage_rollouts(folder, "")
            if (
                len(set(rows)) != len(rows)
                or len({rollout.text for rollout in read}) != len(read)
                or rows[: len(right())] != right()
                or len(read) < len(right())
            ):
                faults.append(rows)

    readers = [threading.Thread(target=look) for _ in range(2)]
    for reader in readers:
        reader.start()
    for step in range(STEPS + 1, STEPS + 6):
        store.write_rollouts(rollouts(step, 0), RUN, "train", f"step-{step:05d}-rank-0")
        store.write("runs", [{"run_id": f"other-{step}", "name": "other", "status": "running"}])
        store.compact(RUN, "train")
    done.set()
    for reader in readers:
        reader.join()
    assert not faults
    assert len(stage_files(folder)) == 1 and len(seen(store)) == len(right()) + 5 * PROMPTS * SAMPLES


def test_units_of_a_stage_stay_apart_and_keep_the_beginnings_of_their_names(tmp_path: Path) -> None:
    store, folder = Store(tmp_path), tmp_path / "rollouts" / RUN / "evaluate"
    for name, rank in (
        ("tiny-00000-0123456789ab-000000", 0),
        ("tiny-00000-0123456789ab-000002", 1),
        ("b-00000-0123456789ab-000000", 0),
    ):
        store.write_rollouts(rollouts(0, rank, "evaluate"), RUN, "evaluate", name)
    assert store.compact(RUN, "evaluate", at_least=4) == 0
    assert store.compact(RUN, "evaluate") == 1
    [path] = stage_files(folder, "tiny-00000-0123456789ab-")
    assert whole_groups(path, SAMPLES) == {"p/00", "p/01", "p/10", "p/11"} and not whole_groups(path, SAMPLES + 1)
    store.delete_rollout_files(RUN, "evaluate", keep_prefixes=["b-"])
    assert [path.name for path in stage_files(folder)] == ["b-00000-0123456789ab-000000.parquet"]


def test_steps_are_read_alone_and_runs_and_stages_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "ROW_GROUP_ROWS", RANKS * PROMPTS * SAMPLES)
    store = fill(Store(tmp_path))
    store.write_rollouts(rollouts(0, 0, "profile"), RUN, "profile", "0123456789ab-000000")
    store.compact(RUN, "train")
    [path] = stage_files(tmp_path / "rollouts" / RUN / "train")
    groups = pq.ParquetFile(path).metadata
    assert [groups.row_group(number).column(3).statistics.max for number in range(groups.num_row_groups)] == [1, 2, 3]
    for where, files in ((f"run_id = '{RUN}' AND stage = 'train'", 1), ("run_id = 'other'", 0), ("stage = 'evaluate'", 0)):
        [(_, plan)] = store.query(f"EXPLAIN ANALYZE SELECT text FROM rollouts WHERE {where}").rows
        assert f"Scanning Files: {files}/2" in plan, plan


def test_a_training_that_goes_on_compacts_what_is_finished(tmp_path: Path) -> None:
    store, folder = fill(Store(tmp_path)), tmp_path / "rollouts" / RUN / "train"
    assert store.compact(RUN, "train", last_step=2) == 3
    assert [path.name for path in folder.glob("*.parquet")] == [
        "step-00003-rank-0.parquet",
        "step-00003-rank-1.parquet",
    ] or len(list(folder.glob("*.parquet"))) == RANKS
    assert seen(store) == right()


def test_files_of_older_and_newer_versions_and_damaged_ones(tmp_path: Path) -> None:
    store, folder = fill(Store(tmp_path)), tmp_path / "rollouts" / RUN / "train"
    older, newer, damaged, _ = sorted(folder.glob("*.parquet"))[:4]
    pq.write_table(pq.read_table(older).drop_columns(["mean_logprob", "masked"]), older)
    pq.write_table(pq.read_table(newer).append_column("to_come", pa.array([1] * PROMPTS * SAMPLES)), newer)
    damaged.write_bytes(b"damaged")
    store.compact(RUN, "train")
    assert {path.name for path in folder.glob("*.parquet")} == {newer.name, damaged.name}
    [compacted] = set(stage_files(folder)) - {newer, damaged}
    assert pq.read_metadata(compacted).num_rows == 4 * PROMPTS * SAMPLES
    assert [rollout.step for rollout in rollout_files.read_rollout_file(compacted)][:4] == [1] * 4
    damaged.unlink()
    assert len(seen(store)) == 5 * PROMPTS * SAMPLES


def test_what_is_not_completed_at_a_home_that_cannot_be_written_is_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = fill(Store(tmp_path))
    monkeypatch.setattr(Path, "unlink", lambda *_, **__: (_ for _ in ()).throw(OSError("read-only")))
    with pytest.raises(OSError, match="read-only"):
        store.compact(RUN, "train")
    assert len(stage_files(tmp_path / "rollouts" / RUN / "train")) == STEPS * RANKS + 1
    assert seen(Store(tmp_path)) == right()
    monkeypatch.undo()
    assert seen(Store(tmp_path)) == right()
    assert len(stage_files(tmp_path / "rollouts" / RUN / "train")) == 1


def test_schemas_of_both_kinds_have_the_columns_of_a_rollout(tmp_path: Path) -> None:
    Store(tmp_path).named("named_runs")
    compacted, loose = (pq.read_schema(path) for path in compaction.schema_files(tmp_path / "rollouts"))
    assert loose.names == ROLLOUT_SCHEMA.names and compacted.names == ["rollout_id", *loose.names]
    write_rollout_file(tmp_path / "x.parquet", rollouts(1))
