"""The failover engine: the standard library alone; no notebook, no pandas, no HTTP."""

builtin_providers: dict[str, str] = {}
"""Providers that every registry knows: name -> ``module:factory``, the factory called with the name.

Filled once by the package's ``__init__``, so that the engine imports no provider.
"""

provider_sources: dict[str, str] = {}
"""Where registries look for a name before they look at the built-in ones: what the source is called ->
``module:function``, the function called at each look and returning what makes each provider, by name.

Filled once, likewise.
"""

alias_sources: dict[str, str] = {}
"""Where registries look for a name without a slash that is no alias of their own: what the source is called
-> ``module:function``, the function called at each look and returning what each name stands for.

Filled once, likewise.
"""

withheld_sources: dict[str, str] = {}
"""Where registries look for a name that nobody knows: what the source is called -> ``module:function``, the
function called at each look and returning, by name, where it is defined and why it does not count.

Filled once, likewise.
"""
