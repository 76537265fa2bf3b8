"""The Kubernetes API of the one-machine cluster.

A request walks: routing (what is asked) -> authn, authz (who asks) -> pipeline (reads, writes, deletes, watches)
-> store. The HTTP face (`http.py`) and the in-process client (`virt_local/inprocess.py`) share everything from
the pipeline down.
"""
