"""The estimate is on the high side for every script, and never a guess about nothing."""

import pytest

from govdesk.config import MODELS
from govdesk.gui.estimate import estimated_tokens

TEXTS = {
    "english": "The study compares three harbours by depth, crane capacity and rail access. Vestmouth takes most.",
    "german": "Die Untersuchung vergleicht drei Häfen nach Tiefe, Krankapazität und Bahnanschluss; größere fahren.",
    "french": "L’étude compare trois ports selon la profondeur, la capacité des grues et l’accès ferroviaire.",
    "russian": "Кратко: в отчёте сравниваются три порта по глубине, числу кранов и наличию железной дороги.",
    "arabic": "يقارن التقرير بين ثلاثة موانئ من حيث العمق وعدد الرافعات وخطوط السكك الحديدية.",
    "hindi": "यह अध्ययन तीन बंदरगाहों की तुलना गहराई, क्रेन क्षमता और रेल पहुंच के आधार पर करता है।",
    "chinese": "该研究比较了三个港口的水深、起重机能力和铁路通道。",
    "japanese": "この調査では、三つの港を水深、クレーン能力、鉄道の便で比較しています。",
    "korean": "이 연구는 세 항구를 수심, 크레인 용량 및 철도 접근성으로 비교합니다.",
    "emoji": "👩‍👩‍👧‍👦🎉👍🏽🚢⚓🌊😀",
    "capitals": "SECRET//NOFORN THE QUICK BROWN FOX JUMPS OVER LAZY DOGS",
    "code": "def ratio(cranes: int, depth: float) -> float:\n    return cranes / depth  # cranes per metre\n",
    "numbers": "1234567890 0987654321 55555 2026-11-24 14:30:22 3.14159265",
    "table": "| a | b |\n|---|---|\n| 1 | 2 |\n" * 4,
}


@pytest.fixture(scope="module")
def tokenizer():
    """The embedded model's own."""
    import llama_cpp

    (file,) = MODELS.glob("smollm2-*.gguf")
    model = llama_cpp.Llama(str(file), vocab_only=True, verbose=False)
    yield lambda text: len(model.tokenize(text.encode(), add_bos=False, special=False))
    model.close()


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_it_is_on_the_high_side_and_not_far_off(tokenizer, text):
    real = tokenizer(text)
    assert real <= estimated_tokens(text) <= 2 * real


def test_no_text_has_no_tokens_and_any_text_has_some():
    assert estimated_tokens("") == 0
    assert estimated_tokens("a") == 1
    assert estimated_tokens("\ud800\x00") > 0
