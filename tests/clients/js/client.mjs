// The published JavaScript library of svix on Posthaste.
//
// Started by tests/it/clients.rs with SERVER_URL and TOKEN in the environment:
//
//     client.mjs run              the whole life of a webhook, then every operation of the
//                                 library; prints one JSON object as its last line
//     client.mjs verify FILE      verifies deliveries that other libraries made
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";

import { Webhook as StandardWebhook } from "standardwebhooks";
import { Svix, Webhook } from "svix";

// Nothing is waited for longer than this.
const PATIENCE = 30_000;

/** Keeps what arrives per path; answers 500 as often as it is told to. */
class Receiver {
  arrivals = [];
  failures = {};
  waiting = new Set();

  async start() {
    this.server = createServer((request, response) => {
      const chunks = [];
      request.on("data", (chunk) => chunks.push(chunk));
      request.on("end", () => {
        const left = this.failures[request.url] ?? 0;
        this.failures[request.url] = Math.max(0, left - 1);
        const body = Buffer.concat(chunks).toString();
        this.arrivals.push({ path: request.url, headers: request.headers, body });
        response.statusCode = left > 0 ? 500 : 200;
        response.end("ok");
        for (const look of this.waiting) look();
      });
    });
    await new Promise((ready) => this.server.listen(0, "127.0.0.1", ready));
    return this;
  }

  url(path) {
    return `http://127.0.0.1:${this.server.address().port}${path}`;
  }

  /** The `count`th arrival of a message. */
  wait(message, count = 1) {
    return new Promise((found, failed) => {
      const those = () => this.arrivals.filter((one) => one.headers["svix-id"] === message);
      const late = setTimeout(() => {
        this.waiting.delete(look);
        failed(new Error(`${message} arrived ${those().length} times, not ${count}`));
      }, PATIENCE);
      const look = () => {
        if (those().length < count) return;
        clearTimeout(late);
        this.waiting.delete(look);
        found(those()[count - 1]);
      };
      this.waiting.add(look);
      look();
    });
  }
}

/** Asks until the answer is true: for states that can only be asked for. */
async function ask(question, what) {
  const end = Date.now() + PATIENCE;
  for (;;) {
    const answer = await question();
    if (answer) return answer;
    if (Date.now() > end) throw new Error(`waited ${PATIENCE} ms in vain for ${what}`);
    await new Promise((later) => setTimeout(later, 20));
  }
}

const client = (token, options = {}) =>
  new Svix(token, { serverUrl: process.env.SERVER_URL, ...options });

async function refused(status, call) {
  const error = await call().then(
    () => assert.fail(`was not refused with ${status}`),
    (error) => error,
  );
  assert.equal(error.code, status, String(error));
}

/** By the library's verifier and by that of Standard Webhooks; other bytes must be refused. */
function verify(secret, arrival) {
  for (const verifier of [new Webhook(secret), new StandardWebhook(secret)]) {
    verifier.verify(arrival.body, arrival.headers);
    assert.throws(() => verifier.verify(`${arrival.body} `, arrival.headers));
  }
}

