"""The vendors whose subscriptions can be made, by source type."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from hookline.daemon.subscriptions import agave, agiled, hubspot, pipedrive, procore
from hookline.daemon.subscriptions.port import VendorKind

VENDORS: Final[Mapping[str, VendorKind]] = {
    "agave": agave.KIND,
    "agiled": agiled.KIND,
    "hubspot": hubspot.KIND,
    "pipedrive": pipedrive.KIND,
    "procore": procore.KIND,
}
