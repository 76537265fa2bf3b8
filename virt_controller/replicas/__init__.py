"""The VirtualMachineInstanceReplicaSet loop: keeps a number of interchangeable VMIs."""
