"""Recognizers find, operators act; in one piece and as a stream."""
