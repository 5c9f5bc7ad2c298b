"""The providers that come with the package, one wire a module. They know the engine, never the notebook."""
