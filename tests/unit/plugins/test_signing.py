"""Signatures, against the vectors that the specification and its libraries publish."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from hookline.plugins.signing import Signer, signature_headers

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
SIGNED = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
MESSAGE = ("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')


@pytest.mark.parametrize("secret", [SECRET, SECRET.removeprefix("whsec_")])
def test_published_vector(secret: str) -> None:
    assert Signer(secret).sign(*MESSAGE) == SIGNED


def test_svix_vector() -> None:
    body = b'{"event_type":"ping","data":{"success":true}}'
    signed = Signer("whsec_plJ3nmyCDGBKInavdOK15jsl").sign("msg_loFOjxBNrRLzqYUf", 1731705121, body)
    assert signed == "v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0="


def test_ed25519_verifies_with_the_public_key() -> None:
    import base64

    key = Ed25519PrivateKey.generate()
    secret = base64.b64encode(key.private_bytes_raw() + key.public_key().public_bytes_raw()).decode()
    version, _, signature = Signer(f"whsk_{secret}").sign(*MESSAGE).partition(",")
    assert version == "v1a"
    key.public_key().verify(base64.b64decode(signature), b"%s.%d.%s" % (MESSAGE[0].encode(), *MESSAGE[1:]))


def test_rotation_signs_with_each() -> None:
    other = "whsec_plJ3nmyCDGBKInavdOK15jsl"
    headers = signature_headers([SECRET, other], MESSAGE[0], datetime.fromtimestamp(MESSAGE[1], UTC), MESSAGE[2])
    assert headers == {
        "webhook-id": MESSAGE[0],
        "webhook-timestamp": "1614265330",
        "webhook-signature": f"{SIGNED} {Signer(other).sign(*MESSAGE)}",
    }


@pytest.mark.parametrize("secret", ["", "short", "whsec_", "whsec_c2hvcnQ=", "pass word!", "whsk_c2hvcnQ=", "é" * 40])
def test_a_bad_secret_is_refused_without_being_shown(secret: str) -> None:
    with pytest.raises(ValueError, match="in base64") as caught:
        Signer(secret)
    assert len(secret) < 7 or secret not in str(caught.value)
