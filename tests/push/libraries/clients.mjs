// Runs laravel-echo, pusher-js and the Node server library against one gateway, and prints what
// each of them saw as one line of JSON: {check: name, saw: value}. The library also answers the
// authorization requests.
// argv[2]: {modules, host, port, authPort, app: {id, key, secret}, masterKey}
import { createServer } from "node:http";
import { createRequire } from "node:module";

const config = JSON.parse(process.argv[2]);
const load = createRequire(config.modules + "/");
const PusherJs = load("pusher-js");
// Its own entry for require() is refused by Node, because the package is of type "module".
const { default: Echo } = await import(
  `${config.modules}/node_modules/laravel-echo/dist/echo.js`
);
const PusherServer = load("pusher");

const print = (line) => process.stdout.write(JSON.stringify(line) + "\n");
const server = (changed = {}) =>
  new PusherServer({
    appId: config.app.id,
    key: config.app.key,
    secret: config.app.secret,
    host: config.host,
    port: config.port,
    useTLS: false,
    encryptionMasterKeyBase64: config.masterKey,
    ...changed,
  });
const api = server();

// A deadline for each wait, so that a missing event fails one check.
const within = (promise, what) =>
  Promise.race([
    promise,
    new Promise((_, reject) => setTimeout(() => reject(new Error(`no ${what}`)), 5000)),
  ]);
const bound = (target, event) =>
  within(new Promise((resolve) => target.bind(event, resolve)), event);
const status = (promise) =>
  promise.then(
    (response) => response.status,
    (error) => error.status,
  );

const webhooks = [];
let newWebhook = () => {};
const base = `http://${config.host}:${config.authPort}`;
createServer((request, response) => {
  const chunks = [];
  request.on("data", (chunk) => chunks.push(chunk));
  request.on("end", () => {
    const body = Buffer.concat(chunks).toString();
    const reply = (content) => {
      response.writeHead(200, { "content-type": "application/json" });
      response.end(JSON.stringify(content));
    };
    if (request.url === "/webhook") {
      webhooks.push({ headers: request.headers, rawBody: body });
      newWebhook();
      reply({});
      return;
    }
    const form = new URLSearchParams(body);
    const user = request.headers["x-user"];
    const channel = form.get("channel_name");
    const member = { user_id: user, user_info: { name: user } };
    reply(
      channel === null
        ? api.authenticateUser(form.get("socket_id"), { id: user })
        : api.authorizeChannel(
            form.get("socket_id"),
            channel,
            channel.startsWith("presence-") ? member : undefined,
          ),
    );
  });
}).listen(config.authPort, config.host);

const plain = {
  cluster: "self",
  wsHost: config.host,
  wsPort: config.port,
  forceTLS: false,
  enabledTransports: ["ws"],
  disableStats: true,
};
const client = async (user) => {
  const endpoint = { endpoint: `${base}/auth`, headers: { "x-user": user }, transport: "ajax" };
  const options = { ...plain, channelAuthorization: endpoint, userAuthentication: endpoint };
  const opened = new PusherJs(config.app.key, options);
  await bound(opened.connection, "connected");
  return opened;
};
const subscribed = async (opened, name) => {
  const channel = opened.subscribe(name);
  await bound(channel, "pusher:subscription_succeeded");
  return channel;
};
const echo = async (user) => {
  const opened = new Echo({
    broadcaster: "pusher",
    Pusher: PusherJs,
    key: config.app.key,
    ...plain,
    authEndpoint: `${base}/broadcasting/auth`,
    auth: { headers: { "x-user": user } },
  });
  await bound(opened.connector.pusher.connection, "connected");
  return opened;
};
const called = (register, what) => within(new Promise((resolve) => register(resolve)), what);

