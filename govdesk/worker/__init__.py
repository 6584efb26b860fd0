"""Untrusted: the only importer of llama_cpp. One verified model, one channel, no way out."""
