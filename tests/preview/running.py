"""A server of the page within a test."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn

from torchio_gpu.preview.server import Guard, Page, application, listen
from torchio_gpu.preview.session import Session

TOKEN = "a-token-of-the-tests"


@contextmanager
def running(load: Callable[[], Session]) -> Iterator[tuple[str, int]]:
    """Serve a page from a thread; yield its address and port."""
    listening = listen(0)
    port = listening.getsockname()[1]
    page = Page(load)
    config = uvicorn.Config(
        Guard(application(page), TOKEN, port), log_level="critical", lifespan="off", ws="none"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        deadline = time.monotonic() + 60
        while not server.started and time.monotonic() < deadline:
            time.sleep(0.02)
        yield f"http://127.0.0.1:{port}/{TOKEN}/", port
    finally:
        server.should_exit = True
        thread.join(30)
        listening.close()
        page.worker.shutdown(cancel_futures=True)
