"""A mail server that writes down what it gets in /tmp/sink/mail; run by a Python that has aiosmtpd."""

import asyncio
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import SMTP


class Keep:
    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 - its name there
        with Path("/tmp/sink/mail").open("ab") as mail:  # noqa: ASYNC230 - nothing else goes on here
            mail.write(envelope.content)
        return "250 kept"


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(lambda: SMTP(Keep()), "127.0.0.1", 2525)
    await server.serve_forever()


asyncio.run(main())
