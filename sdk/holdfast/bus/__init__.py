"""A project's messages: the port in `ports`, a real server in `jetstream`, and `memory` for tests.

The only package that imports nats; the implementations are imported by name, so that the port alone costs nothing.
"""
