"""The report as one self-contained HTML page, with its figures as PNG files beside it."""

import base64
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline_lib.files.home import below
from pipeline_lib.files.whole_files import write_whole
from pipeline_lib.messages.harmless import visible
from pipeline_lib.report.anatomy import anatomy_table, token_anatomy
from pipeline_lib.report.canvas import save_png
from pipeline_lib.report.data import ReportData, benchmark_names, compared_models
from pipeline_lib.report.dynamics import training_dynamics
from pipeline_lib.report.figures import accuracy_by_budget, length_by_correctness, pass_rate_histogram
from pipeline_lib.report.fleet import busy_table, loss_sentences
from pipeline_lib.report.fleet_pictures import fleet_course, fleet_steps
from pipeline_lib.report.preview import first_step_figure
from pipeline_lib.report.summary import budget_tables, duration_text, headlines, step_time

if TYPE_CHECKING:
    import jinja2
    from matplotlib.figure import Figure

TEMPLATES = Path(__file__).parent / "templates"
REPORT_FILE = "report.html"


def write_report(data: ReportData, folder: Path) -> Path:
    """Write `report.html` and the PNGs into `folder` (made if needed) and return the page's path."""
    folder.mkdir(parents=True, exist_ok=True)
    benchmarks = benchmark_names(data.budget_results)
    models = compared_models(data.series, data.budget_results)
    dissected = compared_models(data.series, data.anatomy)
    page = page_template("report.html.j2").render(
        data=data,
        headlines=[(benchmark, figures) for benchmark in benchmarks if (figures := headlines(data, benchmark))],
        tables=budget_tables(data),
        preview_sentences=data.preview.sentences if data.preview else (),
        images=embedded_images(
            folder,
            accuracy_by_budget=accuracy_by_budget(data.series, data.budget_results, data.run.target_tokens),
            length_by_correctness=length_by_correctness(data.series, data.length_samples),
            token_anatomy=token_anatomy(dissected),
            training_dynamics=training_dynamics(data.series),
            pass_rates=pass_rate_histogram(data.pass_rates),
            first_step=first_step_figure(data.preview) if data.preview else None,
            fleet_steps=fleet_steps(data.fleet) if data.fleet else None,
            fleet_course=fleet_course(data.fleet) if data.fleet else None,
        ),
        anatomy_table=anatomy_table(dissected),
        fleet_busy=busy_table(data.fleet) if data.fleet else None,
        fleet_losses=loss_sentences(data.fleet) if data.fleet else (),
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


def embedded_images(folder: Path, **figures: "Figure | None") -> dict[str, str | None]:
    """Draw each figure into `folder/NAME.png`, and return it as a data URI; without one a former PNG is removed."""
    images: dict[str, str | None] = dict.fromkeys(figures)
    for name, figure in figures.items():
        path = below(folder, f"{name}.png")
        if figure is None:
            path.unlink(missing_ok=True)
        else:
            images[name] = f"data:image/png;base64,{base64.b64encode(save_png(figure, path).read_bytes()).decode('ascii')}"
    return images
