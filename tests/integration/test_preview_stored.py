"""The preview from a real store, from a file, and as a command; and what a report says of the first step, alarms and stages."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pipeline_lib.config import RunConfig, load_config
from pipeline_lib.preview.comparison import configured_first_step
from pipeline_lib.preview.outcomes import NothingToPreviewError, ProfileOutcomes, recorded_outcomes, stored_outcomes
from pipeline_lib.records import Alarm, Phase, Rollout
from pipeline_lib.report.collect import collect_report
from pipeline_lib.report.html import write_report
from pipeline_lib.runs.run import Run
from pipeline_lib.runs.session import RunSession
from pipeline_lib.stages.profile import profile_fingerprint

REPOSITORY = Path(__file__).resolve().parents[2]
LENGTHS = {"a": [30, 38, 44, 60], "b": [20, 50, 70, 90], "c": [10, 12, 14, 192]}
CORRECT = {"a": [True, True, True, False], "b": [True, False, False, False], "c": [False, False, False, False]}


def config_of(configs: Path, *overrides: str) -> RunConfig:
    return load_config(configs / "experiments" / "base.toml", ["profile.num_rollouts=4", "train.num_rollouts=4", *overrides])


def fingerprint_of(session: RunSession) -> str:
    return profile_fingerprint(session.run.config, session.run.base.digest)


def outcomes_of(session: RunSession) -> ProfileOutcomes:
    return stored_outcomes(session.store, session.run, fingerprint_of(session))


def write_profile(session: RunSession, lengths: dict[str, list[int]] = LENGTHS) -> None:
    """Rollouts of a profile in two shards, later samples first, and the record that the stage is done."""
    for shard, indices in enumerate(((2, 3), (0, 1))):
        rollouts = [
            Rollout(
                session.run.run_id, "profile", 0, "base", "tiny-sum", prompt_id, index, counts[index],
                "length" if counts[index] == 192 else "stop", None, CORRECT[prompt_id][index], "wrong", "text",
                mean_logprob=-0.01 * counts[index],
            )
            for prompt_id, counts in lengths.items()
            for index in indices
        ]  # fmt: skip
        session.store.write_rollouts(rollouts, session.run.run_id, "profile", f"shard-{shard}")
    session.ledger.record_stage("profile", "", fingerprint_of(session), 1.0, {"num_prompts": len(lengths)})


def test_the_profile_comes_back_as_it_was_written(configs: Path) -> None:
    session = RunSession(Run.of(config_of(configs)))
    write_profile(session)
    found = outcomes_of(session)
    assert found.lengths_PN.tolist() == list(LENGTHS.values())
    assert found.correct_PN.tolist() == list(CORRECT.values())
    assert found.finished_PN.tolist() == [[True] * 4, [True] * 4, [True, True, True, False]]
    assert found.logprobs_PN is not None
    assert found.logprobs_PN[0].tolist() == pytest.approx([-0.30, -0.38, -0.44, -0.60])
    assert (found.limit_tokens, found.origin) == (192, f"the profile of {session.run.run_id}")
    step = configured_first_step(session.run.config, found)
    assert (step.positive_fraction, step.zero_variance_fraction) == (3 / 12, 1 / 3)


def test_a_profile_taken_over_is_read_where_it_lies(configs: Path) -> None:
    first, second = RunSession(Run.of(config_of(configs))), RunSession(Run.of(config_of(configs, "reward.target_tokens=50")))
    assert first.run.run_id != second.run.run_id and fingerprint_of(first) == fingerprint_of(second)
    write_profile(first)
    assert outcomes_of(second).origin == f"the profile of {first.run.run_id}"
    second.ledger.record_stage("profile", "", fingerprint_of(second), 0.0, {}, reused_from=first.run.run_id)
    found = outcomes_of(second)
    assert found.lengths_PN.tolist() == list(LENGTHS.values())
    assert configured_first_step(second.run.config, found).positive_fraction == 4 / 12


def test_an_own_profile_comes_before_another_with_the_same_inputs(configs: Path) -> None:
    first, second = RunSession(Run.of(config_of(configs))), RunSession(Run.of(config_of(configs, "reward.target_tokens=50")))
    write_profile(first)
    write_profile(second, {"a": [1, 2, 3, 4]})
    assert outcomes_of(first).num_prompts == 3
    assert outcomes_of(second).lengths_PN.tolist() == [[1, 2, 3, 4]]


def test_other_inputs_have_no_profile(configs: Path) -> None:
    write_profile(RunSession(Run.of(config_of(configs))))
    other = RunSession(Run.of(config_of(configs, "profile.num_rollouts=6")))
    with pytest.raises(NothingToPreviewError, match="has no difficulty profile yet: run 'laconic profile'"):
        outcomes_of(other)


def write_lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def recorded_rows() -> list[dict[str, Any]]:
    return [
        {"prompt_id": prompt_id, "response": "text", "num_tokens": tokens, "correct": right}
        for prompt_id, lengths in LENGTHS.items()
        for tokens, right in zip(lengths, CORRECT[prompt_id], strict=True)
    ]


def test_rollouts_of_a_file_with_their_own_judgements(configs: Path, tmp_path: Path) -> None:
    config = config_of(configs)
    found = recorded_outcomes(write_lines(tmp_path / "rollouts.jsonl", recorded_rows()), config)
    assert found.lengths_PN.tolist() == list(LENGTHS.values())
    assert found.correct_PN.tolist() == list(CORRECT.values())
    assert found.logprobs_PN is None
    assert configured_first_step(config, found).positive_fraction == 3 / 12


def test_rollouts_of_a_file_judged_by_our_grader(configs: Path, tmp_path: Path) -> None:
    rows = [
        {"problem": "1+1?", "gold": "2", "response": response, "num_tokens": tokens}
        for response, tokens in (("\\boxed{2}", 9), ("\\boxed{3}", 50))
    ]
    config = config_of(configs, "prompts.grader=math")
    found = recorded_outcomes(write_lines(tmp_path / "rollouts.jsonl", rows), config)
    assert found.correct_PN.tolist() == [[True, False]]


def test_a_file_at_fault_is_named(configs: Path, tmp_path: Path) -> None:
    rows = recorded_rows()
    rows[1]["correct"] = "maybe"
    with pytest.raises(ValueError, match="correct = 'maybe' in row 2 is neither true nor false"):
        recorded_outcomes(write_lines(tmp_path / "odd.jsonl", rows), config_of(configs))
    two_models = [row | {"model": f"model-{index % 2}"} for index, row in enumerate(recorded_rows())]
    with pytest.raises(ValueError, match="holds rollouts of several models"):
        recorded_outcomes(write_lines(tmp_path / "two.jsonl", two_models), config_of(configs))


def preview(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "flows.cli", "preview", "configs/experiments/base.toml", *arguments],
        env={**os.environ, "LACONIC_HOME": str(home), "COLUMNS": "200"},
        cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip


def test_the_command_previews_a_file_and_names_a_missing_profile_in_one_line(home: Path, tmp_path: Path) -> None:
    rollouts = write_lines(tmp_path / "rollouts.jsonl", recorded_rows())
    done = preview(home, "--rollouts", str(rollouts), "--format", "json", "--target", "45")
    assert done.returncode == 0, done.stderr
    assert [row["positive_fraction"] for row in json.loads(done.stdout)["settings"]] == [3 / 12, 4 / 12]
    missing = preview(home)
    assert missing.returncode != 0 and missing.stdout == ""
    assert len(missing.stderr.strip().splitlines()) == 1
    assert "has no difficulty profile yet" in missing.stderr


def start(session: RunSession) -> None:
    row = {
        "run_id": session.run.run_id,
        "name": session.run.config.name,
        "status": "completed",
        "started_at": datetime.now(UTC),
    }
    session.store.write("runs", [row])


def test_the_report_shows_the_first_step_and_what_the_watch_found(configs: Path, tmp_path: Path) -> None:
    session, control = RunSession(Run.of(config_of(configs))), RunSession(Run.of(config_of(configs, "reward.name=vanilla")))
    start(session)
    start(control)
    write_profile(session)
    session.store.write("alarms", [Alarm(session.run.run_id, 14, "length_collapse", 21.4, 56.0, "roll_back")])
    control.store.write("alarms", [Alarm(control.run.run_id, 31, "entropy_spike", 0.456, 0.3)])
    stages = [
        Phase(session.run.run_id, "length_adaptation", 1, 12, 82.0, 40.0, 0.79, 0.6, 0.31, 0.12),
        Phase(session.run.run_id, "reasoning_refinement", 13, 70, 40.0, 38.0, 0.6, 0.72, 0.12, 0.1),
    ]
    session.store.write("phases", stages)
    data = collect_report(session.store, session.run, [control.run], fingerprint_of(session))
    assert data.preview is not None and data.preview.rows[0].step.positive_fraction == 3 / 12
    assert data.notes == [
        "Alarm in this run (truncation) at step 14, length collapse: the mean length fell to 21 tokens and accuracy with it "
        "(below 56 is an alarm). Training went back to the best checkpoint.",
        "Stages of this run (truncation): length adaptation in steps 1 to 12 (length 82 → 40 tokens, accuracy 79 → 60 %, entropy "
        "0.31 → 0.12 nats per token); reasoning refinement in steps 13 to 70 (length 40 → 38 tokens, accuracy 60 → 72 %, entropy "
        "0.12 → 0.10 nats per token).",
        "Alarm in the control (vanilla) at step 31, entropy spike: entropy rose to 0.456 nats per token (above 0.3 is an alarm).",
    ]
    page = write_report(data, tmp_path / "report").read_text(encoding="utf-8")
    assert (tmp_path / "report" / "first_step.png").exists()
    assert "What the first step would see" in page and data.preview.sentences[0] in page
    assert "length collapse: the mean length fell to 21 tokens" in page


def test_a_report_without_a_profile_or_findings_says_so(configs: Path, tmp_path: Path) -> None:
    session = RunSession(Run.of(config_of(configs)))
    start(session)
    data = collect_report(session.store, session.run, [], fingerprint_of(session))
    assert data.preview is None and list(data.notes) == []
    page = write_report(data, tmp_path / "report").read_text(encoding="utf-8")
    assert "No profiled rollouts are stored, so what the first step would see is not known." in page
    assert not (tmp_path / "report" / "first_step.png").exists()
