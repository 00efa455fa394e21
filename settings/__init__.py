"""Every setting with its check and default; imported by the composition roots only."""

from settings.fields import Keyring
from settings.settings import Settings, SettingsError, load_settings
from settings.signing import PayoutSigner, PayoutSigning
from settings.stellar import StellarNetwork

__all__ = [
    "Keyring",
    "PayoutSigner",
    "PayoutSigning",
    "Settings",
    "SettingsError",
    "StellarNetwork",
    "load_settings",
]
