"""CustomResourceDefinitions: read as resources (model), checked (rules, structural), named and served (names)."""
