-- Lengths of a model's rollouts on a benchmark in buckets of $bucket_tokens, the empty ones left out. $correct may be NULL: all.
SELECT
    (num_tokens // $bucket_tokens) * $bucket_tokens AS num_tokens_low,
    (num_tokens // $bucket_tokens + 1) * $bucket_tokens AS num_tokens_high,
    count(*) AS num_rollouts
FROM rollouts
WHERE run_id = $run_id AND stage = 'evaluate' AND step = $step AND source = $source
    AND ($correct::BOOLEAN IS NULL OR correct = $correct)
GROUP BY ALL
ORDER BY num_tokens_low;
