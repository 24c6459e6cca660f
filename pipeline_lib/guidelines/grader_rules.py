"""Guidelines on graders that are functions: whether they can be called at all. Each is imported in a process of its own, with a clock."""

from pipeline_lib.grading.functions import draw_gym, function_problem
from pipeline_lib.guidelines.plan import PlannedRun
from pipeline_lib.guidelines.rule import Advice, rule


@rule(["error"], basis="docs/howto/own-grader.md", fires="the function of grader = 'python' cannot be imported or called")
def grader_function(plan: PlannedRun) -> Advice | None:
    """Without it the first response cannot be judged. It is imported as a grading process imports it: from the installed packages,
    PYTHONPATH, and last the folder that the command is started in."""
    functions = sorted({source.function for source in plan.sources.values() if source.function})
    problems = [f"function = '{name}': {problem}" for name in functions if (problem := function_problem(name))]
    if not problems:
        return None
    return Advice("error", "; ".join(problems), "Correct the name or the function, or put its folder into PYTHONPATH.")


@rule(
    ["error"], basis="docs/howto/reasoning-gym.md", fires="a source of kind = 'gym' draws no problem: task, parameters, package"
)
def gym_source(plan: PlannedRun) -> Advice | None:
    """Tasks and parameters are Reasoning Gym's own, so that only it can tell whether they are right."""
    for key, source in plan.sources.items():
        if source.kind != "gym":
            continue
        try:
            draw_gym(source.tasks, source.seed, len(source.tasks))
        except ValueError as error:
            return Advice("error", f"{key}: {error}", "Correct the task or its parameters, or install the package.")
    return None
