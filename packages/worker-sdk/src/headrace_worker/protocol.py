"""State of one executor process towards all its schedulers. Pure: messages in, messages out.

What it promises (checked as a model in tests/simulation, as a class in tests/unit/worker):
* a task of an older epoch than the highest seen of its (log, partition), or for another process,
  is refused and never begun; so after the answer to epoch e no attempt below e begins;
* a result is kept, and sent again to whoever owns the partition now, until an acknowledgement
  whose epoch is not below the task's;
* a task that comes twice runs once, as long as its result is kept.

Streams are named by the scheduler's address. A stream that breaks loses its credits, nothing
else; a partition's owner is whoever announced it, or sent its task, with the highest epoch.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from headrace_core.ids import ExecutorId
from headrace_core.payload import Stored
from headrace_worker.messages import (
    Acknowledgement,
    Announcement,
    Attempt,
    AttemptKey,
    Credit,
    Hello,
    Note,
    Received,
    Refusal,
    Report,
    Result,
    Sending,
    Task,
    Welcome,
    Work,
)
from headrace_worker.window import LaneWindow

RESULTS_PER_MESSAGE_MAX = 256
MESSAGE_BYTES_MAX = 900_000
"""A message stays below 1 MB; the rest is the attempts' own fields."""

OTHER_PROCESS = "addressed to another executor process"
OLDER_EPOCH = "older epoch than the highest seen of this partition"
UNKNOWN_LANE = "lane not served here"
DRAINING = "draining"


@dataclass(slots=True)
class _Partition:
    """The highest epoch seen of one partition of one log, and whose stream brought it."""

    number: int
    epoch: int
    stream: str


@dataclass(slots=True)
class _Held:
    """An attempt from its acceptance until its acknowledgement."""

    attempt: Attempt
    partition: _Partition
    window: LaneWindow
    result: Result | None = None
    notes: dict[int, Note] | None = None
    notes_made: int = 0


@dataclass(slots=True)
class _Stream:
    """What waits to be sent on one stream; `windows` outlive its breaks."""

    name: str
    windows: dict[str, LaneWindow]
    connected: bool = False
    greeted: bool = False
    log_id: bytes = b""
    results: dict[AttemptKey, _Held] = field(default_factory=dict[AttemptKey, _Held])
    notes: list[Note] = field(default_factory=list[Note])
    reports: dict[int, _Partition] = field(default_factory=dict[int, _Partition])
    refusals: list[Refusal] = field(default_factory=list[Refusal])
    beats: dict[AttemptKey, Attempt] = field(default_factory=dict[AttemptKey, Attempt])
    welcome: Welcome | None = None


