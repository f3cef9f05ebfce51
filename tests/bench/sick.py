"""A destination that takes connections and answers late, or never. Prints its port."""

from __future__ import annotations

import asyncio
import math
import sys


async def serve(answers_after_s: float) -> None:
    """Listen until ended."""

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.read(65536):
                if answers_after_s < math.inf:
                    await asyncio.sleep(answers_after_s)
                    writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
                    await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(take, "127.0.0.1", 0, backlog=512)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(math.inf if sys.argv[1] == "never" else float(sys.argv[1])))
