"""Text to tokens and back; no call into the library is long, so a cancel is honoured between them.

Tokenising 1.9 MB in one call takes seconds. A long text is counted in slices first, with a look for a
cancel between them; what cannot fit is refused by that count. Only what may fit is tokenised whole, for
a text in slices may have other tokens than the text.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from llama_cpp import llama_cpp as lib

from govdesk.worker.template import Part

SLICE_BYTES = 32 * 1024
"""What one call tokenises within tens of milliseconds, whatever the text is."""
_AT_ONCE_BYTES = 2 * SLICE_BYTES
_SURELY_FULL = 1.25
"""A slice may have a few tokens more than its stretch of the whole; a quarter of the context is no few."""
_PIECE_BYTES = 512


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
        self.bos = self._text(lib.llama_vocab_bos(self._vocabulary))
        self.eos = self._text(lib.llama_vocab_eos(self._vocabulary))
        self._surely_full = int(context_tokens * _SURELY_FULL)
        self._pieces: dict[int, bytes] = {}

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
            tokens += self.tokenize(text, special=special)
            seen += len(text)
            if len(tokens) > self._surely_full and seen < total:
                return Full(len(tokens) * total // seen, estimated=True)
        if len(tokens) >= self._context_tokens:
            return Full(len(tokens), estimated=False)
        return tuple(tokens)

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


def _slices(text: bytes) -> Iterator[tuple[bytes, int]]:
    """The text in slices that end between characters, each with where it ends."""
    start = 0
    while start < len(text):
        end = min(start + SLICE_BYTES, len(text))
        while end < len(text) and end > start + 1 and text[end] & 0xC0 == 0x80:
            end -= 1
        yield text[start:end], end
        start = end