class DispatchProtocol:
    """`window` is how many attempts may be open or on their way here, over all streams."""

    def __init__(
        self, executor: ExecutorId, lanes: Sequence[str], window: int, api_key: str = ""
    ) -> None:
        assert lanes and window > 0, "an executor without lanes or room would never get work"
        self.executor = executor
        self.draining = False
        self._lanes = tuple(lanes)
        self._window = window
        self._api_key = api_key
        self._streams: dict[str, _Stream] = {}
        self._partitions: dict[bytes, dict[int, _Partition]] = {}
        self._held: dict[AttemptKey, _Held] = {}
        self._unacknowledged = 0

    @property
    def open(self) -> int:
        """Attempts without a result."""
        return len(self._held) - self._unacknowledged

    @property
    def unacknowledged(self) -> int:
        return self._unacknowledged

    @property
    def granted(self) -> int:
        """Credits that schedulers hold and have not used yet, over all streams and lanes."""
        streams = self._streams.values()
        return sum(window.granted for one in streams for window in one.windows.values())

    def window_of(self, stream: str, lane: str) -> LaneWindow:
        """What was granted there and not used, and what is open."""
        return self._streams[stream].windows[lane]

    def held_of(self, stream: str) -> Sequence[Attempt]:
        """Attempts that whoever is behind this stream has not closed yet."""
        return [held.attempt for held in self._held.values() if held.partition.stream == stream]

    def welcome_of(self, stream: str) -> Welcome | None:
        return self._streams[stream].welcome

    def owner_of(self, attempt: AttemptKey) -> str | None:
        """The connected stream on which word of this attempt is sent."""
        held = self._held.get(attempt)
        if held is None:
            return None
        stream = self._streams[held.partition.stream]
        return stream.name if stream.connected else None

    def set_window(self, window: int) -> None:
        """More room is granted with the next message; less works as attempts end."""
        self._window = max(1, window)

    def connect(self, name: str) -> None:
        stream = self._streams.get(name)
        if stream is None:
            windows = {lane: LaneWindow() for lane in self._lanes}
            stream = self._streams[name] = _Stream(name, windows)
        stream.connected, stream.greeted = True, False
        for held in self._held.values():
            if held.partition.stream == name:
                self._send_again(stream, held)

    def disconnect(self, name: str) -> None:
        """Its credits are void; everything else is sent again when somebody asks."""
        stream = self._streams[name]
        stream.connected, stream.welcome = False, None
        stream.results.clear()
        stream.notes.clear()
        stream.reports.clear()
        stream.refusals.clear()
        stream.beats.clear()
        for window in stream.windows.values():
            window.granted = 0

    def receive(self, name: str, message: Received) -> Work:
        stream = self._streams[name]
        stream.log_id = message.log_id
        work = Work()
        if message.welcome is not None:
            stream.welcome = message.welcome
        for announcement in message.announcements:
            self._announced(stream, announcement)
        for task in message.tasks:
            if self._accepts(stream, task):
                work.tasks.append(task)
        for acknowledgement in message.acknowledgements:
            self._acknowledged(acknowledgement, work)
        for key in message.cancellations:
            held = self._held.get(key)
            if held is not None and held.result is None:
                work.cancelled.append(held.attempt)
        for key, number in message.note_acknowledgements:
            held = self._held.get(key)
            if held is not None and held.notes and held.notes.pop(number, None) is not None:
                work.noted.append((key, number))
        return work

    def finish(self, result: Result) -> str | None:
        """The attempt's one word. Answers the stream on which it can be sent now, if any; word of
        an attempt that is closed meanwhile is dropped, since nobody waits for it."""
        key = result.attempt.key
        held = self._held.get(key)
        if held is None:
            return None
        assert held.result is None, f"attempt {key} has ended twice"
        held.result = result
        held.window.open -= 1
        held.window.kept += 1
        self._unacknowledged += 1
        stream = self._streams[held.partition.stream]
        if not stream.connected:
            return None
        stream.results[key] = held
        return stream.name

    def note(self, attempt: AttemptKey, payload: Stored) -> int | None:
        """Its number, or None when the attempt is closed."""
        held = self._held.get(attempt)
        if held is None or held.result is not None:
            return None
        held.notes_made += 1
        note = Note(held.attempt, held.notes_made, payload)
        if held.notes is None:
            held.notes = {}
        held.notes[note.number] = note
        stream = self._streams[held.partition.stream]
        if stream.connected:
            stream.notes.append(note)
        return note.number

    def beat(self, attempt: AttemptKey) -> str | None:
        """A sign of life; those of one attempt that were not sent yet are one. Answers the stream
        on which it can be sent now, if any."""
        held = self._held.get(attempt)
        if held is None or held.result is not None:
            return None
        stream = self._streams[held.partition.stream]
        if not stream.connected:
            return None
        stream.beats[attempt] = held.attempt
        return stream.name

    def start_drain(self) -> None:
        """No more room is granted, and tasks still on their way are refused."""
        self.draining = True

    def give_back(self) -> list[Attempt]:
        """Refuse what is still open, late but at once: whoever owns it assigns it again."""
        given = [held for held in self._held.values() if held.result is None]
        for held in given:
            del self._held[held.attempt.key]
            held.window.open -= 1
            stream = self._streams[held.partition.stream]
            if stream.connected:
                stream.refusals.append(Refusal(held.attempt, DRAINING))
        return [held.attempt for held in given]

    def next_message(self, name: str) -> Sending | None:
        """What is to be sent now, None if nothing is. Taken once: a stream that then breaks
        has it sent again by `connect` or an announcement."""
        stream = self._streams[name]
        if not stream.connected:
            return None
        message = Sending()
        if not stream.greeted:
            stream.greeted = True
            message.hello = Hello(self.executor, self._lanes, self._api_key)
        if stream.results:
            message.results = self._take_results(stream)
        if stream.notes:
            message.notes, stream.notes = _fitting(stream.notes)
        if stream.refusals:
            message.refusals, stream.refusals = stream.refusals, []
        if stream.beats:
            message.heartbeats, stream.beats = list(stream.beats.values()), {}
        if stream.reports:
            message.reports = self._take_reports(stream)
        has_word = bool(message.hello or message.results or message.notes or message.heartbeats)
        has_news = has_word or bool(message.refusals or message.reports)
        if not self.draining:
            message.credits = list(self._grants(stream, worth_a_message=not has_news))
        return message if has_news or message.credits else None

    def _announced(self, stream: _Stream, announcement: Announcement) -> None:
        partition = self._partition(stream, announcement.partition, announcement.epoch)
        if announcement.epoch < partition.epoch:
            return  # A fenced owner asks late; whoever fenced it has asked, or will.
        partition.epoch, partition.stream = announcement.epoch, stream.name
        stream.reports[partition.number] = partition
        for held in self._held.values():
            if held.partition is partition:
                self._send_again(stream, held)

    def _accepts(self, stream: _Stream, task: Task) -> bool:
        attempt = task.attempt
        window = stream.windows.get(task.lane)
        if window is None:
            stream.refusals.append(Refusal(attempt, UNKNOWN_LANE))
            return False
        window.took_one()
        if task.executor != self.executor:
            stream.refusals.append(Refusal(attempt, OTHER_PROCESS))
            return False
        partition = self._partition(stream, attempt.partition, attempt.epoch)
        if attempt.epoch < partition.epoch:
            stream.refusals.append(Refusal(attempt, OLDER_EPOCH))
            return False
        partition.epoch, partition.stream = attempt.epoch, stream.name
        key = attempt.key
        held = self._held.get(key)
        if held is not None:
            self._send_again(stream, held)
            return False
        if self.draining:
            stream.refusals.append(Refusal(attempt, DRAINING))
            return False
        self._held[key] = _Held(attempt, partition, window)
        window.open += 1
        return True

    def _acknowledged(self, acknowledgement: Acknowledgement, work: Work) -> None:
        held = self._held.get(acknowledgement.attempt)
        if held is None or acknowledgement.epoch < held.attempt.epoch:
            return
        del self._held[acknowledgement.attempt]
        if held.result is None:
            held.window.open -= 1
            work.closed.append(held.attempt)
        else:
            held.window.kept -= 1
            self._unacknowledged -= 1

    def _partition(self, stream: _Stream, number: int, epoch: int) -> _Partition:
        of_log = self._partitions.get(stream.log_id)
        if of_log is None:
            of_log = self._partitions[stream.log_id] = {}
        partition = of_log.get(number)
        if partition is None:
            partition = of_log[number] = _Partition(number, epoch, stream.name)
        return partition

    def _send_again(self, stream: _Stream, held: _Held) -> None:
        if held.result is not None:
            stream.results[held.attempt.key] = held
        if held.notes:
            queued = stream.notes
            queued.extend(note for note in held.notes.values() if note not in queued)

    def _take_results(self, stream: _Stream) -> list[Result]:
        results: list[Result] = []
        room = MESSAGE_BYTES_MAX
        taken: list[AttemptKey] = []
        for key, held in stream.results.items():
            result = held.result
            # Acknowledged meanwhile, or owned by another scheduler by now: nothing to say here.
            if self._held.get(key) is held and held.partition.stream == stream.name and result:
                size = len(result.output) + len(result.error.message if result.error else b"")
                if results and (size > room or len(results) == RESULTS_PER_MESSAGE_MAX):
                    break
                results.append(result)
                room -= size
            taken.append(key)
        if len(taken) == len(stream.results):
            stream.results.clear()
        else:
            for key in taken:
                del stream.results[key]
        return results

    def _take_reports(self, stream: _Stream) -> list[Report]:
        """As things stand now, for the partitions that this scheduler still owns."""
        asked = [one for one in stream.reports.values() if one.stream == stream.name]
        stream.reports.clear()
        return [
            Report(
                partition.number,
                partition.epoch,
                [held.attempt for held in self._held.values() if held.partition is partition],
            )
            for partition in asked
        ]

    def _grants(self, stream: _Stream, *, worth_a_message: bool) -> Iterator[Credit]:
        connected = sum(1 for one in self._streams.values() if one.connected)
        share = max(1, self._window // (connected * len(self._lanes)))
        for lane, window in stream.windows.items():
            room = window.grant(share, worth_a_message=worth_a_message)
            if room:
                yield Credit(lane, room)


def _fitting(notes: list[Note]) -> tuple[list[Note], list[Note]]:
    """As many of the first notes as one message takes, and the rest."""
    room = MESSAGE_BYTES_MAX
    for count, note in enumerate(notes):
        room -= len(note.payload)
        if room < 0 and count:
            return notes[:count], notes[count:]
    return notes, []
