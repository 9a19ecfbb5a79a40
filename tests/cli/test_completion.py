"""The scripts of `midas completion`, loaded by the shells themselves."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from midas.cli import _COMMANDS, main


def script(shell, tmp_path, capsys):
    assert main(["completion", shell]) == 0
    path = tmp_path / f"midas.{shell}"
    path.write_text(capsys.readouterr().out, encoding="utf-8")
    return path


def needs(shell):
    return pytest.mark.skipif(shutil.which(shell) is None, reason=f"{shell} is not installed; apt-get install {shell}")


@needs("bash")
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("midas ", set(_COMMANDS)),
        ("midas cal", {"calibrate"}),
        ("midas calibrate a.tif --pix", {"--pixel-size"}),
        ("midas integrate -data", {"-dataFN", "-dataLoc"}),
        ("midas calibrate --panels ", {"auto", "none"}),
        ("midas hkls --calibrant La", {"LaB6"}),
        ("midas refine x.zarr.zip --broadening s", {"sample"}),
        ("midas params ", {"check", "new"}),
        ("midas params check --", {"--help", "--for", "--json"}),
        ("midas params check --for ", {"calibrate", "integrate"}),
        ("midas completion ", {"bash", "zsh", "fish"}),
        ("midas integrate --wave", set()),  # of another command
        ("midas integrate ", set()),  # left to the shell: files
        ("midas convert --out ", set()),
    ],
)
def test_bash_completes(line, expected, tmp_path, capsys):
    words = line.split(" ")
    code = f"""
        source {script("bash", tmp_path, capsys)}
        COMP_WORDS=({" ".join(repr(word) for word in words)}); COMP_CWORD={len(words) - 1}
        _midas
        printf '%s\\n' "${{COMPREPLY[@]}}"
        complete -p midas >&2
    """
    done = subprocess.run(["bash", "--norc", "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == expected
    assert "-o default" in done.stderr


@needs("bash")
def test_bash_completes_a_file_name_at_a_tab(tmp_path, capsys):
    """In an interactive bash, by the key itself."""
    path = script("bash", tmp_path, capsys)
    (tmp_path / "ceo2_image.tif").write_bytes(b"")
    line = "midas calibrate ceo2_im\t --pix\t --panels no\t"
    lines = f"source {path}\nmidas() {{ printf '[%s]' \"$@\" > said; }}\n{line}\nexit\n"
    subprocess.run(
        ["bash", "--norc", "-i"], input=lines, text=True, cwd=tmp_path, capture_output=True, timeout=30, check=False,
        start_new_session=True, env={"PATH": "/usr/bin:/bin", "TERM": "dumb", "HOME": str(tmp_path)},
    )  # fmt: skip
    said = (tmp_path / "said").read_text()
    assert said == "[calibrate][ceo2_image.tif][--pixel-size][--panels][none]"


@needs("zsh")
def test_zsh_takes_the_script(tmp_path, capsys):
    code = f"source {script('zsh', tmp_path, capsys)}; print ${{_comps[midas]}}"
    done = subprocess.run(["zsh", "-f", "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert "_midas" in done.stdout


@needs("fish")
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("midas cal", {"calibrate"}),
        ("midas calibrate --pix", {"--pixel-size"}),
        ("midas calibrate --panels ", {"auto", "none"}),
        ("midas hkls --calibrant La", {"LaB6"}),
        ("midas params check --f", {"--for"}),
        ("midas completion ", {"bash", "zsh", "fish"}),
    ],
)
def test_fish_completes(line, expected, tmp_path, capsys):
    code = f"source {script('fish', tmp_path, capsys)}; complete -C '{line}'"
    done = subprocess.run(
        ["fish", "--no-config", "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
    )  # fmt: skip
    assert {row.split("\t")[0] for row in done.stdout.splitlines()} == expected
