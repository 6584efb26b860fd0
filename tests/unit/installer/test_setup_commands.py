import os
import sys

import pytest

from installer.setup.commands import TAIL_LINES, ninja_summary, pip_summary
from installer.setup.report import SetupError


def test_a_failure_carries_the_last_words_and_the_log_has_all(commands):
    program = "print(*range(100), sep='\\n'); raise SystemExit(7)"
    with pytest.raises(SetupError, match="It broke \\(exit 7\\)") as caught:
        commands.run([sys.executable, "-c", program], failed="It broke", todo="Mend it.")
    assert caught.value.todo == "Mend it."
    assert caught.value.exit_code == 5
    shown = [line.strip() for line in caught.value.what.splitlines()[1:-1]]
    assert shown == [str(number) for number in range(100 - TAIL_LINES, 100)]
    assert all(f"\n{number}\n" in commands.log.read_text() for number in range(100))


def test_a_program_that_is_not_there_is_said(commands):
    with pytest.raises(SetupError, match="no-such-program cannot be started"):
        commands.run(["no-such-program"], failed="It broke")


def test_lines_reach_the_summary_whole_whatever_their_bytes(commands):
    program = (
        "import sys,time\nfor part in (b'[1/', b'78] a\\n[2/78]', b' b\\n', b'\\xff\\n', b'last'):\n"
        " sys.stdout.buffer.write(part); sys.stdout.flush(); time.sleep(0.02)\n"
    )
    seen = []
    commands.run([sys.executable, "-c", program], failed="x", summary=seen.append)
    assert seen == ["[1/78] a", "[2/78] b", "\ufffd", "last"]


def test_being_stopped_stops_the_program(commands, tmp_path):
    def stop(line):
        (tmp_path / "pid").write_text(line)
        raise KeyboardInterrupt

    program = "import os,time; print(os.getpid(), flush=True); time.sleep(600)"
    with pytest.raises(KeyboardInterrupt):
        commands.run([sys.executable, "-c", program], failed="x", summary=stop)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_summaries_show_where_it_is_and_no_addresses():
    assert ninja_summary("[12/78] Building CXX object a.o") == "[12/78]"
    assert ninja_summary("warning: [12/78]") is None
    assert (
        pip_summary("  Downloading https://host.example/files/numpy-2.whl (18 MB)")
        == "downloading numpy-2.whl"
    )
    assert pip_summary("Collecting numpy==2.4.6 (from -r a.txt (line 1))") == "collecting numpy==2.4.6"
    assert pip_summary("Installing collected packages: a, b") == "installing"
    assert pip_summary("Looking in indexes: https://host.example/simple") is None


def test_a_question_that_cannot_be_answered_is_none(commands):
    assert commands.answer([sys.executable, "-c", "print(6*7)"]) == "42\n"
    assert commands.answer([sys.executable, "-c", "raise SystemExit(1)"]) is None
    assert commands.answer(["no-such-program"]) is None
