"""Runs one program without a zygote, for isolation by a container: requests on descriptor 0, replies on 1, errors on 2."""

import json
import os

from . import confinement, program


def main(limits: str, scratch: str) -> None:
    """Do the job that comes on the channel. `limits` is a JSON object of limits; `scratch` the folder that may be written."""
    program.preload()
    request = {
        "channel_fd": 0,
        "replies_fd": 1,
        "errors_fd": 2,
        "uid": confinement.private_uid(os.getpid(), 0),
        "tasks_are_bound": False,
        "limits": json.loads(limits),
    }
    program.run(request, None, None, scratch)
