"""What a key says about its value: a secret, a person's name, a telephone number, a part of a postal address."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final, Literal

from hookline.rules import Json

#: `shape`: letters become letters and digits digits, whatever it is.
Kind = Literal["secret", "name", "shape"]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+|[^\W\d_A-Za-z]+")

_SECRET_WORDS: Final = _words(
    "secret secrets token tokens password passwords passwd pwd passphrase passcode apikey authorization credential "
    "credentials cookie cookies signature jwt bearer otp cvv cvc pin webhooksecret accesstoken"
)
_SECRET_KEYS: Final = _words("api access private secret auth signing encryption shared license")
#: Behind one of the words above, they speak of it and do not hold it.
_ABOUT: Final = _words(
    "type types kind name id ids url uri count used usage limit length size expiry expires expiration at in on status "
    "required enabled version algorithm method scheme present policy hint"
)

_PERSON: Final = _words(
    "person people user customer contact client owner buyer seller shopper billing shipping sender recipient author "
    "creator editor committer employee manager assignee assigned cardholder holder member patient guest lead candidate "
    "applicant agent rep representative attendee participant organizer host student teacher driver passenger tenant "
    "subscriber donor actor reporter requester approver reviewer beneficiary payer payee spouse parent child "
    "signer signatory witness"
)
_NAME_PARTS: Final = _words("first last full given family middle maiden nick sur fore second legal preferred")
_NAMES: Final = _words(
    "firstname lastname fullname givenname familyname middlename surname forename nickname username login displayname "
    "realname screenname fname lname"
)
#: Things that have names of their own.
_THINGS: Final = _words(
    "repository repo product plan price item line event pipeline stage status state type category tag label file field "
    "property attribute option currency country language project task board list column workspace team organization "
    "organisation company app application integration source channel template campaign form branch workflow job step "
    "action service sku variant collection discount coupon tax unit metric feature subscription package role "
    "permission group queue topic folder document deal opportunity vendor account store shop location warehouse"
)
_PERSONAL_SIBLINGS: Final = _words(
    "email phone mobile firstname lastname first_name last_name birthdate gender email_address phone_number"
)

_PHONES: Final = _words("phone phones telephone mobile cell cellphone fax tel msisdn whatsapp")
_ADDRESS: Final = _words("address addresses")
_NO_POSTAL: Final = _words("email mail ip mac web url wallet memory ipv4 ipv6 site website")
_POSTAL: Final = _words("street streets street1 street2 zip zipcode postcode postalcode city town suburb")
#: What stands in an address and tells nobody where.
_IN_ADDRESS: Final = _words("country countrycode type id kind object created updated default primary label")
_IDENTITY: Final = _words("ssn passport iban bic taxid vatid nationalid")


def words_of(key: str) -> tuple[str, ...]:
    """Split a key into its words: `firstName`, `first_name` and `FIRST-NAME` are the same."""
    return tuple(word.lower() for word in _WORD.findall(key[:200]))


def kind_of_value(parents: Sequence[str], key: str, value: Json, siblings: Mapping[str, Json]) -> Kind | None:
    """Say what a leaf holds by its key, those it stands under, and those beside it; None if they say nothing.

    `parents`: the keys above, outermost first.
    """
    words = words_of(key)
    if not words or isinstance(value, bool) or value is None:
        return None
    above = words_of(parents[-1]) if parents else ()
    if _is_secret(words):
        return "secret"
    if _is_postal(words, parents) or _is_phone(words) or "".join(words) in _IDENTITY or words[-1] in _IDENTITY:
        return "shape"
    if isinstance(value, str) and _is_name(words, above, value, siblings):
        return "name"
    return None


def _is_secret(words: tuple[str, ...]) -> bool:
    if words[-1] in _ABOUT:
        return False
    if words[-1] == "key" and (len(words) > 1 and words[-2] in _SECRET_KEYS):
        return True
    return not _SECRET_WORDS.isdisjoint(words) or "".join(words) in _SECRET_WORDS


def _is_phone(words: tuple[str, ...]) -> bool:
    return words[-1] in _PHONES or (words[-1] == "number" and len(words) > 1 and words[-2] in _PHONES)


def _is_postal(words: tuple[str, ...], parents: Sequence[str]) -> bool:
    if "".join(words) in _POSTAL or not _POSTAL.isdisjoint(words) or words[-2:] == ("postal", "code"):
        return True
    if _names_address(words):
        return True
    inside = any(_names_address(words_of(parent)) for parent in parents)
    return inside and "".join(words) not in _IN_ADDRESS and not {"name", "email"} & set(words)


def _names_address(words: tuple[str, ...]) -> bool:
    """Whether it is an address, or a line of one: `address_line1`, `billingAddress`, `address2`."""
    return not _ADDRESS.isdisjoint(words) and _NO_POSTAL.isdisjoint(words)


def _is_name(words: tuple[str, ...], above: tuple[str, ...], value: str, siblings: Mapping[str, Json]) -> bool:
    if "".join(words) in _NAMES or (words[-1] == "name" and not _NAME_PARTS.isdisjoint(words)):
        return True
    if words[-1] == "name" and len(words) > 1 and (words[-2] in _PERSON or words[-2] in {"user", "display", "real"}):
        return True
    if words == ("name",):
        if not _PERSON.isdisjoint((*above[-1:], *map(_singular, above[-1:]))) or not _PERSONAL_SIBLINGS.isdisjoint(
            map(str.lower, siblings)
        ):
            return True
        return _THINGS.isdisjoint(_singular(word) for word in above) and _looks_like_a_name(value)
    # `contact: Ada Lovelace`, `created_by: Ada Lovelace`.
    return (words[-1] in _PERSON or words[-1] == "by") and _looks_like_a_name(value)


def _singular(word: str) -> str:
    if word.endswith("ies"):
        return f"{word[:-3]}y"
    return word if word == "status" else word.removesuffix("s")


def _looks_like_a_name(value: str) -> bool:
    """Whether it is a few words of letters, each with a capital or in a script without."""
    words = value.replace(".", " ").replace(",", " ").split()
    return 1 <= len(words) <= 5 and all(
        word.replace("-", "").replace("'", "").replace("\N{RIGHT SINGLE QUOTATION MARK}", "").isalpha()
        and (word[0].isupper() or word in _PARTICLES or not word[0].islower())
        and (not word.isupper() or len(word) < 3 or not word.isascii())
        for word in words
    )


_PARTICLES: Final = _words("van von de der den del della da di du la le bin ibn al el y e zu af")
