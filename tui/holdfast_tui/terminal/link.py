"""An app that knows its terminal: what is sent there as it is."""

from __future__ import annotations

from textual.app import App


class Linked(App[int]):
    """An app with a line to its terminal."""

    def send(self, text: str) -> None:
        """Send to the terminal what is no frame, such as a sequence for its clipboard; nothing where there is none."""
        if self._driver is not None and not self.is_headless:
            self._driver.write(text)
            self._driver.flush()
