"""Promise: nothing that a person or the model wrote is in clear on the disk; the deleted is in no page.

A child process works with a real profile and is killed in the middle, so that write-ahead file,
shared memory, drafts and a backup are all left behind; every byte under its home and temporary folder and
all it printed is then searched. For deletions raw bytes prove nothing: every page of file and
write-ahead file is decrypted with the key, by this test's own code, and searched.
"""

import hashlib
import hmac
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import textwrap
from base64 import b64encode
from pathlib import Path
from typing import NamedTuple

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from govdesk.domain.ids import RecordSeq, TurnId
from govdesk.domain.prompt_state import PromptState
from govdesk.domain.turn import Outcome, Usage
from govdesk.inference.prompt_states import new_memfd
from govdesk.storage.conversations import EncryptedConversations
from govdesk.storage.database import Database
from govdesk.storage.migrations import MIGRATIONS
from govdesk.storage.prompt_states import PromptStateFiles

PAGE = 4096
RESERVE = 80  # 16 bytes of IV and 64 of HMAC-SHA-512 end each page (SQLCipher 4)
WAL_HEADER, FRAME_HEADER = 32, 24


def words(count, seed):
    """Words that nothing else holds; starts differ, so that the index stores most of each."""
    source = random.Random(seed)
    return ["".join(source.choices("bcdfghjklmnpqrstvwxz", k=14)) for _ in range(count)]


def encodings(word):
    """The word, and its second half alone: an index stores only what differs from its neighbour."""
    for text in (word, word[6:]):
        yield text.encode()
        yield text.encode("utf-16-le")
        yield text.encode("utf-16-be")
        yield text.encode().hex().encode()
    yield b64encode(word.encode())[:16].lower()


def found_in(content, canaries):
    lowered = content.lower()
    return {word for word in canaries if any(form in lowered for form in encodings(word))}


def everything_under(folder):
    files = [file for file in folder.rglob("*") if file.is_file()]
    names = "\n".join(str(file.relative_to(folder)) for file in folder.rglob("*")).encode()
    return files, names + b"".join(file.read_bytes() for file in files)


