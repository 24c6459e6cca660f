"""Ports, ranks and ill servers on this machine's loopback interface."""

import json
import multiprocessing.forkserver
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
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


class ChatServer(ThreadingHTTPServer):
    """An OpenAI-compatible server whose answers and faults a test decides; in a thread, within `with`."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, answer: Callable[["ChatServer", dict[str, Any]], tuple[int, dict[str, str], bytes]]) -> None:
        super().__init__(("127.0.0.1", 0), _ChatHandler)
        self.answer, self.asked, self.headers_seen = answer, list[dict[str, Any]](), list[dict[str, str]]()
        self.url = f"http://127.0.0.1:{self.server_port}/v1"

    def __enter__(self) -> "ChatServer":
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, *_: object) -> None:
        """Clients that go away are meant."""


class _ChatHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        server = self.server
        assert isinstance(server, ChatServer)
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        server.asked.append(body)
        server.headers_seen.append({name.lower(): value for name, value in self.headers.items()})
        status, headers, content = server.answer(server, body)
        if status == 0:  # nothing at all
            self.close_connection = True
            return
        self.send_response(status)
        for name, value in {"content-type": "application/json", "content-length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)
        self.close_connection = int(headers.get("content-length", len(content))) != len(content)

    def log_message(self, *_: object) -> None:
        """Silent."""


def chat_answer(text: str, tokens: int = 9, finish_reason: str | None = "stop", **message: Any) -> bytes:
    """What a chat completion says of one response."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text, **message}, "finish_reason": finish_reason}
    return json.dumps({"choices": [choice], "usage": {"prompt_tokens": 5, "completion_tokens": tokens}}).encode()
