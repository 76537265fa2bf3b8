"""Types of the Containerized Data Importer that VirtualMachines embed."""
