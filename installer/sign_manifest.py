"""Signs model manifests, and checks what it signed.

    .venv/bin/python -m installer.sign_manifest models/NAME.toml …            signs with the development key
    .venv/bin/python -m installer.sign_manifest --check models/NAME.toml …    only checks
    … --key PRIVATE.pem --trust PUBLIC.pem                                    an organisation's own keys

The signature is pure ML-DSA-87 over the bytes of the file, with a context string that no other
signature of GovDesk has; its raw 4,627 bytes go into `NAME.toml.sig`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from govdesk import crypto
from govdesk.inference.manifest import MANIFEST_CONTEXT
from installer.setup.files import write_whole

CHECKOUT = Path(__file__).resolve().parent.parent
DEVELOPMENT_KEY = CHECKOUT / "installer" / "development" / "signing.key"
DEVELOPMENT_TRUST = CHECKOUT / "resources" / "policy" / "trust" / "development-signing.pem"


def signature_of(manifest: Path) -> Path:
    """Where the signature of a manifest is."""
    return manifest.with_name(manifest.name + ".sig")


def sign(manifest: Path, private_pem: str) -> None:
    """Sign one manifest."""
    write_whole(
        signature_of(manifest), crypto.sign(private_pem, manifest.read_bytes(), context=MANIFEST_CONTEXT)
    )


def checks(manifest: Path, public_pem: str) -> bool:
    """True when the manifest's signature checks."""
    try:
        signature = signature_of(manifest).read_bytes()
        crypto.verify(public_pem, signature, manifest.read_bytes(), context=MANIFEST_CONTEXT)
    except (OSError, crypto.CryptoError):
        return False
    return True


def main(arguments: Sequence[str]) -> int:
    """Sign or check.

    Returns:
        0 every signature checks at the end, 1 one does not, 4 a file or key cannot be used.
    """
    parser = argparse.ArgumentParser(prog="python -m installer.sign_manifest", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("manifests", nargs="+", type=Path)
    parser.add_argument("--check", action="store_true", help="sign nothing")
    parser.add_argument("--key", type=Path, default=DEVELOPMENT_KEY, help="private key (PEM)")
    parser.add_argument("--trust", type=Path, default=DEVELOPMENT_TRUST, help="public key (PEM)")
    chosen = parser.parse_args(arguments)
    bad = 0
    try:
        trust = chosen.trust.read_text()
        for manifest in chosen.manifests:
            if not chosen.check:
                sign(manifest, chosen.key.read_text())
            good = manifest.exists() and checks(manifest, trust)
            bad += not good
            print(f"{manifest}: {_verdict(manifest, good)}")
    except OSError as error:
        print(f"sign_manifest: {error.filename} cannot be used: {error.strerror}", file=sys.stderr)
        return 4
    except (crypto.CryptoError, ValueError) as error:
        print(f"sign_manifest: a key cannot be used: {error}", file=sys.stderr)
        return 4
    return 1 if bad else 0


def _verdict(manifest: Path, good: bool) -> str:
    if good:
        return "signature checks"
    return "SIGNATURE DOES NOT CHECK" if manifest.exists() else "NOT THERE"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
