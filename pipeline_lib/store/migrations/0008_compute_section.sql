-- How a run uses the machine is a section of its own; null removes a key, and a key that a run did not have stays absent.
UPDATE runs SET config = json_merge_patch(
    config,
    json_object(
        'train', json_object(
            'launcher', NULL,
            'num_processes', NULL,
            'num_threads', NULL,
            'precision', NULL,
            'zero_stage', NULL,
            'gradient_checkpointing', NULL,
            'micro_batch_tokens', NULL
        ),
        'compute', json_object(
            'launcher', config->'$.train.launcher',
            'num_processes', config->'$.train.num_processes',
            'num_threads', config->'$.train.num_threads',
            'precision', config->'$.train.precision',
            'zero_stage', config->'$.train.zero_stage',
            'gradient_checkpointing', config->'$.train.gradient_checkpointing',
            'micro_batch_tokens', config->'$.train.micro_batch_tokens'
        )
    )
)
WHERE json_exists(config, '$.train') AND NOT json_exists(config, '$.compute');
