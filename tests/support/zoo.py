"""Wrong plugins, one mistake each: the source, the contract that must find it, and words of its message.

`SESSION`, `RECEIVER` and so on are plugins without a mistake; each wrong one changes a part of one. The target of a
spec is in the same module, which `MODULE` stands for.
"""

from __future__ import annotations

from dataclasses import dataclass

MODULE = "dist_wrong_wrong"
SECRET = "canary-of-wrong_token-5d1c"


@dataclass(frozen=True)
class Wrong:
    """`source` is a module; `contract` the class of the kit with `attributes`; `message` is in what it says."""

    source: str
    contract: str
    message: str
    attributes: str = ""


HEAD = """
import io, os, sys, threading, time, zipfile
from xnatctl.api import *
"""

SESSION = (
    HEAD
    + f"""
OPTIONS = (Option(name="wrong_level", help="A number.", type=int, default=1),
           Option(name="wrong_token", help="A secret.", secret=True, envvar="WRONG_TOKEN"))
SPEC = TransportSpec(name="wrong", summary="one zip per batch", target="{MODULE}:T", options=OPTIONS)

@hookimpl
def xnatctl_transports():
    return [SPEC]

class Good:
    def __init__(self, context):
        self.context = context
    def __enter__(self):
        return self
    def __exit__(self, *error):
        self.close()
    def describe(self):
        return {{"bundle": "one zip per batch"}}
    def batches(self, items, workers):
        return cut_batches(items, workers)
    def send(self, batch, emit):
        try:
            packed = self.pack(batch)
        except SourceChanged as error:
            return BatchResult(outcomes=tuple(changed_outcome(item, error) for item in batch.items))
        return self.deliver(batch, packed, emit)
    def deliver(self, batch, packed, emit, length=None):
        return self.context.importer.deliver(
            batch.items, handler="DICOM-zip", content_type="application/zip", emit=emit,
            body=Body(length=len(packed) if length is None else length, chunks=lambda: iter([packed])))
    def pack(self, batch):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as out:
            for item in batch.items:
                with self.context.open_item(item) as reader:
                    out.writestr(item.name, self.changed(item, reader.read()))
        return buffer.getvalue()
    def changed(self, item, content):
        return content
    def close(self):
        pass
"""
)

RECEIVER = (
    HEAD
    + f"""
SPEC = TransportSpec(name="wrong", summary="into a folder", target="{MODULE}:T", settle="none",
                     options=(Option(name="into", help="The folder.", required=True),), destination="{MODULE}:address")

@hookimpl
def xnatctl_transports():
    return [SPEC]

def address(options):
    return "folder:" + os.path.abspath(options["into"])

class Good:
    def __init__(self, context):
        self.context = context
    def describe(self):
        return {{"into": self.context.options["into"]}}
    def send(self, batch, emit):
        for item in batch.items:
            yield self.one(item)
    def one(self, item):
        try:
            with self.context.open_item(item) as reader:
                content = self.changed(item, reader.read())
        except SourceChanged as error:
            return changed_outcome(item, error)
        with open(os.path.join(self.context.options["into"], item.name), "wb") as out:
            out.write(content)
        return ItemOutcome(path=item.path, outcome=Outcome.ACCEPTED)
    def changed(self, item, content):
        return content
    def close(self):
        pass
"""
)
_RECEIVER_TEST = """
    def options_for(self, directory):
        return {"into": str(directory)}
    def arrived(self, directory):
        return {path.name: [path.read_bytes()] for path in directory.iterdir()}
"""

SOURCE = (
    HEAD
    + f"""
SPEC = CredentialSourceSpec(name="wrong", summary="a vault", target="{MODULE}:T", order=5)

@hookimpl
def xnatctl_credential_sources():
    return [SPEC]

class Good:
    def get(self, request):
        if request.server.endswith(".invalid"):
            return None
        return self.found(request)
    def found(self, request):
        if request.username not in (None, "alice"):
            return None
        return Password(username="alice", secret="alice")
"""
)
_SOURCE_TEST = """
    request = CredentialRequest(server="https://xnat.example.org", username="alice")
    expected = Password(username="alice", secret="alice")
"""

