import subprocess
import sys
import time

import pytest

from installer.setup import files

HOLDER = """import sys
from pathlib import Path
from installer.setup.files import locked
with locked(Path(sys.argv[1]), lambda: None):
    print("held", flush=True)
    sys.stdin.read(1)
"""


def test_a_copy_that_fails_leaves_the_old_file_and_no_rest(tmp_path, monkeypatch):
    source, target = tmp_path / "new", tmp_path / "kept"
    source.write_bytes(b"new")
    target.write_bytes(b"old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    for write in (lambda: files.copy_whole(source, target), lambda: files.write_whole(target, b"new")):
        with pytest.raises(OSError, match="No space"):
            write()
        assert target.read_bytes() == b"old"
        assert sorted(item.name for item in tmp_path.iterdir()) == ["kept", "new"]


def test_a_copy_keeps_content_and_mode(tmp_path):
    source = tmp_path / "a"
    source.write_bytes(b"x" * 100_000)
    source.chmod(0o755)
    files.copy_whole(source, tmp_path / "deep" / "b")
    assert (tmp_path / "deep" / "b").read_bytes() == source.read_bytes()
    assert (tmp_path / "deep" / "b").stat().st_mode & 0o777 == 0o755


def test_no_two_lists_of_parts_have_one_hash():
    lists = [("ab", "c"), ("a", "bc"), ("abc",), ("abc", ""), ("", "abc"), ()]
    assert len({files.sha256_of_parts(*parts) for parts in lists}) == len(lists)


def test_the_second_holder_waits_and_says_so(tmp_path, checkout):
    lock = tmp_path / "lock"
    other = subprocess.Popen(
        [
            sys.executable,
            "-c",
            HOLDER,
            str(lock),
        ],
        cwd=checkout,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with other:
        assert other.stdout.readline() == b"held\n"
        waited = []

        def waiting():
            waited.append(time.monotonic())
            other.stdin.write(b"x")
            other.stdin.close()

        with files.locked(lock, waiting):
            assert len(waited) == 1
    with files.locked(lock, lambda: pytest.fail("nobody holds it")):
        pass


def test_a_scratch_folder_goes_even_after_an_error(tmp_path):
    def fail():
        with files.scratch_folder(tmp_path / "cache", "fetch") as folder:
            (folder / "half").write_bytes(b"x")
            raise ValueError("half way")

    with pytest.raises(ValueError, match="half way"):
        fail()
    assert list((tmp_path / "cache").iterdir()) == []
