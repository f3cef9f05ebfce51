"""Where subscriptions keep secrets, what they hide, and where they let vendors send."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from hookline.daemon.config.load import load_settings
from hookline.daemon.config.settings import Settings
from hookline.daemon.secrets import Secrets
from hookline.daemon.subscriptions import agave, agiled, hubspot, pipedrive, procore
from hookline.daemon.subscriptions.credential_file import check_writable, write_credential
from hookline.daemon.subscriptions.hiding import HiddenTexts, hint_of
from hookline.daemon.subscriptions.option_secret import (
    KeepError,
    OptionSecret,
    new_secret,
    secret_name,
    written_options,
)
from hookline.daemon.subscriptions.port import VendorError, id_of, items_of, object_of, path_part
from hookline.daemon.subscriptions.target import check_public, subscription_url


def write_config(folder: Path, source: str, more: str = "public_url: https://hooks.example.com") -> Path:
    path = folder / "hookline.yaml"
    path.write_text(f"version: 1\n{more}\nsources:\n  crm: {source}\n")
    return path


def read_config(folder: Path, source: str, more: str = "public_url: https://hooks.example.com") -> Settings:
    return load_settings(write_config(folder, source, more), environ={}, actions=(), offline=True)


def open_secret(folder: Path, written: str, environ: dict[str, str] | None = None, **more: Any) -> OptionSecret:
    settings = read_config(folder, f"{{type: agiled, secret: {written}}}", more.pop("config", "vars: {team: blue}"))
    return OptionSecret(
        source="crm",
        option="secret",
        node=written_options(settings, "crm").get("secret"),
        lookup=Secrets(environ or {}, folder=folder).with_variables(settings.vars),
        folder=folder,
        **{"hide": lambda _: None, **more},
    )


# A file


def test_a_credential_is_written_whole_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "credentials" / "TOKEN"
    before = os.umask(0)
    try:
        write_credential(path, "sécret")
    finally:
        os.umask(before)
    assert path.read_bytes() == "sécret".encode()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert list(path.parent.iterdir()) == [path]


def test_a_credential_is_never_written_over_another(tmp_path: Path) -> None:
    path = tmp_path / "TOKEN"
    path.write_text("old")
    with pytest.raises(FileExistsError):
        write_credential(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_whether_there_is_room_leaves_nothing_behind(tmp_path: Path) -> None:
    check_writable(tmp_path / "credentials" / "TOKEN")
    assert list((tmp_path / "credentials").iterdir()) == []


# An option


def test_a_secret_is_made_once_and_then_reused(tmp_path: Path) -> None:
    hidden: list[str] = []
    secret = open_secret(tmp_path, '"Bearer ${CRM_TOKEN}"', hide=hidden.append)
    assert secret.value is None
    value, kept = secret.ensure("made-0123456789")
    assert value == "Bearer made-0123456789"
    assert kept is not None
    assert kept.file == tmp_path / "credentials" / "CRM_TOKEN"
    assert kept.file.read_text() == "made-0123456789"
    assert hidden == ["made-0123456789", "Bearer made-0123456789"]
    assert secret.ensure("another") == (value, None)
    assert open_secret(tmp_path, '"Bearer ${CRM_TOKEN}"').ensure("another") == (value, None)


def test_what_was_kept_is_what_the_daemon_reads(tmp_path: Path) -> None:
    open_secret(tmp_path, '"${CRM_TOKEN}"').keep("from-the-vendor")
    path = write_config(tmp_path, '{type: agiled, secret: "${CRM_TOKEN}"}')
    settings = load_settings(path, environ={}, actions=())
    assert settings.sources["crm"].options["secret"] == "from-the-vendor"


def test_variables_stand_around_a_secret(tmp_path: Path) -> None:
    value, kept = open_secret(tmp_path, '"${vars.team}-${CRM_TOKEN}-$${x}"').ensure("made")
    assert value == "blue-made-${x}"
    assert kept is not None
    assert kept.file.read_text() == "made"


def test_of_a_list_the_one_that_is_set_is_shared_and_the_free_one_takes_a_new_secret(tmp_path: Path) -> None:
    secret = open_secret(tmp_path, '["${OLD_SECRET}", "${NEW_SECRET}"]', {"OLD_SECRET": "old-secret"})
    assert secret.value == "old-secret"
    kept = secret.keep("new-secret")
    assert kept is not None
    assert (kept.reference, kept.to_write) == ("${NEW_SECRET}", None)
    assert secret.keep("new-secret") is None


def test_a_name_that_is_set_elsewhere_is_not_taken_again(tmp_path: Path) -> None:
    environ = {"CRM": "in-the-environment", "CRM_2": "there-too"}
    kept = open_secret(tmp_path, '"${CRM}"', environ).keep("fresh")
    assert kept is not None
    assert kept.file.name == "CRM_3"
    assert kept.to_write == '["${CRM_3}", "${CRM}"]'


def test_an_option_that_is_not_there_gets_the_sources_name(tmp_path: Path) -> None:
    settings = read_config(tmp_path, "{type: agiled, verify: none}")
    secret = OptionSecret(
        source="crm", option="secret", node=written_options(settings, "crm").get("secret"),
        lookup=Secrets({}, folder=tmp_path), folder=tmp_path, hide=lambda _: None,
    )  # fmt: skip
    assert not secret.is_written
    kept = secret.keep("fresh")
    assert kept is not None
    assert (kept.file.name, kept.to_write) == ("CRM_SECRET", '"${CRM_SECRET}"')


def test_two_unset_references_in_one_text_cannot_be_made(tmp_path: Path) -> None:
    with pytest.raises(KeepError, match=r"sources\.crm\.secret names no single secret that could be made"):
        open_secret(tmp_path, '"${A}-${B}"').ensure("made")


@pytest.mark.parametrize(
    ("written", "environ", "message"),
    [
        ('"${CRM}"', {"CRM": ""}, r"\$\{CRM\} is empty"),
        ('"${CRM}"', {"CREDENTIALS_DIRECTORY": "/dev"}, None),
        ('"${file:folder}"', {}, "is not a regular file"),
        ('"${LOOSE}"', {}, "chmod 600"),
    ],
)
def test_a_secret_that_is_set_and_cannot_be_read_is_not_made_anew(
    tmp_path: Path, written: str, environ: dict[str, str], message: str | None
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials" / "LOOSE").write_text("seen by all")
    (tmp_path / "credentials" / "LOOSE").chmod(0o644)
    if message is None:
        assert open_secret(tmp_path, written, environ).value is None
        return
    with pytest.raises(KeepError, match=message):
        open_secret(tmp_path, written, environ)


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    secret = open_secret(tmp_path, '"Bearer ${CRM}"', is_dry=True)
    assert secret.ensure("made") == ("Bearer <made then>", None)
    secret.check_room()
    assert not (tmp_path / "credentials").exists()


def test_each_half_of_a_secret_is_hidden(tmp_path: Path) -> None:
    hidden: list[str] = []
    open_secret(tmp_path, '"Bearer ${CRM}"', {"CRM": "0123456789"}, hide=hidden.append)
    assert hidden == ["Bearer 0123456789", "0123456789"]


def test_made_secrets_are_long_and_never_the_same() -> None:
    made = {new_secret() for _ in range(100)}
    assert len(made) == 100
    assert {len(one) for one in made} == {43}


@pytest.mark.parametrize(
    ("source", "name"), [("crm", "CRM_SECRET"), ("my-crm", "MY_CRM_SECRET"), ("2crm", "_2CRM_SECRET")]
)
def test_the_name_for_a_sources_secret_can_be_referred_to(source: str, name: str, tmp_path: Path) -> None:
    assert secret_name(source) == name
    assert Secrets({name: "x"}, folder=tmp_path).secret(name) == "x"


# Hiding


@pytest.mark.parametrize("text", ["plain {}", "url ?key={}", "json {}", "escaped {}"])
def test_a_secret_is_hidden_in_every_encoding(text: str) -> None:
    secret = 'pässword "x"/+\n='
    hidden = HiddenTexts()
    hidden.add(secret)
    forms = {
        "plain {}": secret,
        "url ?key={}": "p%C3%A4ssword%20%22x%22%2F%2B%0A%3D",
        "json {}": json.dumps(secret)[1:-1],
        "escaped {}": secret.replace("\n", "\\x0a"),
    }
    assert hidden.masked(text.format(forms[text])) == text.format("***")


@pytest.mark.parametrize(
    ("secret", "hint"),
    [("short", "5 characters"), ("x" * 15, "15 characters"), ("abcdef0123456789", "abcd…, 16 characters")],
)
def test_of_a_secret_little_is_shown(secret: str, hint: str) -> None:
    assert hint_of(secret) == hint


# Where to send


def test_the_url_holds_the_path_token(tmp_path: Path) -> None:
    settings = read_config(tmp_path, '{type: agiled, secret: abcdefgh, path_token: "${PATH_TOKEN}"}')
    lookup = Secrets({"PATH_TOKEN": "token-0123456789~"}, folder=tmp_path)
    hidden = HiddenTexts()
    url = subscription_url(settings, "crm", lookup, hidden)
    assert url == "https://hooks.example.com/hooks/crm/token-0123456789~"
    assert hidden.masked(url) == "https://hooks.example.com/hooks/crm/***"
    with pytest.raises(VendorError, match=r"sources\.crm\.path_token: \$\{PATH_TOKEN\} is not set"):
        subscription_url(settings, "crm", Secrets({}, folder=tmp_path), hidden)


def test_a_sources_own_public_url_is_the_whole_url(tmp_path: Path) -> None:
    def url(own: str, more: str = "") -> str:
        settings = read_config(tmp_path, f"{{type: agiled, secret: abcdefgh, public_url: {own}}}", more)
        return subscription_url(settings, "crm", Secrets({}, folder=tmp_path), HiddenTexts())

    assert url("https://in.example.com/agiled/") == "https://in.example.com/agiled"
    assert url("https://in.example.com/a", "public_url: https://hooks.example.com") == "https://in.example.com/a"
    with pytest.raises(VendorError, match=r"sources\.crm\.public_url is http://in\.example\.com, and vendors"):
        url("http://in.example.com")


@pytest.mark.parametrize(
    "url", ["https://hooks.example.com", "https://hooks.example.com:8443/in", "https://93.184.216.34"]
)
def test_public_urls_are_fine(url: str) -> None:
    check_public(url)


@pytest.mark.parametrize(
    "url",
    ["http://hooks.example.com", "https://localhost", "https://box.lan", "https://10.1.2.3", "https://127.0.0.1",
     "https://169.254.1.1", "https://[fd00::1]", "https://100.64.0.1", "https://hooks.home.arpa."],
)  # fmt: skip
def test_private_urls_are_not(url: str) -> None:
    with pytest.raises(VendorError, match="public_url is "):
        check_public(url)


# Events, and answers in shapes that nobody promised


@pytest.mark.parametrize(
    ("kind", "text", "event", "parts"),
    [
        (agiled.KIND, "time_entry.created", "time_entry.created", ("time_entry.created",)),
        (agave.KIND, "rfi.delete", "rfi.delete", ("rfi", "DELETE")),
        (hubspot.KIND, "contact.creation", "contact.creation", ("contact.creation", "", "")),
        (hubspot.KIND, "deal.propertyChange:amount", "deal.propertyChange", ("deal.propertyChange", "", "amount")),
        (hubspot.KIND, "object.merge:2-123", "object.merge", ("object.merge", "2-123", "")),
        (pipedrive.KIND, "*.*", None, ("*", "*")),
        (pipedrive.KIND, "deal.delete", "deal.delete", ("deal", "delete")),
        (procore.KIND, "rfi_replies.create", "rfi_replies.create", ("RFI Replies", "create")),
        (procore.KIND, "todos.update", "todos.update", ("ToDos", "update")),
        (procore.KIND, "daily_log_entries.update", "daily_log_entries.update", ("Daily Log/Entries", "update")),
        (procore.KIND, "Pdf Download Pages.delete", "pdf_download_pages.delete", ("Pdf Download Pages", "delete")),
    ],
)
def test_events_are_read(kind: Any, text: str, event: str | None, parts: tuple[str, ...]) -> None:
    wanted = kind.parse(text)
    assert (wanted.text, wanted.type, wanted.parts) == (text, event, parts)


@pytest.mark.parametrize("text", ["", ".", "deal", "deal.", ".create", "a b.create\n", "../x.create\0", "deal.create:"])
@pytest.mark.parametrize("kind", [agiled.KIND, agave.KIND, hubspot.KIND, pipedrive.KIND])
def test_what_is_no_event_is_refused(kind: Any, text: str) -> None:
    with pytest.raises(ValueError, match="is no event of"):
        kind.parse(text)


def test_answers_may_be_anything() -> None:
    assert items_of([{"id": 1}, 2, None], "data") == [{"id": 1}]
    assert items_of({"data": [{"id": 1}]}, "data") == [{"id": 1}]
    assert items_of({"other": []}, "data") == items_of("text", "data") == items_of(None) == []
    assert object_of({"data": {"id": 1}}, "data") == object_of({"id": 1}, "data") == {"id": 1}
    assert object_of([1], "data") == {}
    assert id_of({"id": 7}) == "7"
    nameless: list[dict[str, Any]] = [{}, {"id": None}, {"id": True}, {"id": ""}, {"id": [1]}]
    for item in nameless:
        with pytest.raises(VendorError, match="names no id"):
            id_of(item)


def test_an_id_cannot_become_another_path() -> None:
    assert path_part("a/b?c#d") == "a%2Fb%3Fc%23d"
    for text in ("", ".", ".."):
        with pytest.raises(VendorError, match="is no id"):
            path_part(text)


def test_the_same_request_has_the_same_idempotency_key_whatever_the_order() -> None:
    key = agiled.idempotency_key("https://a/hooks/x", ["a.b", "c.d"])
    assert key == agiled.idempotency_key("https://a/hooks/x", ["c.d", "a.b"])
    assert key != agiled.idempotency_key("https://a/hooks/y", ["a.b", "c.d"])
    assert key != agiled.idempotency_key("https://a/hooks/x", ["a.b"])
