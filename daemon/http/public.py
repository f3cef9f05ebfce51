"""What the public listener answers besides /hooks: that it is alive, and nothing about itself."""

from __future__ import annotations

from quart import Quart, Response, jsonify
from werkzeug.exceptions import HTTPException


def public_application() -> Quart:
    """Return the application behind the receiver."""
    app = Quart("hookline.public", static_folder=None, template_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = 4096

    @app.get("/healthz")
    async def healthz() -> Response:
        return jsonify(status="ok")

    app.register_error_handler(HTTPException, _http_error)
    return app


async def _http_error(error: HTTPException) -> tuple[Response, int]:
    status = error.code or 500
    response = jsonify(status=status, title=error.name, detail=error.description or "")
    response.content_type = "application/problem+json"
    return response, status
