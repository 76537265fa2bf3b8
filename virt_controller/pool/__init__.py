"""The VirtualMachinePool loop: keeps a number of numbered VMs, each with disks of its own."""
