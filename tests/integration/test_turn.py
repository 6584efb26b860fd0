"""One real turn, end to end, as a person runs it: the command, the broker, the writer, the worker, the history."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.commands import GOVDESK, PASSPHRASE, govdesk, records

CANARY = "quartermaine-canary"


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("turn") / "home"
    done = govdesk(home, "init", "--json", passphrase=PASSPHRASE)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["recovery_code"]
    return home


def _ask(home: Path, *arguments: str) -> dict[str, object]:
    done = govdesk(
        home, "ask", "--json", "--max-tokens", "24", "--temperature", "0", *arguments, passphrase=PASSPHRASE
    )
    assert done.stdout, done.stderr
    answer = json.loads(done.stdout)
    assert isinstance(answer, dict)
    return answer


def test_a_turn_is_decided_redacted_audited_and_stored(profile: Path) -> None:
    number = "-".join(("219", "09", "9999"))
    answer = _ask(profile, f"My SSN is {number}; the {CANARY} word. What is a harbour?")
    assert answer["outcome"] == "completed"
    assert answer["text"]
    assert answer["findings"] == {"US_SSN": 1}
    assert answer["marking"] == "UNCLASSIFIED"
    log = records(profile)
    mine = [record for record in log if record["object"] == answer["turn"]]
    assert [record["event"] for record in mine] == ["turn.intent", "turn.outcome"]
    assert mine[1]["outcome"] == "completed"
    assert mine[1]["seq"] == answer["record"]
    for path in profile.rglob("*"):
        if path.is_file():
            found = path.read_bytes()
            assert CANARY.encode() not in found
            assert number.encode() not in found
    mode = profile.stat().st_mode & 0o777
    assert mode == 0o700


def test_a_conversation_goes_on(profile: Path) -> None:
    first = _ask(profile, "Remember the word harbour.")
    second = _ask(profile, "--conversation", str(first["conversation"]), "Which word?")
    assert second["conversation"] == first["conversation"]
    assert second["tokens"]["prompt"] > first["tokens"]["prompt"]  # type: ignore[index]


def test_a_writer_that_is_killed_stops_the_answer(profile: Path) -> None:
    """Nothing more is shown, what came is kept, and the next start gives the turn its one outcome."""
    reading, writing = os.pipe()
    os.write(writing, PASSPHRASE.encode() + b"\n")
    os.close(writing)
    arguments = ["ask", "--max-tokens", "900", "--passphrase-fd", str(reading), "Tell a very long story."]
    process = subprocess.Popen(
        [*GOVDESK, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=(reading,),
        env={"PATH": "/usr/bin:/bin", "HOME": str(profile.parent), "GOVDESK_HOME": str(profile)},
    )
    os.close(reading)
    assert process.stdout is not None
    shown = b""
    while len(shown) < 40:
        part = os.read(process.stdout.fileno(), 4096)
        assert part, process.communicate()
        shown += part
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    (writer,) = [pid for pid in children if b"auditd" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    os.kill(int(writer), signal.SIGKILL)
    rest, errors = process.communicate(timeout=120)
    assert process.returncode == 5, errors
    assert b"The audit writer ended" in errors
    assert len(rest) < 400
    turn = [record["object"] for record in records(profile) if record["event"] == "turn.intent"][-1]
    assert not [one for one in records(profile) if one["object"] == turn and one["event"] == "turn.outcome"]
    _ask(profile, "Hello")
    outcomes = [one for one in records(profile) if one["object"] == turn and one["event"] == "turn.outcome"]
    assert [one["outcome"] for one in outcomes] == ["interrupted"]


def test_a_private_key_is_denied_and_never_stored(profile: Path) -> None:
    key = "-----BEGIN " + "PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49\n-----END " + "PRIVATE KEY-----"
    done = govdesk(profile, "ask", "--json", key, passphrase=PASSPHRASE)
    answer = json.loads(done.stdout)
    assert done.returncode == 1
    assert answer["outcome"] == "denied"
    assert answer["conversation"] == ""
    assert records(profile)[-2]["outcome"] == "denied"


def test_a_wrong_passphrase_is_refused_and_recorded(profile: Path) -> None:
    done = govdesk(profile, "ask", "Hello", passphrase="wrong " + PASSPHRASE)
    assert done.returncode == 4
    assert "Traceback" not in done.stderr
    failures = [
        record
        for record in records(profile)
        if record["event"] == "unlock" and record["outcome"] == "failure"
    ]
    assert failures


@pytest.mark.parametrize(
    ("prompt", "outcome"),
    [
        ("🚢" * 40, "completed"),
        ("\u202e\u2066\x07\u200b", "denied"),
        ("", "denied"),
        ("a\u202eb\x1b]0;title\x07 What is a harbour?", "completed"),
        ("<script>alert(1)</script> What is HTML?", "completed"),
    ],
)
def test_strange_prompts(profile: Path, prompt: str, outcome: str) -> None:
    done = govdesk(profile, "ask", "--json", "--max-tokens", "8", "-", passphrase=PASSPHRASE, stdin=prompt)
    assert json.loads(done.stdout)["outcome"] == outcome, done.stderr


def test_a_prompt_of_two_megabytes_is_explained(profile: Path) -> None:
    done = govdesk(profile, "ask", "--json", "-", passphrase=PASSPHRASE, stdin="harbour " * 262_144)
    answer = json.loads(done.stdout)
    assert answer["outcome"] in {"denied", "failed"}
    assert answer["explanation"]


def test_the_log_verifies_with_the_officers_key(profile: Path) -> None:
    officer = Path(__file__).resolve().parents[2] / "installer" / "development" / "officer.key"
    without = govdesk(profile, "audit", "verify", str(profile / "audit"))
    assert without.returncode == 2, without.stdout + without.stderr
    sound = govdesk(
        profile, "audit", "verify", str(profile / "audit"), "--officer-key", str(officer), "--json"
    )
    assert sound.returncode == 0, sound.stdout + sound.stderr
    assert json.loads(sound.stdout)["state"] == "sound"


def test_doctor_sees_every_wall(profile: Path) -> None:
    done = govdesk(profile, "doctor", "--json")
    report = json.loads(done.stdout)
    assert done.returncode == 0
    assert report["ok"]
    network = [check for check in report["checks"] if check["id"].startswith("network.")]
    assert len(network) >= 26
    assert all(check["ok"] for check in network)


def test_no_profile_and_no_home_are_explained(tmp_path: Path) -> None:
    done = govdesk(tmp_path / "none", "ask", "Hello", passphrase=PASSPHRASE)
    assert done.returncode == 5
    assert "govdesk init" in done.stderr
    (tmp_path / "file").write_text("x")
    done = govdesk(tmp_path / "file" / "home", "init", passphrase=PASSPHRASE)
    assert done.returncode == 5
    assert "Traceback" not in done.stderr


def test_a_short_passphrase_is_refused_with_its_reason(tmp_path: Path) -> None:
    done = govdesk(tmp_path / "home", "init", passphrase="short")
    assert done.returncode == 3
    assert "15" in done.stderr
    assert not (tmp_path / "home" / "keys.json").exists()


def test_a_shaped_answer_repeats_and_its_seed_is_on_record(profile: Path, tmp_path: Path) -> None:
    schema = tmp_path / "schema.json"
    schema.write_text('{"type": "object", "properties": {"wet": {"type": "boolean"}}, "required": ["wet"]}')
    asked = ("--json-schema", str(schema), "--preset", "creative", "Is the sea wet? Answer as JSON.")
    first = _ask(profile, *asked)
    assert json.loads(str(first["text"])) in ({"wet": True}, {"wet": False})
    numbers = first["sampling"]
    assert isinstance(numbers, dict)
    [intent] = [r for r in records(profile) if r["object"] == first["turn"] and r["event"] == "turn.intent"]
    assert intent["fields"]["sampling"] == numbers
    free = ("--preset", "creative", "--temperature", "1", "Write a line about the sea.")
    once = _ask(profile, *free)
    seed = str(once["sampling"]["seed"])  # type: ignore[index]
    assert _ask(profile, "--seed", seed, *free)["text"] == once["text"]


def test_a_message_that_is_too_long_is_said_to_be_and_nothing_is_kept_or_cut(profile: Path) -> None:
    before = len([one for one in records(profile) if one["event"] == "turn.intent"])
    done = govdesk(
        profile, "ask", "--when-full", "drop-oldest", "-", passphrase=PASSPHRASE, stdin="harbour " * 9000
    )
    assert done.returncode == 1, done.stderr
    assert done.stdout == ""
    assert "Nothing was cut" in done.stderr
    assert "The message alone is" in done.stderr
    log = records(profile)
    assert len([one for one in log if one["event"] == "turn.intent"]) == before + 1
    outcome = [one for one in log if one["event"] == "turn.outcome"][-1]
    assert (outcome["outcome"], outcome["fields"]["rule"]) == ("failed", "context.full")
    assert outcome["fields"]["conversation"] is None
