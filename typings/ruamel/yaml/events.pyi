from ruamel.yaml.error import StreamMark

class Event:
    start_mark: StreamMark
    end_mark: StreamMark

class NodeEvent(Event):
    anchor: str | None

class StreamStartEvent(Event): ...
class StreamEndEvent(Event): ...

class DocumentStartEvent(Event):
    explicit: bool
    version: tuple[int, int] | None
    tags: dict[str, str] | None

class DocumentEndEvent(Event):
    explicit: bool

class AliasEvent(NodeEvent): ...

class ScalarEvent(NodeEvent):
    tag: object | None
    implicit: tuple[bool, bool]
    value: str
    style: str | None

class CollectionStartEvent(NodeEvent):
    tag: object | None
    implicit: bool
    flow_style: bool | None

class SequenceStartEvent(CollectionStartEvent): ...
class SequenceEndEvent(Event): ...
class MappingStartEvent(CollectionStartEvent): ...
class MappingEndEvent(Event): ...
