from __future__ import annotations

import argparse
import contextlib
import json

import pytest

from midas.cli import main
from midas.cli.refine import add_parser
from midas.errors import RefinementError


def parse(*words):
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers(dest="command"))
    return parser.parse_args(["refine", *words])


def test_flags_of_the_manual_as_spelled():
    words = "--data x.zarr.zip --cif a.cif b.cif --out o --instprm i.instprm --bkg-terms 9 --limits 2 12 --nCPUs 4"
    args = parse(*words.split(), "--no-atoms", "--no-export", "-v")
    assert [str(p) for p in args.cif] == ["a.cif", "b.cif"]
    assert (args.bkg_terms, args.limits, args.n_cpus) == (9, [2.0, 12.0], 4)
    assert args.no_atoms
    assert args.no_export
    assert parse("-d", "x.zarr.zip", "-c", "a.cif", "-o", "o", "-i", "p").instprm is not None
    assert parse("--n-cpus", "3").n_cpus == 3


def entry(index, status, r_wp, reason):
    return {"histogram_index": index, "status": status, "Rwp": r_wp, "reason": reason, "stages": []}


def summary_of(entries):
    cell = dict.fromkeys(("a", "b", "c"), 5.41165) | dict.fromkeys(("alpha", "beta", "gamma"), 90.0)
    phase = {
        "name": "CeO2",
        "n": 2,
        "mean": cell,
        "scatter": dict.fromkeys(cell, 2e-4),
        "median_esd": {**dict.fromkeys(cell), "a": 1e-4},
    }
    statuses = [e["status"] for e in entries]
    keys = {"succeeded": "success", "partial": "partial", "failed": "failed", "skipped": "skipped"}
    counts = {k: statuses.count(v) for k, v in keys.items()}
    return {"histograms": entries, "phases": [phase], "total_histograms": len(entries), "mean_Rwp": 4.0,
            "median_Rwp": 3.0, **counts}  # fmt: skip


def test_without_gsas2_one_sentence_and_status_2(monkeypatch, capsys):
    def absent(*_, **__):
        raise RefinementError("GSAS-II is not installed where midas looks; install it")

    monkeypatch.setattr("midas.refine.run_refinement", absent)
    assert main(["refine", "--data", "x.zarr.zip", "--cif", "a.cif"]) == 2
    assert capsys.readouterr().err.strip().count("\n") == 0


def test_json_is_all_that_is_printed(monkeypatch, capsys):
    summary = summary_of([entry(0, "failed", None, "why")])
    monkeypatch.setattr("midas.refine.run_refinement", lambda *_, **__: summary)
    assert main(["refine", "x.zarr.zip", "--cif", "a.cif", "--json"]) == 3
    assert json.loads(capsys.readouterr().out) == summary


@pytest.mark.parametrize("words", [["--cif", "a.cif"], ["x.zarr.zip"]])
def test_missing_arguments_are_named(words, capsys):
    assert main(["refine", *words]) == 2
    assert "--" in capsys.readouterr().err


def test_resuming_and_the_cluster_reach_the_library(monkeypatch, tmp_path, capsys):
    given = {}

    @contextlib.contextmanager
    def cluster(*, scheduler, cluster, n_workers):
        given["cluster"] = scheduler, cluster, n_workers
        yield "an executor", 5

    def refine(data, cif, out, **options):
        given.update(options)
        return summary_of([entry(0, "success", 4.0, None)])

    monkeypatch.setattr("midas.refine.run_refinement", refine)
    monkeypatch.setattr("midas.cake.cluster.cluster_executor", cluster)
    words = ["refine", "x.zarr.zip", "--cif", "a.cif", "--out", str(tmp_path)]
    for flag in ("-skipExisting", "--skip-existing", "--resume"):
        assert main([*words, flag]) == 0
        assert (given["skip_existing"], given["executor"], given["n_cpus"]) == (True, None, 1)
    assert main([*words, "--cluster", "local", "--workers", "3"]) == 0
    assert given["cluster"] == (None, "local", 3)
    assert (given["skip_existing"], given["executor"], given["n_cpus"]) == (False, "an executor", 5)
    assert "--nCPUs" not in capsys.readouterr().err
    assert main([*words, "--cluster", "local", "--nCPUs", "8"]) == 0
    assert given["n_cpus"] == 5
    assert "--nCPUs 8 is of no account with a cluster" in capsys.readouterr().err


