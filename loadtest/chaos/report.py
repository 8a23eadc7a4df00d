"""The table of a chaos run, and whether anything in it is a failure."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from loadtest.chaos.figures import Figures
from loadtest.chaos.rounds import Round

_HEAD = (
    "| fault | times | answers by status, from its beginning until all is well | longest until an answer | "
    "well again after: median, longest | acknowledged | lost | wrong | unexpected |"
)


@dataclass(frozen=True, slots=True)
class Report:
    """A whole run.

    Attributes:
        rounds: in their order.
        before: the service before the first fault.
        left: sentences for what the end of the service left behind.
        skipped: names of faults that this machine or stack does not allow.
    """

    rounds: Sequence[Round]
    before: Figures
    left: Sequence[str]
    skipped: Sequence[str]

    @property
    def failures(self) -> list[str]:
        """A sentence for each."""
        found = [
            f"{each.fault.name}: {sentence}"
            for each in self.rounds
            for sentence in (*each.lost, *each.wrong, *each.exchanges.unexpected)
        ]
        if self.rounds:
            found += [f"leaked: {sentence}" for sentence in self.before.leaks(self.rounds[-1].figures)]
        return [*found, *self.left]

    def text(self) -> str:
        """Markdown."""
        lines = [_HEAD, "|" + " --- |" * _HEAD.count(" | ") + " --- |"]
        names = dict.fromkeys(each.fault.name for each in self.rounds)
        lines += [_line(name, [each for each in self.rounds if each.fault.name == name]) for name in names]
        lines.append(_line("all", self.rounds))
        lines += ["", f"Before: {self.before}."]
        if self.rounds:
            lines.append(f"After: {self.rounds[-1].figures}.")
        if self.skipped:
            lines.append(f"Not possible here: {', '.join(self.skipped)}.")
        times = Counter(self.failures).items()
        lines += (
            ["", *(f"- {sentence} ({number} times)" for sentence, number in times)]
            if times
            else ["", "Nothing failed."]
        )
        return "\n".join(lines)


def _line(name: str, rounds: Sequence[Round]) -> str:
    statuses: Counter[int] = sum((each.exchanges.statuses for each in rounds), Counter())
    told = ", ".join(f"{status or 'none'}: {times:,}" for status, times in sorted(statuses.items()))
    recovery = [each.recovery_s for each in rounds]
    cells = [
        name,
        str(len(rounds)),
        told,
        f"{max((each.exchanges.longest_s for each in rounds), default=0):.1f} s",
        f"{statistics.median(recovery):.1f} s, {max(recovery):.1f} s" if recovery else "",
        f"{sum(each.writes for each in rounds):,}",
        str(sum(len(each.lost) for each in rounds)),
        str(sum(len(each.wrong) for each in rounds)),
        str(sum(len(each.exchanges.unexpected) for each in rounds)),
    ]
    return "| " + " | ".join(cells) + " |"
