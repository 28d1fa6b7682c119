"""What is said to people while they wait: on stderr, and only where somebody reads it."""
import os
import sys

from perigee._compat import monotonic, native
from perigee._lost import TimedOut
from perigee._transport import Bounds
from perigee.errors import PerigeeError

#: A wait shorter than this is not explained.
EXPLAIN_AFTER_SECONDS = 1.0
#: Between two looks at the reason.
EXPLAIN_EVERY_SECONDS = 2.0
#: The wait is not held up for longer by asking.
ASK_SECONDS = 1.0
#: The bar is drawn at most so often.
DRAW_EVERY_SECONDS = 0.1
BAR_CELLS = 24

_CLEAR_LINE = '\r\x1b[K'


def is_shown(stream):
    """Whether somebody reads the stream: a terminal, or ``PERIGEE_PROGRESS=1``."""
    told = os.environ.get('PERIGEE_PROGRESS')
    if told:
        return told != '0'
    return _is_terminal(stream)


class Reason(object):
    """Says after a second why a task is not done yet, and again when the reason changes.

    Attributes
    ----------
    next_at : float
        When `tick` is due, by `monotonic`.
    """

    def __init__(self, explain):
        """``explain``: called with `Bounds` for the sentence; may raise `PerigeeError` and `TimedOut`."""
        self.next_at = monotonic() + EXPLAIN_AFTER_SECONDS
        self._explain = explain
        self._stream = sys.stderr
        self._on_terminal = _is_terminal(self._stream)
        self._last = ''

    def tick(self, deadline=None):
        """Asks for the reason, once and until the deadline, and shows it."""
        until = monotonic() + ASK_SECONDS
        try:
            bounds = Bounds(until if deadline is None else min(until, deadline), tries_once=True)
            sentence = native(self._explain(bounds) or '')
        except (PerigeeError, TimedOut):
            # The wait itself will meet what is wrong, and has more to say about it.
            sentence = ''
        self.next_at = monotonic() + EXPLAIN_EVERY_SECONDS
        if not sentence or sentence == self._last:
            return
        self._last = sentence
        self._stream.write(_CLEAR_LINE + sentence if self._on_terminal else sentence + '\n')
        self._stream.flush()

    def end(self):
        """Removes what was shown, where that is possible."""
        if self._last and self._on_terminal:
            self._stream.write(_CLEAR_LINE)
            self._stream.flush()


class Bar(object):
    """A progress bar on a terminal; elsewhere a line for every tenth.

    Parameters
    ----------
    total : int
        Number of tasks.
    label : str
        What they are, for example the name of the group.
    """

    def __init__(self, total, label='tasks'):
        self._total = total
        self._label = label
        self._stream = sys.stderr
        self._on_terminal = _is_terminal(self._stream)
        self._began_at = monotonic()
        self._drawn_at = 0.0
        self._done = 0
        self._failed = 0
        self._tenths = 0

    def add(self, is_success):
        """Counts one task that has ended."""
        self._done += 1
        self._failed += 0 if is_success else 1
        if self._on_terminal:
            now = monotonic()
            if now - self._drawn_at >= DRAW_EVERY_SECONDS or self._done == self._total:
                self._drawn_at = now
                self._stream.write(_CLEAR_LINE + self._cells() + self._line())
                self._stream.flush()
        elif self._done * 10 // self._total > self._tenths:
            self._tenths = self._done * 10 // self._total
            self._stream.write(self._line() + '\n')
            self._stream.flush()

    def end(self):
        """Leaves the last state of the bar on a line of its own."""
        if self._on_terminal and self._done:
            self._stream.write(_CLEAR_LINE + self._cells() + self._line() + '\n')
            self._stream.flush()

    def _cells(self):
        full = self._done * BAR_CELLS // self._total
        return '[' + '#' * full + '.' * (BAR_CELLS - full) + '] '

    def _line(self):
        elapsed = max(monotonic() - self._began_at, 1e-6)
        rate = self._done / elapsed
        parts = ['%s %d%% %s/%s' % (self._label, self._done * 100 // self._total,
                                    _grouped(self._done), _grouped(self._total))]
        if self._failed:
            parts.append('%s failed' % _grouped(self._failed))
        parts.append('%.3g/s' % rate if rate < 1000 else '%s/s' % _grouped(int(rate)))
        if self._done < self._total:
            parts.append('eta %.0f s' % ((self._total - self._done) / rate))
        return ' | '.join(parts)


def say_interrupted(tasks):
    """Says that the tasks go on, how to find them again and how to end them.

    Parameters
    ----------
    tasks : list of FutureTask
        Those that are not known to be done.
    """
    if not tasks:
        return
    first = tasks[0]
    if len(tasks) == 1:
        lines = ['Interrupted. The task goes on.',
                 "  find it again: FutureTask('%s', '%s').result" % (first.guid, first.tuid),
                 '  cancel it:     scripts/perigee cancel %s' % first.tuid]
    else:
        lines = ['Interrupted. %s tasks go on.' % _grouped(len(tasks)),
                 "  find one again: FutureTask('%s', '%s').result" % (first.guid, first.tuid)]
        for group_id in sorted(set(task.guid for task in tasks)):
            lines.append('  cancel them:    scripts/perigee cancel %s' % group_id)
    _say(lines)


def say_submission_interrupted(group_id, count):
    """The same, for a `map` that was interrupted before it had handed out its tasks."""
    _say(['Interrupted. At least %s tasks were submitted and go on.' % _grouped(count),
          '  see them:    scripts/perigee tasks --group %s' % group_id,
          '  cancel them: scripts/perigee cancel %s' % group_id])


def say_build_interrupted(digest, name):
    """The same, for a wait for an image that is being made."""
    _say(['Interrupted. The image %s is being made all the same.' % name,
          '  see it:    scripts/perigee image show %s --log' % digest[:19],
          '  use it:    make the function again'])


def _say(lines):
    sys.stderr.write(''.join('%s\n' % line for line in [''] + lines))
    sys.stderr.flush()


def _grouped(number):
    return '{:,}'.format(number)


def _is_terminal(stream):
    try:
        return stream.isatty()
    except (AttributeError, ValueError):
        return False
