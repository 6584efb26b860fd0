"""Signs a policy, and checks what it signed.

    .venv/bin/python -m installer.sign_policy FILE            signs with the development key
    .venv/bin/python -m installer.sign_policy --check FILE    only checks
    … --key PRIVATE.pem --trust PUBLIC.pem                    an organisation's own keys

The signature is pure ML-DSA-87 over the bytes of the file, with a context string that no other
signature of GovDesk has; its raw 4,627 bytes go into `policy.toml.sig`. A policy that would be
refused when it is loaded is not signed.
"""

from __future__ import annotations

import argparse
import datetime
import sys
from collections.abc import Sequence
from pathlib import Path

from govdesk import crypto
from govdesk.errors import PolicyError
from govdesk.marking.parser import parse
from govdesk.marking.value import Form
from govdesk.policy import loader
from installer.setup.files import write_whole

CHECKOUT = Path(__file__).resolve().parent.parent
DEVELOPMENT_KEY = CHECKOUT / "installer" / "development" / "signing.key"
DEVELOPMENT_TRUST = CHECKOUT / "resources" / "policy" / "trust" / "development-signing.pem"


def signature_of(policy: Path) -> Path:
    """Where the signature of a policy is."""
    return policy.with_name(policy.name + loader.SIGNATURE_SUFFIX)


def sign(policy: Path, private_pem: str) -> None:
    """Sign one policy, after reading it as it will be read."""
    content = policy.read_bytes()
    loader.decode(content, check_marking=_check_marking, today=_today())
    write_whole(signature_of(policy), crypto.sign(private_pem, content, context=loader.CONTEXT))


def check(policy: Path, public_pem: str) -> None:
    """Load the policy as an uninstalled program would.

    Raises:
        PolicyError: it would be refused.
    """
    loader.load(
        loader.read_bounded(policy, loader.MAX_POLICY_BYTES),
        loader.read_bounded(signature_of(policy), loader.SIGNATURE_BYTES),
        [public_pem],
        check_marking=_check_marking,
        today=_today(),
        installed=False,
    )


def main(arguments: Sequence[str]) -> int:
    """Sign or check; 0 when it would be loaded."""
    parser = argparse.ArgumentParser(description="Sign a policy.")
    parser.add_argument("policy", type=Path)
    parser.add_argument("--key", type=Path, default=DEVELOPMENT_KEY, help="ML-DSA-87 private key, PEM")
    parser.add_argument("--trust", type=Path, default=DEVELOPMENT_TRUST, help="its public key, PEM")
    parser.add_argument("--check", action="store_true", help="do not sign")
    parsed = parser.parse_args(arguments)
    try:
        if not parsed.check:
            sign(parsed.policy, parsed.key.read_text())
        check(parsed.policy, parsed.trust.read_text())
    except (PolicyError, crypto.CryptoError, OSError, ValueError) as error:
        print(f"sign_policy: {parsed.policy.name}: {error}", file=sys.stderr)
        return 1
    return 0


def _check_marking(text: str) -> None:
    parse(text, Form.BANNER)


def _today() -> datetime.date:
    return datetime.datetime.now(datetime.UTC).date()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
