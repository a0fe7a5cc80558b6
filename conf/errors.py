"""What is raised for a mistake in the settings or arguments."""


class ConfigError(ValueError):
    """An invalid setting: the message names the setting, its value and what would be valid."""
