"""The published Python library of svix on Posthaste.

Started by tests/it/clients.rs with SERVER_URL and TOKEN in the environment:

    client.py run              the whole life of a webhook, then every operation of the library;
                               prints one JSON object as its last line
    client.py verify FILE      verifies deliveries that other libraries made
"""

import inspect
import json
import os
import sys
import threading
import time
import uuid
import warnings
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import standardwebhooks
import svix
from svix import models
from svix.api.errors.http_error import HttpError
from svix.exceptions import HTTPValidationError

HERE = os.path.dirname(os.path.abspath(__file__))
# Nothing is waited for longer than this.
PATIENCE = 30


class Receiver:
    """Keeps what arrives per path; answers 500 as often as it is told to."""

    def __init__(self):
        self.arrivals = []
        self.failures = {}
        self.changed = threading.Condition()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                status = outer.take(self.path, dict(self.headers.items()), body)
                self.send_response(status)
                self.send_header("content-length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def url(self, path):
        return f"http://127.0.0.1:{self.server.server_port}{path}"

    def fail(self, path, times):
        with self.changed:
            self.failures[path] = times

    def take(self, path, headers, body):
        with self.changed:
            left = self.failures.get(path, 0)
            self.failures[path] = max(0, left - 1)
            headers = {name.lower(): value for name, value in headers.items()}
            self.arrivals.append({"path": path, "headers": headers, "body": body.decode()})
            self.changed.notify_all()
        return 500 if left else 200

    def wait(self, message, count=1):
        """The `count`th arrival of a message."""

        def those():
            return [a for a in self.arrivals if a["headers"].get("svix-id") == message]

        with self.changed:
            if not self.changed.wait_for(lambda: len(those()) >= count, PATIENCE):
                raise AssertionError(f"{message} arrived {len(those())} times, not {count}")
            return those()[count - 1]


def ask(question, what):
    """Asks until the answer is true: for states that can only be asked for."""
    end = time.monotonic() + PATIENCE
    while True:
        answer = question()
        if answer:
            return answer
        if time.monotonic() > end:
            raise AssertionError(f"waited {PATIENCE} s in vain for {what}")
        time.sleep(0.02)


def client(token, **options):
    return svix.Svix(token, svix.SvixOptions(server_url=os.environ["SERVER_URL"], **options))


def refused(status, call):
    try:
        call()
    except HttpError as error:
        assert error.status_code == status, (status, error)
        return error
    raise AssertionError(f"was not refused with {status}")


def verify(secret, arrival):
    """By the library's verifier and by that of Standard Webhooks, which must refuse other bytes."""
    for verifier in (svix.Webhook(secret), standardwebhooks.Webhook(secret)):
        verifier.verify(arrival["body"], arrival["headers"])
        try:
            verifier.verify(arrival["body"] + " ", arrival["headers"])
        except (svix.WebhookVerificationError, standardwebhooks.WebhookVerificationError):
            continue
        raise AssertionError("other bytes were taken for signed")


def life(receiver):
    begun = datetime.now(timezone.utc) - timedelta(minutes=1)
    api = client(os.environ["TOKEN"])
    name = f"python.{uuid.uuid4().hex}"
    api.event_type.create(models.EventTypeIn(name=name, description="a life"))
    app = api.application.create(models.ApplicationIn(name="life", uid=f"life-{uuid.uuid4()}"))
    assert api.application.get(app.uid).id == app.id
    refused(409, lambda: api.application.create(models.ApplicationIn(name="again", uid=app.uid)))

    def endpoint(place):
        return api.endpoint.create(
            app.uid,
            models.EndpointIn(
                url=receiver.url(f"/{place}"), uid=place, channels=[place], event_types=[name]
            ),
        )

    def send(channel, **more):
        payload = {"n": 1, "text": "süß", "nested": {"a": [1, 2.5, None]}}
        message = models.MessageIn(event_type=name, payload=payload, channels=[channel], **more)
        return api.message.create(app.uid, message)

    endpoint("main")
    broken = endpoint("broken")
    receiver.fail("/broken", 1000)
    lost = send("broken")

    secret = api.endpoint.get_secret(app.uid, "main").key
    first = send("main", event_id="first")
    arrival = receiver.wait(first.id)
    verify(secret, arrival)
    refused(409, lambda: send("main", event_id="first"))
    options = svix.api.MessageCreateOptions(idempotency_key=str(uuid.uuid4()))
    body = models.MessageIn(event_type=name, payload={"once": True}, channels=["main"])
    once = [api.message.create(app.id, body, options).id for _ in range(2)]
    assert once[0] == once[1], once
    shown = api.message.get(app.id, "first", svix.api.MessageGetOptions(with_content=True))
    assert shown.id == first.id and shown.payload["text"] == "süß", shown

    # A failure is tried again, with the same id, and both attempts are on record.
    # The message before it must not be the one that fails.
    receiver.wait(once[0])
    receiver.fail("/main", 1)
    second = send("main")
    receiver.wait(second.id, 2)
    attempts = lambda: api.message_attempt.list_by_msg(app.id, second.id).data
    ask(lambda: len(attempts()) == 2, "two attempts")
    assert [a.response_status_code for a in attempts()] == [200, 500], attempts()
    assert [int(a.status) for a in attempts()] == [0, 2], attempts()

    # What was delivered is sent once more when a person asks for it.
    api.message_attempt.resend(app.id, second.id, "main")
    verify(secret, receiver.wait(second.id, 3))
    ask(lambda: len(attempts()) == 3, "three attempts")
    assert int(attempts()[0].trigger_type) == 1, attempts()[0]

    # After a rotation the old key and the new one both verify.
    rotated = api.endpoint.rotate_secret(app.id, "main", models.EndpointSecretRotateIn()).key
    fresh = api.endpoint.get_secret(app.id, "main").key
    assert rotated == fresh != secret
    third = receiver.wait(send("main").id)
    verify(secret, third)
    verify(fresh, third)

    # What was given up on is delivered by a recovery.
    exhausted = lambda: api.message_attempt.list_attempted_destinations(app.id, lost.id).data
    ask(lambda: [int(d.status) for d in exhausted()] == [2], "the end of a schedule")
    tries = len(api.message_attempt.list_by_msg(app.id, lost.id).data)
    receiver.fail("/broken", 0)
    api.endpoint.recover(app.id, broken.id, models.RecoverIn(since=begun))
    verify(api.endpoint.get_secret(app.id, broken.id).key, receiver.wait(lost.id, tries + 1))

    # A customer's token sees its application and no other.
    access = api.authentication.app_portal_access(app.id, models.AppPortalAccessIn())
    assert access.url.startswith("http"), access
    customer = client(access.token)
    assert len(customer.endpoint.list(app.id).data) == 2
    refused(403, lambda: customer.application.list())

    ids = [m.id for m in api.message.list(app.id).data]
    assert first.id in ids and lost.id in ids, ids
    api.endpoint.delete(app.id, "main")
    refused(404, lambda: api.endpoint.get(app.id, "main"))
    api.application.delete(app.id)
    refused(404, lambda: api.application.get(app.uid))
    api.event_type.delete(name, svix.api.EventTypeDeleteOptions(expunge=True))
    refused(404, lambda: api.event_type.get(name))
    return [
        {"secret": secret, **arrival},
        {"secret": secret, **third},
        {"secret": fresh, **third},
    ]


class World:
    """What an operation may be asked about, made anew for each of them."""

    def __init__(self, api, receiver):
        self.api = api
        self.made_source = None
        self.unique = f"surface-{uuid.uuid4()}"
        self.url = receiver.url("/surface")
        self.since = datetime.now(timezone.utc) - timedelta(hours=1)
        self.until = datetime.now(timezone.utc)
        self.event_type = f"surface.{uuid.uuid4().hex}"
        api.event_type.create(models.EventTypeIn(name=self.event_type, description="surface"))
        self.app = api.application.create(models.ApplicationIn(name="surface")).id
        self.endpoint = api.endpoint.create(self.app, models.EndpointIn(url=self.url)).id
        message = models.MessageIn(event_type=self.event_type, payload={})
        self.message = api.message.create(self.app, message).id

    def argument(self, operation, name):
        made = {
            "app_id": lambda: self.app,
            "endpoint_id": lambda: self.endpoint,
            "msg_id": lambda: self.message,
            "event_type_name": lambda: self.event_type,
            "attempt_id": self.attempt,
            "task_id": self.task,
            "source_id": self.source,
        }
        if name == "endpoint_id" and operation.startswith("operational_webhook."):
            return self.if_built(lambda: self.api.operational_webhook.endpoint.create(
                self.body(models.OperationalWebhookEndpointIn)).id)
        if name == "endpoint_id" and operation.startswith("ingest."):
            return self.if_built(lambda: self.api.ingest.endpoint.create(
                self.source(), self.body(models.IngestEndpointIn)).id)
        return made.get(name, lambda: f"no-{name}".replace("_", "-"))()

    def attempt(self):
        listed = lambda: self.api.message_attempt.list_by_msg(self.app, self.message).data
        return ask(listed, "an attempt")[0].id

    def task(self):
        return self.api.endpoint.recover(
            self.app, self.endpoint, models.RecoverIn(since=self.since)).id

    def source(self):
        """One source, however many arguments name it."""
        if self.made_source is None:
            self.made_source = self.if_built(
                lambda: self.api.ingest.source.create(self.body(models.IngestSourceIn)).id)
        return self.made_source

    def if_built(self, make):
        try:
            return make()
        except HttpError as error:
            if error.code == "not_implemented":
                return "not-built"
            raise

    def body(self, model):
        known = {
            "$unique": self.unique,
            "$url": self.url,
            "$since": self.since.isoformat(),
            "$until": self.until.isoformat(),
        }
        with open(os.path.join(HERE, "..", "bodies.json"), encoding="utf-8") as file:
            text = json.dumps(json.load(file)[model.__name__])
        for word, value in known.items():
            text = text.replace(word, value)
        return model.model_validate(json.loads(text))


def operations(node, prefix=""):
    """Every operation the library has, by its own name."""
    for name, member in inspect.getmembers(type(node)):
        if name.startswith("_"):
            continue
        if isinstance(member, property):
            yield from operations(getattr(node, name), f"{prefix}{name}.")
        elif inspect.isfunction(member):
            # `import` is a word of Python's: the library calls it `import_`.
            yield f"{prefix}{name}".rstrip("_"), getattr(node, name)


def surface(receiver):
    """Calls every operation once, in a world of its own: how each one went."""
    # Without retries: what is not built would be asked for four times.
    api = client(os.environ["TOKEN"], retry_schedule=[])
    found = {}
    for operation, call in operations(api):
        world = World(api, receiver)
        try:
            arguments = [
                world.body(p.annotation)
                if hasattr(p.annotation, "model_validate")
                else world.argument(operation, p.name)
                for p in inspect.signature(call).parameters.values()
                if p.name != "options"
            ]
            if operation == "authentication.logout":
                # Of an application's token; the operator's cannot be logged out.
                access = api.authentication.app_portal_access(
                    world.app, models.AppPortalAccessIn())
                customer = client(access.token, retry_schedule=[])
                customer.authentication.logout()
                refused(401, lambda: customer.endpoint.list(world.app))
            else:
                call(*arguments)
            found[operation] = "works"
        except (HttpError, HTTPValidationError) as error:
            built = getattr(error, "code", None) != "not_implemented"
            found[operation] = f"fails: {error!r}"[:400] if built else "not_implemented"
        except Exception as error:  # what the library cannot read is a failure of that operation
            found[operation] = f"fails: {error!r}"[:400]
    return found


def main():
    if sys.argv[1] == "verify":
        with open(sys.argv[2], encoding="utf-8") as file:
            deliveries = json.load(file)
        for delivery in deliveries:
            verify(delivery["secret"], delivery)
        print(json.dumps({"verified": len(deliveries)}))
        return
    # Operations that the library advises against are tried too.
    warnings.simplefilter("ignore", DeprecationWarning)
    receiver = Receiver()
    deliveries = life(receiver)
    print(json.dumps({"deliveries": deliveries, "operations": surface(receiver)}))


main()
