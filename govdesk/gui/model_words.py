"""What the models page says: states, sizes, progress; what a manifest or a file says is quoted plain."""

from __future__ import annotations

from govdesk.domain.model_text import template_lines, template_words
from govdesk.domain.models import Checked, Imported, ImportProgress, ModelDetails, ModelLine, ModelList
from govdesk.gui.words import number

GOES_ON = frozenset({"model.import-stopped", "model.disk-full", "model.not-writable", "model.medium"})
"""Codes after which the same import goes on from where it was."""
_GROUP = 16
_GIGABYTES_FROM = 10_000_000_000


def megabytes(count: int) -> str:
    """A size for people."""
    if count >= _GIGABYTES_FROM:
        return f"{number(count // 1_000_000_000)} GB"
    return f"{number(-(-count // 1_000_000))} MB"


def row(line: ModelLine) -> str:
    """Two lines of the list."""
    whence = "imported" if line.imported else "came with GovDesk"
    answers = f" · {line.answers.value}" if line.answers.value else ""
    fit = f" · {line.fit_words}" if line.fit_words else ""
    return (
        f"{line.title} · {line.quantization} · version {line.version}\n"
        f"{line.state.value}{answers} · {megabytes(line.size_bytes)} · {line.format_words}{fit} · {whence}"
    )


def summary(found: ModelList) -> str:
    """Above the list."""
    if not found.models and not found.refused:
        return "There is no model here yet. Import one that was signed for this workstation."
    ready = sum(line.chosen for line in found.models)
    said = "" if ready else "No model can answer. "
    if found.refused:
        files = "; ".join(f"{line.file}: {line.why}" for line in found.refused[:5])
        said += f"Not used: {files} "
    return said + f"This processor reads these formats fast: {', '.join(found.fast) or 'none is known'}."


def details(line: ModelLine, found: ModelDetails | None = None) -> str:
    """Everything about one model, a line each."""
    digest = " ".join(line.digest[at : at + _GROUP] for at in range(0, len(line.digest), _GROUP))
    rows = [
        ("State", line.state.value + (f": {line.why}" if line.why else "")),
        ("Format", f"{line.quantization}, {megabytes(line.size_bytes)}; {line.format_words}"),
        ("Fits this machine", line.fit_words),
        ("Highest marking", line.highest_marking),
        ("Licence", f"{line.license}  {line.license_text}".rstrip()),
        ("Provenance", line.provenance),
        ("Context", f"{number(line.context_tokens)} tokens"),
        ("Roles", ", ".join(line.roles) or "none"),
        ("Draft model", line.draft and line.draft_words),
        ("Digest (SHA-384)", digest),
        *(("File", file) for file in line.files),
    ]
    if found is not None:
        rows.append(("Signed by key", found.signer[:_GROUP] + "…"))
        rows += [(f"The file: {name}", value) for name, value in found.file_facts]
        rows.append(("Refused", found.file_problem))
        rows.append(("Chat template", template_words(found)))
    text = "\n".join(f"{name}: {value}" for name, value in rows if value)
    return text + ("" if found is None else "".join("\n    " + line for line in template_lines(found)))


def idle_lock(seconds: int) -> str:
    """What the idle lock means for an import; before one begins."""
    minutes = -(-seconds // 60)
    return (
        f"After {number(minutes)} minute{'' if minutes == 1 else 's'} without a key or a click the window "
        "locks, and an import stops; the same import then goes on from there. A long one is better done in a "
        "terminal, with the window closed: govdesk model import FOLDER."
    )


def progress(value: ImportProgress) -> str:
    """Beside the bar."""
    done, total = megabytes(value.done_bytes), megabytes(value.total_bytes)
    doing = value.doing[:1].upper() + value.doing[1:]
    return f"{doing}: {done} of {total}, {value.percent} %, {value.seconds:.0f} s. {value.file}"


def imported(done: Imported) -> str:
    """After an import."""
    said = [f"{done.title}, version {done.version}, is imported: {megabytes(done.copied_bytes)} copied."]
    said += [f"{line.quantization}: {line.state.value}. {line.why}".rstrip() for line in done.lines]
    said += [f"Version {version}, which was here before, was removed." for version in done.removed_versions]
    return " ".join(said)


def verified(found: Checked) -> str:
    """After a check."""
    named = f"{found.title}, version {found.version}"
    wrong = [file for file in found.files if not file.sound]
    rest = [f"Not imported: {', '.join(found.not_imported)}."] if found.not_imported else []
    if not wrong:
        return " ".join([f"{named}: every file has the bytes that were signed.", *rest])
    return " ".join([f"{named}, is damaged:", *(f"{file.file}: {file.why}" for file in wrong), *rest])
