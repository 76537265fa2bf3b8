"""Container disks: images from a registry or an OCI layout, reduced to the disk files they carry."""
