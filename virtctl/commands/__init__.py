"""One module per command: its function `command` (typer reads its signature) and its EXAMPLES."""
