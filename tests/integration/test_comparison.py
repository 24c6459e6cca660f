"""Runs compared from a real store: what is collected, the page, and the flow with its artifacts."""

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from stored_runs import HOSTILE, write_runs

from pipeline_lib.report.comparison.collect import collect_comparison
from pipeline_lib.report.comparison.page import comparison_folder, write_comparison
from pipeline_lib.store.database import Store


class Page(HTMLParser):
    """The tags, and the visible text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_comparison_holds_what_the_store_says(home: Path) -> None:
    one, two = write_runs(home)
    found = collect_comparison(Store(home), [one.run_id, two.run_id])
    assert [(run.key, run.label, run.steps) for run in found.runs] == [("A", "one", [6]), ("B", "two", [6])]
    assert [alarm["step"] for run in found.runs for alarm in run.alarms] == [4]
    (base,) = found.bases
    assert {row["budget_tokens"] for row in base.rows} == {24, 48, 96, 192}
    assert len(base.rows) == 4  # both runs have the base's rows; it stands once

    (difference,) = found.differences
    assert (difference.key, difference.num_prompts) == ("B", 6)
    # Within 192 tokens both are right on four of six; within 48 the first on p0-p3, the second on p0 alone.
    assert difference.accuracy[192][0] == pytest.approx(0.0)
    assert difference.accuracy[48][0] == pytest.approx(-3 / 6)
    assert difference.tokens[0] == pytest.approx((22 + 91 + 63 + 99 + 140 + 192 - 15 - 40 - 30 - 45 - 50 - 60) / 6)

    assert found.examples[0].why == "fixed: wrong before, right in A, still wrong in B"
    assert found.examples[1].why == "broken: right before, wrong in A, still right in B"
    fixed = found.examples[0]
    assert fixed.problem == f"p1: {HOSTILE}"
    assert [(label.split()[0], each["correct"], each["num_tokens"]) for label, each in fixed.responses] == [
        ("before", False, 90),
        ("A", True, 40),
        ("B", False, 91),
    ]
    assert fixed.responses[0][1]["rollout_id"] == f"{one.run_id}/evaluate/builtin:tiny-0/p1/0"
    assert len({example.problem for example in found.examples}) == 5


def test_a_run_that_took_the_base_over_can_stand_first(home: Path) -> None:
    one, two = write_runs(home)
    found = collect_comparison(Store(home), [two.run_id, one.run_id])
    assert [run.label for run in found.runs] == ["two", "one"]
    assert all(len(example.responses) == 3 for example in found.examples)
    assert all(example.responses[0][0] == "before RL" for example in found.examples)


def test_the_page_is_self_contained_and_safe(home: Path, tmp_path: Path) -> None:
    one, two = write_runs(home)
    html = write_comparison(collect_comparison(Store(home), [one.run_id, two.run_id]), tmp_path).read_text(encoding="utf-8")
    page = Page(html)
    assert sorted(path.name for path in tmp_path.glob("*.png")) == [
        "accuracy_by_budget.png",
        "pareto_tiny-sum.png",
        "training_dynamics.png",
    ]
    assert html.count("data:image/png;base64,") == 3
    assert "script" not in page.tags
    assert HOSTILE in page.text
    assert not re.search(r'(src|href)="http', html)
    for words in ("train.learning_rate", "0.0001", "reward.name", "Alarm in B (two) at step 4", "control of"):
        assert (words in page.text) is (words != "control of")
    assert "prompts.num_prompts" not in page.text  # the same in both
    (cells,) = re.findall(r"<b>B</b> − A</td>(.*?)</tr>", html, re.DOTALL)
    assert "−50.0" in cells


def test_runs_that_only_trained_or_have_no_common_prompts(home: Path, tmp_path: Path) -> None:
    one, two = write_runs(home)
    store = Store(home)
    for table in ("budget_results", "stage_results"):
        store.replace(table, {"run_id": two.run_id}, [])
    html = write_comparison(collect_comparison(store, [one.run_id, two.run_id]), tmp_path).read_text(encoding="utf-8")
    assert "No other run was evaluated on the same prompts as A (one)." in html
    for table in ("budget_results", "stage_results"):
        store.replace(table, {"run_id": one.run_id}, [])
    html = write_comparison(collect_comparison(store, [one.run_id, two.run_id]), tmp_path).read_text(encoding="utf-8")
    assert "No budget sweep was recorded" in html
    assert "There is no problem that all of these runs answered." in html
    assert [path.name for path in tmp_path.glob("*.png")] == ["training_dynamics.png"]


def test_what_cannot_be_compared_is_a_clear_mistake(home: Path) -> None:
    one, _ = write_runs(home)
    store = Store(home)
    with pytest.raises(ValueError, match="'nowhere' is not in the store"):
        collect_comparison(store, [one.run_id, "nowhere"])
    with pytest.raises(ValueError, match="given twice"):
        collect_comparison(store, [one.run_id, one.run_id])
    store.write("runs", [{"run_id": "recorded-1", "name": "recorded", "config": {"rollouts_file": "x.parquet"}}])
    with pytest.raises(ValueError, match="'recorded-1' holds recorded rollouts and no training: 'laconic results recorded-1'"):
        collect_comparison(store, [one.run_id, "recorded-1"])


def artifacts() -> dict[str, Any]:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        found = sorted(client.read_artifacts(), key=lambda artifact: str(artifact.created))
    return {artifact.key: artifact for artifact in found if artifact.key}


@pytest.mark.usefixtures("prefect_server")
def test_the_flow_writes_the_page_and_its_artifacts(home: Path, tmp_path: Path) -> None:
    from flows.comparing import run_comparison

    one, two = write_runs(home, problem="7a+3b-2")  # the report of one run reads the tiny world's problems
    run_ids = [one.run_id, two.run_id]
    result = run_comparison(["one", two.run_id[:6]])
    folder = comparison_folder(home, run_ids)
    assert result == {"report": str(folder / "compare.html"), "run_ids": run_ids}
    assert comparison_folder(home, run_ids[::-1]) != folder  # another first run is another comparison
    shown = artifacts()
    for figure in ("pareto-tiny-sum", "accuracy-by-budget", "training-dynamics"):
        assert shown[f"{folder.name}-{figure}"].type == "image"
    assert str(folder / "compare.html") in shown[f"{folder.name}-compare"].data

    assert run_comparison(run_ids, str(tmp_path / "out"))["report"] == str(tmp_path / "out" / "compare.html")

    # A single run gets its usual report, from the store alone.
    alone = run_comparison(["one"])
    assert alone == {"report": str(home / "reports" / one.run_id / "report.html")}
    assert "7a+3b-2 (answer 8)" in Path(alone["report"]).read_text(encoding="utf-8")
    with pytest.raises(ValueError, match="no run 'three'"):
        run_comparison(["one", "three"])
