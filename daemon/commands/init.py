"""`hookline init`: something to start from that runs as it is."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from pathlib import Path

import anyio
import click

from hookline.daemon.commands.output import fail
from hookline.daemon.secrets import CREDENTIALS_FOLDER
from hookline.daemon.subscriptions.credential_file import write_credential

_CONFIG = """\
{modeline}
# Hookline's configuration. Check it with: hookline check
version: 1
listen: 127.0.0.1:8080              # public: put your TLS proxy in front of it
admin: {{listen: 127.0.0.1:8081}}     # for you alone; the token is made at the first start
store: sqlite:hookline.db           # one file; for several machines: postgresql://hookline@db.example.com/hookline
rules: rules                        # a folder of *.yaml
plugins: plugins                    # a folder of *.py: each is an action

sources:
  # The URL that its sender needs: hookline sources try. What ${{TRY_TOKEN}} stands for is in credentials/TRY_TOKEN.
  try: {{type: generic, verify: none, path_token: "${{TRY_TOKEN}}", event: {{type: $.event, id: $.id}}}}
  # agiled: {{type: agiled, secret: "${{AGILED_SECRET}}"}}

destinations:
  # erp: {{forward: {{url: "https://erp.example.com/hooks", secret: "${{ERP_SECRET}}"}}}}
  # ops: {{slack: {{url: "${{SLACK_OPS}}"}}}}
"""

_RULES = """\
{modeline}
# Each event is tried against every rule, in order; each rule that matches acts.
# A change goes live as soon as it is saved, if nothing is wrong with it: hookline check says.
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


# What git must not take along: secrets, and what the daemon writes beside its configuration.
_IGNORED = "credentials/\nadmin-token\nnode\nlearned-secrets/\nhookline.db*\nbackups/\n"


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default=Path())
def init(folder: Path) -> None:
    """Write a configuration, a rule, a secret, folders and schemas for editors into FOLDER (here, if left out).

    Overwrites nothing.
    """
    from hookline.daemon.schema.write import FILES, modeline

    token = secrets.token_urlsafe(12)
    config, rules = folder / "hookline.yaml", folder / "rules" / "first.yaml"
    credential = folder / CREDENTIALS_FOLDER / "TRY_TOKEN"
    schemas = {what: folder / name for what, name in FILES.items()}
    present = [path for path in (config, rules, credential, *schemas.values()) if path.exists()]
    if present:
        fail(f"{', '.join(map(str, present))} is there already; nothing was written.")
    (folder / "plugins").mkdir(parents=True, exist_ok=True)
    write_credential(credential, f"{token}\n")
    click.echo(f"wrote {credential}", err=True)
    _write(config, _CONFIG.format(modeline=modeline(schemas["config"], config.parent)))
    # Not `format`: templates have braces of their own.
    _write(rules, _RULES.replace("{modeline}", modeline(schemas["rules"], rules.parent)))
    for what, text in _schemas(config).items():
        _write(schemas[what], text)
    if not (folder / ".gitignore").exists():
        _write(folder / ".gitignore", _IGNORED)
    here = "" if folder == Path() else f"cd {folder} && "
    click.echo(
        f"""
Start it:      {here}hookline run
Send an event: curl http://127.0.0.1:8080/hooks/try/{token} -d '{{"id": "1", "event": "order.paid", "amount": 1200}}'
See it:        {here}hookline events
On pages:      http://127.0.0.1:8081, log in with the token in {folder / "admin-token"}"""
    )


def _schemas(config: Path) -> Mapping[str, str]:
    """Return what editors need; nothing, and a word about it, if something in the folder keeps it from being made."""
    from hookline.daemon.config.load import ConfigError, load_settings
    from hookline.daemon.schema.write import make_schemas

    try:
        settings = load_settings(config, environ=os.environ, offline=True)
    except ConfigError as error:
        click.echo(f"No schemas for editors: {error}\nThen: hookline schema -c {config}", err=True)
        return {}
    texts, _ = anyio.run(make_schemas, settings, os.environ)
    return texts


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # For all to read, as the service's own user must; secrets are in the credentials folder.
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644), "w", encoding="utf-8") as file:
        file.write(text)
    click.echo(f"wrote {path}", err=True)
