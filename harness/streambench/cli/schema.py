"""`streambench schema`: what an editor needs to complete and check a scenario file."""

from __future__ import annotations

import json

import click


@click.command("schema")
def command() -> None:
    """Print the JSON Schema of the scenario file.

    \b
    Example, for editors that speak the YAML language server's comment:
      streambench schema > scenario.schema.json
      # yaml-language-server: $schema=scenario.schema.json
    """
    from streambench.load.schema import scenario_schema

    click.echo(json.dumps(scenario_schema(), indent=2))
