"""Volumes of a VMI made ready on this node: each kind in its module, chosen in `prepare`."""
