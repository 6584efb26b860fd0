"""A GGUF that this lets through has a structure and values that native code can be given.

`examine` reads a model's files before any native code does: their structure with bounds (`gguf_reading`),
then what the values mean (`gguf_rules`). The facts say what the model is made of, for people
and for planning. The weights themselves are not looked at: any number is a weight.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from govdesk import crypto
from govdesk.inference import gguf_rules
from govdesk.inference.gguf_reading import Kind, Structure, TensorInfo, read, refused
from govdesk.inference.gguf_rules import ARCHITECTURES, TOKENS, Shape

MAX_PARTS = 16
"""Files of one model: each is a descriptor, and a worker may hold few."""
MAX_TEMPLATE_BYTES = 256 * 1024
_MAX_NAME_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class FormatUse:
    """How much of a model is stored in one format."""

    name: str
    tensors: int
    bytes: int
    matrix_bytes: int
    """Of `bytes`: matrices that prompts and answers are multiplied with (not the table of tokens)."""


@dataclass(frozen=True, slots=True)
class GgufFacts:
    """What a model's files say of themselves, checked. Sizes in bytes, lengths in elements or tokens."""

    architecture: str
    name: str
    """As the file calls itself: untrusted words, on one line."""
    file_type: int | None
    formats: tuple[FormatUse, ...]
    """The most bytes first."""
    shape: Shape
    vocabulary: int
    tokenizer: str
    pre_tokenizer: str
    chat_template: str | None
    template_sha384: str
    """Of the template's bytes; empty when there is none."""
    parameters: int
    weights_bytes: int
    token_table_bytes: int
    tied: bool
    """The table of tokens is also the last matrix."""
    expert_bytes: int
    """Of `weights_bytes`: experts, of which each token takes only some."""
    parts: int
    file_bytes: int
    trailing_bytes: int
    """Bytes behind the weights that nothing reads."""

    @property
    def quantization(self) -> str:
        """The format that most of the weights are in."""
        return self.formats[0].name

    @property
    def context_tokens(self) -> int:
        """How many tokens the model was trained to see."""
        return self.shape.context_tokens


def examine(descriptors: Sequence[int], name: str) -> GgufFacts:
    """What the model in these files is, or why native code must not see it.

    Args:
        descriptors: its files in order, open for reading; what they say must not change any more.
        name: the first file's name, for people.

    Raises:
        ModelError: with a code that begins with `gguf.`.
    """
    if not 0 < len(descriptors) <= MAX_PARTS:
        raise refused(name, f"comes in {len(descriptors)} parts; {MAX_PARTS} are the most", "gguf.split")
    structures = [read(descriptor, name, frozenset({TOKENS})) for descriptor in descriptors]
    _belong_together(structures, name)
    tensors = tuple(tensor for structure in structures for tensor in structure.tensors)
    first = structures[0]
    if not tensors:
        raise refused(name, "has no weights", "gguf.counts")
    if len({tensor.name for tensor in tensors}) != len(tensors):
        raise refused(name, "has a tensor in two parts", "gguf.tensor-twice")
    architecture = _architecture(first, name)
    shape = gguf_rules.measures(first, architecture, name)
    gguf_rules.weights(tensors, name)
    vocabulary, tokenizer, pre_tokenizer = gguf_rules.vocabulary(first, name)
    table = _token_table(tensors, shape, vocabulary, name)
    template = _template(first, name)
    file_type = first.keys.get("general.file_type")
    return GgufFacts(
        architecture=architecture,
        name=_name(first),
        file_type=file_type.value if file_type is not None and isinstance(file_type.value, int) else None,
        formats=_formats(tensors),
        shape=shape,
        vocabulary=vocabulary,
        tokenizer=tokenizer,
        pre_tokenizer=pre_tokenizer,
        chat_template=None if template is None else template.decode("utf-8"),
        template_sha384="" if template is None else _sha384(template),
        parameters=sum(tensor.elements for tensor in tensors),
        weights_bytes=sum(tensor.bytes for tensor in tensors),
        token_table_bytes=table.bytes,
        tied=not any(tensor.name == "output.weight" for tensor in tensors),
        expert_bytes=sum(tensor.bytes for tensor in tensors if "_exps." in tensor.name),
        parts=len(structures),
        file_bytes=sum(structure.file_bytes for structure in structures),
        trailing_bytes=sum(structure.trailing_bytes for structure in structures),
    )


