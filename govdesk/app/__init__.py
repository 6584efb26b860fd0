"""Composition root: what each process builds, once, and in which order. Start-up fails closed.

launch     the shell's process: becomes the broker, or runs a command that needs no other process
session    window or terminal: walls → self-test → audit writer → policy → front → unlock → worker
writer     the audit writer's process: walls → log
"""
