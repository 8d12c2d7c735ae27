"""The embedded nats-server: found, configured, started, watched."""

from holdfast_daemon.server.accounts import Accounts
from holdfast_daemon.server.lock import DataDirLock
from holdfast_daemon.server.process import NatsServer, ServerDied, ServerEvent, ServerReady, ServerSlow

__all__ = ["Accounts", "DataDirLock", "NatsServer", "ServerDied", "ServerEvent", "ServerReady", "ServerSlow"]
