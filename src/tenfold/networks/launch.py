"""Starts the ranks of a training on this machine, as `torchrun` does, and waits for them."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Sequence

from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from tenfold.engine.device import pick_device
from tenfold.engine.ranks import check_devices
from tenfold.errors import RecipeError, TrainingError
from tenfold.processes import module_command, module_environment

#: Seconds between two looks at the processes, and those that they get to end in.
LOOK, END = 0.1, 10
#: Exit codes of a command that has said itself why it ended: an error, and Ctrl-C.
ERROR, INTERRUPTED = 2, 130


def launch_ranks(count: int, device: str, words: Sequence[str]) -> int:
    """Run ``tenfold`` with these words in so many processes, each a rank with a device of its own.

    Returns the exit code: of rank 0, where it has said itself why it failed.
    Raises RecipeError where there are fewer devices, TrainingError where another rank died, with its number.
    """
    if ":" in device:
        raise RecipeError(
            f"--device {device} is one device, and --devices asks for {count}", fix="--device cuda"
        )
    check_devices(count, pick_device(device))
    # As torchrun, but a fair share: every process would take all cores.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count)))
    os.environ.update(PYTHONSAFEPATH=module_environment()["PYTHONSAFEPATH"])
    command = module_command("tenfold", *words)
    with tempfile.TemporaryDirectory(prefix="tenfold-ranks-") as logs:
        config = LaunchConfig(
            1,
            1,
            count,
            logs_specs=DefaultLogsSpecs(log_dir=logs),
            run_id="tenfold",
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            max_restarts=0,
            monitor_interval=LOOK,
            shutdown_timeout=END,
        )
        # It would log in its own words what is told below.
        logging.disable(logging.CRITICAL)
        try:
            # The launcher reads ${local_rank} in a word, and $$ as $.
            elastic_launch(config, command[0])(*(word.replace("$", "$$") for word in command[1:]))
        except ChildFailedError as failed:
            return _told(*failed.get_first_failure())
        except SignalException:
            return INTERRUPTED
        finally:
            logging.disable(logging.NOTSET)
    return 0


def _told(rank: int, failure: object) -> int:
    """The exit code of a rank that has said why it failed; else a TrainingError that names it."""
    code = getattr(failure, "exitcode", 1)
    if code in (ERROR, INTERRUPTED):
        return code
    signal = getattr(failure, "signal_name", str)()
    how = f"was ended by {signal}" if code < 0 else f"ended with code {code}"
    raise TrainingError(
        f"rank {rank} {how}, and with it the training",
        found="the system may have run out of memory" if signal == "SIGKILL" else "its message is above",
        fix="--resume goes on, with any number of devices",
    )
