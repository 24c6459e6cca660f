"""How often a program looks for garbage: rarely while it starts, as ever afterwards."""

import gc

from pipeline_lib.processes import collect_garbage_rarely, keep_what_has_come


def test_garbage_is_looked_for_as_often_as_ever_once_a_program_has_started() -> None:
    before = gc.get_threshold()
    try:
        collect_garbage_rarely()
        rarely = gc.get_threshold()[0]
        keep_what_has_come()
        assert gc.get_threshold()[0] < rarely
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)