def decrypted_pages(path, key):
    """Each page of a SQLCipher 4 file with a raw key, and each page in its write-ahead file, in clear.

    AES-256-CBC under the raw key itself; the MAC key is PBKDF2 of it with two rounds over the masked salt.
    """
    main = path.read_bytes()
    salt = main[:16]
    mac_key = hashlib.pbkdf2_hmac("sha512", key, bytes(b ^ 0x3A for b in salt), 2, 32)
    pages = [(1 + at // PAGE, main[at : at + PAGE]) for at in range(0, len(main), PAGE)]
    wal = path.with_name(path.name + "-wal")
    if wal.exists():
        content = wal.read_bytes()
        step = FRAME_HEADER + PAGE
        for at in range(WAL_HEADER, len(content) - step + 1, step):
            number = int.from_bytes(content[at : at + 4], "big")
            pages.append((number, content[at + FRAME_HEADER : at + step]))
    clear = []
    for number, page in pages:
        start = 16 if number == 1 else 0
        iv, mac = page[PAGE - RESERVE : PAGE - 64], page[PAGE - 64 :]
        signed = page[start : PAGE - 64] + number.to_bytes(4, "little")
        assert hmac.digest(mac_key, signed, "sha512") == mac, f"page {number} does not decrypt"
        decryptor = Cipher(algorithms.AES(key), modes.CBC(iv)).decryptor()
        clear.append(decryptor.update(page[start : PAGE - RESERVE]) + decryptor.finalize())
    return clear


SCENARIO = """
    import json, os, signal, sys
    from pathlib import Path
    from govdesk.config import Profile
    from govdesk.domain.ids import EntityType, ModelDigest, RecordSeq, TurnId
    from govdesk.domain.redaction import Finding, Operator
    from govdesk.domain.turn import Draft, ModelInfo, Outcome, Usage
    from govdesk.errors import GovDeskError
    from govdesk.session.key_slots import KeySlots
    from govdesk.session.keys import Purpose
    from govdesk.storage.conversations import EncryptedConversations
    from govdesk.storage.database import Database
    from govdesk.storage.drafts import EncryptedDrafts
    from govdesk.domain.prompt_state import PromptState
    from govdesk.inference.prompt_states import new_memfd
    from govdesk.storage.migrations import MIGRATIONS
    from govdesk.storage.prompt_states import PromptStateFiles

    plan = json.load(sys.stdin)
    profile = Profile(Path(os.environ["GOVDESK_HOME"]))
    profile.create()
    slots = KeySlots(profile.key_slots, minimum_iterations=1, iterations=10)
    keys, code = slots.create(plan["passphrase"])
    print(json.dumps({"code": code.text}))
    keys = slots.unlock(plan["passphrase"])
    try:
        slots.unlock(plan["wrong"])
    except GovDeskError as error:
        print(error.explain())
    with keys[Purpose.DATABASE].use() as key:
        database = Database.create(profile.database, key)

    def fill(store, part):
        for number, (title, prompt, answer, query, begun) in enumerate(part):
            conversation = store.create(f"About {title}", "CUI", number)
            turn = TurnId(f"{os.urandom(4).hex()}-{number}")
            finding = Finding(0, 5, EntityType("US_SSN"), 0.9, "us-ssn", Operator.REDACT)
            store.begin_turn(conversation, turn, f"Tell me of {prompt.upper()}.", (finding,), "CUI", "p@1", 1)
            for piece in (answer[:7], answer[7:], " end"):
                store.append_answer(turn, piece)
            model = ModelInfo("model", ModelDigest("0" * 96), 2048)
            store.finish_turn(turn, Outcome.COMPLETED, (finding,), model, Usage(), RecordSeq(1), 2)
            assert len(store.search(prompt)) == 1 and len(store.search(answer)) == 1
            store.search(query)
            open_turn = TurnId(turn + "-open")
            store.begin_turn(conversation, open_turn, begun * 300, (), "CUI", "p@1", 3)
            store.append_answer(open_turn, begun)
            EncryptedDrafts(database).keep(Draft(conversation, f"Unsent: {begun}"), 4)
            try:
                store.begin_turn(conversation, open_turn, begun, (), "CUI", "p@1", 3)
            except GovDeskError as error:
                print(error.explain())

    store = EncryptedConversations(database)
    half = len(plan["rows"]) // 2
    fill(store, plan["rows"][:half])
    database.close()
    # A later format: the backup stays behind.
    with keys[Purpose.DATABASE].use() as key:
        steps = (*MIGRATIONS, lambda sql: sql.execute("CREATE TABLE later (x INTEGER)"))
        database = Database.open(profile.database, key, steps)
    assert len(database.backups()) == 1
    store = EncryptedConversations(database)
    fill(store, plan["rows"][half:])
    # What the model read of two conversations, sealed.
    files = PromptStateFiles(database, profile.caches)
    content = " ".join(word for row in plan["rows"] for word in row).encode() * 500
    descriptor = new_memfd(len(content))
    os.pwrite(descriptor, content, 0)
    state = PromptState(descriptor, 600, len(content))
    assert files.room() > len(content)
    one, other = (found.id for found in store.conversations()[:2])
    files.keep(one, state, b"binding", 1)
    files.keep(other, state, b"binding", 2)
    with database.reading() as sql:
        state_keys = [key.hex() for (key,) in sql.execute("SELECT key FROM prompt_states").fetchall()]
    print(json.dumps({"states": state_keys}))
    with keys[Purpose.DATABASE].use() as key:
        print(json.dumps({"key": key.hex()}), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


class Left(NamedTuple):
    """What a killed session left, what had been written in it, and its key."""

    base: Path
    home: Path
    canaries: list[str]
    searched: set[str]
    secrets: list[str]
    code: str
    key: bytes
    state_keys: list[bytes]
    said: bytes


@pytest.fixture(scope="module")
def left(tmp_path_factory):
    """What a killed session leaves, with the plan of what was written and the key."""
    base = tmp_path_factory.mktemp("canaries")
    home, temporary = base / "home", base / "temporary"
    temporary.mkdir()
    canaries = words(100, "written")
    passphrase = " ".join(words(3, "passphrase"))
    wrong = " ".join(words(3, "wrong"))
    rows = [canaries[at : at + 5] for at in range(0, 100, 5)]
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SCENARIO)],
        input=json.dumps({"rows": rows, "passphrase": passphrase, "wrong": wrong}).encode(),
        env={**os.environ, "GOVDESK_HOME": str(home), "HOME": str(home), "TMPDIR": str(temporary)},
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == -signal.SIGKILL, result.stderr.decode()
    lines = result.stdout.splitlines()
    code, key = json.loads(lines[0])["code"], bytes.fromhex(json.loads(lines[-1])["key"])
    state_keys = [bytes.fromhex(one) for one in json.loads(lines[-2])["states"]]
    said = b"\n".join(lines[1:-2]) + result.stderr
    secrets = [passphrase, wrong, *passphrase.split(), *wrong.split()]
    searched = {row[3] for row in rows}
    return Left(base, home, canaries, searched, secrets, code, key, state_keys, said)


def test_no_word_is_in_clear_anywhere(left):
    files, content = everything_under(left.base)
    names = {file.name for file in files}
    backup = f"history.db.before-{len(MIGRATIONS) + 1:03d}"
    assert {"keys.json", "history.db", "history.db-wal", "history.db-shm", backup} <= names
    assert len(content) > 500_000
    sealed = [file for file in files if file.parent == left.home / "caches"]
    assert len(sealed) == 2 and all(file.stat().st_size > 500_000 for file in sealed)
    searched = [*left.canaries, *(word for word in left.secrets)]
    assert len(searched) >= 100
    print(f"{len(searched)} canary words, {len(files)} files, {len(content)} bytes: ", end="")
    found = found_in(content, searched) | found_in(left.said, searched)
    print(f"{len(found)} found")
    assert found == set()
    assert left.said, "the errors that were explained are part of what was searched"


def test_no_key_and_no_code_is_in_clear_anywhere(left):
    _, content = everything_under(left.base)
    plain_code = left.code.replace("-", "")
    for secret in (
        left.key,
        left.key.hex().encode(),
        b64encode(left.key),
        left.code.encode(),
        plain_code.encode(),
        *left.state_keys,
        *(key.hex().encode() for key in left.state_keys),
    ):
        assert secret.lower() not in content.lower()
        assert secret.lower() not in left.said.lower()


def test_no_file_is_for_others(left):
    assert left.home.stat().st_mode & 0o077 == 0
    for file in left.home.rglob("*"):
        assert file.stat().st_mode & 0o077 == 0, file


def test_the_search_for_words_finds_them_where_they_are(left, tmp_path):
    """Control: the same pages in clear hold every word, and one planted word is seen."""
    clear = b"".join(decrypted_pages(left.home / "history.db", left.key))
    assert found_in(clear, left.canaries) == set(left.canaries) - left.searched, (
        "what was searched for is not stored"
    )
    copy = tmp_path / "copy"
    shutil.copytree(left.home, copy)
    (copy / "history.db-journal").write_bytes(b"x" + left.canaries[0].upper().encode("utf-16-le"))
    assert found_in(everything_under(copy)[1], left.canaries) == {left.canaries[0]}


# ── deletion ─────────────────────────────────────────────────────────────────


def fill(store, rows, source):
    """One conversation a row of words, spread over title, prompts and answers, some still streaming.

    Turns of all conversations take turns, and lengths differ, so that pages are shared, split and joined.
    """
    made = [store.create(f"{row[0]} title", "", number) for number, row in enumerate(rows)]
    order = [(at, number) for at in range(len(rows[0])) for number in range(len(rows))]
    source.shuffle(order)
    for at, number in order:
        word, turn = rows[number][at], TurnId(f"{number}-{at}")
        store.begin_turn(made[number], turn, f"{word} question " * source.randint(1, 40), (), "", "", 1)
        store.append_answer(turn, f"answer {word[::-1]} ")
        store.append_answer(turn, f"more {word} " * source.randint(1, 200))
        if at % 4 != 3:
            store.finish_turn(turn, Outcome.COMPLETED, (), None, Usage(), RecordSeq(1), 1)
    return made


@pytest.mark.parametrize("seed", range(int(os.environ.get("GOVDESK_FUZZ_EXAMPLES", "3"))))
def test_deleted_words_are_in_no_page(tmp_path, seed):
    key = os.urandom(32)
    path = tmp_path / "history.db"
    database = Database.create(path, bytearray(key))
    store = EncryptedConversations(database)
    rows = [words(6, f"{seed}-{number}") for number in range(30)]
    source = random.Random(seed)
    made = fill(store, rows, source)
    every = {word for row in rows for word in row}
    clear = b"".join(decrypted_pages(path, key))
    assert found_in(clear, every) == every, "control: before the deletion they are there"

    deleted = set(source.sample(range(30), 15))
    for number in sorted(deleted, key=lambda _: source.random()):
        store.delete(made[number])
    assert database.compact_if_due()  # the session's thread does it once nobody is at work
    gone = {form for number in deleted for word in rows[number] for form in (word, word[::-1])}
    kept = {word for number in set(range(30)) - deleted for word in rows[number]}
    renamed = next(number for number in range(30) if number not in deleted)
    titled = store.create("zzqqjjxxkkvvww old title", "", 1)
    store.rename(titled, "new title")
    gone.add("zzqqjjxxkkvvww")

    for moment in ("open", "closed"):
        clear = b"".join(decrypted_pages(path, key))
        left = found_in(clear, gone)
        print(f"{moment}: {len(gone)} deleted words, {len(clear) // 4000} pages, {len(left)} found")
        assert left == set()
        assert found_in(clear, kept) == kept
        if moment == "open":
            assert store.search(rows[renamed][0])
            database.check()
            database.close()


def state_key(database, conversation):
    with database.reading() as sql:
        return sql.execute(
            "SELECT s.key FROM prompt_states AS s JOIN conversations AS c ON c.seq = s.conversation"
            " WHERE c.id = ?",
            (conversation,),
        ).fetchone()[0]


def test_the_key_of_a_deleted_conversations_state_is_in_no_page(tmp_path):
    """Crypto-erase: who has the whole disk and the person's key later still cannot open an old copy of it."""
    key = os.urandom(32)
    path = tmp_path / "history.db"
    database = Database.create(path, bytearray(key))
    store = EncryptedConversations(database)
    files = PromptStateFiles(database, tmp_path / "caches")
    assert files.room() > 0
    content = os.urandom(20_000)
    descriptor = new_memfd(len(content))
    os.pwrite(descriptor, content, 0)
    made = fill(store, [words(3, f"state-{number}") for number in range(12)], random.Random(1))
    replaced = []
    for conversation in made:
        for _ in range(2):  # kept again, it has another key
            files.keep(conversation, PromptState(descriptor, 600, len(content)), b"b", 1)
            replaced.append(state_key(database, conversation))
    os.close(descriptor)
    keys = {conversation: state_key(database, conversation) for conversation in made}
    clear = b"".join(decrypted_pages(path, key))
    assert all(one in clear for one in keys.values()), "control: before the deletion they are there"
    for conversation in made[::2]:
        store.delete(conversation)
    assert files.sweep() == len(made[::2])
    assert database.compact_if_due()
    clear = b"".join(decrypted_pages(path, key))
    gone = [keys[conversation] for conversation in made[::2]] + replaced[::2]
    assert [one for one in gone if one in clear] == []
    assert all(keys[conversation] in clear for conversation in made[1::2])
    names = {file.name for file in (tmp_path / "caches").iterdir()}
    assert len(names) == len(made[1::2])
    database.close()
