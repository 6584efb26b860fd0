"""Sets a checkout up on a bare machine: everything pinned by hash, built once, reused after that.

Standard library only: it runs before there is anything else. `make run` and `make test` call it.
"""
