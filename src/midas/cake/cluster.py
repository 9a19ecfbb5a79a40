"""Executors of other machines: a running dask cluster, or one that is started for the run."""

from __future__ import annotations

import contextlib
import json
import logging
import re
from collections.abc import Iterator
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from midas.cake.cluster_watch import WatchedExecutor, deaf_children, without_chatter
from midas.errors import InputError

CLUSTERS = {
    "local": ("distributed", "LocalCluster"),
    "slurm": ("dask_jobqueue", "SLURMCluster"),
    "pbs": ("dask_jobqueue", "PBSCluster"),
    "lsf": ("dask_jobqueue", "LSFCluster"),
    "sge": ("dask_jobqueue", "SGECluster"),
    "htcondor": ("dask_jobqueue", "HTCondorCluster"),
}
"""Names of `--cluster`: module and class. Those of dask_jobqueue take their settings from its configuration files."""
_log = logging.getLogger(__name__)

_RETRIES = 3  # times that a task is run again when its worker is lost
_SECONDS = 60  # that a scheduler has to answer; a job may stand in its queue for hours


@contextlib.contextmanager
def cluster_executor(
    *, scheduler: str | None = None, cluster: str | None = None, n_workers: int = 2
) -> Iterator[tuple[Executor, int]]:
    """Yield an executor of a dask cluster and how many tasks it runs at a time; let go of it at the end.

    Parameters
    ----------
    scheduler
        Address of a running scheduler (`tcp://host:8786`), or the name of its scheduler file (ending in `.json`).
    cluster
        One of `CLUSTERS`, which is started with `n_workers` workers and ended afterwards; for no scheduler.

    Raises
    ------
    InputError
        dask is not installed, the scheduler does not answer or has no worker, or the cluster does not start.
    """
    if scheduler is not None and cluster is not None:
        raise InputError(f"both a scheduler, {scheduler}, and a cluster to start, {cluster}, were given; give one")
    if n_workers < 1:
        raise InputError(f"the cluster's workers are {n_workers}; expected 1 or more")
    try:
        import distributed
    except ImportError as error:
        raise InputError(f"a cluster needs dask ({error}); pip install midas-xrd[cluster]") from error
    with without_chatter(), contextlib.ExitStack() as stack:
        target = scheduler or stack.enter_context(_started(cluster or "local", n_workers))
        in_queue = scheduler is None and cluster not in (None, "local")
        if in_queue:
            _log.info("waiting for the first worker of the %s cluster; Ctrl-C gives up", cluster)
        address = target if scheduler is None else _address(scheduler)
        try:
            client: Any = stack.enter_context(
                distributed.Client(address, timeout=_SECONDS, set_as_default=False)  # type: ignore[no-untyped-call]
            )
            client.wait_for_workers(1, timeout=None if in_queue else _SECONDS)
        except (OSError, TimeoutError, ValueError) as error:
            raise InputError(f"the dask cluster at {target} does not answer or has no worker: {error}") from error
        threads = client.nthreads().values()
        at_once = sum(threads) if scheduler is not None else n_workers * max(threads)  # those to come, too
        name = f"the dask cluster at {target if scheduler is not None else client.scheduler.address}"
        watched = WatchedExecutor(client, client.get_executor(retries=_RETRIES, pure=False), name)
        stack.callback(watched.shutdown)
        yield watched, at_once


def _address(scheduler: str) -> str:
    """Return the address of a scheduler, of a scheduler file the one in it: dask hangs on one that it cannot parse."""
    address = scheduler
    if scheduler.endswith(".json"):
        try:
            address = str(json.loads(Path(scheduler).read_text(encoding="utf-8"))["address"])
        except FileNotFoundError:
            raise InputError(
                f"the scheduler file {scheduler} is not there; check the name, or start one with dask-scheduler "
                "--scheduler-file"
            ) from None
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise InputError(f"{scheduler} is no scheduler file of dask: it has no address; start one anew") from error
    port = re.fullmatch(r"(?:[a-z]+://)?(?:\[[0-9A-Fa-f:.]+\]|[^\s/:\[\]]+):(\d{1,5})/?", address)
    if port is None or not 0 < int(port[1]) < 65536:
        raise InputError(f"the scheduler's address is {address!r}; expected such as tcp://host:8786, or its .json file")
    return address


def _started(name: str, n_workers: int) -> Any:
    """Return a cluster of a kind with workers of one thread each."""
    import importlib

    if name not in CLUSTERS:
        raise InputError(f"the cluster is {name!r}; expected one of {', '.join(CLUSTERS)}")
    module, kind = CLUSTERS[name]
    try:
        make = getattr(importlib.import_module(module), kind)
        if name == "local":
            with deaf_children():
                return make(
                    n_workers=n_workers, threads_per_worker=1, dashboard_address=None, silence_logs=logging.CRITICAL
                )
        found = make()
        found.scale(n_workers)
        return found
    except ImportError as error:
        raise InputError(f"the cluster {name} needs {module} ({error}); pip install midas-xrd[cluster]") from error
    except (OSError, RuntimeError, ValueError, TypeError) as error:
        raise InputError(
            f"the cluster {name} does not start: {error}; look into dask's jobqueue configuration"
        ) from error
