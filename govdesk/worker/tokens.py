"""Text to tokens and back; no call into the library is long, so a cancel is honoured between them.

Tokenising 1.9 MB in one call takes seconds. A long text is counted in slices first, with a look for a
cancel between them; what cannot fit is refused by that count. Only what may fit is tokenised whole, for
a text in slices may have other tokens than the text.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from llama_cpp import llama_cpp as lib

from govdesk.worker import thinking
from govdesk.worker.template import Part

SLICE_BYTES = 32 * 1024
"""What one call tokenises within tens of milliseconds, whatever the text is."""
_AT_ONCE_BYTES = 2 * SLICE_BYTES
_SURELY_FULL = 1.25
"""A slice may have a few tokens more than its stretch of the whole; a quarter of the context is no few."""
_PIECE_BYTES = 512
_SPECIAL = lib.LLAMA_TOKEN_ATTR_CONTROL | lib.LLAMA_TOKEN_ATTR_USER_DEFINED | lib.LLAMA_TOKEN_ATTR_UNKNOWN
"""What the library finds in a text before it splits the rest into tokens."""
_MARKER = re.compile(r"<[^<>\s]{1,62}>|\[[^\[\]\s]{1,62}\]")
_BARS = "|｜"
"""What is in such bars is a marker in every vocabulary; `<table>` is one only where a template writes it."""
_LEAD = b"\n"
"""Never joined with what follows it, in the vocabularies that put a space first."""


class TokenizeFailedError(Exception):
    """The library would not tokenise a text; without it the model would see another conversation."""


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The person stopped while the prompt was tokenised."""


@dataclass(frozen=True, slots=True)
class Full:
    """The conversation does not fit. `estimated` when it was not counted to the end."""

    tokens: int
    estimated: bool


