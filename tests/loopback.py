"""Ports, ranks and ill servers on this machine's loopback interface."""

import multiprocessing.forkserver
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def rank_variables(rank: int, world_size: int, port: int) -> dict[str, str]:
    """What a launcher tells a rank."""
    place = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world_size)}
    return {**place, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}


def run_ranks(act: Callable[..., None], *arguments: Any, imported: str) -> None:
    """Two processes that `act(rank, *arguments)`, forked from one that has imported a module for both. Raises what one raises."""
    from torch.multiprocessing import start_processes

    multiprocessing.set_forkserver_preload([imported])
    start_processes(act, arguments, nprocs=2, start_method="forkserver")
    multiprocessing.forkserver._forkserver._stop()  # type: ignore[attr-defined]  # the next may need another module


@contextmanager
def dripping_server(first: bytes = b"") -> Iterator[tuple[str, threading.Event]]:
    """Address of a server that answers each request with `first`, then a byte now and then for ever; and whether it was asked."""
    asked, ended = threading.Event(), threading.Event()

    def answer(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.recv(65536)
            asked.set()
            connection.sendall(first)
            while not ended.wait(0.2):
                connection.sendall(b"X")

    def accept(listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=answer, args=(listener.accept()[0],), daemon=True).start()

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(8)
        threading.Thread(target=accept, args=(listener,), daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", asked
        ended.set()
