-- What the gate compared for a decision.
SELECT * FROM promotion_budgets WHERE decision_id = $decision_id ORDER BY benchmark, budget_tokens;
