"""The one-machine cluster's memory: an append-only log of object revisions on SQLite, and who watches it.

store.py       Store: what the API server uses; current objects, guarded writes, history, watches
log.py         the SQLite file: one writer thread with group commit, readers
compaction.py  history forgotten in slices, between the commits
transactions.py  BEGIN and COMMIT for both
watch.py       Change and Watch: bounded queues of what happened
"""

from virt_local.store.store import Store
from virt_local.store.watch import Change, Key, Record, Watch

__all__ = ["Change", "Key", "Record", "Store", "Watch"]
