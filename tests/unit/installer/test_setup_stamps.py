import pytest

from installer.setup.stamps import Stamps, Step


class Work:
    """A step's work: counts, and can be told to fail or to have lost its result."""

    def __init__(self):
        self.done = 0
        self.fail = False
        self.there = True

    def step(self, inputs="a"):
        return Step("work", "work", inputs, self.act, lambda: self.there)

    def act(self):
        if self.fail:
            raise OSError(28, "No space left on device")
        self.done += 1


@pytest.fixture
def work():
    return Work()


@pytest.fixture
def stamps(tmp_path):
    return Stamps(tmp_path / "stamps")


def test_a_step_is_done_once(work, stamps, report):
    assert stamps.perform(work.step(), report) is True
    assert stamps.perform(work.step(), report) is False
    assert work.done == 1


def test_other_inputs_do_it_again(work, stamps, report):
    stamps.perform(work.step("a"), report)
    assert stamps.perform(work.step("b"), report) is True
    assert stamps.perform(work.step("a"), report) is True
    assert work.done == 3


def test_a_lost_result_does_it_again(work, stamps, report):
    stamps.perform(work.step(), report)
    work.there = False
    stamps.perform(work.step(), report)
    assert work.done == 2


def test_a_step_that_failed_leaves_no_stamp_not_even_its_old_one(work, stamps, report):
    stamps.perform(work.step("a"), report)
    work.fail = True
    with pytest.raises(OSError, match="No space"):
        stamps.perform(work.step("b"), report)
    assert not stamps.holds(work.step("a"))
    assert not stamps.holds(work.step("b"))


@pytest.mark.parametrize("damage", [b"", b"aa", b"\xff\xfe", b"a\n"])
def test_a_damaged_stamp_is_no_stamp(work, stamps, report, tmp_path, damage):
    stamps.perform(work.step(), report)
    (tmp_path / "stamps" / "work").write_bytes(damage)
    assert not stamps.holds(work.step())
