"""Laws of cleaning: order, one verdict a prompt, idempotence, no benchmark text kept, no prompt brought back."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_lib.config import CleaningConfig
from pipeline_lib.records import Prompt
from pipeline_lib.selection.cleaning import REASONS, clean_prompts

# Few words and answers, so that duplicates, conflicts and shared n-grams come up all the time.
WORDS = st.sampled_from(
    ["find", "Find", "$x$", "1.5", "15", r"\frac{1}{2}", r"\dfrac12", "the", "sum?", "(a", "b)", "as shown."]
)
PROBLEMS = st.one_of(st.lists(WORDS, max_size=8).map(" ".join), st.text(max_size=20))
ANSWERS = st.sampled_from(["1", "1.0", "2", "", r"\frac{2}{2}", "$2$"])
RULES = st.builds(
    CleaningConfig,
    duplicates=st.booleans(),
    conflicting_answers=st.booleans(),
    pictures=st.booleans(),
    decontaminate=st.booleans(),
    ngram_words=st.integers(1, 4),
    ngram_overlap=st.sampled_from([0.25, 0.5, 1.0]),
)


def number(rows: list[tuple[str, str]], name: str = "train") -> list[Prompt]:
    return [Prompt(f"{name}-{place}", name, "math", problem, answer) for place, (problem, answer) in enumerate(rows)]


ROWS = st.lists(st.tuples(PROBLEMS, ANSWERS), max_size=12)
PROMPTS = ROWS.map(number)
BENCHMARKS = st.dictionaries(st.sampled_from(["one", "two"]), ROWS.map(lambda rows: number(rows, "eval")), max_size=2)


@settings(deadline=None)
@given(PROMPTS, BENCHMARKS, RULES)
def test_one_verdict_a_prompt_in_order(prompts, benchmarks, rules):
    verdicts = clean_prompts(prompts, benchmarks, rules)
    assert [verdict.prompt_id for verdict in verdicts] == [prompt.prompt_id for prompt in prompts]
    for verdict in verdicts:
        assert verdict.reason in REASONS
        assert verdict.kept == (verdict.reason == "kept") == (verdict.detail == "")


@settings(deadline=None)
@given(PROMPTS, BENCHMARKS, RULES)
def test_what_was_kept_is_kept_again(prompts, benchmarks, rules):
    kept = [p for p, verdict in zip(prompts, clean_prompts(prompts, benchmarks, rules), strict=True) if verdict.kept]
    assert all(verdict.kept for verdict in clean_prompts(kept, benchmarks, rules))


@settings(deadline=None)
@given(PROMPTS, BENCHMARKS, ROWS.map(lambda rows: number(rows, "added")), RULES)
def test_a_further_benchmark_brings_no_prompt_back(prompts, benchmarks, added, rules):
    before = clean_prompts(prompts, benchmarks, rules)
    after = clean_prompts(prompts, benchmarks | {"added": added}, rules)
    assert all(old.kept or not new.kept for old, new in zip(before, after, strict=True))


@settings(deadline=None)
@given(PROMPTS.filter(bool), st.data(), RULES)
def test_a_benchmark_problem_in_other_dress_is_never_kept(prompts, data, rules):
    words = data.draw(st.lists(WORDS, min_size=1, max_size=8), label="benchmark problem")
    gap = st.sampled_from([" ", "\n", r" \, ", r" \quad ", r" \displaystyle ", "~"])
    dressed = "".join(word.swapcase() + data.draw(gap) for word in words).replace(r"\FRAC", r"\dfrac")
    place = data.draw(st.integers(0, len(prompts) - 1))
    prompts[place] = replace(prompts[place], problem=dressed)
    benchmark = [Prompt("eval-0", "eval", "math", " ".join(words), "7")]
    verdicts = clean_prompts(prompts, {"bench": benchmark}, rules.model_copy(update={"decontaminate": True}))
    assert not verdicts[place].kept
