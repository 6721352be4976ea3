"""An HTTP server on this machine that answers chat completions as a test scripts them."""

import json
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Reply:
    """What the server does with a request. `reset` breaks the connection, `hang` seconds pass before the answer."""

    body: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    reset: bool = False
    hang: float = 0


def chat(text: str | None, finish: str | None = "stop", **usage: Any) -> dict[str, Any]:
    """A chat completion of `text`: 10 prompt tokens and one token for each word, unless `usage` says otherwise."""
    counts = {"prompt_tokens": 10, "completion_tokens": len((text or "").split())} | usage
    return {"choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": finish}], "usage": counts}


def error(status: int, message: str, **fields: Any) -> Reply:
    return Reply({"error": {"message": message, **fields}}, status)


Script = Callable[[dict[str, Any], int], Reply | dict[str, Any]]
"""From the body of a request and its number, 0 for the first, to what is done."""


class ScriptedEndpoint:
    """`asked` has the body of each request, `headers` its headers, in the order of arrival."""

    def __init__(self, port: int, script: Script):
        self.address = f"http://127.0.0.1:{port}/v1#judge"
        self.script = script
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.most_at_a_time = 0
        self._at_a_time = 0
        self._lock = threading.Lock()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        with self._lock:
            number = len(self.asked)
            self.asked.append(body)
            self.headers.append(dict(handler.headers))
            self._at_a_time += 1
            self.most_at_a_time = max(self.most_at_a_time, self._at_a_time)
        try:
            reply = self.script(body, number)
            self._send(handler, reply if isinstance(reply, Reply) else Reply(reply))
        finally:
            with self._lock:
                self._at_a_time -= 1

    def _send(self, handler: BaseHTTPRequestHandler, reply: Reply) -> None:
        time.sleep(reply.hang)
        if reply.reset:
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            handler.close_connection = True
            os.close(handler.connection.detach())  # at once, although its streams are open
            return
        content = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
        handler.send_response(reply.status)
        for name, value in {"Content-Length": str(len(content)), **reply.headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(content)


@contextmanager
def serving(script: Script) -> Iterator[ScriptedEndpoint]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            assert self.path == "/v1/chat/completions"
            endpoint.answer(self)

        def log_message(self, *_: Any) -> None: ...

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

        def handle_error(self, *_: Any) -> None:  # a client that has gone away
            ...

    server = Server(("127.0.0.1", 0), Handler)
    endpoint = ScriptedEndpoint(server.server_address[1], script)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield endpoint
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class FakeClock:
    """A clock that advances only by what is slept. `slept` has each wait in seconds."""

    def __init__(self) -> None:
        self.time = 1000.0
        self.slept: list[float] = []

    def now(self) -> float:
        return self.time

    def date(self) -> float:
        return 1_700_000_000.0 + self.time

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += seconds
