"""`keywheel serve`: the server."""

from __future__ import annotations

import sys
from typing import Any

import click

from keywheel.cli.asking import ask
from keywheel.config import load_settings


@click.command()
@click.option("--data", metavar="DIR", help="The data directory.  [default: keywheel-data]")
@click.option("--host", help="The address to listen on.  [default: 127.0.0.1]")
@click.option("--port", type=int, help="The port to listen on; 0 takes a free one.  [default: 8200]")
@click.option("--workers", type=int, metavar="N", help="API processes.  [default: 1]")
@click.option("--role", type=click.Choice(["all", "api", "engine"]), help="What this server does.  [default: all]")
@click.option("--database", metavar="URL", help="postgresql://… or sqlite:///PATH.  [default: DIR/keywheel.db]")
@click.option("--root-key-file", metavar="FILE", help="Where the root key is.  [default: DIR/root.key]")
@click.option("--passphrase-file", metavar="FILE", help="The root key's passphrase, where it has one.")
@click.option("--tls-cert", metavar="FILE", help="The server's certificate chain (PEM).")
@click.option("--tls-key", metavar="FILE", help="The certificate's private key (PEM).")
@click.option("--allow-plaintext", is_flag=True, default=None, help="Serve other machines without TLS.")
@click.option("--lambda-endpoint", metavar="URL", help="Speaks Lambda's Invoke, for functions of your own.")
@click.option("--lambda-credentials", metavar="FILE", help="AWS credentials file to sign those calls with.")
@click.option("--xks", is_flag=True, default=None, help="Be an external key store proxy of AWS KMS, too.")
@click.option("--xks-file", metavar="FILE", help="Who may call that, and its keys.  [default: DIR/xks.toml]")
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    help="The least severe line to log.  [default: info]",
)
def serve(**options: Any) -> None:
    """Run the API and the rotation engine until SIGTERM.

    Every option may also stand in DIR/keywheel.toml or in the environment as KEYWHEEL_<OPTION>.
    """
    from keywheel import server

    settings = load_settings(options)
    sys.exit(server.serve(settings, ask))
