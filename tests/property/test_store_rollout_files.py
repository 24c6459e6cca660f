"""Rollouts come back from Parquet as they were written, whatever the model wrote."""

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_lib.records import Rollout
from pipeline_lib.store.database import Store
from pipeline_lib.store.rollout_files import read_rollout_file, write_rollout_file

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=60)
COUNT = st.integers(0, 2**31 - 1)
REAL = st.floats(allow_nan=False)

ROLLOUTS = st.lists(
    st.builds(
        Rollout,
        run_id=st.just("a"),
        stage=st.just("train"),
        step=COUNT,
        model=TEXT,
        source=TEXT,
        prompt_id=TEXT,
        sample_index=COUNT,
        num_tokens=COUNT,
        finish_reason=st.sampled_from(["stop", "length"]),
        answer=st.none() | TEXT,
        correct=st.booleans(),
        grade_reason=TEXT,
        text=TEXT | st.sampled_from(["", "\n", "\r\n'\"\\", "; DROP TABLE runs; --", "🙂\u202e\u0301", "NULL"]),
        reward=st.none() | REAL,
        advantage=st.none() | REAL,
        masked=st.booleans(),
        policy_lag=COUNT,
        mean_logprob=st.none() | REAL,
        policy_version=st.none() | COUNT,
        num_prompt_tokens=st.none() | COUNT,
        answer_appears=st.none() | st.booleans(),
        tokens_to_answer=st.none() | COUNT,
        restarts=st.none() | COUNT,
        repeated_fraction=st.none() | st.floats(0, 1),
    ),
    max_size=8,
)


@given(ROLLOUTS)
@settings(max_examples=60, deadline=None)
def test_file_holds_the_rollouts_in_order(rollouts: list[Rollout]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = write_rollout_file(Path(folder) / "deep" / "x.parquet", rollouts)
        assert read_rollout_file(path) == rollouts
        assert [file.name for file in path.parent.iterdir()] == ["x.parquet"]


@given(ROLLOUTS)
@settings(max_examples=10, deadline=None)
def test_view_shows_the_rollouts(rollouts: list[Rollout]) -> None:
    fields = list(Rollout.__dataclass_fields__)
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        store.write_rollouts(rollouts, "a", "train", "step-1")
        rows = store.query(f"SELECT {', '.join(fields)} FROM rollouts").rows
    assert [Rollout(*row) for row in rows] == rollouts
