"""What a server allows a request, and how it gathers batches."""

from __future__ import annotations

from dataclasses import dataclass

from .option_checks import Check, at_least_one, check_options

# What waits longer than a thread can fails.
YEAR = 365 * 86_400


@dataclass(frozen=True, kw_only=True)
class ServeOptions:
    """Limits and batches of a server.

    batch_size (int): Most texts that the pipeline gets at once.
    wait (float): Seconds that a text waits for others to share its batch.
    queue (int): Most texts that wait for the pipeline.
    max_bytes (int): Of the body of a request.
    max_texts (int): Of a request.
    max_characters (int): Of a text.
    timeout (float): Seconds from the head of a request to its answer.
    """

    batch_size: int = 32
    wait: float = 0.005
    queue: int = 1024
    max_bytes: int = 2**20
    max_texts: int = 128
    max_characters: int = 100_000
    timeout: float = 30.0

    def check(self) -> None:
        """Refuse what no server can do.

        RAISES (UsageError): S507.
        """
        check_options(
            batch_size=at_least_one(self.batch_size),
            max_bytes=at_least_one(self.max_bytes),
            max_texts=at_least_one(self.max_texts),
            max_characters=at_least_one(self.max_characters),
            queue=Check(self.queue, self.queue >= self.max_texts, "max_texts or more, or no full request would fit"),
            timeout=Check(self.timeout, 0 < self.timeout <= YEAR, "more than 0 seconds, and a year at most"),
            wait=Check(self.wait, 0 <= self.wait < self.timeout, "0 seconds or more, and less than timeout"),
        )
