"""Which of the models that lie here somebody means, and what is said when that is not clear."""

from __future__ import annotations

from collections.abc import Iterable

from govdesk.domain.models import Which
from govdesk.errors import UsageError
from govdesk.inference.store import Model


def meant(which: Which, usable: list[Model], older: list[Model], quantization: str = "") -> list[Model]:
    """The variants of the one version that is meant.

    What is too old to be used is meant only when its version is named, or nothing else is there.

    Args:
        which: a version must be named where several are usable.
        usable: of its name and place.
        older: the same, refused for their version.
        quantization: for the words.

    Raises:
        UsageError: there is none, or several versions and none is named.
    """
    found = _of_version(which, usable) or _of_version(which, older)
    if not found:
        raise none(which, (model.manifest.version for model in (*usable, *older)), quantization)
    require_one(which.name, (model.manifest.version for model in found))
    return found


def require_one(name: str, versions: Iterable[int]) -> None:
    """Nobody guesses between versions.

    Raises:
        UsageError: there are several.
    """
    here = sorted(set(versions))
    if len(here) > 1:
        raise UsageError(
            f"There are several versions of the model {name} here: {_listed(here)}.",
            code="model.several-versions",
            kept="Nothing was changed.",
            todo=f"Say which, for example `--version {here[-1]}`.",
        )


def none(which: Which, versions: Iterable[int], quantization: str = "") -> UsageError:
    """There is none; which versions there are, when it was the version that is not here."""
    here = sorted(set(versions))
    version = "" if which.version is None else f", version {which.version},"
    form = f" as {quantization}" if quantization else ""
    others = f" Of it there is version {_listed(here)}." if here and version else ""
    return UsageError(
        f"There is no model called {which.name}{version}{form} here.{others}",
        code="model.none",
        kept="Nothing was changed.",
        todo="See `govdesk model list`.",
    )


def _of_version(which: Which, models: list[Model]) -> list[Model]:
    return [model for model in models if which.version in {None, model.manifest.version}]


def _listed(versions: list[int]) -> str:
    *most, last = (str(version) for version in versions)
    return f"{', '.join(most)} and {last}" if most else last