def test_pictures_without_data_are_told_of(monkeypatch, tmp_path, capsys):
    summary = summary_of([entry(0, "success", 4.0, None)])
    monkeypatch.setattr("midas.refine.run_refinement", lambda *_, **__: summary)
    monkeypatch.setattr("midas.refine.draw_pictures", lambda *_, **__: [])
    words = ["refine", "x.zarr.zip", "--cif", "a.cif", "--out", str(tmp_path), "--plots"]
    assert main(words) == 0
    assert "--no-export" not in capsys.readouterr().err
    assert main([*words, "--no-export"]) == 0
    assert "--plots draws the scan as a whole only" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--texture-order", "6"], "--texture-order is of --texture sh; add that, or leave it out"),
        (["--texture", "sh", "--texture-axis", "1", "0", "0"], "--texture-axis is of --texture march"),
        (["--data", "y.zarr.zip"], "two caked files were given, x.zarr.zip and --data y.zarr.zip; give one"),
        (["--workers", "3"], "--workers 3 is for a cluster that is started; name its kind with --cluster"),
        (["--check", "--report", "a.html"], "--check refines nothing, and has no use for --report"),
        (["--check", "--plots"], "--check refines nothing, and has no use for --plots"),
        (["--check", "-skipExisting"], "--check refines nothing, and has no use for -skipExisting"),
        (
            ["--check", "--instprm", "a.instprm"],
            "--check refines nothing, and has no use for --instprm; drop one of them",
        ),
        (["--check", "--stages", "a.json"], "--check refines nothing, and has no use for --stages"),
        (["--check", "--no-export"], "--check refines nothing, and has no use for --no-export"),
        (["--check", "--resume"], "--check refines nothing, and has no use for --resume"),
        (["--check", "--bkg-terms", "auto"], "--check refines nothing, and has no use for --bkg-terms"),
        (["--check", "--nCPUs", "2"], "--check refines nothing, and has no use for --nCPUs"),
        (
            ["--check", "--scheduler", "tcp://a:1"],
            "--check refines nothing, and has no use for --scheduler; drop one of them",
        ),
        (["--check", "--cluster", "local"], "--check refines nothing, and has no use for --cluster"),
        (["--check", "--workers", "3"], "--check refines nothing, and has no use for --workers"),
        (["--scheduler", "foo"], "the scheduler's address is 'foo'; expected such as tcp://host:8786"),
        (["--scheduler", "tcp://host:99999"], "the scheduler's address is 'tcp://host:99999'"),
        (["--scheduler", "nowhere.json"], "the scheduler file nowhere.json is not there"),
    ],
)
def test_options_that_would_be_passed_over_are_refused(words, said, monkeypatch, capsys):
    if "--scheduler" in words and "--check" not in words:
        pytest.importorskip("distributed", reason="dask is not installed: pip install midas-xrd[cluster]")
    monkeypatch.setattr("midas.refine.run_refinement", lambda *_, **__: pytest.fail("it was begun"))
    assert main(["refine", "x.zarr.zip", "--cif", "a.cif", *words]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1


def test_background_terms_that_are_no_number(capsys):
    with pytest.raises(SystemExit):
        main(["refine", "x.zarr.zip", "--bkg-terms", "1.5"])
    assert "'1.5' is no number of terms; expected 1 to 36, or auto" in capsys.readouterr().err


def test_a_scheduler_file_of_another_kind(tmp_path, capsys):
    pytest.importorskip("distributed", reason="dask is not installed: pip install midas-xrd[cluster]")
    file = tmp_path / "s.json"
    file.write_text("{}", encoding="utf-8")
    assert main(["refine", "x.zarr.zip", "--cif", "a.cif", "--scheduler", str(file)]) == 2
    assert "s.json is no scheduler file of dask" in capsys.readouterr().err


def test_threads_beside_a_cluster_are_told_of_by_integrate(capsys):
    words = ["integrate", "x.h5", "-paramFN", "missing.txt", "--cluster", "local"]
    assert main([*words, "-nCPUs", "8"]) == 2
    assert "-nCPUs 8 is of no account with a cluster" in capsys.readouterr().err
    assert main([*words, "-nCPUs", "0"]) == 2
    assert "of no account" not in capsys.readouterr().err
