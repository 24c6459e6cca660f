-- Beside programs' tests, prompts hold what other graders need.
COMMENT ON COLUMN prompts.tests IS 'What the grader needs beside the answer (JSON): the tests of code, metadata of own graders and of Reasoning Gym';
