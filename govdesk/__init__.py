"""GovDesk: a local model for people who work without a network."""

__version__ = "0.1.0"
