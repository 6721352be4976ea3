"""Fetching a stored model: one MiB at a time, or parts of 64 MiB in parallel. Run with `make bench-fetch`.

A local S3 server serves a model folder of random bytes. It answers each request after `--latency-ms` and counts the
bytes that it sends. The two sides take turns: `sequential` copies the files one by one, as pyarrow does by default;
`parallel` is `local_model` of `selfreward_ray.models.local`. Then a fetch is killed (-9) when half of the bytes are on
disk, and another process finishes it. The server is our own, because moto's server reads the whole object for each
requested range. The last line is one JSON object.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from pyarrow import fs

from selfreward_ray.models.local import local_model
from selfreward_ray.store.folder import Folder

MODEL = "s3://bucket/model"
FILES = 4


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--megabytes", type=int, default=2000, help="total size of the weight files")
    parser.add_argument("--latency-ms", type=float, default=20, help="delay of each answer; S3 takes 10 to 30")
    parser.add_argument("--repeats", type=int, default=2, help="runs of each side")
    parser.add_argument("--only", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--serve", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        folder, log, latency = arguments.serve
        serve(Path(folder), Path(log), float(latency))
    elif arguments.only:
        SIDES[arguments.only]()
    else:
        with tempfile.TemporaryDirectory(prefix="bench-fetch-") as scratch:
            print(json.dumps(compare(Path(scratch), arguments.megabytes, arguments.latency_ms, arguments.repeats)))
    return 0


def compare(scratch: Path, megabytes: int, latency_ms: float, repeats: int) -> dict[str, float]:
    """Print a line per run. Returns the figures of the fastest run of each side, and of the resumed fetch."""
    write_model(scratch / "store" / "bucket" / "model", megabytes)
    best: dict[str, dict[str, float]] = {}
    with served(scratch, latency_ms) as log:
        print(f"{'side':<12}{'requests':>10}{'GET':>8}{'MB sent':>10}{'seconds':>10}{'MB/s':>8}", flush=True)
        for side in list(SIDES) * repeats:
            found = run(side, scratch, log)
            print(
                f"{side:<12}{found['requests']:>10}{found['gets']:>8}{found['megabytes']:>10.1f}"
                f"{found['seconds']:>10.2f}{found['megabytes'] / found['seconds']:>8.0f}",
                flush=True,
            )
            if side not in best or found["seconds"] < best[side]["seconds"]:
                best[side] = found
        resumed = interrupted(scratch, log)
    here, again = resumed["megabytes_at_the_kill"], resumed["megabytes_again"]
    print(f"killed with {here:.0f} MB on disk, then finished; {again:.0f} MB were sent twice")
    return {f"{side}_{name}": value for side, found in best.items() for name, value in found.items()} | resumed


def sequential() -> None:
    """Fetch with `copy_files`, which requests one MiB at a time."""
    source, path = Folder(MODEL).filesystem()
    target = Path(os.environ["SELFREWARD_CACHE"])
    target.mkdir(exist_ok=True)
    for info in source.get_file_info(fs.FileSelector(path)):
        fs.copy_files(
            info.path,
            str(target / info.base_name),
            source_filesystem=source,
            destination_filesystem=fs.LocalFileSystem(),
        )


def parallel() -> None:
    """Fetch with `local_model`. Prints the bytes on disk."""
    local_model(MODEL, progress=lambda here, _: print(here, flush=True))


SIDES = {"sequential": sequential, "parallel": parallel}


def run(side: str, scratch: Path, log: Path) -> dict[str, float]:
    """Requests, bytes and seconds of one whole fetch, without the start of Python."""
    before = len(sent(log))
    began = time.perf_counter()
    process = start(side, scratch)
    process.communicate()
    seconds = time.perf_counter() - began - startup()
    if process.returncode:
        raise RuntimeError(f"{side} ended with status {process.returncode}")
    check(scratch)
    answers = sent(log)[before:]
    return {
        "requests": len(answers),
        "gets": sum(method == "GET" for method, _ in answers),
        "megabytes": sum(count for _, count in answers) / 1e6,
        "seconds": seconds,
    }


def interrupted(scratch: Path, log: Path) -> dict[str, float]:
    """Kill a fetch when half of it is on disk, and finish it. Returns the figures of the bytes that were sent twice."""
    total = sum(path.stat().st_size for path in (scratch / "store" / "bucket" / "model").iterdir())
    before = len(sent(log))
    process = start("parallel", scratch)
    here = 0
    for line in process.stdout:
        here = int(line)
        if here >= total / 2:
            break
    process.send_signal(signal.SIGKILL)
    process.communicate()
    time.sleep(0.5)  # until the server has logged what it sent to the killed process
    start("parallel", scratch).communicate()
    check(scratch)
    files = sum(count for method, count in sent(log)[before:] if method == "GET" and count)
    return {"megabytes_at_the_kill": here / 1e6, "megabytes_again": (files - total) / 1e6}


def start(side: str, scratch: Path) -> "subprocess.Popen[str]":
    environment = os.environ | {"SELFREWARD_CACHE": str(scratch / "cache")}
    command = [sys.executable, __file__, "--only", side]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)  # noqa: S603 - this file


def startup() -> float:
    """Seconds that a process of this file takes to start and exit."""
    began = time.perf_counter()
    subprocess.run([sys.executable, __file__, "--help"], check=True, stdout=subprocess.DEVNULL)  # noqa: S603
    return time.perf_counter() - began


def check(scratch: Path) -> None:
    """Check that the fetched files equal the model, and remove them."""
    for stored in (scratch / "store" / "bucket" / "model").iterdir():
        (copy,) = (scratch / "cache").rglob(stored.name)
        if subprocess.run(["/usr/bin/cmp", "--silent", stored, copy], check=False).returncode:  # noqa: S603
            raise RuntimeError(f"the fetched {stored.name} differs from the stored one")
    shutil.rmtree(scratch / "cache")


def write_model(folder: Path, megabytes: int) -> None:
    folder.mkdir(parents=True)
    for name in ("config.json", "tokenizer.json", "chat_template.jinja"):
        (folder / name).write_text("{}")
    for number in range(1, FILES + 1):
        block = random.Random(number).randbytes(10**6)
        count = megabytes // FILES * 10**6
        header = json.dumps({"t": {"dtype": "U8", "shape": [count], "data_offsets": [0, count]}}).encode()
        with (folder / f"model-{number:05d}-of-{FILES:05d}.safetensors").open("wb") as file:
            file.write(len(header).to_bytes(8, "little") + header)
            for _ in range(megabytes // FILES):
                file.write(block)


@contextmanager
def served(scratch: Path, latency_ms: float):
    """Serve the folder ``store`` for this process's children; yields the server's log."""
    log = scratch / "requests"
    log.touch()
    command = [sys.executable, __file__, "--serve", str(scratch / "store"), str(log), str(latency_ms)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603 - this file
    try:
        os.environ |= {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{int(server.stdout.readline())}",
            "AWS_ACCESS_KEY_ID": "nobody",
            "AWS_SECRET_ACCESS_KEY": "nothing",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        yield log
    finally:
        server.kill()
        server.communicate()


def sent(log: Path) -> list[tuple[str, int]]:
    """The method of each request, and the file bytes sent for it."""
    lines = (line.split() for line in log.read_text().splitlines())
    return [(method, int(count)) for method, count in lines]


def serve(root: Path, log: Path, latency_ms: float) -> None:
    """The part of S3 that pyarrow needs for reading: folder lists, HEAD, and GET with a range."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None: ...

        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def answer(self, body: bool) -> None:
            time.sleep(latency_ms / 1000)
            url = urlsplit(self.path)
            path = root / unquote(url.path).strip("/")
            if "list-type" in (query := parse_qs(url.query)):
                self.give(200, listing(path, query["prefix"][0] if "prefix" in query else "").encode())
            elif not path.is_file():
                self.give(404, b"")
            else:
                self.send_file(path, body)

        def give(self, status: int, text: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/xml")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(text)
            note(self.command, 0)

        def send_file(self, path: Path, body: bool) -> None:
            size = path.stat().st_size
            begin, end = 0, size
            if wanted := self.headers.get("Range"):
                first, last = wanted.removeprefix("bytes=").split("-")
                begin, end = int(first), min(int(last) + 1, size)
            self.send_response(206 if wanted else 200)
            self.send_header("Content-Length", str(end - begin))
            if wanted:
                self.send_header("Content-Range", f"bytes {begin}-{end - 1}/{size}")
            changed = datetime.fromtimestamp(int(path.stat().st_mtime), UTC)
            self.send_header("Last-Modified", format_datetime(changed, usegmt=True))
            self.send_header("ETag", '"0"')
            self.end_headers()
            done = begin
            with path.open("rb") as file:
                try:
                    while body and done < end:
                        done += os.sendfile(self.connection.fileno(), file.fileno(), done, end - done)
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True  # the client was killed
            note(self.command, done - begin)

    def note(method: str, count: int) -> None:
        with log.open("a") as lines:
            lines.write(f"{method} {count}\n")

    class Server(ThreadingHTTPServer):
        def handle_error(self, *arguments: object) -> None:
            if not isinstance(sys.exception(), ConnectionError):  # a killed client resets the connection
                super().handle_error(*arguments)

    server = Server(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    print(server.server_port, flush=True)
    server.serve_forever()


def listing(bucket: Path, prefix: str) -> str:
    files = [path for path in sorted(bucket.rglob("*")) if path.is_file()]
    keys = [(str(path.relative_to(bucket)), path.stat()) for path in files]
    entries = "".join(
        f"<Contents><Key>{escape(key)}</Key><Size>{stat.st_size}</Size><ETag>0</ETag>"
        f"<LastModified>{datetime.fromtimestamp(int(stat.st_mtime), UTC):%Y-%m-%dT%H:%M:%SZ}</LastModified>"
        "</Contents>"
        for key, stat in keys
        if key.startswith(prefix)
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<IsTruncated>false</IsTruncated>{entries}</ListBucketResult>"
    )


if __name__ == "__main__":
    sys.exit(main())
