"""Builds the images on a machine without a registry or a daemon, and tries them as they would be run."""
