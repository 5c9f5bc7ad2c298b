"""The failover engine: the standard library alone; no notebook, no pandas, no HTTP."""

builtin_providers: dict[str, str] = {}
"""Providers that every registry knows: name -> ``module:factory``, the factory called with the name.

Filled once by the package's ``__init__``, so that the engine imports no provider.
"""
