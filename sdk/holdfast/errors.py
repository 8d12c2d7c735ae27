"""Everything that holdfast raises, in one tree.

    HoldfastError
    ├── ConfigError            holdfast.toml, an environment variable or an option is wrong
    ├── DefinitionError        a task or step is declared in a way that can't work
    │   ├── DuplicateTask      two tasks have the same id
    │   ├── SourceUnavailable  the source of a task can't be read or no longer fits the running code
    │   └── TaskImportError    a task module failed to import
    ├── PayloadError           a payload does not fit the task's signature
    ├── EncodeError            a value has no exact round trip (the step is volatile, a payload or result refused)
    ├── EventError             an event can't be filtered or mapped
    ├── UnknownTask            nobody serves or knows a task of this id
    ├── UnknownRun             no run of this id in the journal
    ├── RunStateError          the run's state does not allow what was asked
    ├── RunFailed              the awaited run ended without a result
    │   ├── ChildFailed        ... it was a child run, awaited by its parent
    │   └── RunWasCancelled    ... because it was cancelled
    ├── RunStuck               a run in a test waits for something that nobody does
    ├── TimedOut               an attempt or a step took longer than its timeouts allow
    ├── WaitTimeout            what was waited for did not come in time
    ├── UnknownToken           no run has asked for this token, or no access token has this id
    ├── TokenTaken             the token was completed before
    ├── TokenFailed            whoever completed the awaited token said that it failed
    ├── UnknownKey             the run has no checkpoint of this key
    ├── EditError              a recorded value can't be changed like that
    ├── HistoryError           a file holds no exported history, or a damaged one
    ├── UnknownSchedule        no schedule of this name
    ├── ScheduleTaken          the name of a schedule is that of another one, or it is not the operator's to change
    ├── UnknownSecret          no secret of this name, or no such version, or it can't be read here
    ├── SecretInUse            a version of a secret is pinned by runs in flight
    ├── UnknownWorker          no worker of this name is there
    ├── KeyTaken               a step's own key was used twice in a scope
    ├── CodeDiverged           the code took another way than the journal, and on_divergence is "fail"
    ├── RecordedError          stands for a recorded exception that can't be rebuilt as its own class
    ├── ConnectError           the server or the daemon can't be reached
    │   └── DaemonUnavailable  the server answers, the daemon does not
    ├── WorkerError            a worker process ended before it served anything
    ├── ServerError            the embedded nats-server can't start or is unfit
    ├── BusError               the bus refused or did not answer
    │   ├── Fenced             somebody else appended to the run since we looked: it is theirs now
    │   ├── TooLarge           the server takes no message of that size
    │   └── Unanswered         no answer in time: the outcome is unknown until it is read
    └── Refused                the daemon refused a request, with its reason
    Abort, RetryAfter, Snooze  raised by user code: what shall happen to this attempt

Each message says what was expected, what was found and what to do. Attributes keep the parts.
"""

from __future__ import annotations


class HoldfastError(Exception):
    """Anything that holdfast itself raises."""


class ConfigError(HoldfastError):
    """The configuration is wrong; the message names the key, the value and the nearest right one."""


class DefinitionError(HoldfastError):
    """A task or step is declared in a way that can't work; raised at import."""


class DuplicateTask(DefinitionError):
    """Two tasks have the same id."""


class SourceUnavailable(DefinitionError):
    """The source of a task can't be read, so its awaits can't become checkpoints."""


class TaskImportError(DefinitionError):
    """A task module failed to import."""


class PayloadError(HoldfastError):
    """A payload does not fit the task's signature; never retried."""


class EncodeError(HoldfastError):
    """A value can't be stored so that it comes back the same."""


class EventError(HoldfastError):
    """A filter or a map can't say what an event is for; its run goes to the dead letters with the event's bytes."""


class UnknownTask(HoldfastError):
    """No task of this id is known here."""


class UnknownRun(HoldfastError):
    """No run of this id is in the journal."""


class RunStateError(HoldfastError):
    """The run's state does not allow what was asked."""


class RunFailed(HoldfastError):
    """The run ended without a result."""

    def __init__(self, message: str, *, run: str, state: str, error_type: str = "", traceback: str = "") -> None:
        super().__init__(message)
        self.run = run
        """The run's id."""
        self.state = state
        """Its final state."""
        self.error_type = error_type
        """Qualified name of the exception's class in the task, or empty."""
        self.traceback = traceback
        """The task's own traceback as text, or empty."""


class ChildFailed(RunFailed):
    """A child run that its parent awaits ended without a result."""


class RunWasCancelled(RunFailed):
    """The awaited run was cancelled."""