class Vocabulary:
    """One model's tokens.

    Args:
        model: the library's model.
        context_tokens: what fits.
    """

    def __init__(self, model: lib.llama_model_p, context_tokens: int) -> None:
        self.handle = self._vocabulary = lib.llama_model_get_vocab(model)
        self._context_tokens = context_tokens
        self.size = int(lib.llama_vocab_n_tokens(self._vocabulary))
        self._bos = int(lib.llama_vocab_bos(self._vocabulary))
        self._adds_bos = self._bos >= 0 and bool(lib.llama_vocab_get_add_bos(self._vocabulary))
        self.bos = self._text(self._bos)
        self.eos = self._text(lib.llama_vocab_eos(self._vocabulary))
        self._surely_full = int(context_tokens * _SURELY_FULL)
        self._pieces: dict[int, bytes] = {}
        self._markers: dict[int, bool] = {}
        self._template_source = ""
        self._lead = tuple(self.tokenize(_LEAD, special=False))
        self._spaces = b"".join(map(self.piece, self._lead)) != _LEAD

    def prompt(
        self, parts: tuple[Part, ...], cancelled: Callable[[], bool]
    ) -> tuple[int, ...] | Full | Cancelled:
        """The tokens of a rendered prompt, or why there are none.

        Raises:
            TokenizeFailedError: the library refused a text.
        """
        encoded = [(part.text.encode("utf-8", "replace"), part.special) for part in parts]
        total = sum(len(text) for text, _ in encoded)
        tokens: list[int] = []
        seen = 0
        for text, special in encoded:
            if cancelled():
                return Cancelled()
            if len(text) > _AT_ONCE_BYTES:
                counted = 0
                for sliced, end in _slices(text):
                    if cancelled():
                        return Cancelled()
                    counted += len(self.tokenize(sliced, special=special))
                    if len(tokens) + counted > self._surely_full:
                        return Full((len(tokens) + counted) * total // (seen + end), estimated=True)
            tokens += self._going_on(tokens, text, special=True) if special else self._plain(tokens, text)
            seen += len(text)
            if len(tokens) > self._surely_full and seen < total:
                return Full(len(tokens) * total // seen, estimated=True)
        tokens = self._begun(tokens)
        if len(tokens) >= self._context_tokens:
            return Full(len(tokens), estimated=False)
        return tuple(tokens)

    def keep_for_template(self, source: str) -> None:
        """From now on no text has the markers that this template writes; see `_plain`."""
        self._template_source = source
        self._markers.clear()

    def _plain(self, before: list[int], text: bytes) -> list[int]:
        """The tokens of a person's text behind others: none that a template speaks with.

        The library finds "user-defined" tokens in plain text too, and has such that are markers: `<think>`,
        and all of harmony's. A marker that a text spells is split after its first character and stays text.

        Raises:
            TokenizeFailedError: a marker cannot be had out of the text.
        """
        tokens = self._going_on(before, text, special=False)
        spelled: set[bytes] = set()
        while found := {self._bytes(token, special=True) for token in set(tokens) if self._is_marker(token)}:
            if found <= spelled:
                raise TokenizeFailedError
            spelled |= found
            tokens = []
            for stretch in _split_behind_first(text, spelled):
                tokens += self._going_on((tokens or before)[-1:], stretch, special=False)
        return tokens

    def _is_marker(self, token: int) -> bool:
        """True for a token that no text may have."""
        known = self._markers.get(token)
        if known is None:
            known = False
            if lib.llama_vocab_get_attr(self._vocabulary, token) & _SPECIAL:
                name = self._bytes(token, special=True).decode("utf-8", "replace")
                known = bool(_MARKER.fullmatch(name)) and (
                    name in self._template_source or name in thinking.MARKERS or name[1] in _BARS
                )
            self._markers[token] = known
        return known

    def _begun(self, tokens: list[int]) -> list[int]:
        """The tokens begin with one BOS where the model wants one, whatever its template writes."""
        written = 0
        while written < len(tokens) and tokens[written] == self._bos:
            written += 1
        if written > 1:
            return tokens[written - 1 :]
        return [self._bos, *tokens] if self._adds_bos and not written else tokens

    def _going_on(self, before: list[int], text: bytes, *, special: bool) -> list[int]:
        """The tokens of a text behind others, as they would be in the whole prompt.

        A SentencePiece vocabulary puts a space before a text. It belongs at the start of a prompt and after
        special tokens, not in the middle of a line that a template began.
        """
        if not self._spaces or not before or self._is_special(before[-1]):
            return self.tokenize(text, special=special)
        lead = len(self._lead)
        tokens = self.tokenize(_LEAD + text, special=special)
        if tuple(tokens[:lead]) == self._lead:
            return tokens[lead:]
        return self.tokenize(text, special=special)

    def _is_special(self, token: int) -> bool:
        return bool(lib.llama_vocab_get_attr(self._vocabulary, token) & _SPECIAL)

    def tokenize(self, text: bytes, *, special: bool) -> list[int]:
        """The tokens of one text. `special`: names of special tokens in it are those tokens.

        Raises:
            TokenizeFailedError: the library refused it.
        """
        room = len(text) + 8
        tokens = (lib.llama_token * room)()
        count = lib.llama_tokenize(self._vocabulary, text, len(text), tokens, room, False, special)
        if count < 0:
            raise TokenizeFailedError
        return list(tokens[:count])

    def token_of(self, name: str) -> int | None:
        """The one token that a marker is; None: it is spelled with several."""
        tokens = self.tokenize(name.encode(), special=True)
        token = tokens[-1] if tokens else -1
        return token if tokens and self._bytes(token, special=True) == name.encode() else None

    def ends(self, token: int) -> bool:
        """True for a token that ends an answer."""
        return bool(lib.llama_vocab_is_eog(self._vocabulary, token))

    def piece(self, token: int) -> bytes:
        """What a token of the answer adds to its text; special tokens add nothing."""
        piece = self._pieces.get(token)
        if piece is None:
            piece = self._pieces[token] = self._bytes(token, special=False)
        return piece

    def _bytes(self, token: int, *, special: bool) -> bytes:
        buffer = ctypes.create_string_buffer(_PIECE_BYTES)
        count = lib.llama_token_to_piece(self._vocabulary, token, buffer, _PIECE_BYTES, 0, special)
        return buffer.raw[:count] if count > 0 else b""

    def _text(self, token: int) -> str:
        return self._bytes(token, special=True).decode("utf-8", "replace") if token >= 0 else ""


def _split_behind_first(text: bytes, spelled: set[bytes]) -> list[bytes]:
    """The text in stretches, none of which holds one of the spelled: all begin with one ASCII bracket."""
    any_of_them = b"|".join(map(re.escape, sorted(spelled)))
    cuts = [found.start() + 1 for found in re.finditer(b"(?=" + any_of_them + b")", text)]
    return [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]


def _slices(text: bytes) -> Iterator[tuple[bytes, int]]:
    """The text in slices that end between characters, each with where it ends."""
    start = 0
    while start < len(text):
        end = min(start + SLICE_BYTES, len(text))
        while end < len(text) and end > start + 1 and text[end] & 0xC0 == 0x80:
            end -= 1
        yield text[start:end], end
        start = end
