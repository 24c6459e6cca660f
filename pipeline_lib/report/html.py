"""The report as one self-contained HTML page, with its figures as PNG files beside it."""

import base64
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline_lib.files.home import below
from pipeline_lib.files.whole_files import write_whole
from pipeline_lib.messages.harmless import visible
from pipeline_lib.report.canvas import save_png
from pipeline_lib.report.data import ReportData, benchmark_names, compared_models
from pipeline_lib.report.dynamics import training_dynamics
from pipeline_lib.report.figures import accuracy_by_budget, length_by_correctness, pass_rate_histogram
from pipeline_lib.report.preview import first_step_figure
from pipeline_lib.report.summary import budget_tables, duration_text, headlines, step_time

if TYPE_CHECKING:
    import jinja2
    from matplotlib.figure import Figure

TEMPLATES = Path(__file__).parent / "templates"
REPORT_FILE = "report.html"


@dataclass(frozen=True, slots=True)
class FigureSection:
    """A figure of the page: its PNG as a data URI, or, when there is nothing to draw, the sentence that says why."""

    name: str
    title: str
    caption: str
    missing: str
    image: str | None


def write_report(data: ReportData, folder: Path) -> Path:
    """Write `report.html` and the PNGs into `folder` (made if needed) and return the page's path."""
    folder.mkdir(parents=True, exist_ok=True)
    benchmarks = benchmark_names(data.budget_results)
    models = compared_models(data.series, data.budget_results)
    page = page_template("report.html.j2").render(
        data=data,
        headlines=[(benchmark, figures) for benchmark in benchmarks if (figures := headlines(data, benchmark))],
        tables=budget_tables(data),
        preview_sentences=data.preview.sentences if data.preview else (),
        sections={section.name: section for section in _draw_sections(data, folder)},
        step_times=[time for item in data.series if (time := step_time(item))],
        num_steps=next((model.step for model in models if model.role == "after"), 0),
        has_control=any(item.role == "control" for item in data.series),
    )
    path = folder / REPORT_FILE
    write_whole(path, page)
    return path


def page_template(name: str) -> "jinja2.Template":
    """A page's template; what it shows is escaped, and a name that it does not get is an error.

    Characters that reorder or hide text are made visible, as in a terminal.
    """
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=lambda value: visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["duration"] = duration_text
    return environment.get_template(name)


def _draw_sections(data: ReportData, folder: Path) -> list[FigureSection]:
    return [
        draw_section(
            folder,
            "accuracy_by_budget",
            "Accuracy at every token budget",
            "A response counts at a budget when it ends within it and is right; a line further up and left answers as well with "
            "fewer tokens. Bands are 95 % intervals, triangles on the axis mark each model's mean length.",
            "A line needs at least two budgets, and this run has not been swept over as many."
            if data.budget_results
            else "No budget sweep was recorded.",
            lambda: accuracy_by_budget(data.series, data.budget_results, data.run.target_tokens),
        ),
        draw_section(
            folder,
            "length_by_correctness",
            "How long right and wrong responses are",
            "Shares are of all responses of a model, so the filled and the outlined area together make 100 %: look for the filled "
            "area moving left without shrinking.",
            "No response lengths were recorded.",
            lambda: length_by_correctness(data.series, data.length_samples),
        ),
        draw_section(
            folder,
            "training_dynamics",
            "Training, step by step",
            "A healthy run shortens first while entropy falls, then holds its length while accuracy recovers; a rise of entropy "
            "with collapsing length is the warning sign.",
            "No training step was recorded.",
            lambda: training_dynamics(data.series),
        ),
        draw_section(
            folder,
            "pass_rates",
            "How hard the prompts are for the base model",
            "Prompts right of the dashed line are solved in more than half of the rollouts and count as easy; the rest count as hard.",
            "No prompt was profiled.",
            lambda: pass_rate_histogram(data.pass_rates),
        ),
        draw_section(
            folder,
            "first_step",
            "What the first step would see",
            "Computed from the profiled rollouts, without a model: the configured setting, and others that differ in one thing. "
            "Drifts are a unit of update; a score is high when the step teaches to be right at a given length (skill) and to be "
            "shorter, for little gradient noise. A score of 0: only one of the two.",
            "No profiled rollouts are stored, so what the first step would see is not known.",
            lambda: first_step_figure(data.preview) if data.preview else None,
        ),
    ]


def draw_section(
    folder: Path, name: str, title: str, caption: str, missing: str, draw: Callable[[], "Figure | None"]
) -> FigureSection:
    """Draw a figure into `folder/NAME.png` and into the section; where there is nothing to draw, a former PNG is removed."""
    figure: Any = draw()
    path = below(folder, f"{name}.png")
    if figure is None:
        path.unlink(missing_ok=True)
        return FigureSection(name, title, caption, missing, None)
    content = save_png(figure, path).read_bytes()
    return FigureSection(name, title, caption, missing, f"data:image/png;base64,{base64.b64encode(content).decode('ascii')}")
