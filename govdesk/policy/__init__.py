"""The signed policy: loading, strict decoding, decisions."""
