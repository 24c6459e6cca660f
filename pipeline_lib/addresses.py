"""Addresses with a password in them: shown and stored without it, connected to with it."""

import os
import re

# Up to the last @ before the path; or, where a password holds a slash, after something that is no port.
_USER = re.compile(r"\b([a-z][a-z0-9+.-]*)://(?:[^\s/?#\"'<>]*|[^\s/?#\"'<>:@]+:(?!\d*[/?#])[^\s\"'<>]*)@", re.IGNORECASE)
_NAMES = r"token(?!s)|key|secret|passw|pwd|signature|sig|auth|credential"
_SECRET = re.compile(rf"([?&;][\w.-]*(?:{_NAMES})[\w.-]*=)[^\s&#;\"'<>]+", re.IGNORECASE)
_REMOVED = "***"

_full: dict[str, str] = {}


def without_password(text: str) -> str:
    """An address, or every address in a text, without user and password; of a database the user stays.

    Values of parameters that are secrets by their name (token, key, password, signature …) become ***.
    """
    return _SECRET.sub(rf"\g<1>{_REMOVED}", _USER.sub(_without_user, text)) if "://" in text or "=" in text else text


def _without_user(found: re.Match[str]) -> str:
    scheme = found[1]
    user = found[0].removeprefix(f"{scheme}://").rstrip("@").partition(":")[0]
    # To a web server a token may go as the user; a database cannot be reached without naming one.
    return f"{scheme}://" + ("" if scheme.lower().startswith("http") or not user else f"{user}@")


def remember_address(address: str) -> str:
    """Keep an address in this process for `full_address` and return what may be shown and stored of it."""
    shown = without_password(address)
    if shown != address:
        _full[shown] = address
    return shown


def full_address(shown: str) -> str:
    """The address with its password: as this process was given it, or as MLFLOW_TRACKING_URI holds it; else as it is."""
    environment = os.environ.get("MLFLOW_TRACKING_URI", "")
    return _full.get(shown) or (environment if without_password(environment) == shown else shown)


def remember_settings(settings: list[str]) -> list[str]:
    """The same for settings, each section.key=value."""
    return [f"{key}{equals}{remember_setting(value)}" for key, equals, value in (each.partition("=") for each in settings)]


def remember_setting(value: str) -> str:
    """The same for a value as it stands in TOML, in quotes or without."""
    quote = value[0] if len(value) > 1 and value[0] in "\"'" and value[-1] == value[0] else ""
    return f"{quote}{remember_address(value[1:-1])}{quote}" if quote else remember_address(value)
