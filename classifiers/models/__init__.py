"""Manifests of the models that are shipped, one TOML file each; ``registry`` reads them."""
