"""Names are not paths: what a configuration, a file or a command line names leads nowhere but to its own place."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline_lib.config import RecordedConfig, RunConfig, TrackingConfig, load_config, parse_config, stored_config
from pipeline_lib.evaluation.recorded_rollouts import RecordedRollout
from pipeline_lib.experiments.specification import ExperimentConfig, experiment_file
from pipeline_lib.files.home import LONGEST_PART_BYTES, below, plain_key
from pipeline_lib.jobs import GenerateJob, GenerateUnit, TrainJob, read_job, write_json
from pipeline_lib.processes import lock_run
from pipeline_lib.runs.base_model import pin_version
from pipeline_lib.runs.run import Run
from pipeline_lib.runs.session import RunSession
from pipeline_lib.section import name_from
from pipeline_lib.stages.evaluate import Sweep
from pipeline_lib.store.database import Store
from pipeline_lib.worker.process import WorkerProcess
from tasks.artifacts import artifact_key

OUTSIDE = "../../../../x"
BAD_NAMES = [OUTSIDE, "tiny[1]*", "/etc/x", "..", ".hidden", "", "a b", "a/b", "it's", "a\0b", "a\n", "Upper", "x" * 101]
KEYS = [
    "name",
    "prompts.name",
    "validation.source.name",
    "evaluate.benchmarks.0.name",
    "filter.cleaning.benchmarks",
    "tracking.experiment",
    "tracking.registered_model",
]
WHAT_IS_ALLOWED = "a name has lower-case letters, digits, '.', '_' and '-'"


def changed(tree: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    """The tree of a configuration with a name at `key`."""
    if key == "filter.cleaning.benchmarks":
        tree["filter"]["cleaning"]["benchmarks"] = [tree["evaluate"]["benchmarks"][0] | {"name": value}]
        return tree
    *path, last = [int(part) if part.isdigit() else part for part in key.split(".")]
    node: Any = tree
    for part in path:
        node = node[part]
    node[last] = value
    return tree


@pytest.fixture
def tree(configs: Path) -> dict[str, Any]:
    return load_config(configs / "smoke.toml").model_dump(mode="json")


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("name", BAD_NAMES, ids=repr)
def test_a_name_that_could_be_a_path_is_refused_in_one_line(tree: dict[str, Any], key: str, name: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_config(changed(tree, key, name), RunConfig, "own.toml")
    place = f"{key}.0.name" if key.endswith("cleaning.benchmarks") else key
    assert str(caught.value).startswith(f"own.toml: {place} = {name!r}: {WHAT_IS_ALLOWED}")
    assert str(caught.value).count(" = ") == 1


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("name", ["a", "x" * 100, "qwen3-0.6b_new", "0"])
def test_other_names_are_as_they_were(tree: dict[str, Any], key: str, name: str) -> None:
    parse_config(changed(tree, key, name), RunConfig)


@pytest.mark.parametrize("key", KEYS)
def test_what_an_earlier_version_stored_still_opens(tree: dict[str, Any], key: str, tmp_path: Path) -> None:
    config = stored_config(changed(tree, key, "Tiny [1]*"), RunConfig)
    assert config.model_dump(mode="json") == tree
    assert stored_config(tree["tracking"], TrackingConfig) == config.tracking
    folders = {key: str(tmp_path) for key in ("prompts_file", "rollouts_folder", "steps_folder", "checkpoints_folder")}
    job = TrainJob(run_id="a", config=config, base_folder=str(tmp_path), **folders)
    write_json(tmp_path / "0000.json", job.model_dump(mode="json"))
    assert read_job(tmp_path / "0000.json") == job


def test_a_generate_job_with_an_old_name_reaches_the_worker(tree: dict[str, Any], tmp_path: Path) -> None:
    source = stored_config(changed(tree, "prompts.name", "AIME 24"), RunConfig).prompts
    settings: dict[str, Any] = {"num_samples": 1, "limit_tokens": 1, "temperature": 1.0, "top_p": 1.0, "seed": 0}
    files = {"prompts_file": "p", "shard_prefix": "s", "output_folder": "o"}
    job = GenerateJob(units=(GenerateUnit(run_id="a", stage="profile", step=0, model="m", source=source, **settings, **files),))
    write_json(tmp_path / "0000.json", job.model_dump(mode="json"))
    assert read_job(tmp_path / "0000.json") == job


@pytest.mark.parametrize("name", [OUTSIDE, "a b"])
def test_experiments_arms_and_recorded_rollouts_are_named_alike(name: str) -> None:
    arm = {"name": "a", "label": "A"}
    made: dict[str, Any] = {"name": "e", "finding": "F1", "title": "t", "paper": "p", "arms": [arm]}
    for key, tree in (("name", made | {"name": name}), ("arms.0.name", made | {"arms": [arm | {"name": name}]})):
        with pytest.raises(ValueError, match=WHAT_IS_ALLOWED) as caught:
            parse_config(tree, ExperimentConfig)
        assert f"{key} = {name!r}: " in str(caught.value)
    with pytest.raises(ValueError, match=WHAT_IS_ALLOWED):
        parse_config({"name": name, "rollouts_file": "r.jsonl"}, RecordedConfig)


def test_words_that_stand_for_a_file_are_names(configs: Path, tmp_path: Path) -> None:
    """A file beside the folder that is meant is not reached, even where it is there."""
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "aside.toml").write_text('name = "aside"\nkind = "file"\npath = "x.jsonl"\n', encoding="utf-8")
    (tmp_path / "own.toml").write_text((configs / "smoke.toml").read_text(encoding="utf-8"), encoding="utf-8")
    with pytest.raises(ValueError, match=r"no prompt source named '\.\./aside'"):
        load_config(tmp_path / "own.toml", ['evaluate.benchmarks=["../aside"]'])
    with pytest.raises(ValueError, match=r"no experiment '\.\./demo'"):
        experiment_file("../demo")


@given(st.lists(st.text(max_size=8) | st.sampled_from([OUTSIDE, "..", ".", "a/../..", "/x", "a\0", "\ud800", "a"]), max_size=4))
@example(["é" * LONGEST_PART_BYTES])
@example(["x" * LONGEST_PART_BYTES])
def test_no_name_leads_out_of_a_folder(parts: list[str]) -> None:
    folder = Path("/home of/a user").resolve()
    try:
        path = below(folder, *parts)
    except ValueError as error:
        assert "cannot name a file or folder below" in str(error)
        assert len(str(error).splitlines()) == 1
        return
    assert path.parts == (*folder.parts, *parts)
    assert path.resolve() == path


def test_a_link_in_the_home_is_followed(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "checkpoints").symlink_to(tmp_path / "disk")
    below(tmp_path / "home", "checkpoints", "run").mkdir()
    assert (tmp_path / "disk" / "run").is_dir()


def test_whatever_a_run_is_called_its_files_stay_in_the_home(home: Path, tree: dict[str, Any]) -> None:
    run = replace(Run.of(stored_config(tree, RunConfig)), run_id=OUTSIDE)
    for folder in (lambda: run.rollouts_folder("train"), run.training_folder, run.checkpoints_folder, run.report_folder):
        with pytest.raises(ValueError, match="cannot name a file or folder below"):
            folder()
    hostile = stored_config(changed(tree, "name", OUTSIDE), RunConfig)
    for make in (lambda: WorkerProcess(hostile, "x", home, will_train=False), lambda: lock_run(home, OUTSIDE)):
        with pytest.raises(ValueError, match="cannot name a file or folder below"):
            make()
    assert not list(home.parent.rglob("*x.lock"))


def test_a_benchmark_called_as_a_file_of_training_does_not_replace_it(tree: dict[str, Any]) -> None:
    session = RunSession(Run.of(stored_config(tree, RunConfig)))
    run = session.run
    for name in ("prompts", "validation", "profile-prompts"):
        benchmark = run.config.evaluate.benchmarks[0].model_copy(update={"name": name})
        file = Sweep(session, "fingerprint", step=0, weights=None, benchmark=benchmark).prompts_file
        assert file.parent == run.training_folder()
        assert file.stem not in ("prompts", "validation", "profile-prompts")
    outside = run.config.evaluate.benchmarks[0].model_copy(update={"name": OUTSIDE})
    with pytest.raises(ValueError, match="cannot name a file or folder below"):
        _ = Sweep(session, "fingerprint", step=0, weights=None, benchmark=outside).prompts_file


def test_no_two_names_have_one_key() -> None:
    names = ["a-b", "a.b", "a_b", "a--b", "a-b-", "A-b", "é", "", "x" * 120, "x" * 121, OUTSIDE]
    keys = {plain_key(name) for name in names}
    assert len(keys) == len(names)
    assert all(artifact_key(key, "budgets").replace("-", "").isalnum() for key in keys)
    assert artifact_key("a.b", "budgets") != artifact_key("a-b", "budgets")
    assert artifact_key("smoke", "accuracy_by_budget") == "smoke-accuracy-by-budget"
    assert artifact_key("compare-1", f"pareto_{plain_key('a.b')}") != artifact_key("compare-1", f"pareto_{plain_key('a_b')}")


@given(st.text(max_size=30))
def test_any_text_gives_a_plain_key(text: str) -> None:
    key = plain_key(text)
    assert key == plain_key(key)
    assert key.replace("-", "").isalnum()
    assert key.isascii()


@pytest.mark.parametrize("name", ["it's", 'a"b', "../x", "a/b/1", "", "a@b@c", "`x`", "a:b"])
def test_a_registered_model_has_a_name_that_a_filter_can_hold(name: str) -> None:
    with pytest.raises(ValueError, match="neither models:/NAME/VERSION"):
        pin_version(f"models:/{name}@champion", TrackingConfig())


def test_two_configurations_of_one_name_do_not_share_a_deployment(
    home: Path, configs: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from flows.server.deploy import _retrainings

    own = home / "configs" / "own.toml"
    own.parent.mkdir(parents=True)
    text = (configs / "retrain-tiny.toml").read_text(encoding="utf-8")
    own.write_text(text.replace('name = "retrain-tiny"', 'name = "tiny"', 1), encoding="utf-8")
    with caplog.at_level(logging.WARNING):
        names = [deployment["name"] for deployment in _retrainings(home)]
    assert names == ["retrain-tiny"]
    assert "own.toml" in caplog.text
    assert "has the deployment 'retrain-tiny' already: give the configuration another name" in caplog.text


def rollout(benchmark: str) -> RecordedRollout:
    return RecordedRollout("p", "What is one plus one?", "\\boxed{2}", 3, "stop", "m", benchmark, 0, "")


def test_a_files_own_spelling_of_a_benchmark_finds_the_source(tmp_path: Path) -> None:
    from pipeline_lib.stages.recorded import with_prompts

    assert name_from("MATH 500") == "math-500"
    (tmp_path / "b.jsonl").write_text('{"problem": "What is one plus one?", "answer": "2"}\n', encoding="utf-8")
    source = {"name": "math-500", "kind": "file", "path": str(tmp_path / "b.jsonl")}
    config = parse_config({"name": "r", "rollouts_file": "r.jsonl", "sources": [source]}, RecordedConfig)
    ((found, prompt),), unmatched = with_prompts([rollout("MATH 500")], config)
    assert (found.benchmark, prompt.source, prompt.answer, unmatched) == ("math-500", "math-500", "2", 0)
    with pytest.raises(ValueError, match="'MATH 500', 'math-500' would be the same benchmark"):
        with_prompts([rollout("MATH 500"), rollout("math-500")], config)
    with pytest.raises(ValueError, match="sources = .* must have different names"):
        parse_config({"name": "r", "rollouts_file": "r.jsonl", "sources": [source, source]}, RecordedConfig)


def test_a_file_of_rollouts_is_deleted_by_the_beginning_of_its_name_alone(home: Path) -> None:
    store = Store(home)
    for name in ("tiny[1]-00000", "tiny1-00000", "tiny-00000"):
        store.write_rollouts([], "a", "evaluate", name)
    store.delete_rollout_files("a", "evaluate", keep_prefixes=["tiny1-", "tiny[1]-"])
    assert sorted(path.stem for path in (home / "rollouts" / "a" / "evaluate").iterdir()) == ["tiny1-00000", "tiny[1]-00000"]
