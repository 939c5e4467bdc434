"""Shared by the tests and the shipped cases."""

pytest_plugins = ["pytester"]
