"""The VirtualMachine loop: from a VM's run strategy and its VMI to what has to happen."""
