"""What each built-in kind asks for beyond its fields' types: defaults, rules, what may not change.

A module for each family of kinds; `virt_local.apiserver.rules` is the table of them. `prepare` functions default in
place, `causes` functions say what is wrong; both get the object and the stored one (None on create).
"""
