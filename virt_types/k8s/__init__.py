"""Types borrowed from Kubernetes itself."""
