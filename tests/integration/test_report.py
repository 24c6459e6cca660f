"""The whole page: self-contained, true to its data, safe with hostile text, and whole when parts are missing."""

import base64
import io
import re
import shutil
import socket
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from pipeline_lib.report.data import ExtraTable, ReportData, RunFacts, RunSeries
from pipeline_lib.report.html import write_report

HOSTILE = '<script src="http://evil.example/x.js">alert(1)</script><img src=x onerror=alert(2)>'
BEFORE = {"problem": "7a+3b-2", "answer": "8", "text": HOSTILE, "correct": False, "num_tokens": 96}
AFTER = BEFORE | {"text": "7a+3=0\n0b-2=8", "correct": True, "num_tokens": 22}
FIGURES = ("accuracy_by_budget", "length_by_correctness", "training_dynamics", "pass_rates")
VOID_TAGS = ("meta", "img", "br", "hr", "link", "input")


class Page(HTMLParser):
    """Tags with their attributes, the visible text, and whether every tag was closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID_TAGS:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def training_rows(num_steps: int) -> list[dict[str, Any]]:
    return [
        {
            "step": step,
            "reward_mean": 0.4 + 0.01 * step,
            "accuracy": 0.7,
            "mean_tokens_correct": 80.0 - step,
            "mean_tokens_incorrect": 60.0 - step,
            "entropy": 0.05,
            "positive_fraction": 0.5,
            "zero_variance_fraction": 0.2,
            "truncated_fraction": 0.01,
            "kl": None,
            "grad_norm": 0.3,
            "logprob_gap": 1e-6,
            "validation_accuracy": 0.7 if step % 2 == 0 else None,
            "tokens_per_second": 8000.0,
            "generation_seconds": 2.0,
            "update_seconds": 1.5,
            "sync_seconds": 0.3,
            "other_seconds": 0.2,
        }
        for step in range(1, num_steps + 1)
    ]


def sweep(run_id: str, step: int, accuracies: dict[int, float], mean_tokens: float, benchmark: str) -> list[dict[str, Any]]:
    return [
        {
            "run_id": run_id,
            "model": f"{run_id}@{step}",
            "step": step,
            "benchmark": benchmark,
            "budget_tokens": budget,
            "mean_at_k": accuracy,
            "pass_at_k": accuracy + 0.1,
            "ci_low": accuracy - 0.04,
            "ci_high": accuracy + 0.04,
            "mean_tokens": mean_tokens,
            "mean_tokens_correct": mean_tokens + 5,
            "mean_tokens_incorrect": mean_tokens - 9,
            "truncated_fraction": 0.01,
        }
        for budget, accuracy in accuracies.items()
    ]


@pytest.fixture(scope="module")
def data() -> ReportData:
    results, samples = [], []
    for benchmark in ("tiny-sum", "tiny-wheel"):
        results += sweep("demo-1", 0, {48: 0.231, 96: 0.412, 192: 0.71}, 76.4, benchmark)
        results += sweep("demo-1", 40, {48: 0.437, 96: 0.655, 192: 0.724}, 36.2, benchmark)
        results += sweep("demo-control-2", 40, {48: 0.219, 96: 0.47, 192: 0.765}, 79.3, benchmark)
        samples += [
            {"run_id": run_id, "step": step, "benchmark": benchmark, "correct": number % 3 > 0, "num_tokens": 8 + 2 * number}
            for run_id, step in (("demo-1", 0), ("demo-1", 40), ("demo-control-2", 40))
            for number in range(60)
        ]
    run = RunFacts(
        "demo-1",
        "demo",
        "builtin:tiny",
        "finished",
        datetime(2026, 3, 1, 14, 5),
        402.3,
        48,
        '[reward]\nname = "truncation"\n',
        {"git commit": "0a1b2c3"},
    )
    return ReportData(
        run,
        [
            RunSeries("demo-1", "truncation", "main", training_rows(40)),
            RunSeries("demo-control-2", "vanilla", "control", training_rows(40)),
        ],
        results,
        samples,
        [0.25] * 65 + [0.875] * 215,
        [{"stage": "profile", "seconds": 14.2}, {"stage": "train", "seconds": 238.0, "reused_from": "demo-0"}],
        [(BEFORE, AFTER)],
        [ExtraTable("Styles", ["model", "count"], [["before RL", HOSTILE], ["after RL", None]], "A note.")],
        ["Notes & more <here>."],
    )


@pytest.fixture(scope="module")
def written(data: ReportData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(data, tmp_path_factory.mktemp("report") / "demo-1")


def test_the_page_needs_nothing_from_outside(written: Path) -> None:
    text = written.read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    for _, attributes in page.tags:
        for name in ("src", "href", "srcset", "action", "data"):
            assert not (attributes.get(name) or "").startswith(("http:", "https:", "//"))
    styles = "".join(re.findall(r"<style>(.*?)</style>", text, re.DOTALL))
    assert "url(" not in styles and "@import" not in styles
    assert not {"script", "link", "iframe"} & {tag for tag, _ in page.tags}


@pytest.mark.parametrize("name", ["report.html.j2", "compare.html.j2"])
def test_the_policy_comes_before_anything_that_it_must_hold(name: str) -> None:
    from pipeline_lib.report.html import TEMPLATES

    head = (TEMPLATES / name).read_text(encoding="utf-8").partition("<title>")[0]
    (policy,) = [tag["content"] or "" for _, tag in Page(head).tags if tag.get("http-equiv") == "Content-Security-Policy"]
    allowed = dict(part.split(maxsplit=1) for part in policy.split("; "))
    assert allowed == {
        "default-src": "'none'",
        "img-src": "data:",
        "style-src": "'unsafe-inline'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }


def test_every_figure_is_inlined_and_lies_beside_the_page(written: Path) -> None:
    from matplotlib.image import imread

    sources = [attributes["src"] or "" for tag, attributes in Page(written.read_text(encoding="utf-8")).tags if tag == "img"]
    assert len(sources) == len(FIGURES)
    for source, name in zip(sources, FIGURES, strict=True):
        prefix, _, encoded = source.partition(",")
        content = base64.b64decode(encoded)
        assert prefix == "data:image/png;base64"
        assert content == (written.parent / f"{name}.png").read_bytes()
        height, width = imread(io.BytesIO(content)).shape[:2]
        assert width == 1920 and 400 < height < 3000


def test_the_numbers_are_those_of_the_data(written: Path) -> None:
    text = re.sub(r"\s+", " ", Page(written.read_text(encoding="utf-8")).text)
    for expected in (
        "tiny-sum: before → after 40 training steps",
        "76.4 → 36.2 −52.6 %",
        "71.0 % → 72.4 % +1.4 points",
        "23.1 % → 43.7 % +20.6 points",
        "control (vanilla): 79.3 (+3.8 %)",
        "control (vanilla): 76.5 % (+5.5 points)",
        "43.739.7–47.7",
        "generation 50.0 %",
        "update 37.5 %",
        "weight sync 7.5 %",
        "other 5.0 %",
        "A training step, truncation: 4.0 s on average over 40 steps",
        "3 min 58 s",
        "reused from demo-0",
        "took 6 min 42 s",
        'name = "truncation"',
        "Notes & more <here>.",
    ):
        assert expected in text, expected


def test_hostile_text_is_shown_not_run(written: Path) -> None:
    page = Page(written.read_text(encoding="utf-8"))
    assert page.text.count(HOSTILE) == 2
    assert not any("onerror" in attributes for _, attributes in page.tags)


def test_texts_that_hide_or_reorder_are_made_visible(data: ReportData, tmp_path: Path) -> None:
    deceiving = "\u202etxt.exe\u2066 \u200b\x1b[31m"
    pairs = ((BEFORE | {"problem": deceiving}, AFTER | {"text": deceiving}),)
    page = write_report(replace(data, rollout_pairs=pairs, notes=[deceiving]), tmp_path).read_text(encoding="utf-8")
    assert Page(page).text.count("<U+202E>txt.exe<U+2066> <U+200B><U+001B>[31m") == 3
    assert not set("\u202e\u2066\u200b\x1b") & set(page)


CHROMIUM = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
# What a text would become if its escaping failed: a script, a picture that calls home, a style and a form that do.
BREACH = (
    "<script>window.hit = 1</script><img src='http://127.0.0.1:PORT/x' onerror='window.hit = 2'>"
    "<link rel=stylesheet href='http://127.0.0.1:PORT/y'><form action='http://127.0.0.1:PORT/z'><button id=send></button></form>"
    "<base href='http://127.0.0.1:PORT/'><iframe src='http://127.0.0.1:PORT/w'></iframe>"
)
NOTE_VIOLATIONS = (
    "window.violated = []; document.addEventListener('securitypolicyviolation', "
    "event => window.violated.push(event.violatedDirective))"
)


def asked_of(server: socket.socket) -> bytes:
    """What somebody has asked of a server. Chromium may open a connection beforehand; a page's policy keeps it silent."""
    said = b""
    server.settimeout(0.2)
    with suppress(TimeoutError):
        while True:
            connection, _ = server.accept()
            with connection, suppress(TimeoutError):
                connection.settimeout(0.3)
                said += connection.recv(1000)

    return said


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_a_browser_shows_the_page_without_violations_and_runs_nothing_foreign(written: Path, tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright

    breached = tmp_path / "breached.html"
    with socket.create_server(("127.0.0.1", 0)) as elsewhere, sync_playwright() as playwright:
        breach = BREACH.replace("PORT", str(elsewhere.getsockname()[1]))
        breached.write_text(written.read_text(encoding="utf-8").replace("</header>", f"</header>{breach}"), encoding="utf-8")
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        try:
            asked: list[str] = []
            page = browser.new_page()
            page.on("request", lambda request: asked.append(request.url))
            page.add_init_script(NOTE_VIOLATIONS)
            page.goto(written.as_uri())
            widths = page.evaluate("[...document.images].map(image => image.naturalWidth)")
            assert len(widths) == len(FIGURES) and all(widths), "every figure is drawn"
            # The style block and the colours of style attributes are in force.
            assert page.evaluate("getComputedStyle(document.querySelector('.dot')).backgroundColor") != "rgba(0, 0, 0, 0)"
            assert page.evaluate("getComputedStyle(document.querySelector('.cards')).display") == "grid"
            assert page.evaluate("window.violated") == []
            assert [url for url in asked if not url.startswith("data:")] == [written.as_uri()]

            page.goto(breached.as_uri())
            page.evaluate("document.getElementById('send').click()")
            page.wait_for_timeout(300)
            assert page.evaluate("window.hit") is None
            assert len(page.evaluate("window.violated")) >= 4
            assert asked_of(elsewhere) == b""
        finally:
            browser.close()


def test_parts_that_are_missing_are_named(data: ReportData, tmp_path: Path) -> None:
    alone = replace(
        data, series=[replace(data.series[0], training_steps=())], pass_rates=(), rollout_pairs=(), length_samples=()
    )
    text = Page(write_report(alone, tmp_path).read_text(encoding="utf-8")).text
    for sentence in (
        "This run has no control",
        "No training step was recorded.",
        "No prompt was profiled.",
        "No response lengths were recorded.",
        "No training step was timed.",
        "No profiled rollouts are stored, so what the first step would see is not known.",
    ):
        assert sentence in text
    assert [path.name for path in sorted(tmp_path.glob("*.png"))] == ["accuracy_by_budget.png"]


def test_one_budget_and_a_run_before_its_first_step(data: ReportData, tmp_path: Path) -> None:
    one = replace(data, budget_results=[row for row in data.budget_results if row["budget_tokens"] == 192])
    assert "A line needs at least two budgets" in write_report(one, tmp_path / "one").read_text(encoding="utf-8")
    base_only = replace(data, budget_results=[row for row in data.budget_results if row["step"] == 0])
    text = write_report(base_only, tmp_path / "base").read_text(encoding="utf-8")
    assert "There is no model before and after training to compare yet" in text
    assert "before RL" in text


def test_an_empty_report_is_a_whole_page(data: ReportData, tmp_path: Path) -> None:
    page = Page(write_report(ReportData(data.run), tmp_path).read_text(encoding="utf-8"))
    assert page.open == []
    assert not any(tag == "img" for tag, _ in page.tags)
    assert list(tmp_path.glob("*.png")) == []


def test_a_second_report_of_less_leaves_no_old_figure(data: ReportData, tmp_path: Path) -> None:
    write_report(data, tmp_path)
    write_report(ReportData(data.run), tmp_path)
    assert list(tmp_path.glob("*.png")) == []
