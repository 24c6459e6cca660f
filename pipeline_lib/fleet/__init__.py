"""Where a run's engines and trainer live: in a worker of this machine, or as actors of a Ray cluster.

Only `ray_fleet` imports ray. What its actors do is plain Python and tested without it: `engine_host` (one engine behind a queue),
`dispatcher` (which engine generates what, and what becomes of it when that engine dies), `remote_generator` (all engines as the one
`Generator` of a trainer rank).
"""
