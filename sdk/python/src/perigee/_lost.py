"""Why an exchange with the coordinator came to nothing. Neither of these leaves the package."""


class ConnectionLost(Exception):
    """The connection broke, could not be made, or fell silent."""


class TimedOut(Exception):
    """The caller's own deadline has passed."""