async function life(receiver) {
  const begun = new Date(Date.now() - 60_000);
  const api = client(process.env.TOKEN);
  const name = `javascript.${randomUUID()}`;
  await api.eventType.create({ name, description: "a life" });
  const app = await api.application.create({ name: "life", uid: `life-${randomUUID()}` });
  assert.equal((await api.application.get(app.uid)).id, app.id);
  await refused(409, () => api.application.create({ name: "again", uid: app.uid }));

  const endpoint = (place) =>
    api.endpoint.create(app.uid, {
      url: receiver.url(`/${place}`),
      uid: place,
      channels: [place],
      eventTypes: [name],
    });
  const send = (channel, more = {}, options = {}) => {
    const payload = { n: 1, text: "süß", nested: { a: [1, 2.5, null] } };
    const message = { eventType: name, payload, channels: [channel], ...more };
    return api.message.create(app.uid, message, options);
  };

  await endpoint("main");
  const broken = await endpoint("broken");
  receiver.failures["/broken"] = 1000;
  const lost = await send("broken");

  const secret = (await api.endpoint.getSecret(app.uid, "main")).key;
  const first = await send("main", { eventId: "first" });
  const arrival = await receiver.wait(first.id);
  verify(secret, arrival);
  await refused(409, () => send("main", { eventId: "first" }));
  const idempotencyKey = randomUUID();
  const once = await send("main", {}, { idempotencyKey });
  assert.equal((await send("main", {}, { idempotencyKey })).id, once.id);
  const shown = await api.message.get(app.id, "first", { withContent: true });
  assert.equal(shown.id, first.id);
  assert.equal(shown.payload.text, "süß");

  // A failure is tried again, with the same id, and both attempts are on record.
  // The message before it must not be the one that fails.
  await receiver.wait(once.id);
  receiver.failures["/main"] = 1;
  const second = await send("main");
  await receiver.wait(second.id, 2);
  const attempts = async () => (await api.messageAttempt.listByMsg(app.id, second.id)).data;
  await ask(async () => (await attempts()).length === 2, "two attempts");
  assert.deepEqual((await attempts()).map((one) => one.responseStatusCode), [200, 500]);
  assert.deepEqual((await attempts()).map((one) => one.status), [0, 2]);

  // What was delivered is sent once more when a person asks for it.
  await api.messageAttempt.resend(app.id, second.id, "main");
  verify(secret, await receiver.wait(second.id, 3));
  await ask(async () => (await attempts()).length === 3, "three attempts");
  assert.equal((await attempts())[0].triggerType, 1);

  // After a rotation the old key and the new one both verify.
  await api.endpoint.rotateSecret(app.id, "main", {});
  const fresh = (await api.endpoint.getSecret(app.id, "main")).key;
  assert.notEqual(fresh, secret);
  const third = await receiver.wait((await send("main")).id);
  verify(secret, third);
  verify(fresh, third);

  // What was given up on is delivered by a recovery.
  const destinations = async () =>
    (await api.messageAttempt.listAttemptedDestinations(app.id, lost.id)).data;
  await ask(async () => (await destinations())[0]?.status === 2, "the end of a schedule");
  const tries = (await api.messageAttempt.listByMsg(app.id, lost.id)).data.length;
  receiver.failures["/broken"] = 0;
  await api.endpoint.recover(app.id, broken.id, { since: begun });
  const brokenSecret = (await api.endpoint.getSecret(app.id, broken.id)).key;
  verify(brokenSecret, await receiver.wait(lost.id, tries + 1));

  // A customer's token sees its application and no other.
  const access = await api.authentication.appPortalAccess(app.id, {});
  assert.match(access.url, /^http/);
  const customer = client(access.token);
  assert.equal((await customer.endpoint.list(app.id)).data.length, 2);
  await refused(403, () => customer.application.list());

  const ids = (await api.message.list(app.id)).data.map((one) => one.id);
  assert.ok(ids.includes(first.id) && ids.includes(lost.id), String(ids));
  await api.endpoint.delete(app.id, "main");
  await refused(404, () => api.endpoint.get(app.id, "main"));
  await api.application.delete(app.id);
  await refused(404, () => api.application.get(app.uid));
  await api.eventType.delete(name, { expunge: true });
  await refused(404, () => api.eventType.get(name));
  return [
    { secret, ...arrival },
    { secret, ...third },
    { secret: fresh, ...third },
  ];
}

const bodies = readFileSync(new URL("../bodies.json", import.meta.url), "utf8");

/** What an operation may be asked about, made anew for each of them. */
class World {
  static async make(api, receiver) {
    const world = new World();
    world.api = api;
    world.unique = `surface-${randomUUID()}`;
    world.url = receiver.url("/surface");
    world.since = new Date(Date.now() - 3_600_000);
    world.until = new Date();
    world.eventType = `surface.${randomUUID()}`;
    await api.eventType.create({ name: world.eventType, description: "surface" });
    world.app = (await api.application.create({ name: "surface" })).id;
    world.endpoint = (await api.endpoint.create(world.app, { url: world.url })).id;
    const message = { eventType: world.eventType, payload: {} };
    world.message = (await api.message.create(world.app, message)).id;
    return world;
  }

