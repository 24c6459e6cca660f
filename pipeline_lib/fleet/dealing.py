"""Which of the engines that have room gets which of the requests that wait."""

from collections import deque
from collections.abc import Mapping

from pipeline_lib.fleet.engine_host import Request


def deal(waiting: deque[Request], loads: Mapping[str, int], capacity: int) -> dict[str, list[Request]]:
    """Take requests off the queue for engines by name, each to the one with the fewest (`loads`: those it has already).

    The samples of a prompt stay together, so that its cache serves them all, as long as its engine has room.
    """
    loads, given = dict(loads), {name: list[Request]() for name in loads}
    name, prompt = "", None
    while waiting and loads and min(loads.values()) < capacity:
        if waiting[0].prompt is not prompt or loads[name] >= capacity:
            name, prompt = min(loads, key=lambda each: loads[each]), waiting[0].prompt
        given[name].append(waiting.popleft())
        loads[name] += 1
    return {name: requests for name, requests in given.items() if requests}
