"""HTTP server on this machine, whose connections drop and whose ranges are on or off as asked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


@dataclass
class Served:
    """Files that a server has by path, and the requests that it has had.

    Args:
        url: Address of the server.
        files: Bytes of each path.
        tags: ETag of each path.
        ranges: Answer requests of ranges.
        cuts: Number of bytes after which to drop the next connections, one each.
        statuses: Statuses of the next answers, which have no file.
        sized: Say the length of files.
        requests: Path and headers of each request.
    """

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    ranges: bool = True
    cuts: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    sized: bool = True
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def ranges_asked(self) -> list[str | None]:
        """Range header of each request."""
        return [headers.get("Range") for _, headers in self.requests]


@contextmanager
def serve() -> Iterator[Served]:
    """Run a server on a free port of 127.0.0.1 while the block runs."""
    served = Served()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            served.requests.append((self.path, dict(self.headers)))
            if served.statuses:
                self.send_error(served.statuses.pop(0))
                return
            if path not in served.files:
                self.send_error(404)
                return
            self._answer(served.files[path], served.tags.get(path))

        def _answer(self, data: bytes, tag: str | None) -> None:
            start = self._start(tag) if served.ranges else 0
            if start and start >= len(data):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(data)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            if served.sized:
                self.send_header("Content-Length", str(len(data) - start))
            if tag is not None:
                self.send_header("ETag", tag)
            self.end_headers()
            stop = served.cuts.pop(0) if served.cuts else len(data)
            self.wfile.write(data[start:stop])

        def _start(self, tag: str | None) -> int:
            found = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            same = self.headers.get("If-Range") in (None, tag)
            return int(found[1]) if found and same else 0

        def log_message(self, *_: object) -> None:
            """Keep the output of tests to theirs."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