  async argument(operation, name) {
    if (name === "endpointId" && operation.startsWith("operational_webhook.")) {
      const input = this.body("OperationalWebhookEndpointIn");
      return this.ifBuilt(() => this.api.operationalWebhook.endpoint.create(input));
    }
    if (name === "endpointId" && operation.startsWith("ingest.")) {
      const source = await this.source();
      const input = this.body("IngestEndpointIn");
      return this.ifBuilt(() => this.api.ingest.endpoint.create(source, input));
    }
    const made = {
      appId: () => this.app,
      endpointId: () => this.endpoint,
      msgId: () => this.message,
      eventTypeName: () => this.eventType,
      attemptId: () => this.attempt(),
      taskId: () => this.task(),
      sourceId: () => this.source(),
    };
    return (made[name] ?? (() => `no-${name}`))();
  }

  async attempt() {
    const listed = () => this.api.messageAttempt.listByMsg(this.app, this.message);
    return (await ask(async () => (await listed()).data[0], "an attempt")).id;
  }

  async task() {
    return (await this.api.endpoint.recover(this.app, this.endpoint, { since: this.since })).id;
  }

  /** One source, however many arguments name it. */
  source() {
    const input = this.body("IngestSourceIn");
    this.madeSource ??= this.ifBuilt(() => this.api.ingest.source.create(input));
    return this.madeSource;
  }

  async ifBuilt(make) {
    try {
      return (await make()).id;
    } catch (error) {
      if (isNotBuilt(error)) return "not-built";
      throw error;
    }
  }

  body(model) {
    const known = { $unique: this.unique, $url: this.url, $since: this.since, $until: this.until };
    return JSON.parse(bodies, (_, value) => known[value] ?? value)[model];
  }
}

/** The library hands on what came with a 5xx as text. */
const isNotBuilt = (error) => String(error.body).includes('"code":"not_implemented"');

const snake = (name) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

/** Every operation the library has: its name as in the other libraries, and how to call it. */
function* operations(node, prefix = "") {
  const members = Object.getOwnPropertyDescriptors(Object.getPrototypeOf(node));
  for (const [name, member] of Object.entries(members)) {
    if (name === "constructor" || name.startsWith("_")) continue;
    if (member.get) yield* operations(node[name], `${prefix}${snake(name)}.`);
    else if (typeof member.value === "function") {
      yield [prefix + snake(name), member.value.bind(node), parameters(member.value)];
    }
  }
}

/** `async create(appId, endpointIn = {}, options) {` without the options. */
function parameters(call) {
  const list = call.toString().match(/\(([^)]*)\)/)[1];
  const names = list.split(",").map((part) => part.trim().split(/[\s=]/)[0]);
  return names.filter((name) => name !== "" && name !== "options");
}

async function logOut(api, app) {
  const { token } = await api.authentication.appPortalAccess(app, {});
  const customer = client(token, { retryScheduleInMs: [] });
  await customer.authentication.logout();
  await refused(401, () => customer.endpoint.list(app));
}

/** Calls every operation once, in a world of its own: how each one went. */
async function surface(receiver) {
  // Without retries: what is not built would be asked for three times.
  const api = client(process.env.TOKEN, { retryScheduleInMs: [] });
  const found = {};
  for (const [operation, call, names] of operations(api)) {
    const world = await World.make(api, receiver);
    try {
      const values = [];
      for (const name of names) {
        const model = name[0].toUpperCase() + name.slice(1);
        values.push(world.body(model) ?? (await world.argument(operation, name)));
      }
      // Of an application's token; the operator's cannot be logged out.
      if (operation === "authentication.logout") await logOut(api, world.app);
      else await call(...values);
      found[operation] = "works";
    } catch (error) {
      const detail = `${error} ${JSON.stringify(error.body ?? "")}`.slice(0, 400);
      found[operation] = isNotBuilt(error) ? "not_implemented" : `fails: ${detail}`;
    }
  }
  return found;
}

if (process.argv[2] === "verify") {
  const deliveries = JSON.parse(readFileSync(process.argv[3], "utf8"));
  for (const delivery of deliveries) verify(delivery.secret, delivery);
  console.log(JSON.stringify({ verified: deliveries.length }));
} else {
  const receiver = await new Receiver().start();
  const deliveries = await life(receiver);
  console.log(JSON.stringify({ deliveries, operations: await surface(receiver) }));
}
process.exit(0);
