-- Prompts by pass rate in $bins equal bins, empty ones included. A bin holds its upper end and not its lower one (the first
-- holds 0 as well), so that for an even number of bins the rule easy > 0.5 >= hard falls between two bins. Whole numbers only:
-- a pass rate on the edge of a bin must not move by rounding.
WITH binned AS (
    SELECT greatest((num_correct * $bins + num_rollouts - 1) // num_rollouts, 1) AS bin
    FROM difficulty
    WHERE run_id = $run_id
)
SELECT (bins.bin - 1) / $bins AS pass_rate_low, bins.bin / $bins AS pass_rate_high, count(binned.bin) AS num_prompts
FROM range(1, $bins + 1) AS bins (bin)
LEFT JOIN binned USING (bin)
GROUP BY bins.bin
ORDER BY bins.bin;