FORMATTER = (
    HEAD
    + f"""
SPEC = FormatterSpec(name="wrong", summary="lines", target="{MODULE}:T")

@hookimpl
def xnatctl_formatters():
    return [SPEC]

class Good:
    def render(self, document, out):
        for row in document.rows:
            text = " ".join(str(row.get(column.key)) for column in document.columns)
            out.write("".join(c if c.isprintable() else "?" for c in text) + "\\n")
        if not document.rows:
            out.write("none\\n")
"""
)

PLANNER = (
    HEAD
    + """
from dataclasses import replace
from xnatctl.api.commands import plan_session_upload

@hookimpl
def xnatctl_plan_upload(request):
    if request.command != "session upload":
        return None
    return changed(plan_session_upload(request), request)
"""
)

CHECK = (
    HEAD
    + f"""
SPEC = CheckSpec(name="wrong", summary="whether it is right", target="{MODULE}:target")

@hookimpl
def xnatctl_checks():
    return [SPEC]
"""
)

OBSERVER = (
    HEAD
    + """
@hookimpl
def xnatctl_on_event(event, store):
    observe(event, store)
"""
)

STAGE = (
    HEAD
    + f"""
SPEC = StageSpec(name="wrong", summary="writes a note", target="{MODULE}:T", server=False)

@hookimpl
def xnatctl_stages():
    return [SPEC]

@hookimpl
def xnatctl_plan_upload(request):
    if request.command != "session upload":
        return None
    from dataclasses import replace
    from xnatctl.api.commands import plan_session_upload
    plan = plan_session_upload(request)
    return replace(plan, stages=(*plan.stages, Stage(kind="wrong", name="write a note")))

class Good:
    def __init__(self, context, stage):
        self.context = context
    def check(self):
        pass
    def run(self):
        pass
    def give_up(self):
        pass
"""
)

EXECUTOR = (
    HEAD
    + f"""
SPEC = ExecutorSpec(name="wrong", summary="one row after the other", target="{MODULE}:T")

@hookimpl
def xnatctl_executors():
    return [SPEC]

class Good:
    def __init__(self, context):
        self.stopped = False
    def run(self, rows, work):
        with work.open() as worker:
            for row in rows:
                yield worker.run(row)
                if self.stopped:
                    return
    def stop(self):
        self.stopped = True
"""
)


def _part(base: str, body: str) -> str:
    return f"{base}\nclass T(Good):\n" + "".join(f"    {line}\n" for line in body.strip().splitlines())


def _session(body: str, message: str, attributes: str = "") -> Wrong:
    return Wrong(_part(SESSION, body), "TransportContract", message, attributes)


def _receiver(body: str, message: str, attributes: str = "") -> Wrong:
    return Wrong(_part(RECEIVER, body), "ReceiverTransportContract", message, _RECEIVER_TEST + attributes)


def _source(body: str, message: str, attributes: str = "") -> Wrong:
    return Wrong(_part(SOURCE, body), "CredentialSourceContract", message, _SOURCE_TEST + attributes)


def _formatter(body: str, message: str) -> Wrong:
    return Wrong(_part(FORMATTER, body), "FormatterContract", message)


def _planner(body: str, message: str) -> Wrong:
    return Wrong(f"{PLANNER}\n{body}", "PlannerContract", message)


def _check(body: str, message: str) -> Wrong:
    return Wrong(f"{CHECK}\n{body}", "CheckContract", message)


def _observer(body: str, message: str) -> Wrong:
    return Wrong(f"{OBSERVER}\n{body}", "ObserverContract", message)


def _stage(body: str, message: str) -> Wrong:
    return Wrong(_part(STAGE, body), "StageContract", message)


def _executor(body: str, message: str) -> Wrong:
    return Wrong(_part(EXECUTOR, body), "ExecutorContract", message)


_QUICK = "\n    seconds = 1.0\n"

