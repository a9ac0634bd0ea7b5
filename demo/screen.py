"""What the demo shows while it runs: lines that stay and, on a terminal, below them what happens at this moment.

Nothing here is ever given a secret value.
"""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from demo.application import Application
from demo.rotations import STEPS

_INDENT = 2
_BAR_WIDTH = 16


def standard_output() -> Screen:
    """A screen on standard output, whatever that is: a terminal, a pipe, a file."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # where there is no ✓ a ? stands, and the demo goes on
    return Screen(Console(highlight=False, markup=False, emoji=False))


def duration(seconds: float) -> str:
    """A duration for a person."""
    return f"{seconds * 1000:.0f} ms" if seconds < 0.9995 else f"{seconds:.1f} s"


class Screen:
    """Lines and tables, one below the other."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = console.is_terminal and not console.is_dumb_terminal

    def title(self, name: str, promise: str) -> None:
        """What all this is."""
        self._console.print()
        self._console.print(Text.assemble((name, "bold"), (f" · {promise}", "dim")))

    def chapter(self, title: str, explanation: str) -> None:
        """A heading, and what is about to happen."""
        self._console.print()
        self._console.print(Text(title, style="bold cyan"))
        self.show(Text(explanation, style="dim"))

    def show(self, *renderables: RenderableType) -> None:
        """Print, a little to the right; an empty text is an empty line."""
        for renderable in renderables:
            self._console.print(Padding(renderable, (0, 0, 0, _INDENT), expand=False) if renderable else "")

    def commands(self, lines: Sequence[str]) -> None:
        """Lines to copy: not folded by us, so that each is one line where it is pasted."""
        self._console.print()
        for line in lines:
            self._console.print(Text(" " * _INDENT + line), soft_wrap=True)

    @contextmanager
    def doing(self, what: str) -> Iterator[Callable[[str], None]]:
        """While it lasts, say `what`; when it has ended, what the function was told, and how long it took."""
        told: list[str] = []
        began = time.monotonic()
        spinner = Spinner("dots", Text(what), style="cyan")
        with self._meanwhile(lambda: spinner):
            yield told.append
        took = Text(f"  {duration(time.monotonic() - began)}", style="dim")
        self.show(_line(Text("✓", style="green"), Text(told[-1] if told else what) + took))

    @contextmanager
    def rotating(self, application: Application, total: int) -> Iterator[Rotating]:
        """While it lasts, the rotation that runs, a bar, and the application's count."""
        rotating = Rotating(self, application, total)
        with self._meanwhile(rotating.render):
            yield rotating
        self.show(_line(Text("✓", style="green"), Text.assemble("meanwhile the application: ", rotating.count())))

    @contextmanager
    def _meanwhile(self, render: Callable[[], RenderableType]) -> Iterator[None]:
        def indented() -> RenderableType:
            return Padding(render(), (0, 0, 0, _INDENT))

        live = Live(get_renderable=indented, console=self._console, transient=True, refresh_per_second=12)
        with live if self._live else nullcontext():
            yield


class Rotating:
    """The rotations of one secret: a line each."""

    def __init__(self, screen: Screen, application: Application, total: int) -> None:
        self._screen = screen
        self._application = application
        self._total = total
        self._number = 0
        self._reached: dict[str, float] = {}

    def begin(self) -> None:
        """The next rotation was asked for."""
        self._number += 1
        self._reached = {}

    def reach(self, step: str, at: float) -> None:
        """A step is done, so many seconds after the rotation began; the last one completes the line."""
        self._reached[step] = at
        if step == STEPS[-1]:
            self._screen.show(_line(Text("✓", style="green"), self._story()))

    def count(self) -> Text:
        """What the application met so far."""
        failed = self._application.failed
        text = Text(f"{self._application.logins} logins")
        return text + Text(" · ", style="dim") + Text(f"{failed} refused", style="yellow" if failed else "green")

    def render(self) -> RenderableType:
        """What happens at this moment."""
        running = self._number > 0 and len(self._reached) < len(STEPS)
        ended = self._number - running
        steps = ended * len(STEPS) + (len(self._reached) if running else 0)
        bar = ProgressBar(total=self._total * len(STEPS), completed=steps, width=_BAR_WIDTH, complete_style="cyan")
        counts = Text.assemble(f"{ended}/{self._total} rotations", (" · ", "dim"), self.count())
        below = _line(bar, counts)
        return Group(_line(Text("›", style="cyan"), self._story()), below) if running else below

    def _story(self) -> Text:
        """Its steps in order: those that are done, the one that is under way, those to come."""
        story = Text(f"{self._number}  ", style="dim")
        for place, step in enumerate(STEPS):
            words = Text(" · " if place else "", style="dim")
            if step in self._reached:
                words.append(self._with_time(step), style="not dim")
            elif place == len(self._reached):
                words.append(f"{step} …", style="not dim cyan")
            else:
                words.append(step)
            story.append_text(words)
        return story

    def _with_time(self, step: str) -> str:
        if step == "finished":
            return f"finished in {duration(self._reached[step])}"
        if step == "old one retired":
            return f"old one retired {duration(self._reached[step] - self._reached['finished'])} later"
        return step


def _line(mark: RenderableType, text: Text) -> Table:
    """A mark, and text that is folded beside it where the terminal is narrow."""
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_row(mark, text)
    return grid
