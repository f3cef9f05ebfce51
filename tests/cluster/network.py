"""A network of its own for each node, so that it can be cut off from the database or from its destination."""

from __future__ import annotations

import os
import subprocess
from typing import Final

#: How many networks of this kind may be on the machine at one time.
_RANGES: Final = 128


class NoNetworksError(Exception):
    """The machine lets us make none."""


class Network:
    """Network namespaces, each joined with ours by a pair of virtual interfaces.

    Database and destination have addresses of their own, so that one of them can be cut and not the other. What is cut
    drops packets without a word: no reset, no refusal.
    """

    def __init__(self) -> None:
        """Make the addresses. Raises `NoNetworksError`."""
        if os.geteuid() != 0:
            raise NoNetworksError("makes network namespaces: needs root")
        for tool, *words in (("ip", "netns", "list"), ("iptables", "-w", "-n", "-L")):
            try:
                _run(tool, *words)
            except FileNotFoundError as error:
                raise NoNetworksError(f"needs {tool}: apt-get install iproute2 iptables") from error
            except subprocess.CalledProcessError as error:
                raise NoNetworksError(f"{tool} {' '.join(words)}: {error.stderr.strip()}") from error
        self._prefix = f"hl{os.getpid() % 100_000}"
        self._nodes: list[str] = []
        for step in range(_RANGES):
            self._net = f"10.{64 + (os.getpid() + step) % _RANGES}"
            self.database, self.destination = f"{self._net}.0.1", f"{self._net}.0.2"
            try:
                _run("ip", "address", "add", f"{self.database}/32", "dev", "lo")
                _run("ip", "address", "add", f"{self.destination}/32", "dev", "lo")
            except subprocess.CalledProcessError as error:
                # Another run of these tests has it.
                if "File exists" in error.stderr:
                    continue
                raise NoNetworksError(f"ip address add: {error.stderr.strip()}") from error
            return
        raise NoNetworksError("every network of this kind is taken: ip address show dev lo")

    @property
    def nodes(self) -> str:
        """Where all nodes' addresses are."""
        return f"{self._net}.0.0/16"

    def join(self, node: str) -> tuple[str, tuple[str, ...]]:
        """Make a node's network; return its address there and what is put before a command to run it inside."""
        place, name = len(self._nodes) + 1, f"{self._prefix}{node}"
        ours, theirs = f"{self._net}.{place}.1", f"{self._net}.{place}.2"
        self._nodes.append(node)
        _run("ip", "netns", "add", name)
        _run("ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
        _run("ip", "address", "add", f"{ours}/24", "dev", name)
        _run("ip", "link", "set", name, "up")
        inside = ("ip", "netns", "exec", name)
        _run(*inside, "ip", "address", "add", f"{theirs}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            _run(*inside, "ip", "link", "set", device, "up")
        _run(*inside, "ip", "route", "add", "default", "via", ours)
        return theirs, inside

    def cut(self, node: str, address: str) -> None:
        """Let nothing pass between a node and an address any more."""
        self._filter("-I", node, address)

    def mend(self, node: str, address: str) -> None:
        """Let it pass again."""
        self._filter("-D", node, address)

    def mend_all(self, node: str) -> None:
        """Let everything pass again."""
        _run("ip", "netns", "exec", f"{self._prefix}{node}", "iptables", "-w", "-F")

    def _filter(self, verb: str, node: str, address: str) -> None:
        inside = ("ip", "netns", "exec", f"{self._prefix}{node}", "iptables", "-w")
        _run(*inside, verb, "OUTPUT", "-d", address, "-j", "DROP")
        _run(*inside, verb, "INPUT", "-s", address, "-j", "DROP")

    def remove(self) -> None:
        """Take all of it away."""
        for node in self._nodes:
            subprocess.run(["ip", "netns", "delete", f"{self._prefix}{node}"], check=False, capture_output=True)
        for address in (self.database, self.destination):
            subprocess.run(["ip", "address", "delete", f"{address}/32", "dev", "lo"], check=False, capture_output=True)


def _run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True, text=True)
