"""``migsim play``: a web page on this machine that plays simulated migrations."""

from __future__ import annotations

from typing import Annotated

import typer


def play(
    *,
    port: Annotated[int, typer.Option(help="TCP port on 127.0.0.1; 0 takes a free one.")] = 0,
    browser: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
) -> int:
    """Serve a page with controls for guest, bandwidth and mode, until interrupted."""
    from ..play import PlayServer

    with PlayServer(port) as server:
        typer.echo(f"The page is at {server.url} (Ctrl-C ends it).")
        if browser:
            import webbrowser

            webbrowser.open(server.url)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            typer.echo("")
    return 0