class RunStuck(HoldfastError):
    """A run in a test's harness does not end: it waits for something that nobody does; the message says what."""


class TimedOut(HoldfastError, TimeoutError):
    """An attempt or a step took longer than its timeouts allow."""


class WaitTimeout(HoldfastError, TimeoutError):
    """What was waited for did not come in time."""


class UnknownToken(HoldfastError):
    """No run has asked for this token; or no access token of this id is in force."""


class TokenTaken(HoldfastError):
    """The token was completed before; only the first time counts."""

    def __init__(self, message: str, *, by: str, at: float) -> None:
        super().__init__(message)
        self.by = by
        """Who completed it."""
        self.at = at
        """When, in seconds since the epoch."""


class TokenFailed(HoldfastError):
    """Raised where a token is awaited that was completed with an error; the message is that error."""


class UnknownKey(HoldfastError):
    """The run has no checkpoint of this key."""


class EditError(HoldfastError):
    """A recorded value can't be changed like that: there is no such place in it, or the new part does not fit."""


class HistoryError(HoldfastError):
    """A file holds no exported history, or a damaged one."""


class UnknownSchedule(HoldfastError):
    """No task declares a schedule of this name, and no operator created one."""


class ScheduleTaken(HoldfastError):
    """The name of a schedule is that of another one: a task declares it, or an operator created it before."""


class UnknownSecret(HoldfastError):
    """No secret of this name is known here, or no such version of it, or it can't be decrypted here."""


class SecretInUse(HoldfastError):
    """A version of a secret is pinned by runs in flight, so it was not removed."""

    def __init__(self, message: str, *, runs: tuple[str, ...]) -> None:
        super().__init__(message)
        self.runs = runs
        """Their ids."""


class UnknownWorker(HoldfastError):
    """No worker of this name has a fresh heartbeat."""


class KeyTaken(HoldfastError):
    """A step's own key was used twice in one scope of a run."""


class CodeDiverged(HoldfastError):
    """The task's code took another way than the run's journal, and its `on_divergence` is "fail"."""


class RecordedError(HoldfastError):
    """Stands for a recorded exception that can't be rebuilt: its class is local, or its arguments don't encode."""

    def __init__(self, error_type: str, message: str) -> None:
        super().__init__(f"{error_type}: {message}" if message else error_type)
        self.error_type = error_type
        """Qualified name of the exception's class."""
        self.message = message
        """What the exception said."""


class ConnectError(HoldfastError):
    """The server can't be reached, or refused the credentials."""


class DaemonUnavailable(ConnectError):
    """The server answers, the daemon does not: runs go on, questions and commands wait."""


class WorkerError(HoldfastError):
    """A worker process ended before it served anything; the message is what it said."""


class ServerError(HoldfastError):
    """The embedded nats-server can't start, or the server found is not fit."""


class BusError(HoldfastError):
    """The bus refused an operation."""


class Fenced(BusError):
    """A compare-and-set found another last sequence than expected: somebody else wrote."""

    def __init__(self, subject: str, *, expected: int, found: int | None) -> None:
        super().__init__(
            f"{subject}: expected last sequence {expected}, found {found if found is not None else 'another'}"
        )
        self.subject = subject
        self.expected = expected
        self.found = found
        """The last sequence that the server named, or None where it does not say."""


class TooLarge(BusError):
    """A message is larger than what the server takes; repeating it is of no use."""


class Unanswered(BusError):
    """No answer in time: whether it was done is unknown until it is read."""


class Refused(HoldfastError):
    """The daemon refused a request."""

    def __init__(self, message: str, *, code: str) -> None:
        super().__init__(message)
        self.code = code
        """A stable word: `not_found`, `bad_request`, `conflict`, `internal`."""


class Abort(Exception):
    """Raised by a task: this run has failed, do not retry.

    Example: `raise Abort("card stolen")`.
    """


class RetryAfter(Exception):
    """Raised by a task: this attempt has failed, retry after so many seconds whatever the policy's cap."""

    def __init__(self, seconds: float, message: str = "") -> None:
        super().__init__(message or f"retry after {seconds:g} s")
        if not 0 <= seconds < float("inf"):
            raise ValueError(f"expected a number of seconds from 0 on, found {seconds!r}")
        self.seconds = seconds


class Snooze(Exception):
    """Raised by a task: come back after so many seconds; this attempt does not count."""

    def __init__(self, seconds: float, message: str = "") -> None:
        super().__init__(message or f"snoozed for {seconds:g} s")
        if not 0 <= seconds < float("inf"):
            raise ValueError(f"expected a number of seconds from 0 on, found {seconds!r}")
        self.seconds = seconds
