"""The command that serves runs over HTTP."""

from __future__ import annotations

from tenfold.cli.commands import command
from tenfold.cli.console import say, tell
from tenfold.cli.options import DeviceOptions, argument, option
from tenfold.cli.progress import Display
from tenfold.errors import DependencyError


class Serve(DeviceOptions):
    """What ``tenfold serve`` takes."""

    run: list[str] = argument("run folders", "RUN")
    port: int = option("port; 0 for a free one", default=8000)
    host: str = option(
        "address to listen at; 0.0.0.0 for other machines, too", "ADDRESS", default="127.0.0.1"
    )
    alike: bool = option("show training photos that are alike, where they still are", default=False)
    delay: float = option("milliseconds that a request waits for others to be answered with it", default=5.0)
    max_rows: int = option("rows, or pictures, of a request, and of a batch", default=64)
    max_body: int = option("MiB of a request", default=32)
    max_pixels: int = option("largest picture that is decoded", default=50_000_000)
    max_waiting: int = option("rows that may wait; more are refused", default=512)
    timeout: float = option("seconds for a request to come, and for its answer", default=30.0)


@command(
    "serve",
    Serve,
    "tenfold serve runs/leaves",
    "tenfold serve runs/leaves runs/films --host 0.0.0.0 --port 80",
)
def _serve(asked: Serve) -> None:
    """Answer over HTTP: predictions, lists, and a page that asks for them.

    The page is at the address that is printed, the description of all requests below it at /docs.
    """
    try:
        from tenfold.serving.limits import Limits
        from tenfold.serving.server import bind, open_served, serve
    except ImportError as error:
        raise DependencyError(
            f"serving needs a package that is not installed: {error.name}", fix="pip install 'tenfold[serve]'"
        ) from None
    limits = Limits(
        max_body=asked.max_body << 20,
        max_pixels=asked.max_pixels,
        max_rows=asked.max_rows,
        timeout=asked.timeout,
        max_waiting=asked.max_waiting,
        delay=asked.delay / 1000,
    )
    with Display():
        listening = bind(asked.host, asked.port)
        served = open_served(asked.run, limits, asked.device)
    names = ", ".join(one.name for one in served)
    say(f"opening {names}", style="")
    serve(
        served,
        limits,
        listening,
        lambda address: tell(f"serving {names} at {address} (Ctrl-C stops)"),
        alike=asked.alike,
    )
