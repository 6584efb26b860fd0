"""No byte of a policy is interpreted before a trusted signature over all of them was checked.

Any failure is a `PolicyError` with a code, and the built-in strict policy takes the place of the file:
a bad policy never means fewer rules.
"""

from __future__ import annotations

import datetime
import errno
import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

import msgspec

from govdesk import __version__, crypto
from govdesk.domain.policy import Policy, PolicyInForce, PolicySource
from govdesk.errors import PolicyError
from govdesk.policy import builtin, checks

CONTEXT = b"govdesk policy v1"
POLICY_FILE = "policy.toml"
SIGNATURE_SUFFIX = ".sig"
TRUST_FOLDER = "trust"
MAX_POLICY_BYTES = 1_000_000
SIGNATURE_BYTES = 4_627
MAX_ROOT_BYTES = 16_384
DEVELOPMENT_ROOT_SHA384 = (
    "4259fc62fe03267a6b70881284dcb9e2be7672c0082231f6f7d559a7c3fae4886e9e8a3bcb4d0271bb309424938cdd11"
)
"""SHA-384 of the development signing key (DER): its private half is in every copy of the source."""
DEVELOPMENT_WARNING = "development policy: not for classified use"


def load(
    policy_bytes: bytes,
    signature: bytes,
    trust_roots: Sequence[str],
    *,
    check_marking: Callable[[str], None],
    today: datetime.date,
    installed: bool,
    app_version: str = __version__,
) -> PolicyInForce:
    """Check the signature, then decode, then check what the policy says.

    Args:
        policy_bytes: the TOML file, exactly as it was signed.
        signature: raw ML-DSA-87 signature over them, with the context string `govdesk policy v1`.
        trust_roots: public keys (PEM); any of them may have signed.
        check_marking: raises `MarkingError` for a text that is not a banner line.
        today: the date in UTC.
        installed: an installed build never trusts the development key, wherever it lies.
        app_version: this program's version.

    Raises:
        PolicyError: it cannot be used; the code says why.
    """
    if len(policy_bytes) > MAX_POLICY_BYTES:
        raise _unusable("policy.size", f"The policy is larger than {MAX_POLICY_BYTES} bytes.")
    root = _signer(policy_bytes, signature, trust_roots, installed=installed)
    policy = decode(policy_bytes, check_marking=check_marking, today=today, app_version=app_version)
    development = is_development_root(root)
    return PolicyInForce(
        policy=policy,
        source=PolicySource.DEVELOPMENT if development else PolicySource.SITE,
        sha384=crypto.sha384(policy_bytes).hex(),
        warning=DEVELOPMENT_WARNING if development else "",
    )


def decode(
    policy_bytes: bytes,
    *,
    check_marking: Callable[[str], None],
    today: datetime.date,
    app_version: str = __version__,
) -> Policy:
    """Decode strictly and check; says nothing about a signature.

    Raises:
        PolicyError: not TOML, an unknown or missing key, a wrong type, or a rule of `checks` is broken.
    """
    if len(policy_bytes) > MAX_POLICY_BYTES:
        raise _unusable("policy.size", f"The policy is larger than {MAX_POLICY_BYTES} bytes.")
    try:
        policy = msgspec.toml.decode(policy_bytes, type=Policy)
    except msgspec.ValidationError as error:
        code = "policy.unknown-key" if "unknown field" in str(error) else "policy.shape"
        raise _unusable(code, f"The policy does not have the right shape: {error}.") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _unusable("policy.syntax", "The policy is not TOML in UTF-8.") from error
    checks.check(policy, check_marking=check_marking, today=today, app_version=app_version)
    return policy


def policy_in_force(
    directory: Path,
    *,
    check_marking: Callable[[str], None],
    today: datetime.date,
    installed: bool,
    app_version: str = __version__,
) -> tuple[PolicyInForce, PolicyError | None]:
    """The policy of a folder (`policy.toml`, `policy.toml.sig`, `trust/*.pem`), or the built-in strict one.

    Returns:
        The policy in force, and the reason when it is the built-in one.
    """
    try:
        return load(
            read_bounded(directory / POLICY_FILE, MAX_POLICY_BYTES),
            read_bounded(directory / (POLICY_FILE + SIGNATURE_SUFFIX), SIGNATURE_BYTES),
            trust_roots(directory / TRUST_FOLDER),
            check_marking=check_marking,
            today=today,
            installed=installed,
            app_version=app_version,
        ), None
    except PolicyError as error:
        error.kept = "The built-in strict policy is in force."
        return builtin.strict_policy(), error


def trust_roots(folder: Path) -> tuple[str, ...]:
    """The texts of all `*.pem` in a folder, in the order of their names.

    Raises:
        PolicyError: there is one that cannot be read.
    """
    return tuple(
        read_bounded(path, MAX_ROOT_BYTES).decode("ascii", errors="replace")
        for path in sorted(folder.glob("*.pem"))
    )


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading; a pipe or a device could make GovDesk wait for ever.

    Raises:
        OSError: it cannot be opened, or is something else.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "It is not a regular file")
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_bounded(path: Path, limit: int) -> bytes:
    """A whole file of at most `limit` bytes.

    Raises:
        PolicyError: it is missing (`policy.missing`), cannot be read, or is larger.
    """
    try:
        with open_regular(path) as file:
            content = file.read(limit + 1)
    except FileNotFoundError as error:
        raise _unusable("policy.missing", f"There is no file {path.name}.") from error
    except OSError as error:
        raise _unusable("policy.unreadable", f"{path.name} cannot be read: {error.strerror}.") from error
    if len(content) > limit:
        raise _unusable("policy.size", f"{path.name} is larger than {limit} bytes.")
    return content


def is_development_root(pem: str) -> bool:
    """True for the development signing key, however its PEM is written or named."""
    try:
        return crypto.fingerprint(pem).hex() == DEVELOPMENT_ROOT_SHA384
    except crypto.CryptoError:
        return False


def _signer(policy_bytes: bytes, signature: bytes, roots: Sequence[str], *, installed: bool) -> str:
    """The trust root that signed these bytes."""
    refused = False
    for root in roots:
        if installed and is_development_root(root):
            refused = True
            continue
        try:
            crypto.verify(root, signature, policy_bytes, context=CONTEXT)
        except crypto.CryptoError:
            continue
        return root
    if refused:
        why = "An installed GovDesk does not trust the development key, and no other key signed the policy."
    elif not roots:
        why = "There is no trusted key to check the policy's signature with."
    else:
        why = "The policy was changed after it was signed, or it was signed with a key that is not trusted."
    raise _unusable("policy.signature", why)


def _unusable(code: str, what: str) -> PolicyError:
    return PolicyError(
        what, code=code, todo="Ask your administrator to check the policy with `govdesk policy check`."
    )
