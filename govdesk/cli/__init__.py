"""Commands of the terminal: thin, no logic."""
