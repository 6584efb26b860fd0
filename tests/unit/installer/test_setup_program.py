import re
import subprocess
import sys

import pytest

from installer.setup import machine, program
from installer.setup.report import SetupError

OLD = """import runpy, sys
sys.version_info = (3, 9, 2)
sys.argv = ["setup", "run"]
runpy.run_module("installer.setup", run_name="__main__", alter_sys=True)
"""
PIN = re.compile(r"[A-Za-z0-9._-]+(\[[a-z,]+\])?==[^\s;]+( ; [^\\]+)? \\")
HASH = re.compile(r"    --hash=sha256:[0-9a-f]{64}( \\)?")


def test_an_old_python_is_refused_in_words(checkout):
    done = subprocess.run(
        [sys.executable, "-c", OLD], cwd=checkout, capture_output=True, text=True, check=False
    )
    assert done.returncode == 5
    assert "needs Python 3.11 or newer; this is 3.9" in done.stderr
    assert "Traceback" not in done.stderr


def test_wrong_arguments_exit_with_3(capsys):
    assert program.main(["no-such-purpose"]) == 3
    assert program.main([]) == 3
    capsys.readouterr()


@pytest.mark.parametrize(
    ("failure", "code", "words"),
    [
        (SetupError("It broke.", todo="Mend it."), 5, ["It broke.", "Mend it."]),
        (SetupError("Wrong hash.", exit_code=1), 1, ["Wrong hash."]),
        (OSError(28, "No space left on device", "/x/y"), 5, ["/x/y", "No space left on device"]),
        (KeyboardInterrupt(), 130, ["goes on from here"]),
    ],
)
def test_every_failure_is_said_and_has_its_exit_code(monkeypatch, capsys, failure, code, words):
    def fail(*_):
        raise failure

    monkeypatch.setattr(program, "set_up", fail)
    assert program.main(["run"]) == code
    said = capsys.readouterr().err
    assert all(word in said for word in words)
    assert "Traceback" not in said


def test_the_log_does_not_grow_for_ever(tmp_path):
    log = tmp_path / "setup.log"
    program.start_log(log)
    log.write_bytes(b"x" * program.MAX_LOG_BYTES)
    program.start_log(log)
    assert log.exists()
    for last in (b"a", b"b"):
        log.write_bytes(last * (program.MAX_LOG_BYTES + 1))
        program.start_log(log)
        assert not log.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["setup.log.before"]
    assert (tmp_path / "setup.log.before").read_bytes()[:1] == b"b"


def names(purpose, commands, report, tmp_path):
    return [step.name for step in program.steps(purpose, tmp_path / "venv", commands, report)]


def test_the_steps_of_each_purpose(commands, report, tmp_path):
    run = ["venv", "build", "runtime", "llama", "checkout", "model-smollm2-135m-instruct"]
    assert names("run", commands, report, tmp_path) == run
    assert names("test", commands, report, tmp_path) == [*run, "dev"]
    assert names("gemma", commands, report, tmp_path) == [*run, "model-gemma-3-270m"]
    assert names("check", commands, report, tmp_path) == ["venv", "build", "runtime", "checkout", "dev"]
    assert names("peers", commands, report, tmp_path) == ["venv", "peers"]


def test_what_the_machine_must_have_depends_on_the_purpose(commands, monkeypatch, tmp_path):
    nothing = [machine.Missing("x", "x")]
    monkeypatch.setattr(machine, "missing_venv_module", list)
    monkeypatch.setattr(machine, "missing_font", lambda: nothing)
    monkeypatch.setattr(machine, "missing_programs", lambda needed: [machine.Missing(n, n) for n in needed])
    monkeypatch.setattr(machine, "missing_libraries", lambda needed, cache: [])
    look = lambda purpose: {item.name for item in program.missing(purpose, tmp_path, commands)}  # noqa: E731
    assert look("check") == set()
    assert look("peers") == set()
    assert look("run") == {"cc", "c++", "x"}
    assert look("test") == look("run") | {"strace"}


def test_every_requirement_is_pinned_with_a_hash(checkout):
    for path in (checkout / "installer" / "requirements").glob("*.txt"):
        text = path.read_text()
        lines = [line for line in text.splitlines() if line and not line.lstrip().startswith("#")]
        hashes = 0
        for line in lines:
            if HASH.fullmatch(line):
                hashes += 1
                continue
            assert PIN.fullmatch(line), line
            assert hashes or line is lines[0], f"the requirement before {line} has no hash"
            hashes = 0
        assert hashes
