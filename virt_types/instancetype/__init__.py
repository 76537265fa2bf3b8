"""Group instancetype.kubevirt.io."""
