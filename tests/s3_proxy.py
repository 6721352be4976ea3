"""A proxy in front of an S3 server: it refuses what a policy of one prefix does not allow, and notes each request.

``python s3_proxy.py LOG TARGET_PORT PREFIX`` prints its port. `PREFIX` is ``bucket/folder/``; empty, it allows all. A
request that holds the text in the file ``LOG.kill`` kills the proxy, as a server that dies.
"""

import http.client
import json
import os
import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

_DENIED = b"<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
_OF_A_CONNECTION = {"transfer-encoding", "connection", "content-length", "date", "server"}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    log: Path
    target: int
    prefix: str

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
        status, data, headers = 403, _DENIED, [("x-amz-bucket-region", "us-east-1")]
        if all(place.startswith(self.prefix) for place in places):
            status, data, headers = self._answer(body)
            # As S3 does where listing is allowed below a prefix alone: it does not say that a key is not there.
            if self.prefix and status == 404 and self.command in ("HEAD", "GET"):
                status, data, headers = 403, _DENIED, []
        noted = {"method": self.command, "places": places, "query": urlsplit(self.path).query, "status": status}
        with self.log.open("a") as log:
            log.write(json.dumps(noted | {"sent": len(body), "got": 0 if self.command == "HEAD" else len(data)}) + "\n")
        self.send_response(status)
        length = {name.lower(): value for name, value in headers}.get("content-length", "0")
        for name, value in headers:
            if name.lower() not in _OF_A_CONNECTION:
                self.send_header(name, value)
        self.send_header("Content-Length", length if self.command == "HEAD" else str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

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
