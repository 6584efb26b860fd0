import pytest

from govdesk.errors import MachineError
from govdesk.marking import vocabulary
from govdesk.marking.parser import parse
from govdesk.marking.value import Form

SHIPPED = vocabulary.DEFAULT_FILE.read_text()


def write(tmp_path, text):
    file = tmp_path / "site.toml"
    file.write_text(text)
    return file


def test_keys_named_by_rules_are_markings():
    words = vocabulary.default()
    for entry in words.entries.values():
        assert {*entry.needs, *entry.excludes} <= words.entries.keys()
    for system in words.vocabulary.sci:
        for part in system.compartments:
            named = {*part.needs, *part.excludes, *part.sub_needs, *part.sub_excludes}
            assert named <= words.entries.keys()


def test_no_text_means_two_things_in_one_form():
    words = vocabulary.default()
    for form in Form:
        tables = (words.aea[form], words.dissemination[form], words.non_ic[form])
        assert sum(map(len, tables)) == len(frozenset().union(*tables))
    assert words.codes >= {"USA", "GBR", "FVEY", "NATO"}
    assert "UK" not in words.codes


def test_a_site_may_have_its_own_words(tmp_path):
    more = SHIPPED.replace('"TEYE"', '"TEYE", "ZZZZ"') + '\n[[sci]]\nname = "NEWSYS"\nlevels = ["TS"]\n'
    words = vocabulary.read(write(tmp_path, more))
    marking = parse("TOP SECRET//NEWSYS//REL TO USA, ZZZZ", words=words)
    assert marking.rel_to == ("ZZZZ",)


@pytest.mark.parametrize(
    "text",
    [
        SHIPPED.replace("schema = 1", "schema = 2"),
        SHIPPED + "\nsurprise = 1\n",
        SHIPPED[:200],
        "not toml",
        "",
        "#" * (vocabulary.MAX_VOCABULARY_BYTES + 1),
    ],
)
def test_a_bad_file_is_refused(tmp_path, text):
    with pytest.raises(MachineError) as refused:
        vocabulary.read(write(tmp_path, text))
    assert refused.value.code == "marking.vocabulary"


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(MachineError):
        vocabulary.read(tmp_path / "none.toml")
