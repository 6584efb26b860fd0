import io

from installer.setup.report import HEARTBEAT_SECONDS, Report


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_without_a_terminal_there_are_whole_lines_only_and_few_of_them(said):
    clock = Clock()
    report = Report(said, clock)
    with report.step("build"):
        for second in range(60):
            clock.now = float(second)
            report.progress(f"[{second}/60]")
    lines = said.getvalue().splitlines()
    assert "\r" not in said.getvalue()
    assert "\x1b" not in said.getvalue()
    assert lines[0] == "setup: build …"
    assert lines[-1] == "setup: build: done after 59 s"
    assert len(lines) == 2 + int(59 // HEARTBEAT_SECONDS)
    assert "15 s, [15/60]" in lines[1]


def test_on_a_terminal_the_line_moves_and_stays_within_its_width():
    stream = Terminal()
    report = Report(stream, Clock())
    with report.step("build"):
        report.progress("x" * 500)
    drawn = stream.getvalue().split("\r")
    assert all(len(part.removeprefix("\x1b[K").split("\n")[0]) <= 100 for part in drawn)
    assert stream.getvalue().endswith("setup: build: done after 0 s\n")


def test_a_step_that_failed_is_not_called_done(said):
    report = Report(said, Clock())
    try:
        with report.step("build"):
            raise ValueError
    except ValueError:
        pass
    assert "build: stopped after" in said.getvalue()
    assert "done" not in said.getvalue()
