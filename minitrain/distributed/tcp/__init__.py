"""Processes as ranks, connected by TCP, and through shared memory where they are on one machine."""

from .group import TcpGroup as TcpGroup
from .meeting import Place as Place
from .meeting import free_port as free_port
from .meeting import own_address as own_address
from .meeting import receive_json as receive_json
from .meeting import send_json as send_json
