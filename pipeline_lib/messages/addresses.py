"""Addresses with a password in them: shown and stored without it, connected to with it."""

import os
import re

# Up to the last @ before the path; or, where a password holds a slash, after something that is no port. In a text an address ends
# with white space, quotes and brackets. Bounded, so that searching a text takes time linear in its length.
_SCHEME = r"(?<![a-z0-9+.-])([a-z][a-z0-9+.-]{0,30})://"
_BEFORE_AT = "(?:[^/?#{end}]{{0,2000}}|[^/?#:@{end}]{{1,200}}:(?!\\d{{0,9}}[/?#])[^{end}]{{0,2000}})@"
_USER = re.compile(_SCHEME + _BEFORE_AT.format(end=r"\s\"'<>"), re.IGNORECASE)
_USER_OF_ADDRESS = re.compile(_SCHEME + _BEFORE_AT.format(end=r"\s"), re.IGNORECASE)
_NAMES = r"token(?!s)|key|secret|passw|pwd|signature|sig|auth|credential"
_SECRET = re.compile(rf"([?&;][\w.-]{{0,40}}(?:{_NAMES})[\w.-]{{0,40}}=)[^\s&#;\"'<>]+", re.IGNORECASE)
_REMOVED = "***"

_full: dict[str, str] = {}


def without_password(text: str, is_address: bool = False) -> str:
    """Every address in a text, or the one that it is, without user and password; of a database the user stays.

    Values of parameters that are secrets by their name (token, key, password, signature …) become ***.
    """
    if "://" not in text and "=" not in text:
        return text
    users = _USER_OF_ADDRESS if is_address else _USER
    return _SECRET.sub(rf"\g<1>{_REMOVED}", users.sub(_without_user, text))


def _without_user(found: re.Match[str]) -> str:
    scheme = found[1]
    user = found[0].removeprefix(f"{scheme}://").rstrip("@").partition(":")[0]
    # To a web server a token may go as the user; a database cannot be reached without naming one.
    return f"{scheme}://" + ("" if scheme.lower().startswith("http") or not user else f"{user}@")


def remember_address(address: str) -> str:
    """Keep an address in this process for `full_address` and return what may be shown and stored of it."""
    shown = without_password(address, is_address=bool(re.match(_SCHEME, address, re.IGNORECASE)))
    if shown != address:
        _full[shown] = address
    return shown


def full_address(shown: str) -> str:
    """The address with its password: as this process was given it, or as MLFLOW_TRACKING_URI holds it; else as it is."""
    environment = os.environ.get("MLFLOW_TRACKING_URI", "")
    return _full.get(shown) or (environment if without_password(environment, is_address=True) == shown else shown)


def remember_settings(settings: list[str]) -> list[str]:
    """As `remember_address`, for settings, each section.key=value."""
    return [f"{key}{equals}{remember_setting(value)}" for key, equals, value in (each.partition("=") for each in settings)]


def remember_setting(value: str) -> str:
    """As `remember_address`, for a value as it stands in TOML, in quotes or without."""
    quote = value[0] if len(value) > 1 and value[0] in "\"'" and value[-1] == value[0] else ""
    return f"{quote}{remember_address(value[1:-1])}{quote}" if quote else remember_address(value)
