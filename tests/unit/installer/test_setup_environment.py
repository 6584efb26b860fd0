import os
import sys

import pytest

from installer.setup.environment import Environment, canonical, pins
from installer.setup.report import SetupError
from installer.setup.stamps import Stamps


@pytest.fixture
def environment(tmp_path, commands, report):
    return Environment(tmp_path / "venv", commands, report)


def pretend(environment, *names):
    """A folder that looks like an environment with these packages; gives each one's module."""
    site = environment.folder / "lib" / "python3.11" / "site-packages"
    modules = []
    for name in names:
        info = site / f"{name}.dist-info"
        info.mkdir(parents=True)
        modules.append(site / f"{name.partition('-')[0]},native.so")
        modules[-1].write_bytes(b"\x7fELF")
        cached = "__pycache__/a.cpython-311.pyc"
        (info / "RECORD").write_text(
            f'"{modules[-1].name}",sha256=x,4\n{info.name}/RECORD,,\n{cached},sha256=x,99\n'
        )
    return modules


def test_pins_are_read_with_their_folders_spelling():
    text = "# a\nPySide6-Essentials==6.12.0 \\\n    --hash=sha256:00\n    # via x\nzope.thing==1.0\n"
    assert pins(text) == {"pyside6_essentials": "6.12.0", "zope_thing": "1.0"}
    assert canonical("A-b__c.D") == "a_b_c_d"


def test_every_pinned_package_must_be_there_in_its_version(environment):
    assert not environment.has({"numpy": "2.4.6"})
    pretend(environment, "numpy-2.4.6", "PySide6_Essentials-6.12.0")
    assert environment.has({"numpy": "2.4.6", "pyside6_essentials": "6.12.0"})
    assert not environment.has({"numpy": "2.4.7"})
    assert not environment.has({"numpy": "2.4.6", "msgspec": "0.22.0"})


DAMAGES = {
    "file removed": lambda module, info: module.unlink(),
    "file cut": lambda module, info: os.truncate(module, 3),
    "file grown": lambda module, info: module.write_bytes(b"x" * 5),
    "record removed": lambda module, info: (info / "RECORD").unlink(),
    "record emptied": lambda module, info: os.truncate(info / "RECORD", 0),
    "record cut": lambda module, info: os.truncate(info / "RECORD", 12),
    "record of no text": lambda module, info: (info / "RECORD").write_bytes(b"\xff\x00"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_package_is_not_there_and_is_installed_again(environment, said, damage):
    kept, module = pretend(environment, "numpy-2.4.6", "msgspec-0.22.0")
    wanted = {"numpy": "2.4.6", "msgspec": "0.22.0"}
    info = environment.site_packages / "msgspec-0.22.0.dist-info"
    assert environment.has(wanted)
    DAMAGES[damage](module, info)
    assert not environment.has(wanted)
    environment.forget_damaged(wanted)
    assert not info.exists(), "pip would see it as installed"
    assert kept.exists()
    assert environment.has({"numpy": "2.4.6"})
    assert said.getvalue() == "setup:   msgspec 0.22.0 is damaged: installed again\n"


def test_a_redone_step_forgets_damaged_packages_before_pip_looks(environment, tmp_path, monkeypatch):
    (module,) = pretend(environment, "numpy-2.4.6")
    module.unlink()
    info = environment.site_packages / "numpy-2.4.6.dist-info"
    there = []
    monkeypatch.setattr(environment._commands, "run", lambda *_, **__: there.append(info.exists()))
    requirements = tmp_path / "runtime.txt"
    requirements.write_text("numpy==2.4.6 --hash=sha256:00\n")
    environment.packages_step("runtime", requirements).act()
    assert there == [False]


def test_a_damaged_pip_is_replaced_before_it_is_used(environment, monkeypatch):
    (module,) = pretend(environment, "pip-26.3")
    (environment.site_packages / "pip").mkdir()
    module.unlink()
    asked = []
    monkeypatch.setattr(environment._commands, "run", lambda words, **_: asked.append(words))
    environment.forget_damaged({"pip": "26.3"})
    assert asked == [[environment.python, "-m", "ensurepip"]]
    assert not (environment.site_packages / "pip").exists()


def test_packages_are_installed_by_hash_as_wheels_only(environment, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        environment._commands, "run", lambda words, **_: asked.append([str(w) for w in words])
    )
    requirements = tmp_path / "runtime.txt"
    requirements.write_text("numpy==2.4.6 --hash=sha256:00\n")
    environment.packages_step("runtime", requirements).act()
    assert "--require-hashes" in asked[0]
    assert asked[0][asked[0].index("--only-binary") + 1] == ":all:"
    assert not [word for word in asked[0] if "index" in word or "://" in word]


def test_a_changed_pin_is_a_changed_step(environment, tmp_path):
    requirements = tmp_path / "runtime.txt"
    requirements.write_text("numpy==2.4.6 --hash=sha256:00\n")
    before = environment.packages_step("runtime", requirements).inputs
    requirements.write_text("numpy==2.4.6 --hash=sha256:01\n")
    assert environment.packages_step("runtime", requirements).inputs != before


def test_a_folder_of_somebody_is_never_removed(environment):
    environment.folder.mkdir()
    (environment.folder / "thesis.odt").write_bytes(b"x")
    with pytest.raises(SetupError, match="in the way"):
        environment.create_step().act()
    assert (environment.folder / "thesis.odt").read_bytes() == b"x"


def make(folder, commands):
    """A real one, without pip's files (slow to copy): a module of that name is what is looked for."""
    commands.run([sys.executable, "-m", "venv", "--without-pip", folder], failed="no venv")
    (next((folder / "lib").glob("python3*/site-packages")) / "pip.py").touch()


def test_an_environment_that_works_is_taken_over(environment, report, said, commands):
    make(environment.folder, commands)
    mine = environment.site_packages / "mine.py"
    mine.touch()
    stamps = Stamps(environment.stamps)
    assert stamps.perform(environment.create_step(), report) is True
    assert "using the environment that is there" in said.getvalue()
    assert mine.exists()
    assert stamps.perform(environment.create_step(), report) is False


def test_a_moved_environment_is_made_anew(environment, commands, report, said, tmp_path, monkeypatch):
    # Its scripts still name the old place.
    make(tmp_path / "old", commands)
    (tmp_path / "old").rename(environment.folder)
    real = type(commands)(report, tmp_path / "real.log", commands.environment)
    monkeypatch.setattr(commands, "run", lambda words, **_: make(environment.folder, real))
    old = environment.site_packages / "old.py"
    old.touch()
    environment.create_step().act()
    assert "made anew" in said.getvalue()
    assert not old.exists()
    assert environment._works()


def test_an_environment_whose_python_is_gone_is_not_taken_over(environment, commands):
    make(environment.folder, commands)
    assert environment.create_step().intact()
    environment.python.unlink()
    environment.python.symlink_to("/no/such/python")
    assert not environment._works()
    assert not environment.create_step().intact()
