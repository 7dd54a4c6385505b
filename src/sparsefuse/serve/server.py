"""`sparsefuse serve`: serves a run until SIGINT or SIGTERM, and shuts down cleanly."""

import asyncio
import logging
import os
import shutil
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparsefuse.config.pixels import PIXEL_TASKS
from sparsefuse.config.points import POINT_TASKS
from sparsefuse.extras import need
from sparsefuse.runs.folder import RunFolder
from sparsefuse.serve.access import TOKEN, Access, is_loopback
from sparsefuse.serve.app import application
from sparsefuse.serve.guard import App, Message, Receive, Scope, Send
from sparsefuse.serve.limits import ServeLimits
from sparsefuse.serve.pixels.app import scene_application
from sparsefuse.serve.pixels.service import SceneService
from sparsefuse.serve.readers import NotStarted
from sparsefuse.serve.refusal import ClientGone
from sparsefuse.serve.service import Service

if TYPE_CHECKING:
    import uvicorn

CONNECTIONS = 1000
"""Open connections; more get 503. A process may have 1024 files open on many systems."""

_log = logging.getLogger(__name__)


def serve(
    run: Path,
    *,
    host: str,
    port: int,
    limits: ServeLimits,
    access: Access,
    page: bool,
    device: str,
    open_to_all: bool,
    trust_code: bool,
) -> None:
    """Serves until SIGINT or SIGTERM; requests in progress are finished first. `open_to_all`: others need no token.

    Raises ValueError when it cannot listen at this address, would serve others without a token, or cannot start the
    processes that read clips, and the errors of `predictor.load`.
    """
    if not (is_loopback(host) or access.token or open_to_all):
        raise ValueError(
            f"--host {host} lets others reach the model: set the environment variable {TOKEN} to a secret, which "
            "clients send as `Authorization: Bearer SECRET`, or give --open to serve anyone"
        )
    if RunFolder(run).task in POINT_TASKS:
        raise ValueError(
            f"{run} reads clouds, which are not served over HTTP: pipe scenes as lines of JSON to `sparsefuse predict "
            f"{run} -`, or load it in Python with sparsefuse.load"
        )
    with _listening(host, port) as listener, _own_folder() as folder:
        _log.info("loading %s ...", run)
        if RunFolder(run).task in PIXEL_TASKS:
            service = SceneService(run, limits, folder, device=device)
        else:
            service = Service(run, limits, folder, device=device, trust_code=trust_code)
        if not is_loopback(host):
            who = (
                "anyone who can reach this machine can use the model, and" if not access.token else "the token and all"
            )
            _log.warning(
                "listening on %s: %s traffic is not encrypted; put a proxy with HTTPS in front",
                host,
                who,
            )
        access = replace(access, host_names=(*access.host_names, host))
        name = f"[{host}]" if ":" in host else host
        url = f"http://{name}:{listener.getsockname()[1]}"
        parts = f"page: {url}/, API: {url}/openapi.json" if page else f"API: {url}/openapi.json"
        started = f"{run} answers on {url} ({parts}); Ctrl-C ends it"
        if isinstance(service, SceneService):
            app = scene_application(service, access, page=page)
        else:
            app = application(service, access, page=page)
        try:
            asyncio.run(server_of(app, service, started).serve([listener]))
        except NotStarted as error:
            raise ValueError(str(error)) from error


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except (OSError, OverflowError) as error:
            why = getattr(error, "strerror", None) or str(error)
            raise ValueError(f"cannot listen on {host} port {port}: {why}; choose another --host or --port") from error
        yield listener


@contextmanager
def _own_folder() -> Iterator[Path]:
    """A folder that this user alone can read, where libraries put their temporary files too."""
    folder = Path(tempfile.mkdtemp(prefix=f"sparsefuse-serve-{os.getpid()}-"))
    before, tempfile.tempdir = tempfile.tempdir, str(folder)
    try:
        yield folder
    finally:
        tempfile.tempdir = before
        shutil.rmtree(folder, ignore_errors=True)


def server_of(app: App, service: Service | SceneService, started: str) -> "uvicorn.Server":
    """uvicorn, with a time limit for headers and its own shutdown; it logs `started` when it listens.

    Raises ImportError without the extra `serve`."""
    uvicorn = need("uvicorn", "serve", "serving")
    need("python_multipart", "serve", "serving")
    from h11 import LocalProtocolError
    from uvicorn.protocols.http.h11_impl import H11Protocol

    async def tolerant(scope: Scope, receive: Receive, send: Send) -> None:
        """The application, for clients whose bodies turn out to be no HTTP: their connections take no answer."""

        async def send_if_open(message: Message) -> None:
            try:
                await send(message)
            except LocalProtocolError as error:
                raise ClientGone from error

        with suppress(ClientGone):
            await app(scope, receive, send_if_open)

    class Protocol(H11Protocol):
        """Closes connections that are silent within a request; uvicorn limits only those that idle between two."""

        _watch: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._watch = self.loop.call_later(service.limits.idle, self.transport.close)

        def data_received(self, data: bytes) -> None:
            try:
                super().data_received(data)
            except LocalProtocolError:  # of uvicorn's answer to a broken body, when one has begun already
                self.transport.close()
            owes_headers = self.cycle is None or self.cycle.response_complete
            if not owes_headers and self._watch is not None:
                self._watch.cancel()
                self._watch = None
            elif owes_headers and self._watch is None:
                self._watch = self.loop.call_later(service.limits.idle, self.transport.close)

        def connection_lost(self, exc: Exception | None) -> None:
            if self._watch is not None:
                self._watch.cancel()
            super().connection_lost(exc)

    class Server(uvicorn.Server):
        """Runs the service too, and exits with code 0 on a signal after the requests in progress."""

        async def serve(self, sockets: list[socket.socket] | None = None) -> None:
            with self.capture_signals():
                async with service.running():
                    await super().serve(sockets)

        @contextmanager
        def capture_signals(self) -> Iterator[None]:
            if threading.current_thread() is not threading.main_thread():
                yield
                return
            before = {name: signal.signal(name, self.handle_exit) for name in (signal.SIGINT, signal.SIGTERM)}
            try:
                yield
            finally:
                for name, handler in before.items():
                    signal.signal(name, handler)

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            _log.info("%s", started)

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            service.draining = True
            _log.info("shutting down: requests in progress are finished first; Ctrl-C again ends at once")
            deadline = service.admission.deadline()
            while service.admission.busy and not self.force_exit and asyncio.get_running_loop().time() < deadline:
                await asyncio.sleep(0.02)
            await asyncio.sleep(0.05)  # for the last answers to be written
            for connection in list(self.server_state.connections):
                transport: Any = connection.transport
                transport.close()  # buffered data is still sent
            await super().shutdown(sockets)

    config = uvicorn.Config(
        tolerant,
        http=Protocol,
        ws="none",
        loop="asyncio",
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="off",
        proxy_headers=False,  # `Access` reads them, if it may; uvicorn believes those of any local client
        limit_concurrency=CONNECTIONS,
        timeout_graceful_shutdown=2,
    )
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # it warns of every malformed form
    return Server(config)
