"""A trained model leaves the home: as a folder with its card, onto the hub, behind an OpenAI-compatible server."""
