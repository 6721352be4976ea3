"""A proxy in front of an S3 server: it refuses what a policy of one prefix does not allow, and notes each request.

``python s3_proxy.py LOG TARGET_PORT PREFIX`` prints its port. `PREFIX` is ``bucket/folder/``; empty, it allows all. A
request that holds the text in the file ``LOG.kill`` kills the proxy, as a server that dies. ``LOG.fault`` holds what
else goes wrong, as `s3_server.Door.fails` writes it.
"""

import http.client
import json
import os
import re
import socket
import sys
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar
from urllib.parse import parse_qs, unquote, urlsplit

_DENIED = b"<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
_FAILED = "<?xml version='1.0'?><Error><Code>{}</Code><Message>said the test</Message></Error>"
_OF_A_CONNECTION = {"transfer-encoding", "connection", "content-length", "date", "server"}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    log: Path
    target: int
    prefix: str
    failed: ClassVar[Counter[str]] = Counter()
    failing = threading.Lock()

    def log_message(self, *_: object) -> None:
        pass

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _places(self, body: bytes) -> list[str]:
        """What the request is about, as ``bucket/key``: objects, or the prefix of a listing."""
        asked = urlsplit(self.path)
        query = parse_qs(asked.query, keep_blank_values=True)
        bucket, _, key = unquote(asked.path).lstrip("/").partition("/")
        if "delete" in query and not key:
            return [f"{bucket}/{found}" for found in re.findall(r"<Key>(.*?)</Key>", body.decode())]
        return [f"{bucket}/{key or query.get('prefix', [''])[0]}"]

    def _pass_on(self) -> None:
        body = self._body()
        deadly = Path(f"{self.log}.kill")
        if deadly.exists() and deadly.read_text() in f"{self.command} {self.path}":
            os._exit(1)
        places = self._places(body)
        fault, _, detail = self._fault().partition(" ")
        if fault in ("slow", "hang"):
            time.sleep(float(detail or 3600))
        if fault == "gone":
            self._note(places, 0, body, b"")
            return self._cut()
        status, data, headers = 403, _DENIED, [("x-amz-bucket-region", "us-east-1")]
        if fault == "answers":  # in the place of the server
            code = detail.split()
            status, data, headers = int(code[0]), _FAILED.format(code[1]).encode(), []
        elif all(place.startswith(self.prefix) for place in places):
            status, data, headers = self._answer(body)
            # As S3 does where listing is allowed below a prefix alone: it does not say that a key is not there.
            if self.prefix and status == 404 and self.command in ("HEAD", "GET"):
                status, data, headers = 403, _DENIED, []
        self._note(places, status, body, data)
        if fault == "lost":
            return self._cut()
        self.send_response(status)
        length = {name.lower(): value for name, value in headers}.get("content-length", "0")
        for name, value in headers:
            if name.lower() not in _OF_A_CONNECTION:
                self.send_header(name, value)
        self.send_header("Content-Length", length if self.command == "HEAD" else str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data[: len(data) // 2] if fault == "cut" else data)
        if fault == "cut":
            self._cut()

    def _fault(self) -> str:
        """What goes wrong with this request; nothing if it is empty."""
        try:
            fault = json.loads(Path(f"{self.log}.fault").read_text())
        except FileNotFoundError:
            return ""
        with self.failing:
            if fault["on"] not in f"{self.command} {self.path}" or self.failed[fault["id"]] >= fault["times"]:
                return ""
            self.failed[fault["id"]] += 1
        return str(fault["what"])

    def _cut(self) -> None:
        self.close_connection = True
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)

    def _note(self, places: list[str], status: int, body: bytes, data: bytes) -> None:
        noted = {"method": self.command, "places": places, "query": urlsplit(self.path).query, "status": status}
        with self.log.open("a") as log:
            log.write(json.dumps(noted | {"sent": len(body), "got": 0 if self.command == "HEAD" else len(data)}) + "\n")

    def _answer(self, body: bytes) -> tuple[int, bytes, list[tuple[str, str]]]:
        connection = http.client.HTTPConnection("127.0.0.1", self.target)
        passed = {name: value for name, value in self.headers.items() if name.lower() != "transfer-encoding"}
        connection.request(self.command, self.path, body, passed | {"Content-Length": str(len(body))})
        answer = connection.getresponse()
        return answer.status, answer.read(), answer.getheaders()

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _pass_on  # noqa: N815


if __name__ == "__main__":
    Handler.log, Handler.target, Handler.prefix = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()
