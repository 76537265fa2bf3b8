"""Group pool.kubevirt.io."""
