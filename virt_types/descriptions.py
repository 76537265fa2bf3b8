"""What the API's types and main fields mean, in our words, keyed `Type` or `Type.wireName`.

Read by the CRDs' schemas (and so by `kubectl explain`) and by tools/generate_types.py for the classes' docstrings.
"""

from __future__ import annotations

DESCRIPTIONS: dict[str, str] = {}
