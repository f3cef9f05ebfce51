"""Whom a request trusts, and which certificate it shows."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field, model_validator


def _check_file(path: str) -> str:
    # Relative to what? An option does not know where the configuration lies.
    if not path.startswith("/"):
        raise ValueError("write the whole path, such as /etc/hookline/ca.pem")
    return path


_File = Annotated[str, AfterValidator(_check_file)]


class Tls(BaseModel, frozen=True):
    """Certificates for a destination, in PEM files that are read again when they change."""

    ca_file: _File | None = Field(default=None, description="Certificates to trust instead of the system's")
    cert_file: _File | None = Field(default=None, description="The certificate to show, with its chain")
    key_file: _File | None = Field(default=None, description="Its key, unencrypted; left out: it is in cert_file")

    @model_validator(mode="after")
    def _check_whole(self) -> Tls:
        if self.key_file is not None and self.cert_file is None:
            raise ValueError("key_file needs cert_file beside it")
        if self.ca_file is None and self.cert_file is None:
            raise ValueError("write ca_file, cert_file, or both")
        return self
