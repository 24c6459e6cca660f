-- The training set: the prompts of a source that the filter kept.
SELECT prompts.prompt_id, prompts.source, prompts.domain, prompts.problem, prompts.answer,
    prompts.tests, prompts.tolerance
FROM selections
JOIN prompts ON prompts.prompt_id = selections.prompt_id AND prompts.source = $source
WHERE selections.run_id = $run_id AND selections.selected
ORDER BY prompts.prompt_id;