def _belong_together(structures: list[Structure], name: str) -> None:
    """Parts are numbered from 0, each knows how many there are, and the first how many tensors."""
    count = _split(structures[0], "split.count", Kind.UINT16, name, 1)
    if max(count, 1) != len(structures):
        raise refused(name, f"is one of {count} parts, and {len(structures)} are there", "gguf.split")
    if len(structures) == 1:
        return
    for number, structure in enumerate(structures):
        if _split(structure, "split.no", Kind.UINT16, name) != number:
            raise refused(name, f"has parts in the wrong order at number {number + 1}", "gguf.split")
        if _split(structure, "split.count", Kind.UINT16, name) != count:
            raise refused(name, f"has a part {number + 1} of another whole", "gguf.split")
    total = _split(structures[0], "split.tensors.count", Kind.INT32, name)
    found = sum(len(structure.tensors) for structure in structures)
    if total != found:
        raise refused(name, f"should have {total} tensors in all parts and has {found}", "gguf.split")


def _split(structure: Structure, key: str, kind: Kind, name: str, default: int | None = None) -> int:
    found = structure.keys.get(key)
    if found is None and default is not None:
        return default
    if found is None or found.kind is not kind or not isinstance(found.value, int):
        raise refused(name, f"does not say its {key} as split models do", "gguf.split")
    return found.value


def _architecture(structure: Structure, name: str) -> str:
    found = structure.keys.get("general.architecture")
    architecture = found.value if found is not None and isinstance(found.value, bytes) else b""
    for known in ARCHITECTURES:
        if architecture == known.encode("ascii"):
            return known
    shown = architecture.decode("ascii", "replace")[:32] if architecture.isascii() else "?"
    shown = shown if shown.isprintable() and shown else "unknown"
    raise refused(
        name,
        f"is of the architecture {shown}; GovDesk runs {', '.join(ARCHITECTURES)}",
        "gguf.architecture",
    )


def _token_table(tensors: tuple[TensorInfo, ...], shape: Shape, vocabulary: int, name: str) -> TensorInfo:
    table = next((tensor for tensor in tensors if tensor.name == "token_embd.weight"), None)
    if table is None or table.shape != (shape.embedding, vocabulary):
        raise refused(name, "has a table of tokens that does not fit its vocabulary", "gguf.tensor-shape")
    return table


def _template(structure: Structure, name: str) -> bytes | None:
    found = structure.keys.get("tokenizer.chat_template")
    if found is None:
        return None
    if found.kind is not Kind.STRING or not isinstance(found.value, bytes):
        raise refused(name, "has a chat template that is no text", "gguf.template")
    template = found.value
    if len(template) > MAX_TEMPLATE_BYTES or b"\0" in template:
        raise refused(name, "has a chat template that is too long or has zero bytes", "gguf.template")
    try:
        template.decode("utf-8")
    except UnicodeDecodeError:
        raise refused(name, "has a chat template that is no text", "gguf.template") from None
    return template


def _name(structure: Structure) -> str:
    found = structure.keys.get("general.name")
    raw = found.value if found is not None and isinstance(found.value, bytes) else b""
    text = raw.decode("utf-8", "replace")[:_MAX_NAME_CHARACTERS]
    return "".join(character if character.isprintable() else " " for character in text).strip()


def _formats(tensors: tuple[TensorInfo, ...]) -> tuple[FormatUse, ...]:
    by_format: dict[str, list[TensorInfo]] = defaultdict(list)
    for tensor in tensors:
        by_format[tensor.block.name].append(tensor)
    uses = [
        FormatUse(
            name=name,
            tensors=len(those),
            bytes=sum(tensor.bytes for tensor in those),
            matrix_bytes=sum(
                tensor.bytes
                for tensor in those
                if len(tensor.shape) > 1 and tensor.name != "token_embd.weight"
            ),
        )
        for name, those in by_format.items()
    ]
    return tuple(sorted(uses, key=lambda use: (-use.bytes, use.name)))


def _sha384(content: bytes) -> str:
    digest = crypto.Sha384()
    digest.update(content)
    return digest.hexdigest()
