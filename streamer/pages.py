"""The demo page on `/` and the files that it and every embedding page load from `/static`."""

from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

#: Beside this package, in a checkout and in an installed wheel alike.
STATIC = Path(__file__).parent.parent / "static"


class Files(StaticFiles):
    """Asks browsers to ask again each time, by ETag: modules of two versions must not meet in one page."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["cache-control"] = "no-cache"
        return response


async def index(request: Request) -> FileResponse:
    return FileResponse(STATIC / "index.html", headers={"cache-control": "no-cache"})


routes: list[BaseRoute] = [
    Route("/", index, methods=["GET"]),
    Mount("/static", Files(directory=STATIC, check_dir=False)),
]
