"""`hookline init`: something to start from that runs as it is."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import click

from hookline.daemon.commands.output import fail

_CONFIG = """\
# Hookline's configuration. Check it with: hookline check
version: 1
listen: 127.0.0.1:8080              # public: put your TLS proxy in front of it
admin: {{listen: 127.0.0.1:8081}}     # for you alone; the token is made at the first start
store: sqlite:hookline.db
rules: rules                        # a folder of *.yaml
plugins: plugins                    # a folder of *.py: each is an action

sources:
  # POST http://127.0.0.1:8080/hooks/try/{token}
  try: {{type: generic, verify: none, path_token: "{token}", event: {{type: $.event, id: $.id}}}}
  # agiled: {{type: agiled, secret: "${{AGILED_SECRET}}"}}

destinations:
  # erp: {{forward: {{url: "https://erp.example.com/hooks", secret: "${{ERP_SECRET}}"}}}}
  # ops: {{slack: {{url: "${{SLACK_OPS}}"}}}}
"""

_RULES = """\
# Each event is tried against every rule, in order; each rule that matches acts.
# After a change: hookline check, then: pkill -HUP hookline
rules:
  - name: large orders
    from: try
    on: order.*
    when:
      $.amount: {gte: 1000}
    do:
      - log: {message: "A large order: {{ payload.amount }}"}

fallback:                           # events that no rule above matched
  - do:
      - log: {message: "Unmatched {{ event.type }} from {{ event.source }}"}
"""


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default=Path())
def init(folder: Path) -> None:
    """Write a configuration, a rule and a plug-ins folder into FOLDER (here, if left out). Overwrites nothing."""
    token = secrets.token_urlsafe(12)
    files = {folder / "hookline.yaml": _CONFIG.format(token=token), folder / "rules" / "first.yaml": _RULES}
    present = [path for path in files if path.exists()]
    if present:
        fail(f"{', '.join(map(str, present))} is there already; nothing was written.")
    (folder / "plugins").mkdir(parents=True, exist_ok=True)
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        # It will hold secrets sooner or later.
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
        click.echo(f"wrote {path}", err=True)
    here = "" if folder == Path() else f"cd {folder} && "
    click.echo(
        f"""
Start it:      {here}hookline run
Send an event: curl http://127.0.0.1:8080/hooks/try/{token} -d '{{"id": "1", "event": "order.paid", "amount": 1200}}'
See it:        {here}hookline events"""
    )