WRONG = {
    # transports to a session
    "loses-an-item": _session(
        "def batches(self, items, workers):\n    return cut_batches(items[:-1], workers)", "`batches` loses"
    ),
    "repeats-an-item": _session(
        "def batches(self, items, workers):\n    return cut_batches(items, workers) + [Batch(id='x', items=items[:1])]",
        "`batches` repeats",
    ),
    "batches-never-end": _session(
        "def batches(self, items, workers):\n    while True:\n        yield Batch(id=str(time.time_ns()), items=())",
        "`batches` yields more batches than there are files",
    ),
    "raises-for-one-file": _session(
        "def changed(self, item, content):\n    if item.series_number == '2':\n        raise ValueError('odd')\n"
        "    return content",
        "`send` raised ValueError: odd",
    ),
    "raises-for-a-changed-file": _session(
        "def send(self, batch, emit):\n    return self.deliver(batch, self.pack(batch), emit)",
        "`send` raised SourceChanged",
    ),
    "calls-ambiguous-failed": _session(
        "def send(self, batch, emit):\n    result = super().send(batch, emit)\n"
        "    return BatchResult(outcomes=tuple(\n"
        "        ItemOutcome(path=o.path, outcome=Outcome.FAILED, failure=FailureClass.FATAL, reason=o.reason)\n"
        "        if o.outcome is Outcome.AMBIGUOUS else o for o in result.outcomes))",
        "`send` calls an ambiguous answer failed",
    ),
    "calls-ambiguous-accepted": _session(
        "def send(self, batch, emit):\n    result = super().send(batch, emit)\n"
        "    return BatchResult(outcomes=tuple(\n"
        "        ItemOutcome(path=o.path, outcome=Outcome.ACCEPTED) for o in result.outcomes))",
        "`send` calls an ambiguous answer accepted",
    ),
    "contradicts-itself": _session(
        "def send(self, batch, emit):\n    result = super().send(batch, emit)\n"
        "    more = ItemOutcome(path=batch.items[0].path, outcome=Outcome.FAILED, failure=FailureClass.FATAL)\n"
        "    return BatchResult(outcomes=(more, *result.outcomes))",
        "`send` returned two outcomes for",
    ),
    "no-outcome": _session(
        "def send(self, batch, emit):\n    super().send(batch, emit)\n    return BatchResult(outcomes=())",
        "`send` returned no outcome for",
    ),
    "returns-none": _session(
        "def send(self, batch, emit):\n    super().send(batch, emit)", "`send` returned NoneType instead of BatchResult"
    ),
    "alters-one-byte": _session(
        "def changed(self, item, content):\n    return content[:-1] + bytes([content[-1] ^ 1])",
        "`send` delivered other bytes than the file",
    ),
    "alters-one-file": _session(
        "def changed(self, item, content):\n"
        "    first = min((other.sop_instance_uid for other in self.context.items), default=item.sop_instance_uid)\n"
        "    return content[:-1] + bytes([content[-1] ^ (item.sop_instance_uid == first)])",
        "`send` delivered other bytes than the file",
    ),
    "accepts-without-sending": _session(
        "def send(self, batch, emit):\n    return BatchResult(outcomes=tuple(\n"
        "        ItemOutcome(path=item.path, outcome=Outcome.ACCEPTED) for item in batch.items))",
        "`send` says accepted",
    ),
    "length-too-long": _session(
        "def deliver(self, batch, packed, emit):\n    return super().deliver(batch, packed, emit, len(packed) + 1)",
        "Body.length says",
    ),
    "length-too-short": _session(
        "def deliver(self, batch, packed, emit):\n    return super().deliver(batch, packed, emit, len(packed) - 1)",
        "Body.length says",
    ),
    "body-only-once": _session(
        "def deliver(self, batch, packed, emit):\n    once = iter([packed])\n"
        "    return self.context.importer.deliver(\n"
        "        batch.items, handler='DICOM-zip', content_type='application/zip', emit=emit,\n"
        "        body=Body(length=len(packed), chunks=lambda: once))",
        "Body.chunks() yields other bytes the second time",
    ),
    "prints": _session(
        "def send(self, batch, emit):\n    print('noise')\n    return super().send(batch, emit)",
        "`send` wrote to standard output, which belongs to the document: 'noise",
    ),
    "writes-to-descriptor-1": _session(
        "def send(self, batch, emit):\n    os.write(1, b'noise')\n    return super().send(batch, emit)",
        "`send` wrote to standard output, which belongs to the document: 'noise",
    ),
    "logs-to-stdout": _session(
        "def send(self, batch, emit):\n    import logging\n"
        "    log = logging.getLogger('wrong')\n    log.handlers = [logging.StreamHandler(sys.stdout)]\n"
        "    log.error('noise')\n    return super().send(batch, emit)",
        "`send` wrote to standard output",
    ),
    "secret-in-describe": _session(
        "def describe(self):\n    return {'token': str(self.context.options['wrong_token'])}",
        "`describe` contains the value of a secret option",
    ),
    "network-in-describe": _session(
        "def describe(self):\n    import socket\n    try:\n"
        "        socket.create_connection(('127.0.0.1', 9), 1)\n    except OSError:\n        pass\n"
        "    return {'a': 'b'}",
        "`describe` used the network",
    ),
    "blocks-in-describe": _session(
        "def describe(self):\n    time.sleep(3600)", "`describe` did not return within 1 s; it blocks", _QUICK
    ),
    "blocks-in-batches": _session(
        "def batches(self, items, workers):\n    time.sleep(3600)",
        "`batches` did not return within 1 s; it blocks",
        _QUICK,
    ),
    "blocks": _session(
        "def send(self, batch, emit):\n    time.sleep(3600)", "`send` did not return within 1 s; it blocks", _QUICK
    ),
    "not-thread-safe": _session(
        "current = None\ndef send(self, batch, emit):\n    T.current = batch\n    body = None\n"
        "    def chunks():\n        yield self.pack(T.current)\n"
        "    return self.context.importer.deliver(\n"
        "        batch.items, handler='DICOM-zip', content_type='application/zip', emit=emit,\n"
        "        body=Body(length=len(self.pack(batch)), chunks=chunks))",
        "with two workers",
    ),
    "says-verified": _session(
        "def send(self, batch, emit):\n    super().send(batch, emit)\n    return BatchResult(outcomes=tuple(\n"
        "        ItemOutcome(path=item.path, outcome=Outcome.VERIFIED) for item in batch.items))",
        "only core verifies",
    ),
    "exits-in-send": _session("def send(self, batch, emit):\n    sys.exit(0)", "`send` raised SystemExit: 0"),
    "raises-base-exception": _session(
        "def send(self, batch, emit):\n    class Odd(BaseException):\n        pass\n    raise Odd('odd')",
        "`send` raised Odd: odd",
    ),
    "exception-without-text": _session(
        "def send(self, batch, emit):\n    class Mute(Exception):\n        def __str__(self):\n"
        "            raise RuntimeError\n    raise Mute",
        "`send` raised Mute",
    ),
    "junk-events": _session(
        "def send(self, batch, emit):\n    for junk in ('text', None, Event(kind='nonsense'),\n"
        "                 Event(kind=EventKind.BYTES_SENT, data={'bytes': 'many'}),\n"
        "                 Event(kind=EventKind.BYTES_SENT, data=None),\n"
        "                 Event(kind=EventKind.BYTES_SENT, data={'bytes': -10**30}),\n"
        "                 Event(kind=EventKind.WARNING, message=b'x'), Event(kind=EventKind.RUN_DONE)):\n"
        "        emit(junk)\n    return super().send(batch, emit)",
        "`emit` was called with str instead of Event",
    ),
    "changes-directory": _session(
        "def send(self, batch, emit):\n    os.chdir('/')\n    return super().send(batch, emit)",
        "`send` changed the working directory",
    ),
    "changes-umask": _session(
        "def send(self, batch, emit):\n    os.umask(0)\n    return super().send(batch, emit)",
        "`send` changed the file mode mask",
    ),
    "changes-signals": _session(
        "def batches(self, items, workers):\n    import signal\n    signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "    return super().batches(items, workers)",
        "`batches` changed a signal handler",
    ),
    "replaces-stdout": _session(
        "def batches(self, items, workers):\n    sys.stdout = io.StringIO()\n    return super().batches(items, workers)",
        "`batches` changed sys.stdout",
    ),
    "leaves-a-thread": _session(
        "def send(self, batch, emit):\n"
        "    threading.Thread(target=time.sleep, args=(20,), name='left', daemon=True).start()\n"
        "    return super().send(batch, emit)",
        "left the thread left running",
    ),
    "leaves-descriptors": _session(
        "kept = []\ndef send(self, batch, emit):\n    T.kept.append(open(os.devnull))\n"
        "    return super().send(batch, emit)",
        "file descriptors open",
    ),
    # transports to a receiver
    "receiver-loses-an-item": _receiver(
        "def send(self, batch, emit):\n    for item in batch.items[1:]:\n        yield self.one(item)",
        "`send` returned no outcome for",
    ),
    "receiver-alters-one-byte": _receiver(
        "def changed(self, item, content):\n    return content[:-1] + bytes([content[-1] ^ 1])",
        "`send` delivered other bytes than the file",
    ),
    "receiver-says-verified": _receiver(
        "def one(self, item):\n    super().one(item)\n    return ItemOutcome(path=item.path, outcome=Outcome.VERIFIED)",
        "only core verifies",
    ),
    "receiver-contradicts-itself": _receiver(
        "def send(self, batch, emit):\n    for item in batch.items:\n        yield self.one(item)\n"
        "        yield ItemOutcome(path=item.path, outcome=Outcome.FAILED, failure=FailureClass.FATAL)",
        "`send` returned two outcomes for",
    ),
    "receiver-raises-for-one-file": _receiver(
        "def send(self, batch, emit):\n    for item in batch.items:\n"
        "        with self.context.open_item(item) as reader:\n            reader.read()\n"
        "        yield self.one(item)",
        "`send` raised SourceChanged for one file",
    ),
    "receiver-never-ends": _receiver(
        "def send(self, batch, emit):\n    while True:\n        yield self.one(batch.items[0])",
        "`send` yields more outcomes than the batch has files",
    ),
    "receiver-returns-a-number": _receiver(
        "def send(self, batch, emit):\n    return 42", "`send` returned int instead of outcomes"
    ),
    "receiver-prints": _receiver(
        "def one(self, item):\n    os.write(1, b'noise')\n    return super().one(item)",
        "`send` wrote to standard output",
    ),
    # credential sources
    "source-prints": _source(
        "def found(self, request):\n    print('alice')\n    return super().found(request)",
        "`get` wrote to standard output",
    ),
    "source-raises": _source(
        "def found(self, request):\n    raise ValueError('no vault')", "`get` raised ValueError: no vault"
    ),
    "source-exits": _source("def found(self, request):\n    sys.exit(0)", "`get` raised SystemExit: 0"),
    "source-returns-a-tuple": _source(
        "def found(self, request):\n    return ('alice', 'alice')", "a tuple is not a credential"
    ),
    "source-returns-an-unknown-kind": _source(
        "def found(self, request):\n    class Kerberos:\n        kind, username, secret = 'kerberos', 'alice', 'alice'\n"
        "    return Kerberos()",
        "a Kerberos is not a credential",
    ),
    "source-returns-another-user": _source(
        "def found(self, request):\n    return Password(username='bob', secret='bob')",
        "`get` returned a credential of another user (bob)",
    ),
    "source-returns-an-empty-secret": _source(
        "def found(self, request):\n    return Password(username='alice', secret='')", "`secret` is empty"
    ),
    "source-waits": _source(
        "def found(self, request):\n    time.sleep(3600)", "`get` did not return within 1 s; it blocks", _QUICK
    ),
    "source-finds-nothing": _source("def found(self, request):\n    return None", "`get` found nothing for `request`"),
    "source-gives-to-all-servers": _source(
        "def get(self, request):\n    return Password(username=request.username or 'alice', secret='opensesame')",
        "for a server that it cannot know",
    ),
    # output formats
    "formatter-writes-twice": _formatter(
        "def render(self, document, out):\n    super().render(document, out)\n    super().render(document, out)",
        "`render` writes the document twice",
    ),
    "formatter-prints": _formatter(
        "def render(self, document, out):\n    print('noise')\n    super().render(document, out)",
        "`render` wrote to standard output",
    ),
    "formatter-raises": _formatter(
        "def render(self, document, out):\n    raise ValueError('odd')", "`render` raised ValueError: odd"
    ),
    "formatter-exits": _formatter(
        "def render(self, document, out):\n    out.write('all well')\n    sys.exit(0)", "`render` raised SystemExit: 0"
    ),
    "formatter-writes-nothing": _formatter(
        "def render(self, document, out):\n    pass", "`render` does not write the row"
    ),
    "formatter-closes-the-stream": _formatter(
        "def render(self, document, out):\n    super().render(document, out)\n    out.close()",
        "`render` closes the stream",
    ),
    # planners
    "planner-cuts-items": _planner(
        "def changed(plan, request):\n"
        "    return replace(plan, stages=tuple(replace(s, items=s.items[:-1]) for s in plan.stages))",
        "leaves out",
    ),
    "planner-changes-the-destination": _planner(
        "def changed(plan, request):\n    return replace(plan, destination=replace(plan.destination, session='OTHER'))",
        "names another destination",
    ),
    "planner-has-no-stages": _planner(
        "def changed(plan, request):\n    return replace(plan, stages=())", "the plan has no stages"
    ),
    "planner-exits": _planner("def changed(plan, request):\n    sys.exit(0)", "raised SystemExit: 0"),
    "planner-returns-a-dict": _planner(
        "def changed(plan, request):\n    return {}", "the planner returned dict instead of UploadPlan"
    ),
    # checks
    "check-exits": _check("def target(app):\n    sys.exit(0)", "`target` raised SystemExit: 0"),
    "check-returns-text": _check("def target(app):\n    return 'ok'", "the check returned str instead of CheckResult"),
    "check-with-unknown-status": _check(
        "def target(app):\n    return CheckResult(status='fine', message='x')", "the check returned the status 'fine'"
    ),
    # observers
    "observer-raises": _observer("def observe(event, store):\n    raise ValueError('odd')", "raised ValueError: odd"),
    "observer-mutates": _observer(
        "def observe(event, store):\n    if event.kind == 'item-done':\n        event.data['outcome'] = 'lost'",
        "changes the data of item-done",
    ),
    "observer-is-slow": _observer(
        "def observe(event, store):\n    if event.kind == 'item-done':\n        time.sleep(3600)",
        "`xnatctl_on_event for item-done` did not return within 1 s",
    ),
    "observer-prints": _observer("def observe(event, store):\n    print('noise')", "wrote to standard output"),
    # stages
    "stage-exits": _stage("def run(self):\n    sys.exit(0)", "`run` raised SystemExit: 0"),
    "stage-raises": _stage("def check(self):\n    raise ValueError('odd')", "`check` raised ValueError: odd"),
    "stage-prints": _stage("def run(self):\n    print('noise')", "`run` wrote to standard output"),
    "stage-claims-success": _stage(
        "def run(self):\n    self.context.report.status = 'complete'", "`run` sets the status of the report"
    ),
    # executors
    "executor-loses-a-row": _executor(
        "def run(self, rows, work):\n    return super().run([row for row in rows if row != 7], work)",
        "`run` yields no result for row 7",
    ),
    "executor-invents-success": _executor(
        "def run(self, rows, work):\n    for result in super().run(rows, work):\n"
        "        yield RowResult(row=result.row, state='proven', exit_code=0)",
        "`run` changed the result of row",
    ),
    "executor-runs-nothing": _executor(
        "def run(self, rows, work):\n    return iter([RowResult(row=row, state='proven', exit_code=0) for row in rows])",
        "`run` yields results of rows that no worker has run",
    ),
    "executor-takes-all-rows": _executor(
        "def run(self, rows, work):\n    return super().run(list(rows), work)", "take one when a worker is free"
    ),
    "executor-cannot-be-stopped": _executor("def stop(self):\n    pass", "`stop` has no effect"),
    "executor-leaves-workers-open": _executor(
        "def run(self, rows, work):\n    worker = work.open()\n    worker.__enter__()\n"
        "    return (worker.run(row) for row in rows)",
        "`run` leaves a worker open",
    ),
    "executor-hides-failures": _executor(
        "def run(self, rows, work):\n    try:\n        yield from super().run(rows, work)\n"
        "    except XnatctlError:\n        return",
        "`run` hides that no worker can be opened",
    ),
    "executor-yields-numbers": _executor(
        "def run(self, rows, work):\n    return (result.row for result in super().run(rows, work))",
        "`run` yields something else than RowResults",
    ),
}