const checks = {
  async "echo listens on a public, a private and an encrypted channel"() {
    const shop = await echo("ann");
    const events = [
      [shop.channel("show-1"), "show-1"],
      [shop.private("orders"), "private-orders"],
      [shop.encryptedPrivate("secrets"), "private-encrypted-secrets"],
    ].map(async ([channel, name]) => {
      await called((done) => channel.subscribed(done), name);
      const received = called((done) => channel.listen("TicketHeld", done), name);
      await api.trigger(name, "App\\Events\\TicketHeld", { of: name });
      return received;
    });
    return Promise.all(events);
  },
  async "echo sees who is here, joins and leaves, and whispers"() {
    const [ann, bob] = [await echo("ann"), await echo("bob")];
    const room = ann.join("room");
    const here = await called((done) => room.here(done), "here");
    const joining = called((done) => room.joining(done), "joining");
    const whispered = called((done) => room.listenForWhisper("typing", done), "whisper");
    const leaving = called((done) => room.leaving(done), "leaving");
    const other = bob.join("room");
    const both = await called((done) => other.here(done), "here of bob");
    const joined = await joining;
    other.whisper("typing", { by: "bob" });
    const whisper = await whispered;
    bob.leave("room");
    return { here, both, joined, whisper, left: await leaving };
  },
  async "a trigger excludes the socket that caused it"() {
    const [own, other] = [await client("ann"), await client("bob")];
    const channels = [await subscribed(own, "mine"), await subscribed(other, "mine")];
    const seen = [];
    channels[0].bind_global((event) => seen.push(event));
    const [last, mine] = [bound(channels[0], "last"), bound(channels[1], "first")];
    const excluded = { socket_id: own.connection.socket_id };
    await api.trigger(["mine", "unused"], "first", { at: 1 }, excluded);
    await api.trigger("mine", "last", "text");
    return { text: await last, own: seen, other: await mine };
  },
  async "a batch arrives in its order, and info counts"() {
    const opened = await client("ann");
    const channel = await subscribed(opened, "presence-batch");
    const seen = [];
    channel.bind("n", (data) => seen.push(data.at));
    const batch = [...Array(10).keys()].map((at) => ({
      channel: "presence-batch",
      name: "n",
      data: { at },
      ...(at === 9 && { info: "user_count,subscription_count" }),
    }));
    const last = called((done) => channel.bind("n", ({ at }) => at === 9 && done()), "the tenth");
    const reply = await (await api.triggerBatch(batch)).json();
    await last;
    const one = await api.trigger("presence-batch", "x", {}, { info: "user_count" });
    return { seen, last: reply.batch[9], one: await one.json() };
  },
  async "channels and users are queried"() {
    const opened = await client("ann");
    await subscribed(opened, "presence-query");
    const get = async (path, params) => (await api.get({ path, params })).json();
    return [
      await get("/channels", { filter_by_prefix: "presence-query", info: "user_count" }),
      await get("/channels/presence-query", { info: "user_count" }),
      await get("/channels/presence-query/users"),
      await get("/channels/empty"),
      await status(api.get({ path: "/channels/empty/users" })),
    ];
  },
  async "a signed-in user receives, and is terminated"() {
    const opened = await client("zoe");
    opened.signin();
    await within(opened.user.signinDonePromise, "sign-in");
    await called((done) => {
      const poll = setInterval(() => {
        if (opened.user.serverToUserChannel?.subscribed) {
          clearInterval(poll);
          done();
        }
      }, 10);
    }, "the user's channel");
    const hello = called((done) => opened.user.bind("hello", done), "hello");
    await api.sendToUser("zoe", "hello", { you: "zoe" });
    const received = await hello;
    const error = bound(opened.connection, "error");
    await api.terminateUserConnections("zoe");
    return { received, code: (await error).data.code };
  },
  async "encrypted events of three libraries arrive decrypted"() {
    const opened = await client("ann");
    const channel = await subscribed(opened, "private-encrypted-all");
    const names = ["of-node", "of-python", "of-aiohttp"];
    const events = names.map((name) => bound(channel, name));
    const readable = new Promise((resolve) =>
      opened.connection.bind("message", ({ event, data }) => event === "of-node" && resolve(data)),
    );
    print({ ready: true });
    await api.trigger("private-encrypted-all", "of-node", { by: "node" });
    const raw = await readable;
    return { events: await Promise.all(events), onTheWire: Object.keys(raw).sort() };
  },
  async "errors have the statuses of the protocol"() {
    const forged = server({ secret: "other" });
    const unknown = server({ key: "other" });
    const eleven = Array(11).fill({ channel: "a", name: "n", data: "" });
    return [
      await status(api.trigger("a", "n", "x".repeat(10_240))),
      await status(api.trigger("a", "n", "x".repeat(10_241))),
      await status(api.triggerBatch(eleven)),
      await status(api.trigger("a", "n", {}, { info: "unknown" })),
      await status(forged.trigger("a", "n", {})),
      await status(unknown.trigger("a", "n", {})),
      await status(server({ appId: "4" }).trigger("a", "n", {})),
    ];
  },
  async "webhooks are valid for this library only with the secret"() {
    const opened = await client("ann");
    await subscribed(opened, "private-hooked");
    const find = () =>
      webhooks
        .map((request) => ({ request, hook: api.webhook(request) }))
        .find(({ hook }) => hook.getEvents().some(({ channel }) => channel === "private-hooked"));
    await called((done) => {
      newWebhook = () => find() && done();
      newWebhook();
    }, "webhook");
    const { request, hook } = find();
    return {
      valid: webhooks.every((each) => api.webhook(each).isValid()),
      forged: server({ secret: "other" }).webhook(request).isValid(),
      event: hook.getEvents().find(({ channel }) => channel === "private-hooked"),
      recent: Math.abs(Date.now() - hook.getTime().getTime()) < 60_000,
    };
  },
};

await Promise.all(
  Object.entries(checks).map(([check, run]) =>
    run().then(
      (saw) => print({ check, saw }),
      (error) => print({ check, error: String(error?.stack ?? error) }),
    ),
  ),
);
process.exit(0);
