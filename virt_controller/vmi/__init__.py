"""The VMI loop: places what waits for a node, and lets go of what was never placed or has lost its VM."""
