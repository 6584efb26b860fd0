"""Records, chain, writer, verifier."""
