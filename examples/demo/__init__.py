"""The demonstration `./run demo` runs, and the small guest it boots. Nothing in the product imports this."""
