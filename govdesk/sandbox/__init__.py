"""The operating system's walls and the proof that they stand."""
