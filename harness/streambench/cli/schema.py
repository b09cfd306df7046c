"""`streambench schema`: what an editor needs to complete and check a scenario or a dialect file."""

from __future__ import annotations

import json

import click


@click.command("schema")
@click.argument("what", type=click.Choice(["scenario", "dialect"]), default="scenario")
def command(what: str) -> None:
    """Print the JSON Schema of scenario files or of dialect files.

    \b
    Example, for editors that use YAML Language Server:
      streambench schema > scenario.schema.json
      # yaml-language-server: $schema=scenario.schema.json
      streambench schema dialect > dialect.schema.json
    """
    if what == "dialect":
        from streambench.dialects.schema import dialect_schema

        schema = dialect_schema()
    else:
        from streambench.load.schema import scenario_schema

        schema = scenario_schema()
    click.echo(json.dumps(schema, indent=2))
