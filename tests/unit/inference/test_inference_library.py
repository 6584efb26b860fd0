"""What the library is made of: each real file once, and only when it is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from govdesk.inference import library


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "libllama.so.1").write_bytes(b"one")
    (tmp_path / "libggml.so").write_bytes(b"ggml")
    (tmp_path / "libllama.so").symlink_to("libllama.so.1")
    (tmp_path / "notes.txt").write_bytes(b"nothing of it")
    return tmp_path


def test_it_changes_with_a_file_its_name_and_where_a_link_points(folder: Path) -> None:
    made = [library.digest(folder)]
    (folder / "notes.txt").write_bytes(b"else")
    assert library.digest(folder) == made[0]
    (folder / "libggml.so").write_bytes(b"gglm")
    made.append(library.digest(folder))
    (folder / "libllama.so").unlink()
    made.append(library.digest(folder))
    (folder / "libllama.so").symlink_to("libggml.so")
    made.append(library.digest(folder))
    (folder / "libggml.so").rename(folder / "libother.so")
    made.append(library.digest(folder))
    assert len(set(made)) == len(made)
    assert library.digest(folder / "missing")


def test_a_link_is_not_read_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    opening = Path.open

    def noted(self: Path, *arguments: object) -> object:
        opened.append(self.name)
        return opening(self, *arguments)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", noted)
    library.digest(folder)
    assert opened == ["libggml.so", "libllama.so.1"]


def test_the_installations_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made = library.build()
    monkeypatch.setattr(library, "digest", lambda _folder: pytest.fail("read again"))
    assert library.build() == made and len(made) == 96
