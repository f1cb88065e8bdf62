"""Server of the page: on loopback alone, for whoever knows the token of the address."""

from __future__ import annotations

import asyncio
import json
import secrets
import socket
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from .errors import StaleError

if TYPE_CHECKING:
    from .session import Session

HOST = "127.0.0.1"
_STATIC = Path(__file__).with_name("static")
#: Files of the page by their paths.
_FILES = {
    "/": ("index.html", "text/html"),
    "/style.css": ("style.css", "text/css"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
    **{
        f"/{name}.js": (f"{name}.js", "text/javascript")
        for name in ("page", "state", "controls", "planes", "volumes", "drawer", "search")
    },
}
#: Bytes of a request, at most.
_LONGEST = 2**20
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class StepModel(BaseModel):
    """Step of a pipeline in a request."""

    name: str = Field(max_length=100)
    arguments: dict[str, Any] = {}
    on: bool = True


class WishModel(BaseModel):
    """Pipeline in a request; see :class:`.session.Wish`."""

    steps: list[StepModel] = []
    seed: int = Field(0, ge=0, lt=2**63)
    image: str = ""
    overlay: str = ""
    channel: int = Field(0, ge=0)
    coarse: bool = False


class StripModel(WishModel):
    """Variants of a pipeline in a request; see :meth:`.Session.strip`."""

    variants: list[dict[str, Any]]
    plane: str = "axial"
    at: tuple[float, float, float] = (0.0, 0.0, 0.0)


class TextModel(BaseModel):
    """Text of a pipeline in a request."""

    text: str


class Guard:
    """ASGI application in front of another: refuse all but the page of this address.

    Args:
        app: The application.
        token: First part of all paths.
        port: Port that the Host header must name.
    """

    def __init__(self, app: Any, token: str, port: int) -> None:
        self.app, self.prefix = app, f"/{token}"
        self.hosts = {f"{HOST}:{port}", f"localhost:{port}"}

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                added = [(k.lower().encode(), v.encode()) for k, v in _HEADERS.items()]
                names = {name for name, _ in added}
                kept = [pair for pair in message["headers"] if pair[0].lower() not in names]
                message = {**message, "headers": [*kept, *added]}
            await send(message)

        if scope["type"] != "http":
            return
        refusal = self._refusal(scope)
        if refusal is not None:
            status, sentence = refusal
            await JSONResponse({"error": sentence}, status)(scope, receive, guarded)
            return
        path = scope["path"][len(self.prefix) :]
        inner = {**scope, "path": path, "raw_path": path.encode()}
        await self.app(inner, receive, guarded)

    def _refusal(self, scope: Message) -> tuple[int, str] | None:
        """Return a status and a sentence for a request that is refused."""
        headers = {name.decode("latin-1").lower(): value.decode("latin-1")
                   for name, value in scope["headers"]}  # fmt: skip
        host = headers.get("host", "").lower()
        if host not in self.hosts:
            return 403, f"Host must be {HOST} with the port of this page, got {host[:80]!r}"
        start, path = self.prefix + "/", scope["path"]
        if not secrets.compare_digest(path[: len(start)].encode(), start.encode()):
            return 404, "the address must have the token that torchio-gpu preview printed"
        if scope["method"] not in ("GET", "POST"):
            return 405, f"the method must be GET or POST, got {scope['method'][:20]}"
        origin = headers.get("origin")
        if origin is not None and origin != f"http://{host}":
            return 403, f"requests must come from the page itself, got those of {origin[:80]!r}"
        if scope["method"] == "POST":
            kind = headers.get("content-type", "").partition(";")[0].strip()
            if kind != "application/json":
                return 415, f"the content must be application/json, got {kind[:80]!r}"
            length = headers.get("content-length", "")
            if not length.isdigit() or int(length) > _LONGEST:
                return 413, f"a request must name its length, of at most {_LONGEST} bytes"
        return None


class Page:
    """State of the server: the session once it is loaded, and one thread that computes.

    Args:
        load: Function that reads the subject; it runs in the thread that computes.
        failed: Function that is called with the message if it raises.
    """

    def __init__(
        self, load: Callable[[], Session], failed: Callable[[str], None] = lambda _: None
    ) -> None:
        self.load, self.failed = load, failed
        self.worker = ThreadPoolExecutor(1, "preview")
        self.error = ""
        self.state = json.dumps({"ready": False})
        self.session: Session | None = None
        self.tickets: Counter[str] = Counter()
        self.worker.submit(self._start)

    def _start(self) -> None:
        try:
            session = self.load()
            self.state = json.dumps({"ready": True, **session.state()})
            self.session = session
        # readers of files raise what they like
        except Exception as error:
            self.error = str(error).partition("\n")[0] or type(error).__name__
            self.failed(self.error)

    async def answer(self, kind: str, compute: Callable[[Session, Callable[[], bool]], Any]) -> Any:
        """Return what a function of the session computes, unless a newer request comes before.

        Args:
            kind: Only the newest request of a kind is answered.
            compute: Function of the session, and of one that tells if the request is stale.
        """
        self.tickets[kind] += 1
        ticket = self.tickets[kind]

        def stale() -> bool:
            return self.tickets[kind] != ticket

        def run() -> Any:
            if stale():
                raise StaleError
            if self.session is None:
                raise ValueError(self.error or "the image is still being read")
            return compute(self.session, stale)

        return await asyncio.get_running_loop().run_in_executor(self.worker, run)


def application(page: Page) -> FastAPI:
    """Return the routes of a page, without the guard in front of them."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    def static(path: str) -> Callable[[], Awaitable[Response]]:
        name, kind = _FILES[path]

        async def send() -> Response:
            return FileResponse(_STATIC / name, media_type=kind)

        return send

    for path in _FILES:
        app.add_api_route(path, static(path))

    @app.get("/state")
    async def state() -> Response:
        if page.error:
            return JSONResponse({"error": page.error}, 400)
        return Response(page.state, media_type="application/json")

    @app.post("/result")
    async def result(body: WishModel) -> Response:
        wish = _wish(body)
        return _octets(await page.answer("result", lambda session, _: session.result(wish)))

    @app.post("/before")
    async def before(body: WishModel) -> Response:
        wish = _wish(body)
        return _octets(await page.answer("before", lambda session, _: session.result(wish)))

    @app.post("/strip")
    async def strip(body: StripModel) -> Response:
        wish = _wish(body)
        return _octets(
            await page.answer(
                "strip",
                lambda session, stale: session.strip(
                    wish, body.variants, body.plane, body.at, stale
                ),
            )
        )

    @app.post("/explain")
    async def explain(body: WishModel) -> Response:
        wish = _wish(body)
        text = await page.answer("explain", lambda session, _: session.explain(wish))
        return JSONResponse({"text": text})

    @app.post("/texts")
    async def texts(body: WishModel) -> Response:
        wish = _wish(body)
        return JSONResponse(await page.answer("texts", lambda session, _: session.texts(wish)))

    @app.post("/load")
    async def load(body: TextModel) -> Response:
        return JSONResponse(await page.answer("load", lambda session, _: session.load(body.text)))

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"][1:])) or "the request"
        return JSONResponse({"error": f"{where}: {first['msg']}"}, 422)

    @app.exception_handler(HTTPException)
    async def unknown(_: Request, error: HTTPException) -> Response:
        return JSONResponse({"error": f"there is nothing here: {error.detail}"}, error.status_code)

    @app.exception_handler(Exception)
    async def failed(_: Request, error: Exception) -> Response:
        return _failure(error)

    for kind in (ValueError, TypeError, KeyError, RuntimeError, IndexError):
        app.add_exception_handler(kind, failed)
    app.add_exception_handler(StaleError, failed)
    return app


def _failure(error: Exception) -> Response:
    if isinstance(error, StaleError):
        return JSONResponse({"stale": True}, 409)
    message = str(error).partition("\n")[0] or type(error).__name__
    return JSONResponse({"error": message, "step": getattr(error, "step", None)}, 400)


def _wish(body: WishModel) -> Any:
    from .session import Wish

    steps = [step.model_dump() for step in body.steps]
    return Wish(steps, body.seed, body.image, body.overlay, body.channel, body.coarse)


def _octets(content: bytes) -> Response:
    return Response(content, media_type="application/octet-stream")


def listen(port: int) -> socket.socket:
    """Return a socket that listens on loopback.

    Args:
        port: The port; 0 for any that is free.

    Raises:
        OSError: The port is taken.
    """
    found = socket.socket()
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((HOST, port))
    except OSError as error:
        found.close()
        raise OSError(f"port must be free, {port} cannot be taken: {error.strerror}") from error
    found.listen()
    return found


def serve(load: Callable[[], Session], port: int, announce: Callable[[str], None]) -> str:
    """Serve the page until it is interrupted; return the message of an error while reading.

    Args:
        load: Function that reads the subject, while the page is already there.
        port: Port; 0 for any that is free.
        announce: Function that is called with the address.
    """
    listening = listen(port)
    number = listening.getsockname()[1]
    token = secrets.token_urlsafe(18)

    def failed(_: str) -> None:
        # later: the page may ask why, and the server may not be there yet
        threading.Timer(1.0, lambda: setattr(server, "should_exit", True)).start()

    page = Page(load, failed)
    config = uvicorn.Config(
        Guard(application(page), token, number),
        log_level="error", lifespan="off", server_header=False, timeout_graceful_shutdown=1,
    )  # fmt: skip
    server = uvicorn.Server(config)
    announce(f"http://{HOST}:{number}/{token}/")
    with suppress(KeyboardInterrupt):
        server.run(sockets=[listening])
    page.worker.shutdown(wait=False, cancel_futures=True)
    return page.error


__all__ = ["Guard", "Page", "application", "listen", "serve"]
