"""The process that serves: its socket, its start and its end. The only room of uvicorn."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Sequence

import uvicorn

from tenfold.errors import MachineError, RunError
from tenfold.runs.registry import load_run
from tenfold.serving.app import make_app
from tenfold.serving.limits import Limits
from tenfold.serving.served import CORES, Served

__all__ = ["open_served", "serve"]


def open_served(paths: Sequence[str], limits: Limits, device: str = "auto") -> list[Served]:
    """Open the runs to serve, each under the name of its folder.

    Raises RunError where two have the same name.
    """
    served: dict[str, Served] = {}
    for path in paths:
        name = os.path.basename(os.path.abspath(path))
        if name in served:
            raise RunError(
                f"two runs are called {name}", found=f"{served[name].run.path}, {path}", fix="rename a folder"
            )
        served[name] = Served(name, load_run(path), limits, device)
    return [*served.values()]


def bind(host: str, port: int) -> socket.socket:
    """A listening socket. port: 0 for a free one.

    Raises MachineError for a port in use, and for a host that is not this machine's.
    """
    if not 0 <= port <= 65535:
        raise MachineError(f"there is no port {port}", fix="give one from 0, any free one, to 65535")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        made = socket.socket(family, kind, protocol)
        if os.name == "posix":
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            made.bind(address)
            made.listen(1024)
        except BaseException:
            made.close()
            raise
    except OSError as error:
        used = error.errno == errno.EADDRINUSE
        what = "is in use by another program" if used else f"cannot be served at: {error.strerror or error}"
        fix = "give another with --port, or --port 0 for any free one" if used else "give --host 127.0.0.1"
        raise MachineError(f"port {port} of {host} {what}", fix=fix) from None
    return made


def serve(
    served: Sequence[Served],
    limits: Limits,
    listening: socket.socket,
    tell: Callable[[str], None],
    *,
    alike: bool = False,
) -> None:
    """Answer until the process is stopped; requests that have begun are answered first.

    tell: told the address when all is ready.  alike: show training photos, too.
    """
    lanes = max(one.lanes for one in served)
    if any(one.run.schema.images for one in served):
        from tenfold.engine.device import keep_freed_memory, use_threads

        use_threads(max(1, CORES // lanes))
        keep_freed_memory()
    for one in served:
        one.warm()
        if alike:
            one.collect()
    host, port = listening.getsockname()[:2]
    tell(f"http://{f'[{host}]' if ':' in host else host}:{port}")
    config = uvicorn.Config(
        make_app(served, limits),
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=max(1, round(limits.timeout)),
    )
    with listening:
        uvicorn.Server(config).run(sockets=[listening])
