"""The options that name a cluster, and the executor they stand for."""

from __future__ import annotations

import argparse
import contextlib
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING

from midas.errors import InputError

if TYPE_CHECKING:
    from concurrent.futures import Executor

_log = logging.getLogger(__name__)


def add_cluster(parser: argparse.ArgumentParser) -> None:
    """Add what names a cluster."""
    cluster = parser.add_argument_group("where one machine is not enough (pip install midas-xrd[cluster])")
    cluster.add_argument("--scheduler", metavar="ADDRESS", help="a running dask cluster: tcp://host:8786, or its .json "
                         "(default: none)")  # fmt: skip
    cluster.add_argument(
        "--cluster",
        metavar="KIND",
        help="start a dask cluster: local, slurm, pbs, lsf, sge or htcondor (set up in dask's jobqueue.yaml) "
        "(default: none)",
    )
    cluster.add_argument("--workers", type=int, metavar="N", help="workers of the cluster that is started (default: 2)")


@contextlib.contextmanager
def executor_of(args: argparse.Namespace) -> Iterator[tuple[Executor | None, int]]:
    """Yield the cluster that was asked for and how much it does at a time; None for this machine."""
    if args.workers is not None and args.cluster is None:
        raise InputError(
            f"--workers {args.workers} is for a cluster that is started; name its kind with --cluster, or leave it out"
        )
    if args.scheduler is None and args.cluster is None:
        yield None, 0
        return
    from midas.cake.cluster import cluster_executor

    with cluster_executor(
        scheduler=args.scheduler, cluster=args.cluster, n_workers=2 if args.workers is None else args.workers
    ) as found:
        yield found


def warn_of_cores(args: argparse.Namespace, flag: str, given: int | None) -> None:
    """Say that a number of cores of this machine, None where none was given, is of no account to a cluster."""
    if given is not None and (args.cluster or args.scheduler):
        _log.warning("%s %d is of no account with a cluster, whose workers say how much is done at a time", flag, given)
