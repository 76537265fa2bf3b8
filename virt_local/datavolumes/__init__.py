"""DataVolumes and DataSources of the one-machine cluster: what CDI does on a real one.

`controller` makes a claim for each DataVolume and says how far it is (`decide` holds the rules), `workers` fills claims
(`fill`), `sources` keeps DataSources true, `admission` decides who may copy what, `uploads` takes what users send.
"""
