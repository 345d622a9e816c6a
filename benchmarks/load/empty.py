"""A service that says the same 20 items to everybody: what HTTP alone costs, on the server that Headrace runs on.

python -m load.empty
"""

from __future__ import annotations

from litestar import Litestar, get
from litestar.params import FromPath

from headrace.app.listening import BACKLOG, address_of, listen, run_until_stopped
from headrace.core.types import Recommendation
from headrace.serving.questions import Given

LIST = Given(
    "0" * 32, "model-1", 123_456, "2026-11-28T12:00:00.000000Z",
    [Recommendation(f"item-{place}", 3.21 - place / 7, "next") for place in range(20)],
)  # fmt: skip


@get("/v1/users/{user_id:str}/recommendations")
async def recommend(user_id: FromPath[str]) -> Given:
    """Answer."""
    return LIST


def main() -> None:
    """Listen on a free port until stopped."""
    bound = listen("127.0.0.1", 0)
    bound.listen(BACKLOG)
    print(f"listening on {address_of(bound)};", flush=True)
    run_until_stopped(Litestar([recommend], openapi_config=None, logging_config=None), bound, lambda: None)


if __name__ == "__main__":
    main()
