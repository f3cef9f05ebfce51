"""A client of yaml-language-server over stdio, as an editor has one."""

from __future__ import annotations

import json
import subprocess
import threading
from pathlib import Path
from queue import Empty, Queue
from typing import Any

#: For one answer; the first one comes when the server has started.
PATIENCE_SECONDS = 30


class LanguageServer:
    """A running server."""

    def __init__(self, command: list[str]) -> None:
        self._child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self._asked = 0
        self._versions: dict[str, int] = {}
        self._answers: dict[int, Any] = {}
        self._diagnostics: Queue[Any] = Queue()
        self._heard: Queue[Any] = Queue()
        threading.Thread(target=self._listen, daemon=True).start()
        self._ask(
            "initialize",
            {
                "processId": None,
                "rootUri": None,
                "capabilities": {
                    "textDocument": {
                        "completion": {"completionItem": {"snippetSupport": True}},
                        "publishDiagnostics": {"relatedInformation": True},
                    },
                    "workspace": {},
                },
            },
        )
        self._send({"method": "initialized", "params": {}})
        self._send(
            {
                "method": "workspace/didChangeConfiguration",
                "params": {"settings": {"yaml": {"validate": True, "completion": True, "hover": True}}},
            }
        )

    def close(self) -> None:
        """End it."""
        self._child.kill()
        self._child.communicate()

    def problems(self, path: Path, text: str) -> list[tuple[int, str]]:
        """Return what the server says of a file with this text: line, from 1, and message."""
        version = self._open(path, text)
        while True:
            told = self._diagnostics.get(timeout=PATIENCE_SECONDS)
            if told["uri"] == path.as_uri() and told.get("version", version) == version:
                return [(one["range"]["start"]["line"] + 1, one["message"]) for one in told["diagnostics"]]

    def proposals(self, path: Path, text: str) -> set[str]:
        """Return the labels that the server proposes where `|` stands in the text."""
        line, column = position(text)
        self._open(path, text.replace("|", "", 1))
        asked = {"textDocument": {"uri": path.as_uri()}, "position": {"line": line, "character": column}}
        answer = self._ask("textDocument/completion", asked)
        items = answer["items"] if isinstance(answer, dict) else answer or []
        return {item["label"] for item in items}

    def hover(self, path: Path, text: str) -> str:
        """Return what the server shows where `|` stands in the text."""
        line, column = position(text)
        self._open(path, text.replace("|", "", 1))
        asked = {"textDocument": {"uri": path.as_uri()}, "position": {"line": line, "character": column}}
        answer = self._ask("textDocument/hover", asked)
        return json.dumps(answer["contents"], ensure_ascii=False) if answer else ""

    def _open(self, path: Path, text: str) -> int:
        uri = path.as_uri()
        version = self._versions[uri] = self._versions.get(uri, 0) + 1
        document = {"uri": uri, "version": version}
        if version == 1:
            opened = {**document, "languageId": "yaml", "text": text}
            self._send({"method": "textDocument/didOpen", "params": {"textDocument": opened}})
        else:
            changed = {"textDocument": document, "contentChanges": [{"text": text}]}
            self._send({"method": "textDocument/didChange", "params": changed})
        return version

    def _ask(self, method: str, params: Any) -> Any:
        self._asked += 1
        number = self._asked
        self._send({"id": number, "method": method, "params": params})
        while True:
            try:
                message = self._heard.get(timeout=PATIENCE_SECONDS)
            except Empty:
                raise AssertionError(f"no answer to {method}") from None
            if message.get("id") == number:
                assert "error" not in message, message["error"]
                return message["result"]

    def _send(self, message: dict[str, Any]) -> None:
        data = json.dumps({"jsonrpc": "2.0", **message}).encode()
        assert self._child.stdin
        self._child.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(data), data))
        self._child.stdin.flush()

    def _listen(self) -> None:
        assert self._child.stdout
        while True:
            length = 0
            while line := self._child.stdout.readline().strip():
                if line.lower().startswith(b"content-length:"):
                    length = int(line.partition(b":")[2])
            data = self._child.stdout.read(length)
            if not length or len(data) < length:
                return
            message = json.loads(data)
            if message.get("method") == "textDocument/publishDiagnostics":
                self._diagnostics.put(message["params"])
            elif "method" in message and "id" in message:
                # It asks for settings and the like: it has them, or does without.
                items = (
                    message.get("params", {}).get("items", []) if message["method"].endswith("configuration") else []
                )
                self._send({"id": message["id"], "result": [{}] * len(items) or None})
            elif "id" in message:
                self._heard.put(message)


def position(text: str) -> tuple[int, int]:
    """Return the line and column, from 0, where `|` stands."""
    before = text[: text.index("|")]
    return before.count("\n"), len(before) - before.rfind("\n") - 1
