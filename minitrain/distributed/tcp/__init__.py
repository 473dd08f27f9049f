"""Processes as ranks, connected by TCP, and through shared memory where they are on one machine."""

from .group import TcpGroup as TcpGroup
