"""The trusted side of the worker: model catalogue and supervisor."""
